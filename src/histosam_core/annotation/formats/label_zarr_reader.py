"""OME-Zarr labels of this and of other programs: pixels -> regions.

The pixels are the truth. Where our outlines, drawn again, give the stored pixels, the outlines are
used exactly as they were written; labels whose pixels differ (another program has edited them) are
traced from the pixels and keep class, colour and the rest. Without our attribute all labels are
traced. Only stored chunks, and those that an outline touches, are looked at, one after the other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histosam_core.annotation.formats.geojson import region_of
from histosam_core.annotation.formats.label_zarr import FORMAT_VERSION, MARK
from histosam_core.annotation.labels import BLOCK_PX, Block, LabelGrid, drawings_of, trace_labels
from histosam_core.annotation.outlines import LEVEL0
from histosam_core.annotation.regions import (
    UNCLASSIFIED,
    AnnotatedRegion,
    Color,
    PolygonAnnotation,
)
from histosam_core.errors import AnnotationError
from histosam_core.geometry import Frame

Floats = npt.NDArray[np.float64]
_CLASS_KEYS = ("class", "label", "label-name", "name", "type")
_CHUNK_NAME = re.compile(r"(?:c[./])?(?:\d+[./])*(\d+)[./](\d+)")


def is_zarr_folder(path: Path) -> bool:
    """Whether a path is a folder that zarr wrote, or is named like one."""
    marks = ("zarr.json", ".zgroup", ".zattrs")
    return path.is_dir() and (
        path.suffix.casefold() == ".zarr" or any((path / mark).is_file() for mark in marks)
    )


def read_label_zarr(path: str | os.PathLike[str]) -> PolygonAnnotation:
    """Read OME-Zarr labels, 0.4 (zarr 2) or 0.5 (zarr 3), of any program.

    Parameters
    ----------
    path
        A label image; or an image, or its folder ``labels``, with one label image.

    Returns
    -------
    PolygonAnnotation
        In the order of the labels. Pixels of another program are put where its metadata places
        them on its image, and taken for level-0 pixels where it does not (noted). Its
        classes and colours come from ``image-label``.

    Raises
    ------
    AnnotationError
        There are no labels, or several label images; the folder cannot be read; the labels are not
        whole numbers in two dimensions.
    """
    path = Path(path)
    try:
        image = _open(_label_folder(path))
        mark = image.attributes.get(MARK)
        if isinstance(mark, Mapping) and mark["version"] == FORMAT_VERSION:
            regions, notes = _own_regions(image, mark)
        else:
            regions, notes = _foreign_regions(image)
    except AnnotationError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AnnotationError(
            f"{path} is damaged or is no OME-Zarr ({detail}); export the labels again"
        ) from error
    return PolygonAnnotation(regions, path=path, notes=notes)


@dataclass(frozen=True)
class _LabelImage:
    """An open label image; `array` is its finest level, whose last axes are y and x."""

    folder: Path
    attributes: Mapping[str, Any]
    array: Any

    @property
    def size_wh(self) -> tuple[int, int]:
        height, width = self.array.shape[-2:]
        return width, height

    @property
    def unit_wh(self) -> tuple[int, int]:
        """Columns and rows that are stored in one file."""
        height, width = (getattr(self.array, "shards", None) or self.array.chunks)[-2:]
        return width, height

    @property
    def side(self) -> int:
        """Blocks along one side of the squares that are read at once."""
        return max(1, -(-max(self.unit_wh) // BLOCK_PX))

    @cached_property
    def stored(self) -> set[Block]:
        """First block of each square of blocks in which something is stored."""
        if self.array.fill_value not in (0, None, False):
            return self._squares((0, 0), self.size_wh)
        home = self.folder / self.array.basename
        found: set[Block] = set()
        for at, _, files in os.walk(home):
            for name in files:
                relative = os.path.relpath(os.path.join(at, name), home).replace(os.sep, "/")
                chunk = _CHUNK_NAME.fullmatch(relative)
                if chunk:
                    x, y = (int(chunk[2 - axis]) * self.unit_wh[axis] for axis in (0, 1))
                    found |= self._squares((x, y), self.unit_wh)
        return found

    def _squares(self, location_xy: tuple[int, int], size_wh: tuple[int, int]) -> set[Block]:
        """First block of each square of blocks that a rectangle of pixels touches."""
        px = self.side * BLOCK_PX
        columns, rows = (
            range(first // px, -(-min(first + length, whole) // px))
            for first, length, whole in zip(location_xy, size_wh, self.size_wh, strict=True)
        )
        return {(column * self.side, row * self.side) for row in rows for column in columns}

    def read(self, block: Block) -> npt.NDArray[Any]:
        """Read the labels (h, w) of a square of blocks."""
        x, y, px = block[0] * BLOCK_PX, block[1] * BLOCK_PX, self.side * BLOCK_PX
        leading = (0,) * (self.array.ndim - 2)
        labels = np.asarray(self.array[(*leading, slice(y, y + px), slice(x, x + px))])
        return labels.astype(np.uint8) if labels.dtype == np.bool_ else labels

    def blocks(self) -> Iterator[tuple[int, int, npt.NDArray[Any]]]:
        """Read all that is stored, row by row, as `trace_labels` takes it."""
        for block in sorted(self.stored, key=lambda block: (block[1], block[0])):
            yield block[0] * BLOCK_PX, block[1] * BLOCK_PX, self.read(block)

    @property
    def image_label(self) -> Mapping[str, Any]:
        found = _ome_of(self.attributes).get("image-label")
        return found if isinstance(found, Mapping) else {}

    @cached_property
    def _classes(self) -> dict[int, str]:
        """Label -> class; what is garbled counts as not stated, here and among the colours."""
        stated = {}
        for value, entry in self._entries("properties"):
            names = [entry[key] for key in _CLASS_KEYS if isinstance(entry.get(key), str)]
            stated[value] = next(filter(None, names), UNCLASSIFIED)
        return stated

    @cached_property
    def _colors(self) -> dict[int, Color]:
        stated: dict[int, Color] = {}
        for value, entry in self._entries("colors"):
            match entry.get("rgba"):
                case [int(red), int(green), int(blue), *_] if (
                    0 <= min(red, green, blue) and max(red, green, blue) <= 255
                ):
                    stated[value] = red, green, blue
        return stated

    def _entries(self, key: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
        listed = self.image_label.get(key)
        for entry in listed if isinstance(listed, list) else ():
            if isinstance(entry, Mapping) and isinstance(entry.get("label-value"), int):
                yield entry["label-value"], entry

    def region(self, label: int, outline: Any) -> AnnotatedRegion:
        """Return a traced label with the class and colour that the image states for it."""
        stated = self._classes.get(label, UNCLASSIFIED)
        return AnnotatedRegion(outline, stated, self._colors.get(label))


def _own_regions(
    image: _LabelImage, mark: Mapping[str, Any]
) -> tuple[list[AnnotatedRegion], list[str]]:
    """Return the regions as written, those whose pixels were edited traced anew."""
    written: dict[int, AnnotatedRegion] = {}
    notes = []
    for label, feature in enumerate(mark["features"], start=1):
        region, note = region_of(feature)
        if region is not None:
            written[label] = region
        if note is not None:
            notes.append(f"label {label} {note}")
    d = float(mark["downsample"])
    if any(abs(wh / d - px) >= 1 for wh, px in zip(mark["slide_wh"], image.size_wh, strict=True)):
        raise AnnotationError(
            f"{image.folder} has {image.size_wh[0]} x {image.size_wh[1]} px, which do not cover "
            f"its slide of {mark['slide_wh']} px at downsample {d:g}; export the labels again"
        )
    drawings = [drawings_of(region.geometry, label) for label, region in written.items()]
    grid = LabelGrid.of(chain.from_iterable(drawings), Frame((0.0, 0.0), (d, d)), image.size_wh)
    changed: set[int] = set()
    for block in image.stored.union(grid.squares(image.side)):
        found = image.read(block)
        _, drawn = grid.draw(block, image.side, np.uint32)
        differs = found != drawn
        if differs.any():
            changed.update(np.unique(found[differs]).tolist(), np.unique(drawn[differs]).tolist())
    changed.discard(0)
    if not changed:
        return list(written.values()), notes

    traced = trace_labels(image.blocks(), grid.frame, changed)
    mpp = mark.get("slide_mpp")
    regions = []
    for label in sorted(written.keys() | traced.keys()):
        region, outline = written.get(label), traced.get(label)
        if region is None:
            regions.append(image.region(label, outline))
            notes.append(f"label {label} was added by another program; traced from its pixels")
        elif label not in changed:
            regions.append(region)
        elif outline is None:
            notes.append(f"label {label} ({region.label}) no longer has any pixels; left out")
        else:
            reshaped = replace(region, geometry=outline)
            if {"Area mm^2", "Area px^2"} & region.measurements.keys():
                reshaped = reshaped.measured(None if mpp is None else float(mpp))
            regions.append(reshaped)
            notes.append(
                f"label {label} ({region.label}) was edited by another program; traced from its "
                "pixels"
            )
    return regions, notes


def _foreign_regions(image: _LabelImage) -> tuple[list[AnnotatedRegion], list[str]]:
    notes = []
    frame = _label_frame(_ome_of(image.attributes)["multiscales"][0], _image_of(image))
    if frame is None:
        frame = LEVEL0
        notes.append(
            "it does not say where it lies on its image; its pixels are taken for level-0 pixels"
        )
    traced = trace_labels(image.blocks(), frame)
    return [image.region(label, outline) for label, outline in traced.items()], notes


def _open(folder: Path) -> _LabelImage:
    import zarr  # here: it takes a third of a second, and most who read annotations need none

    group = zarr.open_group(folder, mode="r")
    attributes = dict(group.attrs)
    array = group[_ome_of(attributes)["multiscales"][0]["datasets"][0]["path"]]
    if array.dtype.kind not in "uib":
        raise AnnotationError(f"{folder} holds {array.dtype}; labels are whole numbers")
    if array.ndim < 2 or any(length != 1 for length in array.shape[:-2]):
        raise AnnotationError(
            f"{folder} has shape {array.shape}; labels of a slide have two axes (y, x): choose one "
            "plane and export it"
        )
    return _LabelImage(folder, attributes, array)


def _label_folder(path: Path) -> Path:
    """Return the label image itself: the path, or the only one in it."""
    if not path.is_dir():
        raise AnnotationError(f"no folder {path}; check the name")
    ome = _ome_of(_attributes(path))
    is_label_image = "image-label" in ome or path.resolve().parent.name == "labels"
    if "multiscales" in ome and is_label_image:
        return path
    home = path if "labels" in ome else path / "labels"
    names = [str(name) for name in _ome_of(_attributes(home)).get("labels") or ()]
    if len(names) == 1:
        return home / names[0]
    if names:
        raise AnnotationError(
            f"{path} has the label images {', '.join(names)}; give one of them: {home / names[0]}"
        )
    raise AnnotationError(f"{path} holds no OME-Zarr labels; give the folder of a label image")


def _image_of(image: _LabelImage) -> Mapping[str, Any] | None:
    """Return the multiscale of the image that labels belong to; None where there is none."""
    source = image.image_label.get("source")
    where = source.get("image") if isinstance(source, Mapping) else None
    if where is None and image.folder.resolve().parent.name == "labels":
        where = "../.."
    if not isinstance(where, str):
        return None
    found = _ome_of(_attributes(image.folder.resolve() / where)).get("multiscales")
    return found[0] if found else None


def _attributes(folder: Path) -> Mapping[str, Any]:
    """Read a zarr group's attributes; empty where there is no group."""
    import zarr

    try:
        return dict(zarr.open_group(folder, mode="r").attrs)
    except (FileNotFoundError, ValueError):
        return {}


