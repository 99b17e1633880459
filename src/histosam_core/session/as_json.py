"""Prompts, outlines and accepted objects as JSON values, and back.

Outlines are GeoJSON in the coordinates of files (pixel corners at whole numbers), as everywhere in
files; prompts are level-0 pixels as the session takes them, to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from histosam_core.annotation import AnnotatedRegion, feature_of
from histosam_core.annotation.formats.geojson import region_of
from histosam_core.clicks import Box, Click, Lasso, Prompt
from histosam_core.errors import JournalError
from histosam_core.geometry import Region
from histosam_core.session.objects import AcceptedObject, Start

Facts = Mapping[str, Any]
TRIANGLE: Facts = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [0, 1], [0, 0]]]}
"""Stands in for an outline that is of no interest."""


def prompt_to_json(prompt: Prompt) -> dict[str, Any]:
    """Return a prompt as JSON values."""
    if isinstance(prompt, Click):
        return {"xy": list(prompt.xy), "is_positive": prompt.is_positive}
    if isinstance(prompt, Lasso):
        return {"points": [list(p) for p in prompt.points_xy], "is_positive": prompt.is_positive}
    return {"xyxy": list(prompt.xyxy)}


def prompt_from_json(facts: Facts) -> Prompt:
    """Read what `prompt_to_json` returned."""
    if "xyxy" in facts:
        x0, y0, x1, y1 = facts["xyxy"]
        return Box((x0, y0, x1, y1))
    if "points" in facts:
        return Lasso(tuple((x, y) for x, y in facts["points"]), facts["is_positive"])
    x, y = facts["xy"]
    return Click((x, y), facts["is_positive"])


def prompts_from_json(listed: Iterable[Facts]) -> tuple[Prompt, ...]:
    """Read several prompts, in order."""
    return tuple(map(prompt_from_json, listed))


def start_to_json(start: Start) -> dict[str, Any]:
    """Return what an object begins from as JSON values."""
    return {
        "geometry": _geometry_to_json(start.geometry),
        "prompts": [prompt_to_json(prompt) for prompt in start.prompts],
        "origin": _geometry_to_json(start.origin),
    }


def start_from_json(facts: Facts) -> Start:
    """Read what `start_to_json` returned."""
    return Start(
        _geometry_from_json(facts["geometry"]),
        prompts_from_json(facts["prompts"]),
        _geometry_from_json(facts["origin"]),
    )


def object_to_json(accepted: AcceptedObject) -> dict[str, Any]:
    """Return an accepted object as JSON values, nothing left out."""
    return {
        "feature": feature_of(accepted.region),
        "prompts": [prompt_to_json(prompt) for prompt in accepted.prompts],
        "origin": _geometry_to_json(accepted.origin),
        "windows": [[*w.location_xy, *w.size_wh, w.mpp] for w in accepted.windows],
        "quality": accepted.quality,
        "slide_mpp": accepted.slide_mpp,
        "area_mm2": accepted.area_mm2,
    }


def object_from_json(facts: Facts) -> AcceptedObject:
    """Read what `object_to_json` returned.

    Raises
    ------
    JournalError
        Its outline has no area.
    """
    region, _ = region_of(facts["feature"])
    if region is None:
        raise JournalError("an accepted object in the journal has no area; leave that line out")
    return AcceptedObject(
        region=region,
        prompts=prompts_from_json(facts["prompts"]),
        windows=tuple(Region((x, y), (w, h), mpp) for x, y, w, h, mpp in facts["windows"]),
        area_mm2=facts["area_mm2"],
        quality=facts["quality"],
        slide_mpp=facts["slide_mpp"],
        origin=_geometry_from_json(facts["origin"]),
    )


def object_without_outline(facts: Facts) -> AcceptedObject:
    """Read an accepted object quickly, but for its outlines."""
    feature = {**facts["feature"], "geometry": TRIANGLE}
    return object_from_json({**facts, "feature": feature, "origin": None})


def _geometry_to_json(geometry: Any) -> dict[str, Any] | None:
    if geometry is None or geometry.is_empty:
        return None
    found: dict[str, Any] = feature_of(AnnotatedRegion(geometry))["geometry"]
    return found


def _geometry_from_json(facts: Facts | None) -> Any:
    if facts is None:
        return None
    region, _ = region_of({"type": "Feature", "geometry": facts, "properties": {}})
    return None if region is None else region.geometry
