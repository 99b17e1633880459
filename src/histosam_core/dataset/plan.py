"""Which patches of a slide to keep, decided before any of them is read.

The annotation is drawn once over the whole slide at a fiftieth of a patch; cells of the grid
that are far outside the wanted tumour share fall away there, cells without tissue on the slide's
overview next. Only for the rest is the annotation drawn at full patch resolution, and that mask
alone decides. Image pixels at patch resolution are read later, and only of what is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from histosam_core.annotation import read_annotations
from histosam_core.annotation.annotation import IGNORE_VALUE, Annotation
from histosam_core.annotation.files import slide_stem
from histosam_core.dataset.annotated_area import within_annotated_area
from histosam_core.dataset.patches import SlideRecord
from histosam_core.errors import MissingMppError
from histosam_core.geometry import Region
from histosam_core.slide import open_slide
from histosam_core.slide.levels import best_level
from histosam_core.slide.tissue import tissue_mask

if TYPE_CHECKING:
    from histosam_core.dataset.settings import ExtractionSettings
    from histosam_core.progress import ProgressCallback
    from histosam_core.slide import Slide

__all__ = ["REASONS", "SlidePlan", "gt_mask_of", "open_for", "plan_slide", "plan_slides"]

REASONS: Mapping[str, str] = {
    "too_little_tumor": "too little tumour",
    "too_much_tumor": "too much tumour",
    "too_little_tissue": "too little tissue",
    "ignored": "too few pixels that are not ignored",
}
_CELLS_PER_PATCH = 50
# The overview misjudges a patch's tumour share by far less than this.
_OVERVIEW_MARGIN = 0.1
_OVERVIEW_READ_PX = 1 << 25
_BEAT_S = 0.2

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SlidePlan:
    """The patches to cut from one slide.

    Parameters
    ----------
    record
        The slide; `n_patches` is the number kept.
    annotation
        Its annotation, fitted to it.
    locations_xy
        (n, 2) level-0 pixels, row by row.
    tumor_fraction, tissue_fraction
        (n,) each.
    n_candidates
        Cells of the grid.
    rejected
        Reason (a key of `REASONS`) to number of cells.
    notes
        What was assumed or repaired.
    """

    record: SlideRecord
    annotation: Annotation
    locations_xy: Floats
    tumor_fraction: Floats
    tissue_fraction: Floats
    n_candidates: int
    rejected: Mapping[str, int]
    notes: tuple[str, ...]


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
    region = Region(location_xy, (size_px, size_px), mpp)
    labels = annotation.mask(region, slide.mpp)
    mask = labels.astype(np.int8)
    mask[labels == IGNORE_VALUE] = -1
    return mask


def plan_slides(
    pairs: Sequence[tuple[Path, Path]],
    settings: ExtractionSettings,
    pool: ThreadPoolExecutor,
    progress: ProgressCallback,
) -> list[SlidePlan]:
    """Choose the patches of slides with their annotations, some at a time; see `plan_slide`.

    A slide may take minutes: `progress` is told the same again and again meanwhile, so that it may
    stop the work. While it waits, no slide is begun.
    """
    gate = Lock()  # shut while `progress` is told

    def plan(slide_path: Path, annotation_path: Path) -> SlidePlan:
        with gate:
            pass
        return plan_slide(slide_path, annotation_path, settings)

    plans = []
    planned = [pool.submit(plan, *pair) for pair in pairs]
    for done, future in enumerate(planned):
        while True:
            with gate:
                progress(done, len(pairs), f"choosing patches: {pairs[done][0].name}")
            if wait([future], _BEAT_S).done:
                break
        plans.append(future.result())
    return plans


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
        # The annotation must belong to this slide: AnnotationError where it does not.
        annotation = read_annotations(annotation_path, labels=settings.labels)
        annotation = annotation.fitted(slide.size_wh, slide.path)
        mpp = float(slide.mpp or 0.0)
        if settings.known_within_um is not None:
            margin_px = settings.known_within_um / mpp
            annotation = within_annotated_area(annotation, slide.size_wh, margin_px)
        downsample = settings.mpp / mpp
        notes = [f"{annotation_path.name}: {note}" for note in annotation.notes]
        if downsample < 0.99:
            notes.append(
                f"{slide_path.name} has {mpp:.3g} um per pixel: patches at {settings.mpp:.3g} um "
                "are enlarged"
            )
        columns, rows = _grid(slide.size_wh, downsample, settings)
        kept, rejected = _select(slide, annotation, columns, rows, downsample, settings)
        locations, tumor, tissue = kept
        record = SlideRecord(
            name=slide_stem(slide_path),
            path=str(slide_path),
            annotation=str(annotation_path),
            fingerprint=slide.fingerprint,
            mpp=mpp,
            size_wh=(int(slide.size_wh[0]), int(slide.size_wh[1])),
            level=best_level(slide.levels, downsample).index,
            n_patches=len(locations),
        )
    return SlidePlan(
        record=record,
        annotation=annotation,
        locations_xy=locations,
        tumor_fraction=tumor,
        tissue_fraction=tissue,
        n_candidates=columns.size * rows.size,
        rejected=rejected,
        notes=tuple(notes),
    )


def _grid(
    size_wh: tuple[int, int], downsample: float, settings: ExtractionSettings
) -> tuple[Floats, Floats]:
    """Level-0 x of the grid's columns and y of its rows; only patches wholly on the slide."""
    axes = []
    for length in size_wh:
        free = length / downsample - settings.patch_size_px
        # Rounding noise in mpp must not cost the last column.
        n = math.floor((free + 0.5) / settings.stride_px) + 1 if free >= -0.5 else 0
        axes.append(np.arange(n, dtype=np.float64) * (settings.stride_px * downsample))
    return axes[0], axes[1]


