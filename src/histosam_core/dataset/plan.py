"""Which patches of a slide to keep, decided before any of them is read.

The annotation is drawn once over the whole slide at a fiftieth of a patch; cells of the grid
that are far outside the wanted tumour share fall away there, cells without tissue on the slide's
overview next. Only for the rest is the annotation drawn at full patch resolution, and that mask
alone decides. Image pixels at patch resolution are read later, and only of what is kept.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from histosam_core.annotation import read_annotations
from histosam_core.annotation.files import slide_stem
from histosam_core.annotation.regions import IGNORE_VALUE, Annotation
from histosam_core.dataset.patches import SlideRecord
from histosam_core.errors import MissingMppError
from histosam_core.geometry import Region
from histosam_core.slide import best_level, open_slide, tissue_mask

if TYPE_CHECKING:
    from histosam_core.dataset.settings import ExtractionSettings
    from histosam_core.progress import ProgressCallback
    from histosam_core.slide import Slide

REASONS: Mapping[str, str] = {
    "too_little_tumor": "too little tumour",
    "too_much_tumor": "too much tumour",
    "too_little_tissue": "too little tissue",
    "ignored": "too few pixels that are not ignored",
}
_CELLS_PER_PATCH = 50
_OVERVIEW_MARGIN = 0.1  # the overview misjudges a patch's tumour share by far less
_PROGRESS_S = 0.2

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SlidePlan:
    """The n patches to cut from one slide."""

    record: SlideRecord
    annotation: Annotation  # fitted to the slide
    locations_xy: Floats  # (n, 2) level-0 pixels, row by row
    tumor_fraction: Floats  # (n,)
    tissue_fraction: Floats  # (n,)
    n_candidates: int  # cells of the grid
    rejected: Mapping[str, int]  # reason (a key of `REASONS`) to number of cells
    notes: tuple[str, ...]  # what was assumed or repaired


def open_for(path: Path, settings: ExtractionSettings) -> Slide:
    """Open a slide for extraction.

    Raises
    ------
    MissingMppError
        Neither the slide nor the settings state an mpp.
    """
    slide = open_slide(path, mpp=settings.slide_mpp)
    if slide.mpp is None:
        slide.close()
        raise MissingMppError(
            f"{path} states no mpp (um per pixel), so {settings.mpp} um per patch pixel cannot be "
            "cut; state it: slide_mpp=0.25, or --slide-mpp 0.25"
        )
    return slide


def gt_mask_of(
    annotation: Annotation, location_xy: tuple[float, float], size_px: int, mpp: float, slide: Slide
) -> npt.NDArray[np.int8]:
    """Draw a patch's truth: (size, size) int8, 1 tumour, 0 not, -1 ignore, by pixel centres."""
    labels = annotation.mask(Region(location_xy, (size_px, size_px), mpp), slide.mpp)
    mask = labels.astype(np.int8)
    mask[labels == IGNORE_VALUE] = -1
    return mask


def plan_slides(
    pairs: Sequence[tuple[Path, Path]],
    settings: ExtractionSettings,
    n_workers: int,
    progress: ProgressCallback,
) -> list[SlidePlan]:
    """Choose the patches of slides with their annotations, some at a time; see `plan_slide`.

    A slide may take minutes: `progress` is called again and again meanwhile, so that it may stop
    the work. While it waits, no slide is begun.
    """
    waiting = deque(enumerate(pairs))
    plans: dict[int, SlidePlan] = {}
    running: dict[Future[SlidePlan], int] = {}
    with ThreadPoolExecutor(n_workers, thread_name_prefix="plan") as pool:
        while waiting or running:
            while waiting and len(running) < n_workers:
                number, pair = waiting.popleft()
                running[pool.submit(plan_slide, *pair, settings)] = number
            name = pairs[min(running.values())][0].name
            progress(len(plans), len(pairs), f"choosing patches: {name}")
            for future in wait(running, _PROGRESS_S, FIRST_COMPLETED).done:
                plans[running.pop(future)] = future.result()
    return [plans[number] for number in range(len(pairs))]


