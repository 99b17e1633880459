"""Which slide goes to which split. Always by slide: patches of one slide never part."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from histosam_core.annotation.files import slide_stem
from histosam_core.errors import ConfigError

DEFAULT_SPLITS: Mapping[str, float] = {"train": 0.7, "validation": 0.15, "test": 0.15}
_LEFT_OUT = ("", "none", "exclude", "excluded")


def assign_splits(
    slides: Sequence[str], splits: Mapping[str, float] | Mapping[str, str], *, seed: int = 0
) -> dict[str, str]:
    """Give every slide a split.

    Parameters
    ----------
    slides
        Slide names, each once; their order does not matter.
    splits
        Either split name to share (shares are scaled to sum to 1; a share of 0 means no such
        split), or slide name to split name.
    seed
        Same seed, slides and shares: same splits.

    Returns
    -------
    dict
        Slide name to split name. With shares, every split gets at least one slide and otherwise
        as many as its share says, rounded by largest remainder. In a mapping, a slide given to
        ``"none"`` or ``"exclude"`` is left out of the result.

    Raises
    ------
    ConfigError
        A share is negative, all are 0, there are fewer slides than splits, or the mapping
        misses a slide or knows none.
    """
    names = sorted(slides)
    if len(set(names)) != len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        raise ConfigError(f"two slides are named {', '.join(twice)}; rename one of each")
    values = list(splits.values())
    if values and all(isinstance(v, str) for v in values):
        return _by_mapping(names, {str(k): str(v) for k, v in splits.items()})
    return _by_share(names, check_shares({k: float(v) for k, v in splits.items()}), seed)


def check_shares(shares: Mapping[str, float]) -> dict[str, float]:
    """Return the splits that are asked for, their shares scaled to sum to 1.

    ConfigError where a share is negative or not finite, or none is above 0.
    """
    if any(not math.isfinite(v) or v < 0 for v in shares.values()):
        raise ConfigError(f"split shares must be 0 or more, not {dict(shares)}")
    total = sum(shares.values())
    if total <= 0:
        raise ConfigError("give at least one split a share above 0, e.g. train=0.8 test=0.2")
    return {name: share / total for name, share in shares.items() if share > 0}


def read_split_file(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a CSV with the columns ``slide`` and ``split``.

    Slides are named with or without their suffix.

    Raises
    ------
    ConfigError
        The file is missing, lacks a column, or names a slide twice with different splits.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise ConfigError(f"cannot read the split file {path}: {error.strerror}") from error
    except (UnicodeError, csv.Error) as error:
        raise ConfigError(f"the split file {path} is not CSV text ({error})") from error
    mapping: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        slide, split = row.get("slide"), row.get("split")
        if slide is None or split is None:
            raise ConfigError(f"{path}, line {line}: give the two columns slide,split")
        slide, split = slide.strip(), split.strip()
        if mapping.setdefault(slide, split) != split:
            raise ConfigError(f"{path}, line {line}: {slide} is given two splits")
    if not mapping:
        raise ConfigError(f"{path} names no slide; give the two columns slide,split")
    return mapping


def _by_share(names: list[str], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    if len(names) < len(shares):
        raise ConfigError(
            f"{len(names)} slide{'s' * (len(names) != 1)} with patches cannot fill the "
            f"{len(shares)} splits {', '.join(shares)}; add slides or ask for fewer splits"
        )
    # One each first, then by largest remainder of what the shares still want.
    counts = dict.fromkeys(shares, 1)
    wanted = {name: share * len(names) for name, share in shares.items()}
    for _ in range(len(names) - len(shares)):
        neediest = max(shares, key=lambda name: wanted[name] - counts[name])
        counts[neediest] += 1
    shuffled = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    taken = iter(shuffled)
    return {next(taken): split for split, count in counts.items() for _ in range(count)}


def _by_mapping(names: list[str], mapping: Mapping[str, str]) -> dict[str, str]:
    by_name = {**{slide_stem(Path(slide)): split for slide, split in mapping.items()}, **mapping}
    missing = [name for name in names if name not in by_name]
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise ConfigError(
            f"no split is given for {shown}; add a row for each (split `none` leaves it out)"
        )
    return {n: by_name[n] for n in names if by_name[n].casefold() not in _LEFT_OUT}
