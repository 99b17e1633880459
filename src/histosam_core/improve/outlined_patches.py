"""A user's slides and outlines to patches, split for training, validation and proof."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.annotation import PolygonAnnotation, find_annotation, read_annotations
from histosam_core.annotation.files import ANNOTATION_SUFFIXES, MASK_ENDINGS, find_pairs, slide_stem
from histosam_core.dataset import (
    ExtractionSummary,
    Patch,
    PatchSplit,
    PatchStore,
    extract_patches,
    read_split_file,
    split_patches,
)
from histosam_core.errors import AnnotationError, ConfigError, EmptyDatasetError
from histosam_core.improve.settings import PARTS, ImproveSettings
from histosam_core.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from histosam_core.dataset.plan import SlidePlan
    from histosam_core.model.interface import TrainingGeometry

Pair = tuple[Path, Path]


class RepeatedPatches(Sequence[Patch]):
    """A store in order, so many times over, so that an epoch of few patches is not over at once."""

    def __init__(self, store: PatchStore, times: int) -> None:
        self.store, self.times, self.geometry = store, times, store.geometry
        self.name = store.name if times == 1 else f"{store.name}, each {times} times"

    def __len__(self) -> int:
        return self.times * len(self.store)

    def __getitem__(self, index: Any) -> Any:
        """Read one patch, or a list of them for a slice; IndexError where there is none."""
        places = range(len(self))[index]
        if isinstance(places, range):
            return [self[place] for place in places]
        return self.store[places % len(self.store)]


def cut_patches(
    settings: ImproveSettings, geometry: TrainingGeometry, *, progress: ProgressCallback = silent
) -> tuple[ExtractionSummary, tuple[str, ...]]:
    """Cut and split the patches for a model of that geometry, unless that was done before.

    Returns what is in ``patches`` of the work's folder, and a line on each slide and annotation
    left out. Errors are those of `extract_patches`, also where nothing is outlined, or too little.
    """
    folder = settings.out / "patches"
    pairs, notes = annotated_slides(settings)
    if (folder / "dataset.json").is_file():
        return ExtractionSummary.load(folder), notes
    for cut_off in settings.out.glob(".patches-*"):
        shutil.rmtree(cut_off, ignore_errors=True)  # of a process that was killed
    cut = settings.extraction(geometry)

    def split(plans: Sequence[SlidePlan]) -> PatchSplit:
        return split_patches(
            plans,
            shares=settings.shares(),
            least=settings.least(),
            mpp=cut.mpp,
            patch_size_px=cut.patch_size_px,
        )

    stated = settings.split_file
    splits = split if stated is None else _stated_splits(stated)
    summary = extract_patches(pairs, folder, splits=splits, progress=progress, **dict(cut))
    for part, least in settings.least().items():
        n = summary.n_patches.get(part, 0)
        if n < least:
            raise EmptyDatasetError(
                f"{n} patches for {part} are too few, it needs {least}: give it more slides, "
                "outline more tumour, or use a smaller --stride"
            )
    return summary, notes


def annotated_slides(settings: ImproveSettings) -> tuple[list[Pair], tuple[str, ...]]:
    """Return the (slide, annotation) pairs, and a line on everything that has no counterpart.

    AnnotationError says that no slide has an annotation, or none of them outlines anything.
    """
    slides, annotations = settings.slides, settings.annotations
    folder = annotations[0] if len(annotations) == 1 and annotations[0].is_dir() else None
    if annotations and folder is None:
        if len(annotations) != len(slides) or any(slide.is_dir() for slide in slides):
            raise AnnotationError(
                f"no folder of annotations {annotations[0]}; give a folder, or slides and an "
                "annotation for each"
            )
        pairs, notes = find_pairs(list(zip(slides, annotations, strict=True)))
    elif len(slides) == 1:
        pairs, notes = find_pairs(slides[0], folder, skip_unannotated=True)
    else:
        found = [(slide, find_annotation(slide, folder)) for slide in slides]
        pairs, notes = find_pairs(found)
    if folder is not None:
        notes += [
            f"left out: {path.name} has no slide of that name in {slides[0]}"
            for path in _without_slide(folder, [slide for slide, _ in pairs])
        ]
    notes += _nothing_outlined(pairs, settings)
    return pairs, tuple(notes)


def _without_slide(folder: Path, slides: Sequence[Path]) -> list[Path]:
    """Annotation files of a folder that go with none of the slides."""
    stems = {slide_stem(slide).casefold() + e for slide in slides for e in ("", *MASK_ENDINGS)}
    names = {slide.name for slide in slides}
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.casefold() in ANNOTATION_SUFFIXES
        and path.is_file()
        and path.name not in names
        and slide_stem(path).casefold() not in stems
    ]


def _nothing_outlined(pairs: Sequence[Pair], settings: ImproveSettings) -> list[str]:
    """A note for each annotation without an outline; an error where that is all of them."""
    empty = []
    for _, path in pairs:
        annotation = read_annotations(path, labels=settings.labels)
        if isinstance(annotation, PolygonAnnotation) and not annotation.tumor_regions():
            empty.append(path)
    if len(empty) == len(pairs):
        shown = ", ".join(str(path) for path in empty[:3]) + (", ..." if len(empty) > 3 else "")
        raise AnnotationError(
            f"no tumour is outlined in {shown}; outline some, or accept objects in napari, and "
            "export them again"
        )
    return [f"{path.name} outlines no tumour" for path in empty]


def _stated_splits(path: Path) -> dict[str, str]:
    stated = read_split_file(path)
    left = sorted(set(PARTS) - set(stated.values()))
    if left:
        raise ConfigError(
            f"{path} gives no slide to {', '.join(left)}; the splits are {', '.join(PARTS)}"
        )
    return stated
