"""Patches of few slides split into parts that share no pixel.

Whole slides where there are enough of them. With fewer, the held-out part is a slide of its own if
it can be, and the rest is split by place: clusters of patches that lie apart, or else blocks cut
out of them, with a gap between the parts that is a patch wide where there is room for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, product
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from histosam_core.errors import EmptyDatasetError

if TYPE_CHECKING:
    from histosam_core.dataset.plan import SlidePlan

SplitBy = Literal["slides", "slide and place", "place"]
"""Every part has slides of its own; only the last part has; or none has."""

GAPS = (1.0, 0.5, 0.0)
"""Widths of the gap between two parts, in patches, the best first."""
_MOST_UNITS = 8  # that are tried in every combination
_MOST_CUTS = 160  # places along one axis where a cut is tried
_TOUCHING = 1e-6

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Parts = Mapping[str, tuple["SlidePlan", ...]]


@dataclass(frozen=True, slots=True)
class PatchSplit:
    """Which patches go to which part of a data set."""

    parts: Parts  # the plans of each part's slides; a slide may have a plan in several parts
    by: SplitBy  # how far the parts are apart
    notes: tuple[str, ...] = ()  # what was left out, and why


def split_patches(
    plans: Sequence[SlidePlan],
    *,
    shares: Mapping[str, float],
    least: Mapping[str, int],
    mpp: float,
    patch_size_px: int,
) -> PatchSplit:
    """Split the patches of all slides, by slide where possible and by place otherwise.

    Parameters
    ----------
    plans
        The slides and their patches, in any order.
    shares
        Part to its share of the patches, summing to 1; the last part is the one held out.
    least
        Part to the least number of patches that it can do with.
    mpp, patch_size_px
        Scale and edge of the patches.

    Raises
    ------
    EmptyDatasetError
        There are too few patches, or they lie too close together.
    """
    filled = sorted((p for p in plans if p.record.n_patches), key=lambda p: p.record.name)
    names = list(shares)
    counts = [plan.record.n_patches for plan in filled]
    if sum(counts) < sum(least.values()):
        wanted = ", ".join(f"{least[name]} for {name}" for name in names)
        raise EmptyDatasetError(
            f"{sum(counts)} patches are too few ({wanted}): outline more tumour, on more slides if "
            "you can, or use a smaller --stride or a wider --tumor"
        )
    share, need = [shares[n] for n in names], [least[n] for n in names]
    by_slide = _split_units(counts, share, need)
    if by_slide is not None:
        pairs = list(zip(filled, by_slide, strict=True))
        parts = {n: tuple(p for p, to in pairs if to == i) for i, n in enumerate(names)}
        return PatchSplit(parts, "slides")
    held_out = names[-1]
    for plan in sorted(filled, key=lambda p: p.record.n_patches):
        others = [other for other in filled if other is not plan]
        if others and plan.record.n_patches >= least[held_out]:
            found = _by_place(others, names[:-1], share[:-1], need[:-1], mpp, patch_size_px)
            if found is not None:
                return PatchSplit({**found[0], held_out: (plan,)}, "slide and place", found[1])
    found = _by_place(filled, names, share, need, mpp, patch_size_px)
    if found is None:
        raise EmptyDatasetError(
            f"{sum(counts)} patches of {len(filled)} slide{'s' * (len(filled) != 1)} lie too close "
            f"together for {len(names)} parts that share no pixel: outline tumours further apart, "
            "or on another slide"
        )
    return PatchSplit(found[0], "place", found[1])


def split_places(
    corners_xy: npt.ArrayLike, size: float, *, shares: Sequence[float], least: Sequence[int]
) -> tuple[Ints, float] | None:
    """Split squares in a plane so that those of different parts do not overlap.

    Parameters
    ----------
    corners_xy, size
        (n, 2) upper-left corners, and the squares' edge in the same unit.
    shares, least
        (k,) each: the parts' shares, and the least number of squares in them.

    Returns
    -------
    part : (n,) int64
        0 to k - 1; -1 for squares that were left out.
    gap : float
        Least distance between squares of different parts, in squares: one of `GAPS`.

    None where it cannot be done.
    """
    corners = np.asarray(corners_xy, dtype=np.float64).reshape(-1, 2)
    for gap in GAPS:
        clusters = _clusters(corners, size * (1 + gap))
        units = _split_units(np.bincount(clusters).tolist(), shares, least)
        if units is not None:
            return np.array(units, dtype=np.int64)[clusters], gap
        cut = max(
            (_cut(corners[:, axis], size, gap * size, shares, least) for axis in (0, 1)),
            key=lambda found: found[0],
        )
        if cut[1] is not None:
            return cut[1], gap
    return None


def _by_place(
    plans: Sequence[SlidePlan],
    names: Sequence[str],
    shares: Sequence[float],
    least: Sequence[int],
    mpp: float,
    patch_size_px: int,
) -> tuple[Parts, tuple[str, ...]] | None:
    """Split the patches of slides that are laid beside one another, far apart."""
    places, far = [], 0.0
    for plan in plans:
        scaled = plan.locations_xy * (plan.record.mpp / mpp)
        places.append(scaled - scaled.min(axis=0) + far)
        far = float(places[-1].max()) + 4.0 * patch_size_px
    found = split_places(np.concatenate(places), float(patch_size_px), shares=shares, least=least)
    if found is None:
        return None
    part, gap = found
    of_plan = np.split(part, np.cumsum([len(place) for place in places])[:-1])
    parts = {
        name: tuple(
            _picked(plan, of == i) for plan, of in zip(plans, of_plan, strict=True) if i in of
        )
        for i, name in enumerate(names)
    }
    note = ", ".join(plan.record.name for plan in plans) + ": split by place, with "
    if gap:
        note += f"a gap of {gap * patch_size_px * mpp:g} um between the parts"
    else:
        note += "no gap between the parts, which share no pixel"
    left_out = int((part < 0).sum())
    if left_out:
        note += f"; {left_out} of {len(part)} patches lay in between and were left out"
    return parts, (note,)


def _picked(plan: SlidePlan, keep: npt.NDArray[np.bool_]) -> SlidePlan:
    return replace(
        plan,
        record=replace(plan.record, n_patches=int(keep.sum())),
        locations_xy=plan.locations_xy[keep],
        tumor_fraction=plan.tumor_fraction[keep],
        tissue_fraction=plan.tissue_fraction[keep],
    )


def _split_units(
    counts: Sequence[int], shares: Sequence[float], least: Sequence[int]
) -> Sequence[int] | None:
    """Split units that stay whole; the part of each, or None where parts stay too small."""
    n_parts, total = len(shares), sum(counts)
    if len(counts) < n_parts:
        return None

    def fill(units: Sequence[int]) -> list[float] | None:
        held = [0] * n_parts
        for unit, count in zip(units, counts, strict=True):
            held[unit] += count
        if any(n < max(1, needed) for n, needed in zip(held, least, strict=True)):
            return None
        # The emptiest part decides, then the next.
        return sorted(n / (share * total) for n, share in zip(held, shares, strict=True))

    if len(counts) <= _MOST_UNITS:
        ways = product(range(n_parts), repeat=len(counts))
        best = max(ways, key=lambda way: fill(way) or [])
        return best if fill(best) is not None else None
    held, units = [0] * n_parts, [0] * len(counts)
    for place in sorted(range(len(counts)), key=lambda i: -counts[i]):
        neediest = max(range(n_parts), key=lambda i: shares[i] * total - held[i])
        units[place] = neediest
        held[neediest] += counts[place]
    return units if fill(units) is not None else None


def _clusters(corners: Floats, reach: float) -> Ints:
    """(n,) cluster of each square: those whose corners lie within `reach` both ways are one."""
    n = len(corners)
    pairs = KDTree(corners).query_pairs(reach - _TOUCHING, p=np.inf, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _cut(
    low: Floats, size: float, gap: float, shares: Sequence[float], least: Sequence[int]
) -> tuple[float, Ints | None]:
    """Try cuts along one axis: how full the emptiest part is, and the part of each square.

    (-1, None) where no cuts leave every part enough.
    """
    n_parts = len(shares)
    ends = np.unique(low + size)
    if len(ends) > _MOST_CUTS:
        ends = ends[np.linspace(0, len(ends) - 1, _MOST_CUTS).round().astype(int)]
    best: tuple[float, Ints | None] = -1.0, None
    for cuts in combinations(ends.tolist(), n_parts - 1):
        part = np.full(len(low), -1, dtype=np.int64)
        for i, (start, end) in enumerate(pairwise((-np.inf, *cuts, np.inf))):
            first = start + gap if i else start
            part[(low >= first - _TOUCHING) & (low + size <= end + _TOUCHING)] = i
        held = np.bincount(part[part >= 0], minlength=n_parts)
        if (held < np.maximum(least, 1)).any():
            continue
        fullness = float((held / (np.asarray(shares) * len(low))).min())
        if fullness > best[0]:
            best = fullness, part
    return best
