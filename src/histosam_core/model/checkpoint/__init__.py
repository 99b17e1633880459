"""Files of weights: what they hold, read safely and written."""
