"""SimpleClick (Liu et al. 2023): clicks and the previous mask through a plain ViT."""
