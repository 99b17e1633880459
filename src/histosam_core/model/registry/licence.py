"""Licences that forbid something: shown to a person and accepted before a model's first use.

What was accepted is kept in the user's data folder, a small JSON file for each model.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from histosam_core.atomic import new_file
from histosam_core.errors import LicenceError, OutputWriteError
from histosam_core.model.registry import registry
from histosam_core.model.registry.own_models import find_spec
from histosam_core.paths import data_folder

__all__ = ["ACCEPT_VARIABLE", "accept_licence", "licence_to_confirm", "require_licence"]

ACCEPT_VARIABLE = "HISTOSAM_ACCEPT_LICENCE"
"""Names of models, with commas between them, whose licences the user accepts."""


def licence_to_confirm(name: str) -> str | None:
    """Return what a person must accept before a model's first use, in a line with the address.

    None where there is nothing to accept, as for models that are not in `list_models`, or where it
    was accepted before.
    """
    spec = registry.MODELS.get(name)
    return None if spec is None or not spec.terms or _is_accepted(spec) else _text(spec)


def accept_licence(name: str) -> None:
    """Note that the user accepts a model's licence; once and for all."""
    spec = find_spec(name)
    facts = {
        "model": spec.name,
        "licence": spec.licence,
        "terms": spec.terms,
        "url": spec.terms_url,
        "accepted": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with new_file(_file_of(spec)) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def require_licence(spec: registry.ModelSpec, *, accept: bool = False) -> None:
    """Raise LicenceError unless a model's licence is accepted, or forbids nothing.

    With `accept` the caller accepts it for the user, which is noted.
    """
    if not spec.terms or _is_accepted(spec):
        return
    if accept:
        with suppress(OutputWriteError):  # it holds for this call all the same
            accept_licence(spec.name)
        return
    raise LicenceError(
        f"{_text(spec)}; to accept that: histosam models --accept {spec.name}, or "
        f"load_model({spec.name!r}, accept_licence=True), or {ACCEPT_VARIABLE}={spec.name}"
    )


def _text(spec: registry.ModelSpec) -> str:
    return f"{spec.name}: {spec.terms} ({spec.terms_url})"


def _is_accepted(spec: registry.ModelSpec) -> bool:
    names = os.environ.get(ACCEPT_VARIABLE, "").split(",")
    if spec.name in {name.strip() for name in names}:
        return True
    try:
        noted = json.loads(_file_of(spec).read_text(encoding="utf-8"))
        return bool(noted["licence"] == spec.licence)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _file_of(spec: registry.ModelSpec) -> Path:
    return data_folder() / "licences" / f"{spec.name}.json"
