"""XML annotation files: read and written safely, and their rings to regions and back.

ASAP and ImageScope know rings only: a hole is a ring of its own, marked as an exclusion. Files
written here tie each ring to its region by two extra attributes, which those programs skip, so
that a region comes back as it was. In other files a hole is cut from every region that contains
or crosses it; a region that lies wholly inside a hole is an island and stays.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import defusedxml.ElementTree
import numpy as np
import numpy.typing as npt
import shapely
from defusedxml.common import DefusedXmlException

from histosam_core.annotation.regions import (
    CORNER_TO_CENTRE,
    EXCLUSION,
    AnnotatedRegion,
    Color,
    polygonal,
)
from histosam_core.atomic import new_file
from histosam_core.errors import AnnotationError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_REGION, _RING = "HistoSamRegion", "HistoSamRing"


def parse_xml(path: Path) -> Element:
    """Read an XML file and return its root; AnnotationError where that is not possible."""
    try:
        root = defusedxml.ElementTree.parse(path, forbid_dtd=True).getroot()
    except DefusedXmlException as error:
        raise AnnotationError(
            f"{path} declares a DTD or entities, which annotation files never need; "
            "export it again, or delete that declaration"
        ) from error
    except (ElementTree.ParseError, UnicodeError, ValueError) as error:
        raise AnnotationError(
            f"{path} is not well-formed XML ({error}); export the annotation again"
        ) from error
    except OSError as error:
        raise AnnotationError(f"cannot read {path}: {error.strerror}") from error
    if root is None:
        raise AnnotationError(f"{path} holds no XML element; export the annotation again")
    return root


def root_of(path: Path, tag: str, program: str) -> Element:
    """Read a file of one program; AnnotationError where its root is another's."""
    root = parse_xml(path)
    if root.tag != tag:
        raise AnnotationError(f"{path} is not an {program} file: its root is <{root.tag}>")
    return root


def write_xml(path: str | os.PathLike[str], root: Element) -> Path:
    """Write `root`, indented, with an XML declaration; return the path."""
    ElementTree.indent(root, space="\t")
    with new_file(path) as temporary:
        ElementTree.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)
    return Path(path)


def points_of(
    elements: Iterable[Element], path: Path, names: tuple[str, ...] = ("X", "Y")
) -> npt.NDArray[np.float64]:
    """Read numbers, such as the points (N, 2) of a ring, from attributes of elements.

    AnnotationError where one is not a finite number.
    """
    rows = [[_number(element, name, path) for name in names] for element in elements]
    return np.array(rows, dtype=np.float64).reshape(-1, len(names))


def _number(element: Element, name: str, path: Path) -> float:
    text = element.get(name)
    try:
        value = float((text or "").replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise AnnotationError(
            f"{path}: a <{element.tag}> has {name}={text!r}, not a number; export it again"
        )
    return value


def number_text(value: float) -> str:
    """Shortest text that reads back as the same number."""
    return str(int(value)) if value == int(value) else repr(float(value))


@dataclass(frozen=True, slots=True)
class Ring:
    """One closed outline as an XML file holds it."""

    points_xy: npt.NDArray[np.float64]  # (N, 2), not closed, pixel corners at whole numbers
    label: str
    color: Color | None
    name: str | None
    is_hole: bool
    # Region id, part and ring, the exterior being 0; None in files of other programs.
    tie: tuple[str, int, int] | None
    where: str  # its name in a note


def written_rings(
    region: AnnotatedRegion,
) -> Iterator[tuple[bool, dict[str, str], list[dict[str, str]]]]:
    """Take a region apart into rings, every exterior before its holes.

    Yield whether it is a hole, the attributes that tie it to its region, and those of its points.
    """
    for part, polygon in enumerate(shapely.get_parts(region.geometry)):
        for number, ring in enumerate((polygon.exterior, *polygon.interiors)):
            points = shapely.get_coordinates(ring)[:-1] + CORNER_TO_CENTRE
            xy = [{"X": number_text(x), "Y": number_text(y)} for x, y in points.tolist()]
            yield number > 0, {_REGION: region.id, _RING: f"{part}.{number}"}, xy


def tie_of(element: Element) -> tuple[str, int, int] | None:
    """Read what ties a ring to its region; None where it is missing or garbled."""
    region_id, text = element.get(_REGION), element.get(_RING, "")
    part, _, number = text.partition(".")
    if not region_id or not (part.isdecimal() and number.isdecimal()):
        return None
    return region_id, int(part), int(number)


def regions_of(rings: Sequence[Ring]) -> tuple[tuple[AnnotatedRegion, ...], tuple[str, ...]]:
    """Put rings together into regions; return them and notes on what was repaired or left out."""
    notes: list[str] = []
    regions: list[AnnotatedRegion] = []
    holes: list[tuple[Any, Ring]] = []
    # Tied rings stand where the first of their region does; any other is a group of its own.
    groups: dict[str | int, list[Ring]] = {}
    for place, ring in enumerate(rings):
        groups.setdefault(place if ring.tie is None else ring.tie[0], []).append(ring)
    for key, group in groups.items():
        is_tied = isinstance(key, str)
        parts = _parts(group) if is_tied else [group]
        if not parts:
            notes.append(f"the holes of region {key} were left out: its outline is missing")
            continue
        first = parts[0][0]
        geometry = _repaired(parts, first.where, notes)
        if geometry is None:
            continue
        if first.is_hole and not is_tied:
            holes.append((geometry, first))
            continue
        region = AnnotatedRegion(geometry, first.label, first.color, name=first.name)
        regions.append(replace(region, id=str(key)) if is_tied else region)
    return _cut(regions, holes, notes), tuple(notes)


def _parts(tied: Sequence[Ring]) -> list[list[Ring]]:
    """The rings of one region by part, each exterior first; parts without one are left out."""
    parts: dict[int, dict[int, Ring]] = {}
    for ring in tied:
        if ring.tie is not None:
            parts.setdefault(ring.tie[1], {})[ring.tie[2]] = ring
    return [[part[k] for k in sorted(part)] for _, part in sorted(parts.items()) if 0 in part]


def _repaired(parts: list[list[Ring]], where: str, notes: list[str]) -> Any | None:
    if any(len(ring.points_xy) < 3 for rings in parts for ring in rings):
        notes.append(f"{where} was left out: it has fewer than three points")
        return None
    polygons = []
    for rings in parts:
        outline, *holes = (ring.points_xy - CORNER_TO_CENTRE for ring in rings)
        polygons.append(shapely.Polygon(outline, holes))
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
        is_used, remaining = False, []
        for region in regions:
            outline = region.geometry
            overlaps = shapely.intersects(outline, hole) and not shapely.touches(outline, hole)
            is_used |= overlaps
            if overlaps and not shapely.covers(hole, outline):
                outline, _ = polygonal(shapely.difference(outline, hole))
            if outline is not None:
                remaining.append(replace(region, geometry=outline))
        regions = remaining
        if not is_used:
            notes.append(f"{ring.where} cuts nothing; kept as a region of class {EXCLUSION}")
            regions.append(AnnotatedRegion(hole, EXCLUSION, ring.color, name=ring.name))
    return tuple(regions)
