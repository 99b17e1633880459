"""What the networks of RITM, FocalClick and SimpleClick share."""
