"""What an OME-Zarr label image says of itself: written (0.5), and read from any program (0.4, 0.5).

Where its pixels lie. A scale and a translation give the centre of pixel (0, 0) and the step to the
next, in micrometres of the slide (in level-0 pixels where its mpp is unknown). Pixel centres lie at
whole numbers in memory (docs/coordinates.md), so the translation is (d - 1) / 2 level-0 pixels for
a grid of downsample d.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from histosam_core.annotation.regions import UNCLASSIFIED, AnnotatedRegion
from histosam_core.geometry import Frame

__all__ = ["LabelText", "label_frame", "label_texts", "ome_metadata", "ome_of"]

OME_VERSION = "0.5"
NO_COLOR = (255, 214, 10)
"""Stands for none: some programs want a colour for every label that has properties."""

_CLASS_KEYS = ("class", "label", "label-name", "name", "type")
XY = tuple[float, float]


@dataclass(frozen=True, slots=True)
class LabelText:
    """What a label image says of one label.

    Parameters
    ----------
    label
        Class name; `UNCLASSIFIED` where it says nothing.
    color
        (red, green, blue), 0 to 255, or None.
    """

    label: str = UNCLASSIFIED
    color: tuple[int, int, int] | None = None


def ome_metadata(
    regions: Sequence[AnnotatedRegion],
    *,
    name: str,
    downsamples: Sequence[float],
    slide_mpp: float | None,
) -> dict[str, Any]:
    """Return the ``ome`` attribute of a label image whose label n is region n - 1.

    Parameters
    ----------
    regions
        In the order of their labels.
    name
        Of the image.
    downsamples
        Level-0 pixels per pixel of each level, finest first; level n is the array ``n``.
    slide_mpp
        Micrometres per level-0 pixel; None: lengths are in level-0 pixels and have no unit.
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
    colors = [
        {"label-value": value, "rgba": [*(region.color or NO_COLOR), 255]}
        for value, region in enumerate(regions, start=1)
    ]
    properties = [
        {"label-value": value, **_properties(region)}
        for value, region in enumerate(regions, start=1)
    ]
    found = {"colors": colors, "properties": properties}
    image_label = {key: entries for key, entries in found.items() if entries}
    return {"version": OME_VERSION, "multiscales": [multiscale], "image-label": image_label}


def ome_of(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return OME's part of a zarr group's attributes: under ``ome`` since 0.5, else all of them."""
    ome = attributes.get("ome")
    return ome if isinstance(ome, Mapping) else attributes


def label_texts(image_label: Mapping[str, Any]) -> dict[int, LabelText]:
    """Read what ``image-label`` says of each label; what is garbled counts as not said."""
    names: dict[int, str] = {}
    for value, entry in _entries(image_label.get("properties")):
        for key in _CLASS_KEYS:
            if isinstance(entry.get(key), str) and entry[key]:
                names[value] = entry[key]
                break
    colors: dict[int, tuple[int, int, int]] = {}
    for value, entry in _entries(image_label.get("colors")):
        rgba = entry.get("rgba")
        if isinstance(rgba, list) and len(rgba) >= 3 and all(_is_byte(v) for v in rgba[:3]):
            colors[value] = (rgba[0], rgba[1], rgba[2])
    return {
        value: LabelText(names.get(value, UNCLASSIFIED), colors.get(value))
        for value in names.keys() | colors.keys()
    }


def label_frame(
    multiscale: Mapping[str, Any], image: Mapping[str, Any] | None
) -> tuple[Frame, bool]:
    """Return where a label image's finest level lies over level 0 of the slide.

    Parameters
    ----------
    multiscale
        Of the label image.
    image
        The multiscale of the image that it belongs to; its finest level is level 0.

    Returns
    -------
    frame
        Level 0 itself where nothing tells. A label image without a translation begins at the
        slide's corner.
    is_known
        Whether the two multiscales tell.
    """
    level0 = Frame((0.0, 0.0), (1.0, 1.0))
    if image is None:
        return level0, False
    label_scale, label_shift = _transform(multiscale)
    image_scale, image_shift = _transform(image)
    if label_scale is None or image_scale is None:
        return level0, False
    dx, dy = (_whole(a / b) for a, b in zip(label_scale, image_scale, strict=True))
    if label_shift is None:
        return Frame((0.0, 0.0), (dx, dy)), True
    begin = image_shift or (0.0, 0.0)
    ox, oy = (
        _whole((a - b) / s - (d - 1) / 2)
        for a, b, s, d in zip(label_shift, begin, image_scale, (dx, dy), strict=True)
    )
    return Frame((ox, oy), (dx, dy)), True


def _properties(region: AnnotatedRegion) -> dict[str, Any]:
    numbers = {k: float(v) for k, v in region.measurements.items() if math.isfinite(v)}
    name = {} if region.name is None else {"name": region.name}
    return {**numbers, "class": region.label, **name, "id": region.id}


def _entries(value: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("label-value"), int):
            yield entry["label-value"], entry


def _is_byte(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value <= 255


def _transform(multiscale: Mapping[str, Any]) -> tuple[XY | None, XY | None]:
    """Scale and translation (x, y) of the finest level, the whole image's applied after its own."""
    scale: XY | None = None
    shift: XY | None = None
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
