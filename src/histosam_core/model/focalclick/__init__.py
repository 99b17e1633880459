"""FocalClick (Chen et al. 2022): a coarse answer on the whole crop, refined on a smaller one."""
