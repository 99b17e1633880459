"""Models that answer clicks: SAM's family, RITM, FocalClick, SimpleClick, `histosam-tiny`.

Names load lazily: the interface and the list of models need no torch.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
