"""Aperio ImageScope's XML, in which PAIP2019 is annotated.

A layer (``Annotation``) holds regions; ``NegativeROA="1"`` marks a hole in the layer's other
regions. The class comes from the layer's name, or from its attributes. The format keeps
outlines, class, colour and name; measurements and metadata need GeoJSON.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

import numpy as np
import numpy.typing as npt

from histosam_core.annotation.formats.xml_rings import (
    Ring,
    number_text,
    points_of,
    regions_of,
    root_of,
    tie_of,
    write_xml,
    written_rings,
)
from histosam_core.annotation.regions import (
    UNCLASSIFIED,
    AnnotatedRegion,
    Color,
    PolygonAnnotation,
    is_exclusion,
)

ROOT_TAG = "Annotations"
_FREEHAND, _RECTANGLE, _ELLIPSE = "0", "1", "2"
_ELLIPSE_POINTS = 180
_CLASS_ATTRIBUTES = ("class", "classification", "label", "description")


def read_imagescope_xml(path: str | os.PathLike[str]) -> PolygonAnnotation:
    """Read an ImageScope file.

    Freehand outlines, rectangles and ellipses (as polygons of 180 points) are read; arrows and
    rulers are skipped and noted.

    Raises
    ------
    AnnotationError
        The file cannot be read, or is not ImageScope's XML.
    """
    path = Path(path)
    regions: list[AnnotatedRegion] = []
    notes: list[str] = []
    for layer in root_of(path, ROOT_TAG, "ImageScope").iter("Annotation"):
        label = _layer_label(layer)
        color = _color(layer.get("LineColor"))
        rings = []
        for element in layer.iter("Region"):
            where = f"layer {layer.get('Id', '?')}, region {element.get('Id', '?')}"
            kind = element.get("Type", _FREEHAND)
            if kind not in (_FREEHAND, _RECTANGLE, _ELLIPSE):
                notes.append(f"{where} was left out: an arrow or a ruler has no area")
                continue
            points = _outline(kind, points_of(_vertices(element), path))
            is_hole = element.get("NegativeROA", "0") == "1" or is_exclusion(label)
            name = element.get("Text") or None
            rings.append(Ring(points, label, color, name, is_hole, tie_of(element), where))
        found, more = regions_of(rings)
        regions.extend(found)
        notes.extend(more)
    return PolygonAnnotation(regions, path=path, notes=notes)


def write_imagescope_xml(
    path: str | os.PathLike[str],
    regions: Iterable[AnnotatedRegion],
    *,
    mpp: float | None = None,
) -> Path:
    """Write regions as ImageScope opens them, a layer for each class and colour; return the path.

    Parameters
    ----------
    path
        Where to; replaced when it exists.
    regions
        What to write.
    mpp
        The slide's um per level-0 pixel, which ImageScope shows lengths with.
    """
    root = Element(ROOT_TAG, {} if mpp is None else {"MicronsPerPixel": number_text(mpp)})
    layers: dict[tuple[str, Color | None], list[AnnotatedRegion]] = {}
    for region in regions:
        layers.setdefault((region.label, region.color), []).append(region)
    for layer_id, ((label, color), members) in enumerate(layers.items(), start=1):
        attributes = {"Id": str(layer_id), "Visible": "1", "Type": "4"}
        attributes["Name"] = "" if label == UNCLASSIFIED else label
        if color is not None:
            attributes["LineColor"] = str(color[0] | color[1] << 8 | color[2] << 16)
        layer = SubElement(root, "Annotation", attributes)
        SubElement(layer, "Attributes")
        listed = SubElement(layer, "Regions")
        rings = ((member, *ring) for member in members for ring in written_rings(member))
        for number, (member, is_hole, tie, points) in enumerate(rings, start=1):
            attributes = {
                "Id": str(number),
                "Type": _FREEHAND,
                "Text": member.name or "",
                "NegativeROA": "1" if is_hole else "0",
                "InputRegionId": "0",
                "Analyze": "1",
                "DisplayId": str(number),
                **tie,
            }
            vertices = SubElement(SubElement(listed, "Region", attributes), "Vertices")
            for xy in points:
                SubElement(vertices, "Vertex", {**xy, "Z": "0"})
    return write_xml(path, root)


def _vertices(region: Element) -> list[Element]:
    # Old files write <Vertices><V .../>, current ones <Vertex>.
    return [v for group in region.iter("Vertices") for v in group if v.tag in ("Vertex", "V")]


def _layer_label(layer: Element) -> str:
    name = (layer.get("Name") or "").strip()
    if name:
        return name
    values = {
        (a.get("Name") or "").strip().casefold(): (a.get("Value") or "").strip()
        for group in layer.findall("Attributes")
        for a in group.findall("Attribute")
    }
    return next((values[key] for key in _CLASS_ATTRIBUTES if values.get(key)), UNCLASSIFIED)


def _color(text: str | None) -> Color | None:
    """LineColor is a whole number with blue in the high byte (Windows' COLORREF)."""
    try:
        value = int(text or "")
    except ValueError:
        return None
    return (value & 255, value >> 8 & 255, value >> 16 & 255)


def _outline(kind: str, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Outline of a shape that the file may give by the corners of its bounding box."""
    if len(points) < 2 or kind == _FREEHAND or (kind == _RECTANGLE and len(points) > 2):
        return points
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    if kind == _RECTANGLE:
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    if len(points) > 4:
        return points
    angle = np.linspace(0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)
    return np.column_stack(
        ((x0 + x1 + (x1 - x0) * np.cos(angle)) / 2, (y0 + y1 + (y1 - y0) * np.sin(angle)) / 2)
    )
