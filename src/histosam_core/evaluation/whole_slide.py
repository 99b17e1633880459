"""Evaluate a model on whole tumour regions of slides: a record per region, as per patch elsewhere.

The run folder is that of `evaluate`, so that tables, curves, comparisons and the report are made
from it all the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.annotation.files import SLIDE_SUFFIXES, find_pairs, slide_stem
from histosam_core.clicks.mask import MASK_THRESHOLD
from histosam_core.clicks.users import IDEAL, User
from histosam_core.errors import ConfigError, EmptyDatasetError, HistoSamError
from histosam_core.evaluation.annotated_slide import AnnotatedSlide, SlideSource
from histosam_core.evaluation.protocol.runners import Runner, stated_geometry
from histosam_core.evaluation.protocol.slide_trials import (
    ONE_FILE_FAILS,
    RegionJob,
    RegionWork,
)
from histosam_core.evaluation.protocol.trial import ProtocolSettings
from histosam_core.evaluation.records import EvaluationResult, RunWriter
from histosam_core.evaluation.run import new_header, record_run, runner_of, spread_indices
from histosam_core.evaluation.settings import DEFAULT_MIN_AREA_MM2
from histosam_core.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from histosam_core.evaluation.protocol.click_loop import Clock
    from histosam_core.model import InteractiveModel, TrainingGeometry

PathLike = str | os.PathLike[str]


@dataclass(slots=True)
class _Plan:
    """What there is to click on, and what was left out of it."""

    jobs: list[RegionJob]
    slides: list[dict[str, Any]]
    notes: list[str]
    left_out: dict[str, str]


def evaluate_slides(
    model: InteractiveModel | Runner | str,
    slides: PathLike | Iterable[tuple[PathLike, PathLike]],
    *,
    name: str,
    annotations: PathLike | None = None,
    out: PathLike | None = None,
    target_iou: float = 0.90,
    max_clicks: int = 20,
    min_clicks: int = 1,
    mask_threshold: float = MASK_THRESHOLD,
    grow_windows: int = 0,
    user: User = IDEAL,
    slide_mpp: float | None = None,
    labels: Sequence[str] | None = None,
    min_area_mm2: float = DEFAULT_MIN_AREA_MM2,
    limit: int | None = None,
    progress: ProgressCallback = silent,
    overwrite: bool = False,
    resume: bool = True,
    keep_finished: bool = False,
    clock: Clock = time.perf_counter,
    scheduler: str | None = None,
) -> EvaluationResult:
    """Click on every annotated tumour region of slides, through sessions; keep a row per click.

    Regions are groups of tumour pixels that touch at the model's resolution. Other tumour round a
    region counts neither for clicks nor for the IoU. A slide or region that cannot be read is left
    out, the rest goes on: ``header["left_out"]`` says which and why.

    Parameters
    ----------
    model
        Any `InteractiveModel`; or a model's name or path, with its decoder or without (see
        `parse_model`), which is loaded where it runs; or a `Runner`. The checkpoint's geometry
        decides resolution and windows.
    slides
        A folder of slides, one slide, or (slide, annotation) pairs.
    annotations
        Folder of the annotations; None: beside the slides (`find_annotation`). Slides without one
        are left out with a note.
    target_iou, max_clicks, min_clicks, mask_threshold, grow_windows
        See `ProtocolSettings`. Regions that span many windows need more clicks than a patch.
    user
        Who clicks, and how often on each region, with draws of its own for each region and repeat.
        Its pixels are those of the model's windows: 8 px are 16 um at 2 um per pixel.
    slide_mpp
        The slides' um per level-0 pixel, where their files state none or a wrong one.
    labels
        Classes that count as tumour; None: those whose name says so.
    min_area_mm2
        Smaller regions are left out and counted.
    progress
        Called with the regions done, each as often as the user clicks on it; after each click.
    name, out, limit, overwrite, resume, keep_finished, clock, scheduler
        As for `evaluate`, a region in the place of a patch.

    Returns
    -------
    EvaluationResult
        A record per region and repeat: its id is ``slide#number``, its clicks are pixels at the
        model's resolution from `location_xy` on.

    Raises
    ------
    SlideNotFoundError
        There is no slide.
    AnnotationError, MissingMppError, SlideError
        No slide is left: why the first one was left out.
    EmptyDatasetError
        No annotation has a tumour region of that size.
    ConfigError, OutputExistsError, OutputWriteError, PredictionError, SchedulerError
        As for `evaluate`.
    """
    settings = ProtocolSettings(target_iou, max_clicks, min_clicks, mask_threshold, grow_windows)
    if (limit is not None and limit < 1) or not min_area_mm2 >= 0:
        raise ConfigError(
            f"limit {limit} must be at least 1 and min_area_mm2 {min_area_mm2} not below 0"
        )
    if not isinstance(slides, str | os.PathLike):
        slides = list(slides)
    with runner_of(model, scheduler, clock=clock) as runner:
        geometry = stated_geometry(runner.described)
        pairs, notes = find_pairs(slides, annotations, skip_unannotated=True)
        notes += _without_slide(pairs, annotations)
        classes = None if labels is None else tuple(labels)
        sources = [
            SlideSource(slide.absolute(), annotation.absolute(), slide_mpp, classes)
            for slide, annotation in pairs
        ]
        plan = _plan(sources, geometry, min_area_mm2, progress)
        chosen = [plan.jobs[i] for i in spread_indices(len(plan.jobs), limit)]
        dataset = {
            "name": slides_name(slides),
            "path": str(slides) if isinstance(slides, str | os.PathLike) else "",
            "kind": "slides",
            "mpp": geometry.mpp,
            "min_area_mm2": min_area_mm2,
            "slide_mpp": slide_mpp,
            "labels": None if classes is None else list(classes),
            "slides": plan.slides,
            "n_patches": len(plan.jobs),
            "n_evaluated": len(chosen),
        }
        jobs = {job.index: job for job in chosen}
        work = RegionWork(jobs, geometry, settings, user)
        header = new_header(runner, work, name, dataset)
        header |= {"notes": [*notes, *plan.notes], "left_out": plan.left_out}
        with RunWriter(
            out, header, overwrite=overwrite, resume=resume, keep_finished=keep_finished
        ) as writer:
            return record_run(runner, work, list(jobs), writer, progress)


def slides_name(slides: PathLike | Iterable[tuple[PathLike, PathLike]]) -> str:
    """Return the name of a data set of slides: its folder's, or its only slide's."""
    if not isinstance(slides, str | os.PathLike):
        return "slides"
    path = Path(slides).absolute()
    if path.is_file():
        return slide_stem(path)
    return f"{path.parent.name}/slides" if path.name == "slides" else path.name


def _without_slide(pairs: Sequence[tuple[Path, Path]], annotations: PathLike | None) -> list[str]:
    """Return a note where a folder of annotations has some that no slide goes with."""
    if annotations is None:
        return []
    used = {annotation.resolve() for _, annotation in pairs} | {s.resolve() for s, _ in pairs}
    kinds = {".xml", ".geojson", *SLIDE_SUFFIXES}
    left = [
        path.name
        for path in sorted(Path(annotations).iterdir())
        if path.suffix.casefold() in kinds and path.is_file() and path.resolve() not in used
    ]
    if not left:
        return []
    more = f" and {len(left) - 3} more" if len(left) > 3 else ""
    return [f"no slide matches {', '.join(left[:3])}{more}; name each file after its slide"]


def _plan(
    sources: Sequence[SlideSource],
    geometry: TrainingGeometry,
    min_area_mm2: float,
    progress: ProgressCallback,
) -> _Plan:
    """Find every slide's regions; what cannot be read is left out.

    Raises what the first slide did where none can be read.
    """
    plan = _Plan([], [], [], {})
    errors: list[HistoSamError] = []
    n_small = 0
    for source in sources:
        progress(0, len(sources), f"finding regions: {source.slide.name}")
        try:
            with AnnotatedSlide(source, geometry) as slide:
                regions, n_below = slide.regions(min_area_mm2)
                plan.notes += slide.notes
                facts = {
                    "name": source.name,
                    "fingerprint": slide.slide.fingerprint,
                    "path": str(source.slide),
                    "annotation": str(source.annotation),
                }
        except ONE_FILE_FAILS as error:
            plan.left_out[source.name] = str(error)
            errors.append(error)
            continue
        n_small += n_below
        plan.slides.append({**facts, "n_regions": len(regions), "n_too_small": n_below})
        plan.jobs += [RegionJob(len(plan.jobs) + i, source, one) for i, one in enumerate(regions)]
    if n_small:
        plan.notes.append(f"regions below {min_area_mm2:g} mm2, not clicked on: {n_small}")
    if not plan.jobs:
        if errors:
            raise errors[0]
        raise EmptyDatasetError(
            f"no annotation of {len(sources)} slides outlines tumour of {min_area_mm2:g} mm2 or "
            "more; annotate some, or ask for smaller regions (--min-area)"
        )
    return plan
