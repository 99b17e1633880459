"""The click protocol: one loop for images, patches and regions of slides, and where it runs."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
