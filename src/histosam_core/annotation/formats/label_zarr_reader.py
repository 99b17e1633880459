"""OME-Zarr labels of this and of other programs: pixels -> regions.

The pixels are the truth. Where our outlines, drawn again, give the stored pixels, the outlines are
used exactly as they were written; labels whose pixels differ (another program has edited them) are
traced from the pixels and keep class, colour and the rest. Without our attribute all labels are
traced. Only stored chunks, and those that an outline touches, are looked at, one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histosam_core.annotation.annotation import PolygonAnnotation
from histosam_core.annotation.formats.geojson import region_of
from histosam_core.annotation.formats.label_drawing import BLOCK_PX, Block, LabelGrid, drawings_of
from histosam_core.annotation.formats.label_metadata import (
    LabelText,
    label_frame,
    label_texts,
    ome_of,
)
from histosam_core.annotation.formats.label_tracing import trace_labels
from histosam_core.annotation.formats.label_zarr import FORMAT_VERSION, MARK
from histosam_core.annotation.regions import AnnotatedRegion
from histosam_core.errors import AnnotationError
from histosam_core.geometry import Frame

__all__ = ["is_zarr_folder", "read_label_zarr"]


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
        In the order of the labels. Pixels of another program are put where its metadata says that
        they lie on its image, and taken for level-0 pixels where it says nothing (noted). Its
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
        own = _Own.of(image)
        if own is None:
            regions, notes = _foreign(image)
        else:
            regions, notes = _checked(image, own)
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
    def shape(self) -> tuple[int, int]:
        height, width = self.array.shape[-2:]
        return height, width

    @property
    def multiscale(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = ome_of(self.attributes)["multiscales"][0]
        return found

    @property
    def image_label(self) -> Mapping[str, Any]:
        found = ome_of(self.attributes).get("image-label")
        return found if isinstance(found, Mapping) else {}

    @cached_property
    def side_blocks(self) -> int:
        """Blocks a side that are read at once: at least what is stored together."""
        stored = getattr(self.array, "shards", None) or self.array.chunks
        return max(1, -(-int(max(stored[-2:])) // BLOCK_PX))

    @cached_property
    def stored(self) -> set[Block]:
        """First block (column, row) of each square of blocks in which something is stored."""
        side = self.side_blocks * BLOCK_PX
        height, width = self.shape
        if self.array.fill_value not in (0, None, False):
            n_columns, n_rows = -(-width // side), -(-height // side)
            everywhere = {(column, row) for row in range(n_rows) for column in range(n_columns)}
            return {(c * self.side_blocks, r * self.side_blocks) for c, r in everywhere}
        unit = getattr(self.array, "shards", None) or self.array.chunks
        home = self.folder / self.array.basename
        names = {
            os.path.relpath(os.path.join(at, name), home).replace(os.sep, "/")
            for at, _, files in os.walk(home)
            for name in files
        }
        leading = (0,) * (self.array.ndim - 2)
        found = set()
        for row in range(-(-height // unit[-2])):
            for column in range(-(-width // unit[-1])):
                if self.array.metadata.encode_chunk_key((*leading, row, column)) in names:
                    y0, x0 = row * unit[-2], column * unit[-1]
                    y1, x1 = min(y0 + unit[-2], height) - 1, min(x0 + unit[-1], width) - 1
                    found |= {
                        (c * self.side_blocks, r * self.side_blocks)
                        for r in range(y0 // side, y1 // side + 1)
                        for c in range(x0 // side, x1 // side + 1)
                    }
        return found

    def read(self, block: Block) -> tuple[int, int, npt.NDArray[Any]]:
        """Read a square of blocks: first column, first row, labels (h, w)."""
        x0, y0 = block[0] * BLOCK_PX, block[1] * BLOCK_PX
        side = self.side_blocks * BLOCK_PX
        leading = (0,) * (self.array.ndim - 2)
        labels = np.asarray(self.array[(*leading, slice(y0, y0 + side), slice(x0, x0 + side))])
        return x0, y0, labels.astype(np.uint8) if labels.dtype == np.bool_ else labels

    def blocks(self) -> Iterator[tuple[int, int, npt.NDArray[Any]]]:
        """Read all that is stored, row by row."""
        for block in sorted(self.stored, key=lambda block: (block[1], block[0])):
            yield self.read(block)


@dataclass(frozen=True, slots=True)
class _Own:
    """What our attribute says."""

    grid: LabelGrid
    slide_mpp: float | None
    regions: Mapping[int, AnnotatedRegion]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, image: _LabelImage) -> _Own | None:
        said = image.attributes.get(MARK)
        if not isinstance(said, Mapping) or said["version"] != FORMAT_VERSION:
            return None
        regions, notes = {}, []
        for label, feature in enumerate(said["features"], start=1):
            region, note = region_of(feature)
            if region is not None:
                regions[label] = region
            if note is not None:
                notes.append(f"label {label} {note}")
        d = float(said["downsample"])
        height, width = image.shape
        if any(
            abs(wh / d - px) >= 1 for wh, px in zip(said["slide_wh"], (width, height), strict=True)
        ):
            raise AnnotationError(
                f"{image.folder} has {width} x {height} px, which do not cover its slide of "
                f"{said['slide_wh']} px at downsample {d:g}; export the labels again"
            )
        drawings = [
            drawing
            for label, region in regions.items()
            for drawing in drawings_of(region.geometry, label)
        ]
        grid = LabelGrid.of(drawings, Frame((0.0, 0.0), (d, d)), (width, height))
        mpp = said.get("slide_mpp")
        return cls(grid, None if mpp is None else float(mpp), regions, tuple(notes))


def _checked(image: _LabelImage, own: _Own) -> tuple[list[AnnotatedRegion], list[str]]:
    """Return the regions as written, those whose pixels were edited traced anew."""
    changed: set[int] = set()
    side = image.side_blocks
    touched = {(c // side * side, r // side * side) for c, r in own.grid.drawings}
    for block in image.stored | touched:
        _, _, found = image.read(block)
        _, drawn = own.grid.draw(block, side, np.uint32)
        differs = found != drawn
        if differs.any():
            changed |= set(np.unique(found[differs]).tolist())
            changed |= set(np.unique(drawn[differs]).tolist())
    changed.discard(0)
    notes = list(own.notes)
    if not changed:
        return list(own.regions.values()), notes
    traced = trace_labels(image.blocks(), own.grid.frame, changed)
    texts = label_texts(image.image_label)
    regions = []
    for label in sorted(own.regions.keys() | traced.keys()):
        written, outline = own.regions.get(label), traced.get(label)
        if written is None:
            regions.append(_region(outline, texts.get(label)))
            notes.append(f"label {label} was added by another program; traced from its pixels")
        elif label not in changed:
            regions.append(written)
        elif outline is None:
            notes.append(f"label {label} ({written.label}) has no pixels any more; left out")
        else:
            regions.append(_reshaped(written, outline, own.slide_mpp))
            notes.append(
                f"label {label} ({written.label}) was edited by another program; traced from its "
                "pixels"
            )
    return regions, notes


def _foreign(image: _LabelImage) -> tuple[list[AnnotatedRegion], list[str]]:
    frame, is_known = label_frame(image.multiscale, _image_of(image))
    texts = label_texts(image.image_label)
    traced = trace_labels(image.blocks(), frame)
    regions = [_region(outline, texts.get(label)) for label, outline in traced.items()]
    unknown = "it does not say where it lies on its image; its pixels are taken for level-0 pixels"
    return regions, [] if is_known else [unknown]


def _region(outline: Any, text: LabelText | None) -> AnnotatedRegion:
    text = text or LabelText()
    return AnnotatedRegion(outline, label=text.label, color=text.color)


def _reshaped(region: AnnotatedRegion, outline: Any, slide_mpp: float | None) -> AnnotatedRegion:
    """Give a region another outline; its area, where it was stated, is that of the new one."""
    reshaped = replace(region, geometry=outline)
    if {"Area mm^2", "Area px^2"} & region.measurements.keys():
        return reshaped.measured(slide_mpp)
    return reshaped


def _open(folder: Path) -> _LabelImage:
    import zarr  # here: it takes a third of a second, and most who read annotations need none

    group = zarr.open_group(folder, mode="r")
    attributes = dict(group.attrs)
    array = group[ome_of(attributes)["multiscales"][0]["datasets"][0]["path"]]
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
    ome = ome_of(_attributes(path))
    is_label_image = "image-label" in ome or path.resolve().parent.name == "labels"
    if "multiscales" in ome and is_label_image:
        return path
    home = path if "labels" in ome else path / "labels"
    names = [str(name) for name in ome_of(_attributes(home)).get("labels") or ()]
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
    found = ome_of(_attributes(image.folder.resolve() / where)).get("multiscales")
    return found[0] if found else None


def _attributes(folder: Path) -> Mapping[str, Any]:
    """Read a zarr group's attributes; empty where there is no group."""
    import zarr

    try:
        return dict(zarr.open_group(folder, mode="r").attrs)
    except (FileNotFoundError, ValueError):
        return {}
