"""Annotation files by their kind, and the one that belongs to a slide."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from histosam_core.annotation.formats import asap_xml, imagescope_xml
from histosam_core.annotation.formats.asap_xml import read_asap_xml
from histosam_core.annotation.formats.geojson import read_geojson
from histosam_core.annotation.formats.imagescope_xml import read_imagescope_xml
from histosam_core.annotation.formats.label_zarr_reader import is_zarr_folder, read_label_zarr
from histosam_core.annotation.formats.mask_tiff import read_mask_tiff
from histosam_core.annotation.formats.xml_rings import parse_xml
from histosam_core.errors import AnnotationError

if TYPE_CHECKING:
    from histosam_core.annotation.annotation import Annotation, PolygonAnnotation

ANNOTATION_SUFFIXES = (".geojson", ".json", ".xml", ".tif", ".tiff")
MASK_ENDINGS = (
    "_mask", "-mask", "_tumor", "_tumour", "_viable", "_whole", "_annotations", "_labels",
)  # fmt: skip
_COMPOUND_SUFFIXES = (".ome.tiff", ".ome.tif")


def read_annotations(
    path: str | os.PathLike[str], *, labels: Iterable[str] | None = None
) -> Annotation:
    """Read an annotation file of any kind this project knows.

    GeoJSON (``.geojson``, ``.json``), ASAP or ImageScope XML (distinguished by their root), a label
    mask (``.tif``, ``.tiff``; its pixels are read when asked for), or the folder of OME-Zarr
    labels (``.zarr``).

    Parameters
    ----------
    path
        The file, or the folder of OME-Zarr labels.
    labels
        Classes that count as tumour; None: those whose name means tumour. Masks have no classes.

    Raises
    ------
    AnnotationError
        The file is missing, damaged, or of no known kind.
    """
    path = Path(path)
    if is_zarr_folder(path):
        polygons = read_label_zarr(path)
    elif not path.is_file():
        raise AnnotationError(f"no annotation file {path}; check the name")
    elif path.stat().st_size == 0:
        raise AnnotationError(f"{path} is empty; export the annotation again")
    elif path.suffix.casefold() in (".tif", ".tiff"):
        return read_mask_tiff(path)
    elif path.suffix.casefold() in (".geojson", ".json"):
        polygons = read_geojson(path)
    elif path.suffix.casefold() == ".xml":
        polygons = _read_xml(path)
    else:
        raise AnnotationError(
            f"{path} is not a known kind of annotation file; give one of "
            f"{', '.join(ANNOTATION_SUFFIXES)}"
        )
    polygons.labels = None if labels is None else tuple(labels)
    return polygons


def _read_xml(path: Path) -> PolygonAnnotation:
    root = parse_xml(path).tag
    if root == asap_xml.ROOT_TAG:
        return read_asap_xml(path)
    if root == imagescope_xml.ROOT_TAG:
        return read_imagescope_xml(path)
    raise AnnotationError(
        f"{path} is neither ASAP's nor ImageScope's XML: its root is <{root}>; "
        "export the annotation as GeoJSON"
    )


def find_annotation(
    slide_path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None
) -> Path:
    """Return the annotation file that belongs to a slide, by name.

    The slide's name without its suffix, or with one of `MASK_ENDINGS` added, and a suffix of
    `ANNOTATION_SUFFIXES`; upper and lower case alike. The plain name wins over one with an
    ending; then the order of those two lists decides.

    Parameters
    ----------
    slide_path
        The slide.
    folder
        Where to look; None: the slide's own folder and a folder ``annotations`` in it or beside
        it.

    Raises
    ------
    AnnotationError
        There is none; the message names what was tried where.
    """
    slide_path = Path(slide_path)
    if folder is None:
        home = slide_path.parent
        folders = [home, home / "annotations", home.parent / "annotations"]
    else:
        folders = [Path(folder)]
        if not folders[0].is_dir():
            raise AnnotationError(f"no folder {folder} to look for annotations in; check the name")
    stem = slide_stem(slide_path)
    wanted = [
        (stem + ending + suffix).casefold()
        for ending in ("", *MASK_ENDINGS)
        for suffix in ANNOTATION_SUFFIXES
    ]
    for place in folders:
        if not place.is_dir():
            continue
        is_home = place.resolve() == slide_path.parent.resolve()
        present = {
            p.name.casefold(): p
            for p in sorted(place.iterdir())
            if not (is_home and p.name == slide_path.name)
        }
        for name in wanted:
            if name in present:
                return present[name]
    endings = "|".join(MASK_ENDINGS)
    suffixes = "|".join(s.lstrip(".") for s in ANNOTATION_SUFFIXES)
    places = ", ".join(str(f) for f in folders)
    raise AnnotationError(
        f"no annotation for {slide_path.name} in {places}: tried {stem}[{endings}].({suffixes}); "
        "name the file after its slide"
    )


def slide_stem(path: Path) -> str:
    """Name of a slide file without its suffix, ``.ome.tiff`` taken as one."""
    name = path.name
    for suffix in _COMPOUND_SUFFIXES:
        if name.casefold().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem
