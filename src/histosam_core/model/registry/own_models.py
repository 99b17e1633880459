"""The user's own models: checkpoints that were given a name, which then works as one of ours does.

A small JSON file each in the user's data folder, so that two programs that add models at once do
not undo each other's work. The checkpoint stays where it is.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from histosam_core.atomic import new_file
from histosam_core.errors import CheckpointError, ConfigError, UnknownModelError
from histosam_core.model.checkpoint.file_kind import file_kind
from histosam_core.model.registry.specs import MODELS
from histosam_core.paths import data_folder

__all__ = [
    "OwnModel",
    "add_own_model",
    "checkpoint_facts",
    "checkpoint_path",
    "find_own_model",
    "free_name",
    "list_own_models",
    "own_models_folder",
    "remove_own_model",
]

_NAME = re.compile(r"\w[\w.+-]{0,79}")
_COMMON_STEMS = frozenset({"best", "last", "checkpoint", "model"})
_NO_CHECKPOINTS = {"empty": "empty", "web page": "a web page", "pointer": "a pointer of Git LFS"}
_MOST_HEADER_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A checkpoint that its user gave a name.

    Parameters
    ----------
    name
        What `load_model` takes.
    path
        The checkpoint's file.
    added
        When it was added: ISO 8601, UTC.
    """

    name: str
    path: Path
    added: str


def own_models_folder() -> Path:
    """Where the names are kept, and the checkpoints that this program added itself.

    The folder ``models`` of $HISTOSAM_DATA, else of the platform's data folder; it need not be
    there yet.
    """
    return data_folder() / "models"


def add_own_model(path: str | os.PathLike[str], *, name: str | None = None) -> OwnModel:
    """Give a checkpoint a name.

    Parameters
    ----------
    path
        The checkpoint, which stays where it is. No more than its first bytes are read:
        `load_model` says whether it can be used.
    name
        Letters, digits and ``._+-``, at most 80. None: made from the file's name, or, for one
        such as best.safetensors, its folder's, with a number where that is taken.

    Returns
    -------
    OwnModel
        A file that was added before keeps its name where `name` is None.

    Raises
    ------
    CheckpointError
        There is no such file, or it is empty, a web page or a pointer of Git LFS.
    ConfigError
        The name is one of `list_models`, belongs to another file, or has other characters.
    OutputWriteError
        The data folder cannot be written.
    """
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise CheckpointError(f"no checkpoint file at {file}; check the path")
    kind = file_kind(file)
    if kind in _NO_CHECKPOINTS:
        raise CheckpointError(
            f"{file} is {_NO_CHECKPOINTS[kind]}, not a checkpoint; copy or download it again"
        )
    if name is None:
        earlier = next((one for one in list_own_models() if one.path == file), None)
        if earlier is not None:
            return earlier
        name = free_name(file.parent.name if file.stem in _COMMON_STEMS else file.stem)
    else:
        _check_name(name)
        holder = _read(_file_of(name))
        if holder is not None and holder.path != file and holder.path.is_file():
            raise ConfigError(
                f"the name {name!r} belongs to {holder.path}; choose another name, or remove "
                "that model first"
            )
    model = OwnModel(name, file, datetime.now(UTC).isoformat(timespec="microseconds"))
    facts = {"name": model.name, "path": str(model.path), "added": model.added}
    with new_file(_file_of(name)) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return model


def list_own_models() -> list[OwnModel]:
    """Return the user's models whose files are there, the latest added first."""
    folder = own_models_folder()
    files = sorted(folder.glob("*.json")) if folder.is_dir() else []
    found = [model for file in files if (model := _read(file)) is not None]
    there = [model for model in found if model.path.is_file()]
    return sorted(there, key=lambda model: model.added, reverse=True)


def find_own_model(name: str) -> OwnModel | None:
    """Return the user's model of that name; None where there is none, or its file is gone."""
    if not _NAME.fullmatch(name):
        return None
    model = _read(_file_of(name))
    return model if model is not None and model.path.is_file() else None


def checkpoint_path(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file that an own model's name stands for; of what is no such name, the path."""
    own = find_own_model(os.fspath(name_or_path))
    return Path(name_or_path) if own is None else own.path


def remove_own_model(name: str) -> None:
    """Take a name back. The checkpoint stays, unless this program put it beside the names.

    Raises
    ------
    UnknownModelError
        There is no own model of that name.
    """
    model = _read(_file_of(name)) if _NAME.fullmatch(name) else None
    if model is None:
        names = ", ".join(one.name for one in list_own_models()) or "none"
        raise UnknownModelError(f"no own model is named {name!r}; there are: {names}")
    _file_of(name).unlink(missing_ok=True)
    if model.path.parent == own_models_folder().absolute():
        with suppress(OSError):
            model.path.unlink()


def free_name(wanted: str) -> str:
    """Return a name that no model has, as near to `wanted` as may be."""
    base = re.sub(r"[^\w.+-]+", "-", wanted).strip("-.+")[:70] or "model"
    for number in count(1):
        name = base if number == 1 else f"{base}-{number}"
        if not _is_ours(name) and _read(_file_of(name)) is None:
            return name
    raise AssertionError("count does not end")


def checkpoint_facts(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Return what a checkpoint of this program says of itself, by its header alone.

    Parameters
    ----------
    path
        The file. Nothing but its first bytes is read, and torch is not needed.

    Returns
    -------
    Mapping
        ``name``, ``architecture``, ``decoders``, ``scenario``, ``geometry`` and the rest of
        `CheckpointInfo`'s fields as JSON values; empty for a file that has no such header.
    """
    with suppress(OSError, ValueError, AttributeError, TypeError), Path(path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if 0 < length <= _MOST_HEADER_BYTES:
            metadata = json.loads(file.read(length)).get("__metadata__", {})
            if "histosam_format" in metadata:
                return {key: json.loads(value) for key, value in metadata.items()}
    return {}


def _check_name(name: str) -> None:
    if _is_ours(name):
        raise ConfigError(f"the name {name!r} is that of a model of ours; choose another")
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"the name {name!r} must be letters, digits and ._+- alone, 80 at most, such as "
            "liver-2026"
        )


def _is_ours(name: str) -> bool:
    return name.casefold() in {one.casefold() for one in MODELS}


def _file_of(name: str) -> Path:
    return own_models_folder() / f"{name}.json"


def _read(file: Path) -> OwnModel | None:
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        return OwnModel(str(facts["name"]), Path(facts["path"]), str(facts["added"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or not ours
