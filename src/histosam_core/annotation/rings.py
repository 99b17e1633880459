"""Rings of XML annotation files to regions and back.

ASAP and ImageScope know rings only: a hole is a ring of its own, marked as an exclusion. Files
written here tie each ring to its region by two extra attributes, which those programs skip, so
that a region comes back as it was. In other files a hole is cut from every region that contains
or crosses it; a region that lies wholly inside a hole is an island and stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
import numpy.typing as npt
import shapely

from histosam_core.annotation.regions import (
    CORNER_TO_CENTRE,
    EXCLUSION,
    AnnotatedRegion,
    Color,
    polygonal,
)

__all__ = ["Ring", "regions_of", "rings_of", "tie_attributes", "tie_of"]

_REGION, _RING = "HistoSamRegion", "HistoSamRing"


@dataclass(frozen=True, slots=True)
class Ring:
    """One closed outline as an XML file holds it.

    `tie` is (region id, part, ring): which ring of which part of which region this is, ring 0
    being the exterior; None in files of other programs.
    """

    points_xy: npt.NDArray[np.float64]  # (N, 2), not closed, pixel corners at whole numbers
    label: str
    color: Color | None = None
    name: str | None = None
    is_hole: bool = False
    tie: tuple[str, int, int] | None = None
    where: str = "a ring"  # its name in a note


def rings_of(region: AnnotatedRegion) -> list[Ring]:
    """Take a region apart into rings in the file's frame, every exterior before its holes."""
    rings = []
    for part, polygon in enumerate(shapely.get_parts(region.geometry)):
        for number, ring in enumerate((polygon.exterior, *polygon.interiors)):
            points = shapely.get_coordinates(ring)[:-1] + CORNER_TO_CENTRE
            tie = (region.id, part, number)
            rings.append(Ring(points, region.label, region.color, region.name, number > 0, tie=tie))
    return rings


def regions_of(rings: Sequence[Ring]) -> tuple[tuple[AnnotatedRegion, ...], tuple[str, ...]]:
    """Put rings together into regions; return them and notes on what was repaired or left out."""
    notes: list[str] = []
    tied: dict[str, dict[int, dict[int, Ring]]] = {}
    placed: list[AnnotatedRegion | str] = []
    holes: list[tuple[Any, Ring]] = []
    for ring in rings:
        if ring.tie is not None:
            region_id, part, number = ring.tie
            if region_id not in tied:
                placed.append(region_id)
            tied.setdefault(region_id, {}).setdefault(part, {})[number] = ring
            continue
        geometry = _repaired([[ring]], ring.where, notes)
        if geometry is None:
            continue
        if ring.is_hole:
            holes.append((geometry, ring))
        else:
            placed.append(AnnotatedRegion(geometry, ring.label, ring.color, name=ring.name))

    regions: list[AnnotatedRegion] = []
    for entry in placed:
        if isinstance(entry, AnnotatedRegion):
            regions.append(entry)
            continue
        parts = [
            [part[k] for k in sorted(part)] for _, part in sorted(tied[entry].items()) if 0 in part
        ]
        if not parts:
            notes.append(f"the holes of region {entry} were left out: its outline is missing")
            continue
        first = parts[0][0]
        geometry = _repaired(parts, first.where, notes)
        if geometry is not None:
            regions.append(
                AnnotatedRegion(geometry, first.label, first.color, id=entry, name=first.name)
            )
    return _cut(regions, holes, notes), tuple(notes)


def _repaired(parts: list[list[Ring]], where: str, notes: list[str]) -> Any | None:
    if any(len(ring.points_xy) < 3 for rings in parts for ring in rings):
        notes.append(f"{where} was left out: it has fewer than three points")
        return None
    polygons = [
        shapely.Polygon(
            rings[0].points_xy - CORNER_TO_CENTRE,
            [hole.points_xy - CORNER_TO_CENTRE for hole in rings[1:]],
        )
        for rings in parts
    ]
    geometry, note = polygonal(
        polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
    )
    if note is not None:
        notes.append(f"{where} {note}" if geometry is not None else f"{where} was left out: {note}")
    return geometry


def _cut(
    regions: list[AnnotatedRegion], holes: list[tuple[Any, Ring]], notes: list[str]
) -> tuple[AnnotatedRegion, ...]:
    for hole, ring in holes:
        is_used = False
        remaining = []
        for region in regions:
            overlaps = shapely.intersects(region.geometry, hole) and not shapely.touches(
                region.geometry, hole
            )
            if not overlaps or shapely.covers(hole, region.geometry):
                is_used = is_used or overlaps
                remaining.append(region)
                continue
            is_used = True
            geometry, _ = polygonal(shapely.difference(region.geometry, hole))
            if geometry is not None:
                remaining.append(replace(region, geometry=geometry))
        regions = remaining
        if not is_used:
            notes.append(f"{ring.where} cuts nothing; kept as a region of class {EXCLUSION}")
            regions.append(AnnotatedRegion(hole, EXCLUSION, ring.color, name=ring.name))
    return tuple(regions)


def tie_attributes(ring: Ring) -> Mapping[str, str]:
    """Return the two attributes that tie a ring to its region."""
    if ring.tie is None:
        return {}
    region_id, part, number = ring.tie
    return {_REGION: region_id, _RING: f"{part}.{number}"}


def tie_of(element: Element) -> tuple[str, int, int] | None:
    """Read `tie_attributes` back; None where they are missing or garbled."""
    region_id, text = element.get(_REGION), element.get(_RING, "")
    part, _, number = text.partition(".")
    if not region_id or not (part.isdecimal() and number.isdecimal()):
        return None
    return region_id, int(part), int(number)
