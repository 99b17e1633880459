"""OME-Zarr labels (0.5): objects as label pixels that other programs show, and exact outlines.

The folder is one multiscale label image: arrays ``0``, ``1``, ... (zarr 3, chunks of 1024 px), each
half as wide as the one before. Label n is the n-th region; where objects overlap the later one is
seen. Every level is drawn from the outlines, and only chunks that an object touches are stored. The
attribute ``histosam`` holds the regions as GeoJSON features, the slide's size, mpp and name.

On reading, the pixels are the truth: see label_zarr_reader.py.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosam_core.annotation.formats.geojson import feature_of, region_of
from histosam_core.annotation.labels import BLOCK_PX, Drawing, LabelGrid, drawings_of
from histosam_core.atomic import new_folder
from histosam_core.errors import AnnotationError, OutputExistsError
from histosam_core.geometry import Frame
from histosam_core.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from histosam_core.annotation.regions import AnnotatedRegion

SHARD_CHUNKS = 4
MANY_CHUNKS = 4096
"""A level that stores more chunks than this gets shards of `SHARD_CHUNKS` x `SHARD_CHUNKS`."""

FORMAT_VERSION = 1
MARK = "histosam"
NO_COLOR = (255, 214, 10)
"""Stands for none: some programs want a colour for every label that has properties."""


def write_label_zarr(
    path: str | os.PathLike[str],
    regions: Iterable[AnnotatedRegion],
    *,
    slide_wh: tuple[int, int],
    slide_mpp: float | None = None,
    slide_name: str | None = None,
    name: str = "annotations",
    downsample: float = 1,
    progress: ProgressCallback = silent,
    overwrite: bool = False,
) -> Path:
    """Write regions as an OME-Zarr 0.5 label image; return the path.

    Parameters
    ----------
    path
        The folder to make, usually ``NAME.ome.zarr``; or ``IMAGE/labels/NAME`` in the OME-Zarr of
        the slide.
    regions
        Later ones lie on top.
    slide_wh
        Width and height of level 0 in pixels.
    slide_mpp
        Micrometres per level-0 pixel; None: the image states no unit.
    slide_name
        The slide's file name, for the record.
    name
        Of the image in OME's metadata.
    downsample
        Level-0 pixels per pixel of the finest level, at least 1. Outlines stay exact for this
        project's reader; other programs see them at this resolution.
    progress
        Called per block of pixels.
    overwrite
        Whether a label image that is there may be replaced.

    Raises
    ------
    AnnotationError
        The size or the downsample makes no sense.
    OutputExistsError
        The path is taken, by a label image without `overwrite` or by anything else.
    OutputWriteError
        The operating system refused.
    """
    import zarr  # here: it takes a third of a second, and most who read annotations need none

    width, height = slide_wh
    if width < 1 or height < 1:
        raise AnnotationError(f"a slide of {width} x {height} px has no pixels; pass its size")
    if not (math.isfinite(downsample) and downsample >= 1):
        raise AnnotationError(f"downsample {downsample} must be a number of 1 or more")
    _check_target(Path(path))
    regions = tuple(regions)
    features = [feature_of(region) for region in regions]
    drawings: list[Drawing] = []
    for label, feature in enumerate(features, start=1):
        read_back, _ = region_of(feature)  # so that a reader draws the same, to the last bit
        if read_back is not None:
            drawings += drawings_of(read_back.geometry, label)
    downsamples = [float(downsample)]
    while max(width, height) / downsamples[-1] > BLOCK_PX:
        downsamples.append(downsamples[-1] * 2)
    levels = []
    for d in downsamples:
        size_wh = math.ceil(width / d), math.ceil(height / d)
        grid = LabelGrid.of(drawings, Frame((0.0, 0.0), (d, d)), size_wh)
        side = SHARD_CHUNKS if len(grid.drawings) > MANY_CHUNKS else 1
        levels.append((grid, side, grid.squares(side)))
    attributes = {
        "ome": _ome_metadata(regions, name, downsamples, slide_mpp),
        MARK: {
            "version": FORMAT_VERSION,
            "slide": slide_name,
            "slide_wh": [width, height],
            "slide_mpp": slide_mpp,
            "downsample": float(downsample),
            "features": features,
        },
    }
    dtype = np.dtype(np.uint16 if len(regions) < 2**16 else np.uint32)
    with new_folder(path, overwrite=overwrite) as folder:
        # Written as it is, for zarr would put every coordinate on a line of its own.
        group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        text = json.dumps(group, separators=(",", ":"), allow_nan=False)
        (folder / "zarr.json").write_text(text, encoding="utf-8")
        total, done = sum(len(squares) for _, _, squares in levels), 0
        for number, (grid, side, squares) in enumerate(levels):
            w, h = grid.size_wh
            chunks = min(h, BLOCK_PX), min(w, BLOCK_PX)
            array = zarr.create_array(
                folder / str(number),
                shape=(h, w),
                dtype=dtype,
                chunks=chunks,
                shards=None if side == 1 else (side * chunks[0], side * chunks[1]),
                fill_value=0,
                dimension_names=("y", "x"),
            )
            for block in squares:
                place, labels = grid.draw(block, side, dtype)
                if labels.any():
                    array[place] = labels
                done += 1
                progress(done, total, f"level {number} of {len(levels)}")
    return Path(path)


def _ome_metadata(
    regions: Sequence[AnnotatedRegion],
    name: str,
    downsamples: Sequence[float],
    slide_mpp: float | None,
) -> dict[str, Any]:
    """The ``ome`` attribute: a scale and a translation per level, class and colour per label.

    They give the centre of pixel (0, 0) and the step to the next, in micrometres (in level-0 pixels
    where the slide's mpp is unknown). Pixel centres lie at whole numbers in memory
    (docs/coordinates.md), so a grid of downsample d is translated by (d - 1) / 2 level-0 pixels.
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
    colors, properties = [], []
    for n, region in enumerate(regions, start=1):
        colors.append({"label-value": n, "rgba": [*(region.color or NO_COLOR), 255]})
        numbers = {k: float(v) for k, v in region.measurements.items() if math.isfinite(v)}
        named = {} if region.name is None else {"name": region.name}
        properties.append(
            {"label-value": n, **numbers, "class": region.label, **named, "id": region.id}
        )
    image_label = {"colors": colors, "properties": properties} if regions else {}
    return {"version": "0.5", "multiscales": [multiscale], "image-label": image_label}


def _check_target(path: Path) -> None:
    """Refuse to replace anything but a label image: the name may be the slide's own."""
    if path.is_file():
        raise OutputExistsError(f"{path} is a file; choose another name")
    if not path.is_dir() or not any(path.iterdir()):
        return
    try:
        attributes = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
        is_label_image = MARK in attributes or "image-label" in attributes["ome"]
    except (OSError, ValueError, LookupError, TypeError):
        is_label_image = False
    if not is_label_image:
        raise OutputExistsError(f"{path} holds something other than labels; choose another name")
