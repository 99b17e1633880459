"""Names of models: the user's own checkpoints, which work as ours do; and names that nothing has.

An own model is a small JSON file in the user's data folder; the checkpoint stays where it is.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import chain, count
from pathlib import Path

from histosam_core.atomic import new_file
from histosam_core.errors import ConfigError, UnknownModelError
from histosam_core.model.checkpoint.weights_header import check_weights_file
from histosam_core.model.registry import registry
from histosam_core.paths import data_folder

_NAME = re.compile(r"\w[\w.+-]{0,79}")
_COMMON_STEMS = frozenset({"best", "last", "checkpoint", "model"})


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A checkpoint that its user gave a name; `added`: when, ISO 8601, UTC."""

    name: str
    path: Path
    added: str


def own_models_folder() -> Path:
    """Where the names are kept, and the checkpoints that this program added; perhaps not there."""
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
        such as best.safetensors, its folder's, with a number where that is taken; a file that was
        added before keeps its name.

    Raises
    ------
    CheckpointError
        There is no such file, or it plainly holds no weights.
    ConfigError
        The name is one of `list_models`, belongs to another file, or has other characters.
    OutputWriteError
        The data folder cannot be written.
    """
    file = Path(path).expanduser().absolute()
    check_weights_file(file)
    if name is None:
        earlier = next((one for one in list_own_models() if one.path == file), None)
        if earlier is not None:
            return earlier
        name = free_name(file.parent.name if file.stem in _COMMON_STEMS else file.stem)
    else:
        if _is_ours(name):
            raise ConfigError(f"the name {name!r} is that of a model of ours; choose another")
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"the name {name!r} must be letters, digits and ._+- alone, 80 at most, such as "
                "liver-2026"
            )
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
    """Take a name back; UnknownModelError where there is none.

    The checkpoint stays, unless this program put it beside the names.
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
    names = chain([base], (f"{base}-{number}" for number in count(2)))
    return next(n for n in names if not _is_ours(n) and _read(_file_of(n)) is None)


def find_spec(name: str) -> registry.ModelSpec:
    """Return the model of ours of a name, or raise `unknown_model`."""
    if name not in registry.MODELS:
        raise unknown_model(name)
    return registry.MODELS[name]


def unknown_model(name: str) -> UnknownModelError:
    """Return the error for what is neither a model's name nor a file."""
    names = [*registry.MODELS, *(own.name for own in list_own_models())]
    close = get_close_matches(name.lower().replace("-", "_"), names, n=3, cutoff=0.5)
    close = close or get_close_matches(name, names, n=3, cutoff=0.4)
    looks_like_path = Path(name).suffix != "" or os.sep in name
    hint = f"; did you mean {' or '.join(close)}?" if close and not looks_like_path else ""
    return UnknownModelError(
        f"no model named {name!r} and no checkpoint file at that path{hint} "
        "(histosam models lists the names)"
    )


def _is_ours(name: str) -> bool:
    return name.casefold() in {one.casefold() for one in registry.MODELS}


def _file_of(name: str) -> Path:
    return own_models_folder() / f"{name}.json"


def _read(file: Path) -> OwnModel | None:
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        return OwnModel(str(facts["name"]), Path(facts["path"]), str(facts["added"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or not ours
