"""The demo's last step: outline a tumour on a slide as a user would, click by click."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from histosam_core.annotation import Annotation, read_annotations
from histosam_core.clicks import Click, next_click
from histosam_core.console import progress_bar
from histosam_core.errors import EmptyDatasetError
from histosam_core.geometry import Region
from histosam_core.metrics import iou
from histosam_core.model import load_model
from histosam_core.session import Session
from histosam_core.session.preview import save_preview
from histosam_core.slide import open_slide

if TYPE_CHECKING:
    from histosam_core.dataset import Patch, PatchStore
    from histosam_core.progress import ProgressCallback
    from histosam_core.recipes.synthetic.cohort import Cohort

MAX_CLICKS = 20
TARGET_IOU = 0.90


@dataclass(frozen=True, slots=True)
class Outline:
    """A slide outlined by simulated clicks."""

    # The files.
    slide: Path
    geojson: Path
    preview: Path
    n_clicks: int  # clicks given
    n_windows: int  # windows of the slide that they went to
    iou: float  # overlap with the truth in those windows, 0 to 1


def outline_slide(cohort: Cohort, store: PatchStore, checkpoint: Path, out: Path) -> Outline:
    """Outline tumour on a test slide; write slide, truth, outline and a picture into `out`."""
    patch = enclosed_patch(store)
    place = [slide.stem for slide in cohort.slides].index(patch.slide)
    out.mkdir(parents=True)
    slide_path, truth_path = (
        Path(shutil.copy(files[place], out)) for files in (cohort.slides, cohort.annotations)
    )
    geojson, preview = slide_path.with_suffix(".geojson"), out / f"{slide_path.stem}_preview.png"
    with open_slide(slide_path) as slide, progress_bar("Outline a slide") as progress:
        truth = read_annotations(truth_path).fitted(slide.size_wh)
        session = Session(slide, load_model(checkpoint))
        overlap = click_until_good(session, truth, first_click(patch, session), progress)
        n_clicks, n_windows = len(session.clicks), len(session.windows)
        accepted = session.accept(label="Tumor")
        session.save_geojson(geojson)
        save_preview(slide, accepted, preview)
    return Outline(slide_path, geojson, preview, n_clicks, n_windows, overlap)


def enclosed_patch(store: PatchStore) -> Patch:
    """Return the patch whose border has the least tumour: its object lies mostly inside it."""
    if not len(store):
        raise EmptyDatasetError(f"{store.name} holds no patch; try another --seed")
    return min(store, key=lambda patch: border_tumor(patch.gt_mask))


def border_tumor(gt_mask: NDArray[np.int8]) -> float:
    """Return the share of tumour among the outermost pixels of a truth, (H, W) of 1, 0, -1."""
    border = np.ones(gt_mask.shape, dtype=bool)
    border[1:-1, 1:-1] = False
    return float((gt_mask[border] == 1).mean())


def first_click(patch: Patch, session: Session) -> Click:
    """Return the click into the middle of the patch's tumour, level-0 pixels."""
    height, width = patch.gt_mask.shape
    frame = Region(patch.location_xy, (width, height), patch.mpp).frame(session.slide_mpp)
    click = next_click(patch.gt_mask, np.zeros((height, width), dtype=bool))
    return Click(frame.to_level0(click.xy), click.is_positive)


def click_until_good(
    session: Session, truth: Annotation, click: Click, progress: ProgressCallback
) -> float:
    """Click on the largest error of the latest window, then go back to the best state.

    Returns the overlap with the truth, 0 to 1, in the windows that were used.
    """
    overlaps: list[float] = []
    while True:
        mask, region = session.click(click.xy, click.is_positive)
        overlaps.append(overlap_in_windows(session, truth))
        done = MAX_CLICKS if overlaps[-1] >= TARGET_IOU else len(overlaps)
        progress(done, MAX_CLICKS, f"click {len(overlaps)}, IoU {overlaps[-1]:.2f}")
        if done == MAX_CLICKS:
            break
        frame = region.frame(session.slide_mpp)
        given = [Click(frame.from_level0(c.xy), c.is_positive) for c in session.clicks]
        wanted = next_click(truth_in(truth, region, session), mask, given)
        click = Click(frame.to_level0(wanted.xy), wanted.is_positive)
    best = int(np.argmax(overlaps))
    for _ in overlaps[best + 1 :]:
        session.undo()
    return overlaps[best]


def truth_in(truth: Annotation, region: Region, session: Session) -> NDArray[np.int8]:
    """Return the truth in a region, (h, w) int8 of 1, 0 and -1 (255 in an annotation: ignored)."""
    return truth.mask(region, session.slide_mpp).view(np.int8)


def overlap_in_windows(session: Session, truth: Annotation) -> float:
    """Return the overlap of mask and truth over all windows of the object, each pixel once."""
    side = session.grid.window_px
    corners = np.array([session.grid.location_of(window) for window in session.windows])
    low = corners.min(axis=0)
    width, height = (corners.max(axis=0) - low + side).tolist()
    unseen = np.ones((height, width), dtype=bool)
    for x, y in corners - low:
        unseen[y : y + side, x : x + side] = False
    first = session.grid.downsample * low
    box = Region((float(first[0]), float(first[1])), (width, height), session.grid.mpp)
    mask, _ = session.mask_region(box)
    return float(iou(truth_in(truth, box, session), mask, unseen))
