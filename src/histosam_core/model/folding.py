"""Batch norms folded into the convolutions before them: the same answers with less work."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["folded"]

Network = TypeVar("Network", bound=nn.Module)


def folded(network: Network) -> Network:
    """Copy a network for inference, with its batch norms folded into its convolutions.

    In evaluation a batch norm scales and shifts each channel by constants, which the convolution
    before it can do by itself. A batch norm belongs to a convolution if it comes right after it
    among the parts of the same module (``conv1``, ``bn1``; ``conv``, ``norm``; two in an
    `nn.Sequential`), or begins an `nn.Sequential` that does, and has as many channels. Every
    module of this project lists its parts in the order in which it calls them.

    Parameters
    ----------
    network
        Stays as it is.

    Returns
    -------
    nn.Module
        Of the same class, in evaluation mode and without gradients. Its answers are those of
        ``network.eval()`` but for rounding; an `nn.Identity` stands where a batch norm was, so
        that its state dict is no checkpoint.
    """
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    with torch.no_grad():
        for module in list(copied.modules()):
            for convolution, owner, name in _pairs(module):
                _fold(convolution, owner.get_submodule(name))
                setattr(owner, name, nn.Identity())
    return copied


def _pairs(module: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.Module, str]]:
    """Each convolution with the place of the batch norm after it: its owner, and its name there."""
    before: nn.Module | None = None
    for name, after in list(module.named_children()):
        owner = module
        while isinstance(after, nn.Sequential) and len(after):
            owner, name, after = after, "0", after[0]
        if (
            isinstance(before, nn.Conv2d)
            and isinstance(after, nn.BatchNorm2d)
            and after.num_features == before.out_channels
            and after.running_var is not None
        ):
            yield before, owner, name
        before = module.get_submodule(...)
