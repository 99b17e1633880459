"""ASAP's XML, in which CAMELYON16 and 17 are annotated.

Groups ``_0`` and ``_1`` (CAMELYON16), ``Tumor``, ``metastases`` and the like are tumour; ``_2``,
``Exclusion`` and ``normal`` are cut out. The format keeps outlines, class, colour and name;
measurements and metadata need GeoJSON.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

from histosam_core.annotation.formats.xml_rings import (
    Ring,
    points_of,
    regions_of,
    root_of,
    tie_of,
    write_xml,
    written_rings,
)
from histosam_core.annotation.regions import (
    EXCLUSION,
    TUMOR,
    UNCLASSIFIED,
    AnnotatedRegion,
    Color,
    PolygonAnnotation,
    is_exclusion,
)

ROOT_TAG = "ASAP_Annotations"
_OUTLINED = ("polygon", "rectangle", "spline")
_DEFAULT_COLOR = "#F4FA58"
_EXCLUSION_COLOR = "#64FE2E"


def read_asap_xml(path: str | os.PathLike[str]) -> PolygonAnnotation:
    """Read an ASAP file.

    CAMELYON16's groups ``_0`` and ``_1`` become class Tumor; a spline is taken as the polygon
    of its points; points and measurements are skipped and noted.

    Raises
    ------
    AnnotationError
        The file cannot be read, or is not ASAP's XML.
    """
    path = Path(path)
    notes = []
    rings = []
    for number, element in enumerate(root_of(path, ROOT_TAG, "ASAP").iter("Annotation")):
        name = element.get("Name") or None
        where = f"annotation {number} ({name})" if name else f"annotation {number}"
        kind = element.get("Type", "Polygon")
        if kind.casefold() not in _OUTLINED:
            notes.append(f"{where} was left out: a {kind} has no area")
            continue
        coordinates = list(element.iter("Coordinate"))
        points = points_of(coordinates, path)
        if all(c.get("Order") for c in coordinates):
            points = points[points_of(coordinates, path, ("Order",))[:, 0].argsort(kind="stable")]
        group = element.get("PartOfGroup", "None")
        tie = tie_of(element)
        rings.append(
            Ring(
                points_xy=points,
                label=_label(group),
                color=_color(element.get("Color")),
                name=None if tie is not None and name == _plain_name(tie[0]) else name,
                is_hole=is_exclusion(group),
                tie=tie,
                where=where,
            )
        )
    regions, more = regions_of(rings)
    return PolygonAnnotation(regions, path=path, notes=(*notes, *more))


def write_asap_xml(path: str | os.PathLike[str], regions: Iterable[AnnotatedRegion]) -> Path:
    """Write regions as ASAP opens them; holes go to the group Exclusion. Return the path."""
    root = Element(ROOT_TAG)
    listed = SubElement(root, "Annotations")
    groups: dict[str, str] = {}
    for region in regions:
        group = "None" if region.label == UNCLASSIFIED else region.label
        color = "#{:02X}{:02X}{:02X}".format(*region.color) if region.color else None
        if group != "None":
            groups.setdefault(group, color or _DEFAULT_COLOR)
        for is_hole, tie, points in written_rings(region):
            if is_hole:
                groups.setdefault(EXCLUSION, _EXCLUSION_COLOR)
            attributes = {
                "Name": _plain_name(region.id) if region.name is None else region.name,
                "Type": "Polygon",
                "PartOfGroup": EXCLUSION if is_hole else group,
                **({"Color": color} if color else {}),
                **tie,
            }
            annotation = SubElement(listed, "Annotation", attributes)
            coordinates = SubElement(annotation, "Coordinates")
            for order, xy in enumerate(points):
                SubElement(coordinates, "Coordinate", {"Order": str(order), **xy})
    grouped = SubElement(root, "AnnotationGroups")
    for name, color in groups.items():
        attributes = {"Name": name, "PartOfGroup": "None", "Color": color}
        SubElement(SubElement(grouped, "Group", attributes), "Attributes")
    return write_xml(path, root)


def _color(text: str | None) -> Color | None:
    """Read ``#RRGGBB``; None for anything else."""
    digits = (text or "").strip().lstrip("#")
    try:
        value = int(digits, 16)
    except ValueError:
        return None
    return (value >> 16 & 255, value >> 8 & 255, value & 255) if len(digits) == 6 else None


def _label(group: str) -> str:
    if group in ("_0", "_1"):
        return TUMOR
    if group == "_2":
        return EXCLUSION
    return UNCLASSIFIED if group in ("", "None") else group


def _plain_name(region_id: str) -> str:
    """Name of a ring whose region has none: ASAP wants one."""
    return f"Annotation {region_id[:8]}"
