"""Errors: each is ours and a builtin, and reads as one plain line."""

from __future__ import annotations

import pytest

from histosam_core import errors
from histosam_core.errors import HistoSamError

CLASSES = [getattr(errors, name) for name in errors.__all__]
FAMILIES = (errors.HistoSamError, errors.SlideError)  # never raised themselves
BUILTINS = (ValueError, OSError, KeyError, MemoryError, RuntimeError)


def test_all_names_every_error() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, HistoSamError)
    }
    assert defined == set(errors.__all__)


@pytest.mark.parametrize("error", CLASSES, ids=lambda c: c.__name__)
def test_message_reads_as_it_was_written(error: type[HistoSamError]) -> None:
    # KeyError would add quotes and OSError would drop the text without this.
    assert str(error("no file a.svs; check the name")) == "no file a.svs; check the name"


@pytest.mark.parametrize(
    "error", [c for c in CLASSES if c not in FAMILIES], ids=lambda c: c.__name__
)
def test_plain_except_clauses_catch_it(error: type[HistoSamError]) -> None:
    assert issubclass(error, BUILTINS)
