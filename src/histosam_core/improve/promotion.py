"""Keep the tuned model among the user's own, if it deserves it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from histosam_core.atomic import new_file
from histosam_core.errors import ConfigError
from histosam_core.model.registry.own_models import (
    OwnModel,
    add_own_model,
    find_own_model,
    free_name,
    list_own_models,
    own_models_folder,
)
from histosam_core.model.registry.registry import MODELS

if TYPE_CHECKING:
    from histosam_core.improve.proof import Proof


def deserves_it(proof: Proof, promote: str) -> bool:
    """Whether a model goes to the user's own: "always", "never", or if it is "better"."""
    return promote == "always" or (promote == "better" and proof.is_better)


def check_name(name: str | None, checkpoint: Path) -> None:
    """Raise ConfigError, before the long work, where another model has that name."""
    if name is None:
        return
    holder = find_own_model(name)
    if name in MODELS or (holder is not None and not _is_copy(holder, checkpoint)):
        raise ConfigError(f"a model is called {name!r} already; choose another --name")


def promote(checkpoint: Path, *, name: str | None, wanted: str) -> OwnModel:
    """Copy a checkpoint to the user's own models and add it to their list.

    Parameters
    ----------
    checkpoint
        The tuned model. Where its copy is in the list already, that is returned.
    name
        Its name; None: one as near to `wanted` as is free.
    wanted
        See `name`.

    Raises
    ------
    ConfigError
        The name belongs to another model.
    OutputWriteError
        The user's data folder cannot be written.
    """
    for own in list_own_models():
        if name in (None, own.name) and _is_copy(own, checkpoint):
            return own
    check_name(name, checkpoint)
    name = free_name(wanted) if name is None else name
    path = own_models_folder().absolute() / f"{name}.safetensors"
    with new_file(path) as temporary:
        shutil.copyfile(checkpoint, temporary)
    return add_own_model(path, name=name)


def _is_copy(own: OwnModel, checkpoint: Path) -> bool:
    """Whether an own model is this program's copy of a checkpoint."""
    from histosam_core.model.checkpoint.weights_header import file_sha256

    if not checkpoint.is_file() or own.path.parent != own_models_folder().absolute():
        return False
    if own.path.stat().st_size != checkpoint.stat().st_size:
        return False
    return file_sha256(own.path) == file_sha256(checkpoint)
