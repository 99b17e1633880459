"""Turn each library's way of saying that the memory is full into one error with a way out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from histosam_core.errors import OutOfMemoryError

__all__ = ["naming_a_full_memory"]

FULL = ("out of memory", "not enough memory", "allocate memory", "alloc_failed")
"""What torch's allocators and CUDA's libraries say, in lower case; most of it in a RuntimeError."""


@contextmanager
def naming_a_full_memory(device: torch.device) -> Iterator[None]:
    """Run a block on `device`; nothing that is cached there stays when its memory is full.

    Raises
    ------
    OutOfMemoryError
        The memory did not suffice.
    """
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
        raise OutOfMemoryError(_message(device)) from error


def _message(device: torch.device) -> str:
    if device.type == "cpu":
        return "the memory is full; choose a smaller model, or close other programs"
    return f"the memory of the GPU ({device}) is full; choose the CPU or a smaller model"
