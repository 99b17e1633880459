"""How long work reports that it moves on: one callback, no dependency."""

from __future__ import annotations

from typing import Protocol


class ProgressCallback(Protocol):
    """Called with the units done, the units in all, and a few words on what is being done.

    `done` never falls within one job; the last call has ``done == total``. Raising from the
    callback cancels the job (the exception passes through; nothing half-written stays).
    """

    def __call__(self, done: int, total: int, message: str = "") -> None:
        """Report one step."""


def silent(done: int, total: int, message: str = "") -> None:
    """Report nothing: the default of every function that takes a progress callback."""
