"""A region of a slide once more: its pixels, and the mask after each recorded click.

As `walkthrough`, for the records of `evaluate_slides`. A region may have a hundred million pixels,
of which a screen shows few: image, truth and masks are thinned, the IoUs are counted on all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from histosam_core.clicks.mask import MASK_THRESHOLD
from histosam_core.errors import EvaluationRecordsError
from histosam_core.evaluation.annotated_slide import AnnotatedSlide, SlideSource
from histosam_core.evaluation.protocol.runners import stated_geometry
from histosam_core.evaluation.protocol.slide_trials import click_on_region, open_session
from histosam_core.evaluation.walkthrough import RecordedClicks, Walkthrough
from histosam_core.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from histosam_core.clicks import Click
    from histosam_core.evaluation.protocol.trial import Trial
    from histosam_core.evaluation.records import EvaluationResult, PatchRecord
    from histosam_core.evaluation.slide_regions import RegionTruth
    from histosam_core.model import InteractiveModel, TrainingGeometry

LONGEST_PX = 2048
Pixel = TypeVar("Pixel", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class RegionPicture:
    """A region of a slide to be looked at."""

    # The slide and its annotation, and the scale and windows that it was clicked on with.
    source: SlideSource
    geometry: TrainingGeometry
    truth: RegionTruth  # the region, all its pixels
    image: NDArray[np.uint8]  # (h, w, 3) uint8 RGB, one pixel for `step` x `step` of the truth's
    step: int  # how far image and masks are thinned
    mpp: float  # micrometres per pixel of the truth


def open_region(
    result: EvaluationResult, record: PatchRecord, *, longest_px: int = LONGEST_PX
) -> RegionPicture:
    """Read a region of a whole-slide run.

    Parameters
    ----------
    result, record
        From `evaluate_slides`, or read back, and one of its regions.
    longest_px
        Of the image's sides at most.

    Raises
    ------
    EvaluationRecordsError
        The run does not say where the slide is, or its annotation outlines other regions now.
    AnnotationError, SlideError
        The slide or its annotation cannot be read.
    """
    dataset, checkpoint = result.header.get("dataset", {}), result.header.get("checkpoint", {})
    facts = {one.get("name"): one for one in dataset.get("slides", ())}.get(record.slide, {})
    if "path" not in facts or "annotation" not in facts:
        raise EvaluationRecordsError(
            f"the records of {result.dataset} do not say where slide {record.slide} is; evaluate "
            "the slides again"
        )
    labels = dataset.get("labels")
    source = SlideSource(
        Path(facts["path"]),
        Path(facts["annotation"]),
        dataset.get("slide_mpp"),
        None if labels is None else tuple(labels),
    )
    geometry = stated_geometry(checkpoint)
    with AnnotatedSlide(source, geometry) as slide:
        regions, _ = slide.regions(float(dataset.get("min_area_mm2", 0.0)))
        wanted = [one for one in regions if f"{source.name}#{one.number}" == record.patch_id]
        truth = slide.truth(wanted[0]) if wanted else None
        if truth is None or truth.region(slide.grid).location_xy != record.location_xy:
            raise EvaluationRecordsError(
                f"{source.annotation} no longer outlines {record.patch_id} as it did; evaluate the "
                "slides again"
            )
        step = max(1, -(-max(truth.mask.shape) // longest_px))
        height, width = thin(truth.mask, step).shape
        place = truth.region(slide.grid, step)
        image = slide.slide.read_frame(place.frame(slide.scale.mpp), (width, height))
        return RegionPicture(source, geometry, truth, image, step, slide.grid.mpp)


def walk_through_region(
    model: InteractiveModel,
    region: RegionPicture,
    clicks: Sequence[Click],
    *,
    mask_threshold: float = MASK_THRESHOLD,
    progress: ProgressCallback = silent,
) -> Walkthrough:
    """Give recorded clicks to a session on the slide, and keep every mask, thinned.

    Parameters
    ----------
    model
        Any `InteractiveModel`; it sees windows of the run's scale, whatever its own is.
    region, clicks
        From `open_region`, and of its record: pixels (x, y) of the truth.
    mask_threshold, progress
        See `walk_through`.

    Raises
    ------
    ConfigError
        There is no click.
    PredictionError
        The model's answer cannot be used.
    SlideError
        The slide cannot be read.
    """
    user, n = RecordedClicks(clicks), len(clicks)
    settings = user.settings(mask_threshold)
    masks = np.zeros((n, *thin(region.truth.mask, region.step).shape), dtype=bool)
    progress(0, n)

    def on_click(trial: Trial) -> None:
        masks[len(trial.ious) - 1] = thin(trial.mask, region.step)
        progress(len(trial.ious), n)

    with AnnotatedSlide(region.source, region.geometry) as slide:
        session = open_session(slide, model, settings)
        run = click_on_region(session, region.truth, settings, user=user, on_click=on_click)
    return Walkthrough(tuple(clicks), masks, run.ious)


def thin(pixels: NDArray[Pixel], step: int) -> NDArray[Pixel]:
    """Return every `step`-th pixel of (H, W), from the middle of the first on."""
    return pixels[step // 2 :: step, step // 2 :: step]
