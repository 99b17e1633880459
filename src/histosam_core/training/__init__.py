"""Fine-tuning: configuration, scenarios, losses, simulated training clicks, the training loop.

Names load on first use, so that settings and scenarios can be shown without importing torch.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
