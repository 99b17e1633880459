"""Slides and the annotation files that belong to them, found by name."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from histosam_core.annotation.files import MASK_ENDINGS, find_annotation, slide_stem
from histosam_core.errors import AnnotationError, ConfigError, SlideNotFoundError

SLIDE_SUFFIXES = (
    ".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide",
    ".png", ".jpg", ".jpeg",
)  # fmt: skip

PathLike = str | os.PathLike[str]


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
    for place in (folder, folder / "slides"):
        if not place.is_dir():
            continue
        images = [
            p
            for p in sorted(place.iterdir())
            if p.suffix.casefold() in SLIDE_SUFFIXES and p.is_file() and not p.name.startswith(".")
        ]
        stems = {slide_stem(p).casefold() for p in images}
        slides = [p for p in images if not _is_mask(slide_stem(p).casefold(), stems)]
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
        Pairs were given together with an annotation folder.
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
    stems = [slide_stem(path) for path, _ in pairs]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise ConfigError(f"two slides are named {', '.join(twice)}; rename one of each")
    return pairs, notes


def _is_mask(stem: str, stems: set[str]) -> bool:
    return any(stem.endswith(e) and stem[: -len(e)] in stems for e in MASK_ENDINGS)
