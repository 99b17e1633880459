"""GeoJSON as QuPath writes and reads it.

Level-0 pixels, (x, y), x to the right and y down, pixel corners at whole numbers; rings closed.
"""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import shapely.geometry

from histosam_core.annotation.regions import (
    CORNER_TO_CENTRE,
    UNCLASSIFIED,
    AnnotatedRegion,
    Color,
    PolygonAnnotation,
    polygonal,
)
from histosam_core.atomic import new_file
from histosam_core.errors import AnnotationError

_AREAL = ("Polygon", "MultiPolygon", "GeometryCollection")


def write_geojson(path: str | os.PathLike[str], regions: Iterable[AnnotatedRegion]) -> Path:
    """Write regions as a FeatureCollection that QuPath opens; return the path."""
    collection = {"type": "FeatureCollection", "features": [feature_of(r) for r in regions]}
    text = json.dumps(collection, separators=(",", ":"), allow_nan=False)
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def read_geojson(path: str | os.PathLike[str]) -> PolygonAnnotation:
    """Read a FeatureCollection, a bare array of Features, or a single Feature.

    Points and lines are skipped and noted.

    Raises
    ------
    AnnotationError
        The file cannot be read, or is not GeoJSON.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise AnnotationError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path} is not JSON ({error}); export it again") from error
    regions = []
    notes = []
    for number, feature in enumerate(_features(document, path)):
        where = f"feature {number}"
        try:
            region, note = region_of(feature)
        except (AttributeError, KeyError, LookupError, TypeError, ValueError) as error:
            raise AnnotationError(
                f"{path}: {where} is not a GeoJSON Feature ({error}); export it again"
            ) from error
        if region is not None:
            regions.append(region)
        if note is not None:
            notes.append(f"{where} {note}")
    return PolygonAnnotation(regions, path=path, notes=notes)


def feature_of(region: AnnotatedRegion) -> dict[str, Any]:
    """Return a region as a GeoJSON Feature with the properties that QuPath honours."""
    properties: dict[str, Any] = {"objectType": region.object_type}
    if region.name is not None:
        properties["name"] = region.name
    if region.label != UNCLASSIFIED:
        properties["classification"] = {"name": region.label}
    if region.color is not None:
        # An object's own colour would override a class colour changed in QuPath later.
        bearer = properties.get("classification", properties)
        bearer["color"] = list(region.color)
    if region.is_locked:
        properties["isLocked"] = True
    measurements = {k: float(v) for k, v in region.measurements.items() if math.isfinite(v)}
    if measurements:
        properties["measurements"] = measurements
    if region.metadata:
        properties["metadata"] = {k: str(v) for k, v in region.metadata.items()}
    polygons = [
        [_ring(ring) for ring in (polygon.exterior, *polygon.interiors)]
        for polygon in shapely.get_parts(region.geometry)
    ]
    kind = region.geometry.geom_type
    return {
        "type": "Feature",
        "id": region.id,
        "geometry": {
            "type": kind,
            "coordinates": polygons[0] if kind == "Polygon" else polygons,
        },
        "properties": properties,
    }


def region_of(feature: Mapping[str, Any]) -> tuple[AnnotatedRegion | None, str | None]:
    """Return a Feature as a region, and a word on what was repaired.

    The region is None where the Feature has no area, with a note. Raises LookupError,
    TypeError or ValueError for what is not a Feature.
    """
    if feature["type"] != "Feature":
        raise ValueError(f"its type is {feature['type']!r}")
    geometry, note = _geometry(feature["geometry"])
    if geometry is None:
        return None, f"was left out: {note}"
    properties = feature.get("properties") or {}
    classification = properties.get("classification") or {}
    if isinstance(classification, str):
        classification = {"name": classification}
    label = classification.get("name") or ": ".join(classification.get("names") or ())
    region = AnnotatedRegion(
        geometry,
        label=label or UNCLASSIFIED,
        color=_color(properties) or _color(classification),
        id=_uuid(feature.get("id")),
        measurements=_measurements(properties.get("measurements")),
        metadata={str(k): str(v) for k, v in (properties.get("metadata") or {}).items()},
        name=properties.get("name"),
        is_locked=bool(properties.get("isLocked", False)),
        object_type=properties.get("objectType") or properties.get("object_type") or "annotation",
    )
    return region, note


def _features(document: Any, path: Path) -> list[Any]:
    if isinstance(document, list):
        return document
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        features = document.get("features")
        if isinstance(features, list):
            return features
    if isinstance(document, dict) and document.get("type") == "Feature":
        return [document]
    raise AnnotationError(
        f"{path} is not GeoJSON: give a FeatureCollection, an array of Features, or a Feature"
    )


def _ring(ring: Any) -> list[list[float]]:
    points = shapely.get_coordinates(ring) + CORNER_TO_CENTRE
    if (points == np.round(points)).all() and (np.abs(points) < 2**53).all():
        points = points.astype(np.int64)
    listed: list[list[float]] = points.tolist()
    return listed


def _geometry(geometry: Any) -> tuple[Any | None, str | None]:
    if not geometry:
        return None, "it has no geometry"
    if geometry["type"] not in _AREAL:
        return None, f"a {geometry['type']} has no area"
    if geometry["type"] == "GeometryCollection":
        areal = [g for g in geometry["geometries"] if g["type"] in _AREAL[:2]]
        shapes = shapely.GeometryCollection([_shape(g) for g in areal])
    else:
        shapes = _shape(geometry)
    if shapes.is_empty:
        return None, "it is empty"
    return polygonal(shapely.transform(shapes, lambda xy: xy - CORNER_TO_CENTRE))


def _shape(geometry: Mapping[str, Any]) -> Any:
    polygons = geometry["coordinates"]
    polygons = [polygons] if geometry["type"] == "Polygon" else polygons
    built = []
    for rings in polygons:
        arrays = [np.array([p[:2] for p in ring], dtype=np.float64) for ring in rings]
        arrays = [a for a in arrays if len(a) >= 3]
        if arrays:
            built.append(shapely.Polygon(arrays[0], arrays[1:]))
    if geometry["type"] == "Polygon":
        return built[0] if built else shapely.Polygon()
    return shapely.MultiPolygon(built)


def _color(properties: Mapping[str, Any]) -> Color | None:
    """Colour as [r, g, b], or as the signed whole number that older QuPath versions wrote."""
    value = properties.get("color")
    if isinstance(value, list | tuple) and len(value) >= 3:
        red, green, blue = (min(255, max(0, int(v))) for v in value[:3])
        return red, green, blue
    packed = properties.get("colorRGB", value)
    if isinstance(packed, int) and not isinstance(packed, bool):
        return (packed >> 16 & 255, packed >> 8 & 255, packed & 255)
    return None


def _uuid(value: Any) -> str:
    # Old exports carry a Java class name where the id belongs; such an object gets a new id.
    try:
        uuid.UUID(str(value))
    except ValueError:
        return str(uuid.uuid4())
    return str(value)


def _measurements(value: Any) -> dict[str, float]:
    """Measurements as an object, or as the array of {name, value} that older versions wrote."""
    if isinstance(value, list):
        value = {m["name"]: m.get("value") for m in value}
    numbers = {}
    for name, number in (value or {}).items():
        if isinstance(number, int | float) and math.isfinite(number):
            numbers[str(name)] = float(number)
    return numbers
