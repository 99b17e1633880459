"""Which device computes, and one error with a way out for a memory that is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from histosam_core.errors import ConfigError, OutOfMemoryError

FULL = ("out of memory", "not enough memory", "allocate memory", "alloc_failed")
"""What torch's allocators and CUDA's libraries say, in lower case; most of it in a RuntimeError."""


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Turn "auto", "cpu", "cuda", "cuda:1", "mps" into a device that is there.

    "auto" is a CUDA GPU where there is one, else the CPU.

    Raises
    ------
    ConfigError
        No such device here.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(
            f"no device {str(device)!r}; choose 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'"
        ) from error
    if chosen.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (chosen.index or 0) >= count:
            raise ConfigError(
                f"device {str(device)!r} was asked for and torch sees {count} CUDA GPUs; "
                "choose 'cpu' or 'auto', or install the GPU's driver and a CUDA build of torch"
            )
    elif chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' was asked for and torch sees none; choose 'cpu' or 'auto'")
    elif chosen.type not in {"cpu", "mps"}:
        raise ConfigError(f"device {str(device)!r} is not supported; choose 'cpu' or 'cuda'")
    return chosen


@contextmanager
def naming_a_full_memory(device: torch.device) -> Iterator[None]:
    """Run a block on `device`; OutOfMemoryError where its memory is full, and no cache stays."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        is_full = isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)
        if isinstance(error, OutOfMemoryError) or not (
            is_full or any(words in str(error).lower() for words in FULL)
        ):
            raise
        if device.type == "cuda":
            torch.cuda.empty_cache()
        raise OutOfMemoryError(
            "the memory is full; choose a smaller model, or close other programs"
            if device.type == "cpu"
            else f"the memory of the GPU ({device}) is full; choose the CPU or a smaller model"
        ) from error
