"""Slides: any image file as a lazy pyramid of RGB pixels, and where the tissue is on it."""

from histosam_core.slide.array import open_array
from histosam_core.slide.levels import Level, best_level
from histosam_core.slide.slide import Slide, open_slide
from histosam_core.slide.tissue import tissue_mask

__all__ = ["Level", "Slide", "best_level", "open_array", "open_slide", "tissue_mask"]
