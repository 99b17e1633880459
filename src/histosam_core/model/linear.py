"""Linear layers through oneDNN where a CPU has AVX-512.

PyTorch hands a linear layer to MKL, which uses no AVX-512 on another maker's CPUs: there a 1x1
convolution, which goes to oneDNN, does the same in half the time, backwards too. With one thread
PyTorch sends a plain 1x1 convolution to MKL as well, but a dilated one to oneDNN; a kernel of one
pixel has nothing to dilate.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

FEW_ROWS = 32
"""Fewer rows than this are done sooner by MKL."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `torch.nn.functional.linear`, with gradients, on any device and of any type.

    (..., K) by weight (N, K) and bias (N,) -> (..., N).
    """
    rows = x.numel() // max(1, x.shape[-1])
    suits = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    if not (suits and rows >= FEW_ROWS and torch.backends.mkldnn.enabled and _has_avx512()):
        return functional.linear(x, weight, bias)
    pixels = x.reshape(1, rows, 1, x.shape[-1]).permute(0, 3, 1, 2)
    made = functional.conv2d(pixels, weight[:, :, None, None], bias, dilation=2)
    return made.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


@cache
def _has_avx512() -> bool:
    capability: str = torch.backends.cpu.get_cpu_capability()
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and capability.startswith("AVX512")


class Linear(nn.Linear):
    """`torch.nn.Linear` by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        return linear(x, self.weight, self.bias)


def use_linear(module: nn.Module) -> None:
    """Let every `torch.nn.Linear` within a module, another library's, go by `linear`.

    Parameters and their names stay.
    """
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            has_bias = child.bias is not None
            own = Linear(child.in_features, child.out_features, bias=has_bias, device="meta")
            own.weight, own.bias = child.weight, child.bias
            setattr(module, name, own)
        else:
            use_linear(child)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution by `linear`; costs no copy where channels lie innermost."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, N, H, W), channels innermost in memory."""
        pixels = x.permute(0, 2, 3, 1)
        return linear(pixels, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
