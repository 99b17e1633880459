"""Annotate, fine-tune, prove: a better model from a user's own outlines, and by how much.

Names load on first use, so that settings can be checked without importing torch.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
