"""What is validated and written: the trained weights, with a share of the starting ones kept.

A model that is fine-tuned on few slides forgets what it could do elsewhere. The average of its
weights before and after, parameter by parameter, keeps most of both (Wortsman et al., "Robust
fine-tuning of zero-shot models", CVPR 2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from histosam_core.model.sam.network import SamNetwork

__all__ = ["KeptWeights"]


class KeptWeights:
    """Swaps averaged weights into a network for a while.

    Parameters
    ----------
    network
        As it starts.
    names
        Parameters that will learn.
    share
        Of the starting weights in the average; 0 leaves the network as it is.
    """

    def __init__(self, network: SamNetwork, names: Sequence[str], share: float) -> None:
        self._network = network
        self._share = share
        self._start: dict[str, Tensor] = {}
        if share:
            self._start = {name: network.get_parameter(name).detach().clone() for name in names}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """While entered, the network has the averaged weights; afterwards its own, to the bit."""
        own: dict[str, Tensor] = {}
        with torch.no_grad():
            for name, start in self._start.items():
                parameter = self._network.get_parameter(name)
                own[name] = parameter.detach().clone()
                parameter.lerp_(start.to(parameter.device), self._share)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in own.items():
                    self._network.get_parameter(name).copy_(value)
