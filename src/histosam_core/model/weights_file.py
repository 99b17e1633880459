"""Read files of weights safely: safetensors, and pickles that hold nothing but tensors."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from histosam_core.errors import CheckpointError

__all__ = ["file_sha256", "read_weights"]


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a file of weights, whichever of the two kinds it is.

    Parameters
    ----------
    path
        A safetensors file, or what ``torch.save`` wrote: a state_dict, or torch_em's layout
        (``model_state``, with or without the prefix ``sam.``).

    Returns
    -------
    state : dict of str to Tensor
        Weights on the CPU, prefix removed.
    metadata : dict of str to str
        A safetensors file's metadata; empty for the other kind.

    Raises
    ------
    CheckpointError
        Empty, truncated, a pickle with code in it (which is not run), or without weights.
    """
    with path.open("rb") as file:
        head = file.read(9)
    if not head:
        raise CheckpointError(f"{path} is empty; copy or download it again")
    # A safetensors file starts with the length of its JSON header, then the header.
    if head[8:9] == b"{":
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                return {key: file.get_tensor(key) for key in file.keys()}, metadata
        except SafetensorError as error:
            raise CheckpointError(
                f"{path} is truncated or damaged ({error}); copy or download it again"
            ) from error
    return _read_pickle(path), {}


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = re.search(r"(?:GLOBAL|global|class|function) ([\w.]+\.[\w.]+)", str(error))
        if code is None:
            raise _damaged(path) from error
        raise CheckpointError(
            f"{path} is a pickle that contains code ({code.group(1)}) and was refused, unread; "
            "save only its state_dict, or get the weights as safetensors"
        ) from error
    except Exception as error:  # torch raises half a dozen types on damaged files
        if isinstance(error, MemoryError):
            raise
        raise _damaged(path) from error
    if isinstance(loaded, Mapping) and isinstance(loaded.get("model_state"), Mapping):
        loaded = loaded["model_state"]
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise CheckpointError(f"{path} holds no state_dict; pass a SAM checkpoint")
    state = {str(key): value for key, value in loaded.items()}
    if state and all(key.startswith("sam.") for key in state):
        state = {key.removeprefix("sam."): value for key, value in state.items()}
    return state


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is truncated or not a checkpoint (safetensors, or a .pth with a state_dict); "
        "copy or download it again"
    )


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
