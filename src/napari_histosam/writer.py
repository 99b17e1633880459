"""What napari calls to save a Labels layer: GeoJSON for QuPath, or OME-Zarr labels.

Our annotations layer is written from its objects, outlines exact, not from the pixels it shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from histosam_core import annotation
from histosam_core.annotation import AnnotatedRegion
from histosam_core.annotation.labels import trace_labels
from histosam_core.annotation.regions import UNCLASSIFIED
from histosam_core.errors import EmptyMaskError, ImageError
from histosam_core.geometry import Frame
from napari_histosam.viewer.layers import TAG

BLOCK_PX = 1024
LEVEL0 = Frame((0.0, 0.0), (1.0, 1.0))


class AnnotationSource(Protocol):
    """The objects behind our annotations layer: ``layer.metadata["histosam"].source``."""

    @property
    def slide_wh(self) -> tuple[int, int]:
        """Width and height of level 0 in pixels."""

    @property
    def slide_mpp(self) -> float | None:
        """Micrometres per level-0 pixel; None where unknown."""

    @property
    def slide_name(self) -> str:
        """The slide's file name."""

    def regions(self) -> tuple[AnnotatedRegion, ...]:
        """Return the accepted objects, undermost first."""


def write_geojson(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a Labels layer as GeoJSON that QuPath opens; a npe2 writer of one layer.

    Parameters
    ----------
    path
        The file; ``.geojson`` is added where it ends in neither that nor ``.json``.
    data
        The layer's labels: (H, W) whole numbers, or a list of levels, finest first. Not looked at
        for our annotations layer.
    meta
        The layer's attributes. Our annotations layer (an `AnnotationSource` under
        ``meta["metadata"]["histosam"].source``) is written as `Session.save_geojson` does. Any
        other layer is traced label by label; its scale and translation say nothing of a slide, so
        its pixels are taken for level-0 pixels.

    Returns
    -------
    list of str
        The file that was written.

    Raises
    ------
    EmptyMaskError
        There is nothing to write.
    ImageError
        The layer is not two-dimensional, or holds no whole numbers.
    OutputWriteError
        The file cannot be written.
    """
    source = _source(meta)
    regions = _traced(data, meta) if source is None else _accepted(source)
    if not path.casefold().endswith((".geojson", ".json")):
        path += ".geojson"
    return [str(annotation.write_geojson(path, regions))]


def write_label_zarr(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a Labels layer as an OME-Zarr 0.5 label image; a npe2 writer of one layer.

    Objects are numbered from 1 in their order. A label image at that path is replaced, anything
    else there is not.

    Parameters
    ----------
    path
        The folder; ``.ome.zarr`` is added where it does not end in ``.zarr``.
    data, meta
        As for `write_geojson`.

    Returns
    -------
    list of str
        The folder that was written.

    Raises
    ------
    EmptyMaskError
        There is nothing to write.
    ImageError
        The layer is not two-dimensional, or holds no whole numbers.
    OutputExistsError
        The path is taken by something else.
    OutputWriteError
        The folder cannot be written.
    """
    source = _source(meta)
    if not path.casefold().endswith(".zarr"):
        path += ".ome.zarr"
    if source is None:
        height, width = _level0(data, meta).shape
        written = annotation.write_label_zarr(
            path, _traced(data, meta), slide_wh=(width, height), overwrite=True
        )
    else:
        written = annotation.write_label_zarr(
            path,
            _accepted(source),
            slide_wh=source.slide_wh,
            slide_mpp=source.slide_mpp,
            slide_name=source.slide_name,
            overwrite=True,
        )
    return [str(written)]


def _source(meta: Mapping[str, Any]) -> AnnotationSource | None:
    """Return what our annotations layer shows; None for a layer that is not ours."""
    tag = (meta.get("metadata") or {}).get(TAG)
    if tag is None:
        return None
    source: AnnotationSource | None = getattr(tag, "source", None)
    if source is None:
        raise EmptyMaskError(
            "this layer shows the current object, which is not saved from here; accept it (C) and "
            "save the annotations layer"
        )
    return source


def _accepted(source: AnnotationSource) -> tuple[AnnotatedRegion, ...]:
    regions = source.regions()
    if not regions:
        raise EmptyMaskError("no object has been accepted; accept one (C) before saving")
    return regions


def _traced(data: Any, meta: Mapping[str, Any]) -> tuple[AnnotatedRegion, ...]:
    name = meta.get("name") or "Label"
    traced = trace_labels(_blocks(_level0(data, meta)), LEVEL0)
    if not traced:
        raise EmptyMaskError(f"layer {name} holds no label; paint one before saving")
    return tuple(
        AnnotatedRegion(outline, label=UNCLASSIFIED, name=f"{name} {label}").measured(None)
        for label, outline in traced.items()
    )


def _level0(data: Any, meta: Mapping[str, Any]) -> Any:
    """Return the finest level of a layer's data, checked."""
    is_pyramid = isinstance(data, list | tuple) or bool(meta.get("multiscale"))
    level = data[0] if is_pyramid else data
    name = meta.get("name") or "Label"
    if level.ndim != 2:
        raise ImageError(
            f"layer {name} has {level.ndim} axes; annotations have two (rows, columns): save one "
            "plane as a layer of its own"
        )
    if np.dtype(level.dtype).kind not in "uib":
        raise ImageError(f"layer {name} holds {level.dtype}; labels are whole numbers")
    return level


def _blocks(level: Any) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Read a level block by block, for it may be lazy and large."""
    height, width = level.shape
    for y in range(0, height, BLOCK_PX):
        for x in range(0, width, BLOCK_PX):
            block = np.asarray(level[y : y + BLOCK_PX, x : x + BLOCK_PX])
            yield x, y, block.astype(np.uint8) if block.dtype == np.bool_ else block
