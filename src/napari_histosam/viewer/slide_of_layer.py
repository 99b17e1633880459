"""The slide behind an image layer, whoever made the layer; and its scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from histosam_core.errors import HistoSamError, ImageError
from histosam_core.slide import open_array, open_slide
from napari_histosam.reader import tag_of_slide

if TYPE_CHECKING:
    from histosam_core.slide import Slide

_PROBES, _PROBE_PX = 3, 16
_SAME_GREY_VALUES = 3.0  # JPEG decoders round differently


def slide_of_layer(layer: Any) -> Slide:
    """Return a slide that reads what a napari image layer holds.

    The slide that our reader opened; else the layer's file, where it is a slide of the same size
    and pixels; else the layer's own arrays, its contrast limits as black and white.

    Parameters
    ----------
    layer
        A napari Image layer: grey or colour, of any depth, one level or several.

    Raises
    ------
    ImageError
        It is no image layer, a stack, or has no pixels; the message says what to do.
    """
    from napari.layers import Image

    if not isinstance(layer, Image):
        kind = type(layer).__name__
        raise ImageError(f"{layer.name!r} is a {kind} layer; choose the image layer of the slide")
    tag = tag_of_slide(layer)
    if tag is not None:
        return tag.slide
    if layer.ndim != 2:
        shape = " x ".join(str(int(n)) for n in layer.level_shapes[0])
        raise ImageError(
            f"{layer.name!r} is a stack of {shape}; right-click the layer, choose Split Stack, and "
            "take one plane"
        )
    return _slide_of_file(layer) or open_array(
        list(layer.data) if layer.multiscale else layer.data,
        name=layer.name,
        mpp=layer_mpp(layer),
        value_range=_value_range(layer),
    )


def layer_mpp(layer: Any) -> float | None:
    """Return um per level-0 pixel, the mean of both axes; None if a layer's unit is no length."""
    sides = []
    for scale, unit in zip(layer.scale[-2:], layer.units[-2:], strict=True):
        if unit.dimensionality != {"[length]": 1}:
            return None
        sides.append(abs(float((1.0 * unit).to("um").magnitude) * float(scale)))
    mpp = sum(sides) / 2
    return mpp if math.isfinite(mpp) and mpp > 0 else None


def _value_range(layer: Any) -> tuple[float, float] | None:
    """Return what the layer shows as black and white; None: the whole range of its type."""
    kind = np.dtype(layer.dtype).kind
    if layer.rgb:  # napari shows the whole range, and 0 to 1 of floating-point numbers
        return (0.0, 1.0) if kind == "f" else None
    low, high = map(float, layer.contrast_limits)
    return (low, high) if kind != "b" and low < high else None


def _slide_of_file(layer: Any) -> Slide | None:
    """Open the file that another reader made the layer from, if it shows the same."""
    path = layer.source.path
    if path is None or not layer.rgb or layer.dtype != np.uint8:
        return None
    try:
        slide = open_slide(path)
    except (HistoSamError, OSError):
        return None
    if _is_same(slide, layer):
        return slide
    slide.close()
    return None


def _is_same(slide: Slide, layer: Any) -> bool:
    """Whether sizes agree, and pixels where they are probed."""
    data = layer.data[0] if layer.multiscale else layer.data
    height, width, samples = data.shape
    if (width, height) != slide.size_wh or samples != 3:
        return False
    for y in np.linspace(0, max(0, height - _PROBE_PX), _PROBES).astype(int):
        for x in np.linspace(0, max(0, width - _PROBE_PX), _PROBES).astype(int):
            given = np.asarray(data[y : y + _PROBE_PX, x : x + _PROBE_PX], np.float32)
            h, w = given.shape[:2]
            try:
                stored = slide.read_level(0, (int(x), int(y)), (w, h))
            except HistoSamError:
                return False
            if np.abs(given - stored).mean() > _SAME_GREY_VALUES:
                return False
    return True
