"""Reproducing a paper's tables by one command: Kim et al. (2023), on PAIP2019 and CAMELYON16.

Names load on first use, so that the set-up can be shown without importing torch.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
