"""HistoSAM: clicks on a whole slide become tumour masks; models are tuned and compared by clicks.

Public names load lazily: importing this package imports neither torch nor napari.
"""

from lazy_loader import attach_stub

from histosam_core.version import __version__ as __version__

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
