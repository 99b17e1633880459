"""Whether weights fit a network: what is missing, what is too much, what has another shape."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Protocol

__all__ = ["misfits"]

SHOWN = 3


class _Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


def misfits(wanted: Mapping[str, _Shaped], given: Mapping[str, _Shaped]) -> str:
    """Say in which weights two sets differ.

    Parameters
    ----------
    wanted
        The network's own, by name.
    given
        Those of a file.

    Returns
    -------
    str
        How many are missing, unexpected and differently shaped, and the first few of each; empty
        where all fit.
    """
    shared = wanted.keys() & given.keys()
    reshaped = {key for key in shared if wanted[key].shape != given[key].shape}
    problems = [
        *_listed("missing", wanted.keys() - given.keys()),
        *_listed("unexpected", given.keys() - wanted.keys()),
        *_listed("differently shaped", reshaped),
    ]
    return "; ".join(problems)


def _listed(what: str, keys: Set[str]) -> list[str]:
    if not keys:
        return []
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return [f"{len(keys)} {what} ({', '.join(sorted(keys)[:SHOWN])}{more})"]