def plan_slide(slide_path: Path, annotation_path: Path, settings: ExtractionSettings) -> SlidePlan:
    """Choose the patches of one slide.

    Raises
    ------
    AnnotationError
        The annotation cannot be read or matches no part of the slide.
    MissingMppError
        The slide's mpp is unknown.
    SlideError
        The slide cannot be read.
    """
    with open_for(slide_path, settings) as slide:
        annotation = read_annotations(annotation_path, labels=settings.labels)
        annotation = annotation.fitted(slide.size_wh, slide.path)
        mpp = float(slide.mpp or 0.0)
        if settings.known_within_um is not None:
            annotation = annotation.known_within(slide.size_wh, settings.known_within_um / mpp)
        downsample = settings.mpp / mpp
        notes = [f"{annotation_path.name}: {note}" for note in annotation.notes]
        if downsample < 0.99:
            notes.append(
                f"{slide_path.name} has {mpp:.3g} um per pixel: patches at {settings.mpp:.3g} um "
                "are enlarged"
            )
        columns, rows = (_grid(length, downsample, settings) for length in slide.size_wh)
        chosen, rejected = _choose(slide, annotation, columns, rows, downsample, settings)
        record = SlideRecord(
            name=slide_stem(slide_path),
            path=str(slide_path),
            annotation=str(annotation_path),
            fingerprint=slide.fingerprint,
            mpp=mpp,
            size_wh=(int(slide.size_wh[0]), int(slide.size_wh[1])),
            level=best_level(slide.levels, downsample).index,
            n_patches=len(chosen),
        )
    return SlidePlan(
        record=record,
        annotation=annotation,
        locations_xy=chosen[:, :2],
        tumor_fraction=chosen[:, 2],
        tissue_fraction=chosen[:, 3],
        n_candidates=columns.size * rows.size,
        rejected=rejected,
        notes=tuple(notes),
    )


def _grid(length: int, downsample: float, settings: ExtractionSettings) -> Floats:
    """Where the grid's cells begin along one axis, level-0 pixels; none reaches off the slide."""
    free = length / downsample - settings.patch_size_px
    # Rounding noise in mpp must not cost the last cell.
    n = math.floor((free + 0.5) / settings.stride_px) + 1 if free >= -0.5 else 0
    return np.arange(n, dtype=np.float64) * (settings.stride_px * downsample)


def _choose(
    slide: Slide,
    annotation: Annotation,
    columns: Floats,
    rows: Floats,
    downsample: float,
    settings: ExtractionSettings,
) -> tuple[Floats, dict[str, int]]:
    """(n, 4) x, y, tumour share and tissue share of the cells kept; reason to cells rejected."""
    low, high = settings.tumor_fraction
    size = settings.patch_size_px
    coarsening = max(1, size // _CELLS_PER_PATCH)
    width, height = (max(1, math.ceil(s / downsample / coarsening - 1e-6)) for s in slide.size_wh)
    overview = Region((0.0, 0.0), (width, height), settings.mpp * coarsening)
    x, y = columns / downsample / coarsening, rows / downsample / coarsening
    labels = annotation.mask(overview, slide.mpp)
    tumor = _shares(labels == 1, x, y, size / coarsening)
    ignored = _shares(labels == IGNORE_VALUE, x, y, size / coarsening)
    rejected = dict.fromkeys(REASONS, 0)
    candidates = np.ones(tumor.shape, dtype=bool)

    def reject(reason: str, cells: npt.NDArray[np.bool_]) -> None:
        rejected[reason] += int((candidates & cells).sum())
        candidates[cells] = False

    # Ignored pixels do not count, so a share that looks small may not be.
    reject("too_little_tumor", tumor + ignored < low - _OVERVIEW_MARGIN)
    reject("too_much_tumor", tumor > high + _OVERVIEW_MARGIN)
    if settings.min_known > 0:
        reject("ignored", ignored > 1 - settings.min_known + _OVERVIEW_MARGIN)
    tissue = np.ones_like(tumor)
    if settings.min_tissue > 0 and candidates.any():
        tissue = _shares(tissue_mask(slide.read_region(overview)), x, y, size / coarsening)
        reject("too_little_tissue", tissue < settings.min_tissue)

    chosen = []
    for row, column in np.argwhere(candidates).tolist():
        location = float(columns[column]), float(rows[row])
        mask = gt_mask_of(annotation, location, size, settings.mpp, slide)
        n_valid = int((mask >= 0).sum())
        fraction = float((mask == 1).sum()) / n_valid if n_valid else 0.0
        if n_valid < max(1, settings.min_known * mask.size):
            rejected["ignored"] += 1
        elif fraction < low:
            rejected["too_little_tumor"] += 1
        elif fraction > high:
            rejected["too_much_tumor"] += 1
        else:
            chosen.append((*location, fraction, float(tissue[row, column])))
    return np.array(chosen, dtype=np.float64).reshape(-1, 4), rejected


def _shares(mask: npt.NDArray[np.bool_], x: Floats, y: Floats, cell_px: float) -> Floats:
    """Share of set pixels in every cell of a grid: (rows, columns)."""
    height, width = mask.shape
    integral = cv2.integral(mask.view(np.uint8), sdepth=cv2.CV_64F)
    x0, x1 = (np.clip(np.rint(v).astype(int), 0, width) for v in (x, x + cell_px))
    y0, y1 = (np.clip(np.rint(v).astype(int), 0, height) for v in (y, y + cell_px))
    x1, y1 = np.maximum(x1, x0 + 1).clip(max=width), np.maximum(y1, y0 + 1).clip(max=height)
    along_y = integral[y1] - integral[y0]
    sums: Floats = along_y[:, x1] - along_y[:, x0]
    return sums / np.maximum(np.outer(y1 - y0, x1 - x0), 1)