def _select(
    slide: Slide,
    annotation: Annotation,
    columns: Floats,
    rows: Floats,
    downsample: float,
    settings: ExtractionSettings,
) -> tuple[tuple[Floats, Floats, Floats], dict[str, int]]:
    low, high = settings.tumor_fraction
    size = settings.patch_size_px
    rejected = dict.fromkeys(REASONS, 0)
    coarsening = max(1, size // _CELLS_PER_PATCH)
    overview = _overview_region(slide.size_wh, downsample, coarsening, settings.mpp)
    labels = annotation.mask(overview, slide.mpp)
    cell_px = size / coarsening
    x, y = columns / downsample / coarsening, rows / downsample / coarsening
    tumor = _shares(labels == 1, x, y, cell_px)
    ignored = _shares(labels == IGNORE_VALUE, x, y, cell_px)
    # Ignored pixels do not count, so a share that looks small may not be.
    too_little = tumor + ignored < low - _OVERVIEW_MARGIN
    too_much = tumor > high + _OVERVIEW_MARGIN
    rejected["too_little_tumor"] = int(too_little.sum())
    rejected["too_much_tumor"] = int(too_much.sum())
    candidates = ~(too_little | too_much)
    if settings.min_known > 0:
        unknown = candidates & (ignored > 1 - settings.min_known + _OVERVIEW_MARGIN)
        rejected["ignored"] = int(unknown.sum())
        candidates &= ~unknown

    tissue = np.ones_like(tumor)
    if settings.min_tissue > 0 and candidates.any():
        tissue = _shares(tissue_mask(_read_overview(slide, overview)), x, y, cell_px)
        bare = candidates & (tissue < settings.min_tissue)
        rejected["too_little_tissue"] = int(bare.sum())
        candidates &= ~bare

    locations, fractions, tissue_kept = [], [], []
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
            locations.append(location)
            fractions.append(fraction)
            tissue_kept.append(float(tissue[row, column]))
    kept = (
        np.array(locations, dtype=np.float64).reshape(-1, 2),
        np.array(fractions, dtype=np.float64),
        np.array(tissue_kept, dtype=np.float64),
    )
    return kept, rejected


def _overview_region(
    size_wh: tuple[int, int], downsample: float, coarsening: int, mpp: float
) -> Region:
    width, height = (max(1, math.ceil(s / downsample / coarsening - 1e-6)) for s in size_wh)
    return Region((0.0, 0.0), (width, height), mpp * coarsening)


def _read_overview(slide: Slide, overview: Region) -> npt.NDArray[np.uint8]:
    """Read the overview by strips, so that a slide without a pyramid never sits in memory."""
    width, height = overview.size_wh
    downsample = overview.downsample(slide.mpp)
    enlargement = downsample / best_level(slide.levels, downsample).downsample
    rows = max(1, int(_OVERVIEW_READ_PX / (width * max(1.0, enlargement) ** 2)))
    strips = [
        slide.read_region(
            Region(
                (overview.location_xy[0], overview.location_xy[1] + row * downsample),
                (width, min(rows, height - row)),
                overview.mpp,
            )
        )
        for row in range(0, height, rows)
    ]
    return np.concatenate(strips)


def _shares(mask: Bools, x: Floats, y: Floats, cell_px: float) -> Floats:
    """Share of set pixels in every cell of a grid: (rows, columns), by an integral image."""
    height, width = mask.shape
    integral = np.zeros((height + 1, width + 1), dtype=np.int64)
    np.cumsum(np.cumsum(mask, axis=0, dtype=np.int64), axis=1, out=integral[1:, 1:])
    x0, x1 = (np.clip(np.rint(v).astype(int), 0, width) for v in (x, x + cell_px))
    y0, y1 = (np.clip(np.rint(v).astype(int), 0, height) for v in (y, y + cell_px))
    x1, y1 = np.maximum(x1, x0 + 1).clip(max=width), np.maximum(y1, y0 + 1).clip(max=height)
    sums = (
        integral[np.ix_(y1, x1)]
        - integral[np.ix_(y0, x1)]
        - integral[np.ix_(y1, x0)]
        + integral[np.ix_(y0, x0)]
    )
    areas = np.outer(y1 - y0, x1 - x0)
    shares: Floats = sums / np.maximum(areas, 1)
    return shares
