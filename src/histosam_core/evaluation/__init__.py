"""Evaluation: simulated clicks on any interactive model, records on disk, and reports from them."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
