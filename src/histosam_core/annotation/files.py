"""Annotation files by their kind, slides in a folder, and which file belongs to which slide."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from histosam_core.annotation.formats import asap_xml, imagescope_xml
from histosam_core.annotation.formats.geojson import read_geojson
from histosam_core.annotation.formats.label_zarr_reader import is_zarr_folder, read_label_zarr
from histosam_core.annotation.formats.mask_tiff import read_mask_tiff
from histosam_core.annotation.formats.xml_rings import parse_xml
from histosam_core.errors import AnnotationError, ConfigError, SlideNotFoundError

if TYPE_CHECKING:
    from histosam_core.annotation.regions import Annotation

PathLike = str | os.PathLike[str]

ANNOTATION_SUFFIXES = (".geojson", ".json", ".xml", ".tif", ".tiff")
MASK_ENDINGS = (
    "_mask", "-mask", "_tumor", "_tumour", "_viable", "_whole", "_annotations", "_labels",
)  # fmt: skip
SLIDE_SUFFIXES = (
    ".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide",
    ".png", ".jpg", ".jpeg",
)  # fmt: skip
_XML_READERS = {
    asap_xml.ROOT_TAG: asap_xml.read_asap_xml,
    imagescope_xml.ROOT_TAG: imagescope_xml.read_imagescope_xml,
}


def read_annotations(path: PathLike, *, labels: Iterable[str] | None = None) -> Annotation:
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
    suffix = path.suffix.casefold()
    if is_zarr_folder(path):
        polygons = read_label_zarr(path)
    elif not path.is_file():
        raise AnnotationError(f"no annotation file {path}; check the name")
    elif path.stat().st_size == 0:
        raise AnnotationError(f"{path} is empty; export the annotation again")
    elif suffix in (".tif", ".tiff"):
        return read_mask_tiff(path)
    elif suffix in (".geojson", ".json"):
        polygons = read_geojson(path)
    elif suffix == ".xml":
        root = parse_xml(path).tag
        if root not in _XML_READERS:
            raise AnnotationError(
                f"{path} is neither ASAP's nor ImageScope's XML: its root is <{root}>; "
                "export the annotation as GeoJSON"
            )
        polygons = _XML_READERS[root](path)
    else:
        raise AnnotationError(
            f"{path} is not a known kind of annotation file; give one of "
            f"{', '.join(ANNOTATION_SUFFIXES)}"
        )
    polygons.labels = None if labels is None else tuple(labels)
    return polygons


def find_annotation(slide_path: PathLike, folder: PathLike | None = None) -> Path:
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
    home = slide_path.parent
    if folder is None:
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
    for place in filter(Path.is_dir, folders):
        is_home = place.resolve() == home.resolve()
        present = {
            p.name.casefold(): p
            for p in sorted(place.iterdir())
            if not (is_home and p.name == slide_path.name)
        }
        found = next((present[name] for name in wanted if name in present), None)
        if found is not None:
            return found
    endings = "|".join(MASK_ENDINGS)
    suffixes = "|".join(s.lstrip(".") for s in ANNOTATION_SUFFIXES)
    places = ", ".join(str(f) for f in folders)
    raise AnnotationError(
        f"no annotation for {slide_path.name} in {places}: tried {stem}[{endings}].({suffixes}); "
        "name the file after its slide"
    )


def find_slides(folder: PathLike) -> list[Path]:
    """Return the slides of a folder (or of its subfolder ``slides``), sorted by name.

    A file named as a slide plus one of `MASK_ENDINGS` is that slide's mask, not a slide.

    Raises
    ------
    SlideNotFoundError
        There is no such folder, or no slide in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SlideNotFoundError(f"no folder of slides {folder}; check the name")
    for place in filter(Path.is_dir, (folder, folder / "slides")):
        images = {
            p: slide_stem(p).casefold()
            for p in sorted(place.iterdir())
            if p.suffix.casefold() in SLIDE_SUFFIXES and p.is_file() and not p.name.startswith(".")
        }
        masks = {stem + ending for stem in images.values() for ending in MASK_ENDINGS}
        slides = [p for p, stem in images.items() if stem not in masks]
        if slides:
            return slides
    raise SlideNotFoundError(
        f"no slide in {folder}; it should hold files ending in {', '.join(SLIDE_SUFFIXES)}"
    )


def find_pairs(
    slides: PathLike | Iterable[tuple[PathLike, PathLike]],
    annotations: PathLike | None = None,
    *,
    skip_unannotated: bool = False,
) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Pair every slide with its annotation file; see `extract_patches` for the arguments.

    Return (slide, annotation) paths, in the slides' order, and a line for each slide left out.

    Raises
    ------
    SlideNotFoundError
        There is no slide.
    AnnotationError
        A slide has no annotation; the message lists the names that were tried.
    ConfigError
        Pairs were given together with an annotation folder, or two slides have one name.
    """
    notes: list[str] = []
    if not isinstance(slides, str | os.PathLike):
        if annotations is not None:
            raise ConfigError("give either (slide, annotation) pairs or an annotation folder")
        pairs = [(Path(slide), Path(annotation)) for slide, annotation in slides]
    else:
        paths = [Path(slides)] if Path(slides).is_file() else find_slides(slides)
        pairs = []
        for path in paths:
            try:
                pairs.append((path, find_annotation(path, annotations)))
            except AnnotationError as error:
                if not skip_unannotated:
                    raise
                notes.append(f"left out: {error}")
        if not pairs:
            raise AnnotationError(f"none of the {len(paths)} slides has an annotation; {notes[0]}")
    if not pairs:
        raise SlideNotFoundError("no slide was given; give a folder or (slide, annotation) pairs")
    check_names([slide_stem(path) for path, _ in pairs])
    return pairs, notes


def check_names(slides: Sequence[str]) -> None:
    """Make sure that slides can be told apart; ConfigError where two have one name."""
    twice = sorted({name for name in slides if slides.count(name) > 1})
    if twice:
        raise ConfigError(f"two slides are named {', '.join(twice)}; rename one of each")


def slide_stem(path: Path) -> str:
    """Name of a slide file without its suffix, ``.ome.tiff`` taken as one."""
    is_ome = path.suffix.casefold() in (".tiff", ".tif") and path.stem.casefold().endswith(".ome")
    return path.stem[: -len(".ome")] if is_ome else path.stem
