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
    from torch import Tensor, nn

__all__ = ["KeptWeights"]


class KeptWeights:
    """Swaps averaged weights into a network for a while.

    Parameters
    ----------
    network
        As it starts.
    names
        What will change, as its state dict has it: parameters, and running means with them. What
        is no floating number is left as it is.
    share
        Of the starting weights in the average; 0 leaves the network as it is.
    """

    def __init__(self, network: nn.Module, names: Sequence[str], share: float) -> None:
        self._network = network
        self._share = share
        self._start: dict[str, Tensor] = {}
        if share:
            held = network.state_dict()
            floating = (name for name in names if held[name].is_floating_point())
            self._start = {name: held[name].detach().clone() for name in floating}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """While entered, the network has the averaged weights; afterwards its own, to the bit."""
        own: dict[str, Tensor] = {}
        held = self._network.state_dict() if self._start else {}
        with torch.no_grad():
            for name, start in self._start.items():
                own[name] = held[name].clone()
                held[name].lerp_(start.to(held[name].device), self._share)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in own.items():
                    held[name].copy_(value)
