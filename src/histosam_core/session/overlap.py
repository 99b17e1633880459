"""Which of two accepted objects keeps what both cover."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import shapely

from histosam_core.annotation.regions import polygonal

if TYPE_CHECKING:
    from histosam_core.session.objects import AcceptedObject

__all__ = ["OverlapRule", "cut_objects", "without"]

OverlapRule = Literal["allow", "keep_earlier", "keep_later"]
"""allow: both keep it. keep_earlier: the new object is cut. keep_later: the accepted ones are."""
ROUNDING = 1e-9
"""Share of an area that may go by rounding where two outlines only touch."""


def without(geometry: Any, cutters: Sequence[Any], *, min_area_px: float = 0.0) -> Any:
    """Return an outline, level-0 pixels, without what others cover, as a MultiPolygon.

    Parts of an area below `min_area_px`, in level-0 pixels, are left out; it is empty when nothing
    is left.
    """
    near = [cutter for cutter in cutters if cutter.intersects(geometry)]
    cut = geometry.difference(shapely.union_all(near)) if near else geometry
    if cut.is_empty:
        return shapely.MultiPolygon()
    left, _ = polygonal(cut)
    parts = [] if left is None else shapely.get_parts(left)
    return shapely.MultiPolygon([p for p in parts if p.area >= max(min_area_px - 1e-6, 1e-9)])


def cut_objects(
    objects: Sequence[AcceptedObject], geometry: Any
) -> tuple[list[AcceptedObject], list[AcceptedObject]]:
    """Take away from objects what an outline covers.

    Returns those that became smaller, as they now are, and those of which nothing is left.
    """
    changed, removed = [], []
    for accepted in objects:
        if not accepted.geometry.intersects(geometry):
            continue
        left = without(accepted.geometry, [geometry])
        if left.is_empty:
            removed.append(accepted)
        elif left.area < accepted.geometry.area * (1 - ROUNDING):
            changed.append(accepted.with_geometry(left))
    return changed, removed
