"""Read files of weights safely: safetensors, and pickles that hold nothing but tensors."""

from __future__ import annotations

import pickle
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from histosam_core.errors import CheckpointError
from histosam_core.model.checkpoint.weights_header import check_weights_file

SHOWN = 3
"""Names of weights in a message."""


@dataclass(frozen=True, slots=True, eq=False)
class WeightsFile:
    """What a file of weights holds."""

    state: dict[str, Tensor]  # weights on the CPU, by their names in the network
    # A safetensors file's; empty for another.
    metadata: Mapping[str, str] = field(default_factory=dict)
    # What RITM, FocalClick and SimpleClick say of the network beside the weights: its class and its
    # parameters, each ``{"type", "value", "specified"}``; empty where there is none.
    config: Mapping[str, Any] = field(default_factory=dict)


def read_weights(path: Path) -> WeightsFile:
    """Read a file of weights, whichever of the two kinds it is.

    Parameters
    ----------
    path
        A safetensors file, or what ``torch.save`` wrote, now or before version 1.6: a state_dict;
        RITM's, FocalClick's and SimpleClick's layout (``state_dict`` and ``config``); or torch_em's
        (``model_state``, with or without the prefix ``sam.``). Code in a pickle is not run.

    Raises
    ------
    CheckpointError
        It is none of these.
    """
    if check_weights_file(path) != "safetensors":
        return _read_pickle(path)
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}
            return WeightsFile(state, file.metadata() or {})
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is truncated or damaged ({error}); copy or download it again"
        ) from error


def _read_pickle(path: Path) -> WeightsFile:
    loaded, config = _load_pickle(path), None
    if isinstance(loaded, Mapping):
        for key in ("model_state", "state_dict"):
            if isinstance(loaded.get(key), Mapping):
                config, loaded = loaded.get("config"), loaded[key]
                break
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise CheckpointError(f"{path} holds no state_dict; pass a checkpoint of a known network")
    state = {str(key): value for key, value in loaded.items()}
    if state and all(key.startswith("sam.") for key in state):
        state = {key.removeprefix("sam."): value for key, value in state.items()}
    return WeightsFile(state, config=config if isinstance(config, Mapping) else {})


def _load_pickle(path: Path) -> Any:
    from histosam_core.model.checkpoint import restricted_pickle

    code = None
    try:
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if _code_in(error) not in restricted_pickle.STAND_INS:
                raise
            with warnings.catch_warnings(action="ignore"):  # that a stand-in has no source code
                return torch.load(
                    path,
                    map_location="cpu",
                    pickle_module=sys.modules[restricted_pickle.__name__],
                    weights_only=False,  # the module above is stricter than pickle
                )
    except MemoryError:
        raise
    except Exception as error:  # torch raises half a dozen types on damaged files
        if isinstance(error, pickle.UnpicklingError):
            code = _code_in(error)
        if code is not None:
            raise CheckpointError(
                f"{path} is a pickle that contains code ({code}) and was refused, unread; "
                "save only its state_dict, or get the weights as safetensors"
            ) from error
        raise CheckpointError(
            f"{path} is truncated or not a checkpoint (safetensors, or a .pth with a state_dict); "
            "copy or download it again"
        ) from error


def _code_in(error: Exception) -> str | None:
    """The name that torch, or `restricted_pickle`, would not make anything of."""
    code = re.search(r"(?:GLOBAL|global|class|function) ([\w.]+\.[\w.]+)", str(error))
    return None if code is None else code.group(1)


def misfits(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Say how many of a network's weights a file lacks, has beside them or in another shape.

    With the names of the first few of each; empty where all fit.
    """
    shared = wanted.keys() & given.keys()
    kinds = {
        "missing": wanted.keys() - given.keys(),
        "unexpected": given.keys() - wanted.keys(),
        "differently shaped": {k for k in shared if wanted[k].shape != given[k].shape},
    }
    problems = []
    for kind, keys in kinds.items():
        if keys:
            more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
            problems.append(f"{len(keys)} {kind} ({', '.join(sorted(keys)[:SHOWN])}{more})")
    return "; ".join(problems)
