"""Licences that forbid something: shown to a person and accepted before a model's first use.

What was accepted is kept in the user's data folder, a small JSON file for each model.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from histosam_core.atomic import new_file
from histosam_core.errors import LicenceError, OutputWriteError, UnknownModelError
from histosam_core.model.registry.specs import MODELS
from histosam_core.paths import data_folder

if TYPE_CHECKING:
    from histosam_core.model.registry.model_spec import ModelSpec

__all__ = ["ACCEPT_VARIABLE", "accept_licence", "licence_to_confirm", "require_licence"]

ACCEPT_VARIABLE = "HISTOSAM_ACCEPT_LICENCE"
"""Names of models, with commas between them, whose licences the user accepts."""


def licence_to_confirm(name: str) -> str | None:
    """Return what a person must accept before a model's first use.

    Parameters
    ----------
    name
        Of a model; one that is not in `list_models`, such as an own model or a path, asks nothing.

    Returns
    -------
    str or None
        One line of text with the licence's address; None where there is nothing to accept, or it
        was accepted before.
    """
    spec = MODELS.get(name)
    return None if spec is None or not spec.terms or _is_accepted(spec) else _text(spec)


def accept_licence(name: str) -> None:
    """Note that the user accepts a model's licence; once and for all.

    Raises
    ------
    UnknownModelError
        No such model.
    OutputWriteError
        The data folder cannot be written.
    """
    if name not in MODELS:
        close = get_close_matches(name, MODELS, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise UnknownModelError(f"no model named {name!r}{hint} (histosam models lists the names)")
    _note(MODELS[name])


def require_licence(spec: ModelSpec, *, accept: bool = False) -> None:
    """Make sure that a model's licence is accepted, or forbids nothing.

    Parameters
    ----------
    spec
        The model.
    accept
        The caller accepts it for the user, which is noted.

    Raises
    ------
    LicenceError
        It is not; the message has what it forbids, and how to accept it.
    """
    if not spec.terms or _is_accepted(spec):
        return
    if accept:
        with suppress(OutputWriteError):  # it holds for this call all the same
            _note(spec)
        return
    raise LicenceError(
        f"{_text(spec)}; to accept that: histosam models --accept {spec.name}, or "
        f"load_model({spec.name!r}, accept_licence=True), or {ACCEPT_VARIABLE}={spec.name}"
    )


def _text(spec: ModelSpec) -> str:
    return f"{spec.name}: {spec.terms} ({spec.terms_url})"


def _is_accepted(spec: ModelSpec) -> bool:
    names = os.environ.get(ACCEPT_VARIABLE, "").split(",")
    if spec.name in {name.strip() for name in names}:
        return True
    try:
        noted = json.loads(_file_of(spec).read_text(encoding="utf-8"))
        return bool(noted["licence"] == spec.licence)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _note(spec: ModelSpec) -> None:
    facts = {
        "model": spec.name,
        "licence": spec.licence,
        "terms": spec.terms,
        "url": spec.terms_url,
        "accepted": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with new_file(_file_of(spec)) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _file_of(spec: ModelSpec) -> Path:
    return data_folder() / "licences" / f"{spec.name}.json"
