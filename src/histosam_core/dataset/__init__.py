"""Patches: cut from annotated slides, stored by split, opened lazily.

Names load on first use, so that settings can be read without slides and stores.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