def _ome_of(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """OME's part of a zarr group's attributes: under ``ome`` since 0.5, else all of them."""
    ome = attributes.get("ome")
    return ome if isinstance(ome, Mapping) else attributes


def _label_frame(multiscale: Mapping[str, Any], image: Mapping[str, Any] | None) -> Frame | None:
    """Where a label image's finest level lies over level 0; None where it is not stated.

    `image` is the multiscale of the image that the labels belong to; its finest level is level 0.
    Labels without a translation begin at the slide's corner; `label_zarr` says how others lie.
    """
    scale, shift = _transform(multiscale)
    image_scale, image_shift = (None, None) if image is None else _transform(image)
    if scale is None or image_scale is None:
        return None
    downsample = _whole(scale / image_scale)
    origin = np.zeros(2)
    if shift is not None:
        moved = shift if image_shift is None else shift - image_shift
        origin = _whole(moved / image_scale - (downsample - 1) / 2)
    (x, y), (dx, dy) = origin.tolist(), downsample.tolist()
    return Frame((x, y), (dx, dy))


def _transform(multiscale: Mapping[str, Any]) -> tuple[Floats | None, Floats | None]:
    """Scale and translation (x, y) of the finest level, the whole image's applied after its own."""
    scale = shift = None
    of_level = multiscale["datasets"][0].get("coordinateTransformations") or ()
    of_image = multiscale.get("coordinateTransformations") or ()
    for step in (*of_level, *of_image):
        kind = step.get("type")
        if kind not in ("scale", "translation"):
            continue
        y, x = step[kind][-2:]
        xy = np.array((x, y), dtype=np.float64)
        if kind == "translation":
            shift = xy if shift is None else shift + xy
        elif (xy > 0).all():
            scale = xy if scale is None else scale * xy
            shift = None if shift is None else shift * xy
        else:
            return None, None
    return scale, shift


def _whole(values: Floats) -> Floats:
    """Take off what dividing micrometres by micrometres has left of rounding."""
    near = np.round(2 * values) / 2
    return np.where(np.abs(values - near) < 1e-6, near, values)
