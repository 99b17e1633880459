"""The metadata of an OME-Zarr label image: written (0.5), and read from any program (0.4, 0.5).

A scale and a translation give the centre of pixel (0, 0) and the step to the next, in micrometres
of the slide (in level-0 pixels where its mpp is unknown). Pixel centres lie at whole numbers in
memory (docs/coordinates.md), so a grid of downsample d is translated by (d - 1) / 2 level-0 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from histosam_core.annotation.regions import UNCLASSIFIED, AnnotatedRegion, Color
from histosam_core.geometry import Frame

NO_COLOR = (255, 214, 10)
"""Stands for none: some programs want a colour for every label that has properties."""

_CLASS_KEYS = ("class", "label", "label-name", "name", "type")


class LabelText(NamedTuple):
    """Class and colour that a label image states for one label."""

    label: str = UNCLASSIFIED
    color: Color | None = None


def ome_metadata(
    regions: Sequence[AnnotatedRegion],
    *,
    name: str,
    downsamples: Sequence[float],
    slide_mpp: float | None,
) -> dict[str, Any]:
    """Return the ``ome`` attribute of a label image whose label n is region n - 1.

    Level n is the array ``n``, finest first. Lengths are in micrometres; where the slide's mpp is
    unknown, in level-0 pixels without a unit.
    """
    unit = 1.0 if slide_mpp is None else slide_mpp
    axis = {"type": "space"} if slide_mpp is None else {"type": "space", "unit": "micrometer"}
    datasets = []
    for level, d in enumerate(downsamples):
        scale = {"type": "scale", "scale": [d * unit] * 2}
        shift = {"type": "translation", "translation": [(d - 1) / 2 * unit] * 2}
        datasets.append({"path": str(level), "coordinateTransformations": [scale, shift]})
    multiscale = {
        "name": name,
        "type": "nearest",
        "axes": [{"name": "y", **axis}, {"name": "x", **axis}],
        "datasets": datasets,
    }
    image_label = {}
    if regions:
        numbered = list(enumerate(regions, start=1))
        image_label = {
            "colors": [
                {"label-value": n, "rgba": [*(r.color or NO_COLOR), 255]} for n, r in numbered
            ],
            "properties": [{"label-value": n, **_properties(r)} for n, r in numbered],
        }
    return {"version": "0.5", "multiscales": [multiscale], "image-label": image_label}


def _properties(region: AnnotatedRegion) -> dict[str, Any]:
    numbers = {k: float(v) for k, v in region.measurements.items() if math.isfinite(v)}
    name = {} if region.name is None else {"name": region.name}
    return {**numbers, "class": region.label, **name, "id": region.id}


def ome_of(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return OME's part of a zarr group's attributes: under ``ome`` since 0.5, else all of them."""
    ome = attributes.get("ome")
    return ome if isinstance(ome, Mapping) else attributes


def label_texts(image_label: Mapping[str, Any]) -> dict[int, LabelText]:
    """Read what ``image-label`` states of each label; what is garbled counts as not stated."""
    texts: dict[int, LabelText] = {}
    for value, entry in _entries(image_label.get("properties")):
        names = [entry[key] for key in _CLASS_KEYS if isinstance(entry.get(key), str)]
        texts[value] = LabelText(next(filter(None, names), UNCLASSIFIED))
    for value, entry in _entries(image_label.get("colors")):
        rgba = entry.get("rgba")
        if isinstance(rgba, list) and len(rgba) >= 3 and all(_is_byte(v) for v in rgba[:3]):
            color = rgba[0], rgba[1], rgba[2]
            texts[value] = texts.get(value, LabelText())._replace(color=color)
    return texts


def _entries(value: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("label-value"), int):
            yield entry["label-value"], entry


def _is_byte(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value <= 255


def label_frame(multiscale: Mapping[str, Any], image: Mapping[str, Any] | None) -> Frame | None:
    """Return where a label image's finest level lies over level 0; None where it is not stated.

    `image` is the multiscale of the image that the labels belong to; its finest level is level 0.
    Labels without a translation begin at the slide's corner.
    """
    label_scale, label_shift = _transform(multiscale)
    image_scale, image_shift = _transform(image) if image is not None else (None, None)
    if label_scale is None or image_scale is None:
        return None
    origin, downsample = [], []
    for axis in (0, 1):
        d = _whole(label_scale[axis] / image_scale[axis])
        downsample.append(d)
        if label_shift is None:
            origin.append(0.0)
            continue
        moved = label_shift[axis] - (0.0 if image_shift is None else image_shift[axis])
        origin.append(_whole(moved / image_scale[axis] - (d - 1) / 2))
    return Frame((origin[0], origin[1]), (downsample[0], downsample[1]))


def _transform(
    multiscale: Mapping[str, Any],
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Scale and translation (x, y) of the finest level, the whole image's applied after its own."""
    scale = shift = None
    of_level = multiscale["datasets"][0].get("coordinateTransformations") or ()
    of_image = multiscale.get("coordinateTransformations") or ()
    for step in (*of_level, *of_image):
        if step.get("type") == "scale":
            y, x = (float(v) for v in step["scale"][-2:])
            if not (x > 0 and y > 0):
                return None, None
            scale = (x, y) if scale is None else (scale[0] * x, scale[1] * y)
            shift = None if shift is None else (shift[0] * x, shift[1] * y)
        elif step.get("type") == "translation":
            y, x = (float(v) for v in step["translation"][-2:])
            shift = (x, y) if shift is None else (shift[0] + x, shift[1] + y)
    return scale, shift


def _whole(value: float) -> float:
    """Take off what dividing micrometres by micrometres has left of rounding."""
    near = round(2 * value) / 2
    return near if abs(value - near) < 1e-6 else value
