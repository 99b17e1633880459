"""Annotations: regions in level-0 pixels, their files, and masks drawn from them.

Names load on first use, so that geometry can be worked with without the formats' libraries.
"""

from lazy_loader import attach_stub

from histosam_core.annotation.rasterise import rasterise as rasterise  # not the file of that name

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
