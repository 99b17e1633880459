"""Batch norms folded into the convolutions before them: the same answers with less work."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

Network = TypeVar("Network", bound=nn.Module)


def folded(network: Network) -> Network:
    """Copy a network for inference, with its batch norms folded into its convolutions.

    In evaluation a batch norm scales and shifts each channel by constants, which the convolution
    before it can do by itself. Names and order tell which that is: ``bn1`` follows ``conv1`` and
    ``norm`` follows ``conv``; any other batch norm follows the part that is listed before it, in
    the same module or across the ends of an `nn.Sequential` inside another. A batch norm that
    follows no convolution of as many channels stays.

    Modules with a true attribute ``channels_last`` get their weights in that order, which changes
    no answer.

    The copy has the same class, is in evaluation mode and without gradients. Its answers are those
    of ``network.eval()`` but for rounding. An `nn.Identity` stands where a batch norm was, so its
    state dict is no checkpoint.
    """
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(copied.modules()):
        for before, owner, name in list(_batch_norms(module)):
            norm = owner.get_submodule(name)
            if isinstance(before, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                if _fold(before, norm):
                    setattr(owner, name, nn.Identity())
    for module in copied.modules():
        if getattr(module, "channels_last", False):
            module.to(memory_format=torch.channels_last)
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1:
            # Nothing to dilate, but with one thread the faster library; see linear.py.
            module.dilation = (2, 2)
    return copied


def _batch_norms(module: nn.Module) -> Iterator[tuple[nn.Module | None, nn.Module, str]]:
    """What comes before each batch norm of a module, the norm's owner, and its name there."""
    before: nn.Module | None = None
    for owner, name in _places(module):
        part = owner.get_submodule(name)
        if isinstance(part, nn.BatchNorm2d):
            namesake = getattr(module, re.sub("^(bn|norm)", "conv", name), None)
            yield namesake if isinstance(namesake, nn.Conv2d) else before, owner, name
        before = part


def _places(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Owner and name of each part of a module; a sequence in a sequence is one with it."""
    for name, part in module.named_children():
        if isinstance(module, nn.Sequential) and type(part) is nn.Sequential:
            yield from _places(part)
        else:
            yield module, name


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    """Let a convolution do what the batch norm does; whether it can."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None or norm.num_features != convolution.out_channels:
        return False
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, mean, variance, norm.eps, norm.weight, norm.bias
    )
    return True
