"""`histosam evaluate --slides`: whole tumour regions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from histosam_core.clicks import User
    from histosam_core.evaluation import EvaluationResult
    from histosam_core.job_events import JobEvents

__all__ = [
    "AnnotationsOption",
    "LabelOption",
    "MinAreaOption",
    "MppOption",
    "SchedulerOption",
    "SlidesOption",
    "end_left_out",
    "evaluate_slides",
]

SlidesOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of annotated slides, or one slide: whole tumour regions instead of patches."
    ),
]
AnnotationsOption = Annotated[
    Path | None,
    typer.Option(help="With --slides: folder of their annotations; default: by the slides."),
]
MppOption = Annotated[
    float | None,
    typer.Option(
        "--mpp",
        "--slide-mpp",
        help="With --slides: micrometres per level-0 pixel, where slides state none.",
    ),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(help="With --slides: a class that counts as tumour; may be repeated."),
]
MinAreaOption = Annotated[
    float | None,
    typer.Option(help="With --slides: smaller regions are left out, in mm2.  [default: 0.01]"),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(help="Address of a dask scheduler whose workers do the clicking."),
]


def evaluate_slides(
    models: dict[str, str],
    slides: Path,
    out: Path,
    job: JobEvents,
    *,
    annotations: Path | None,
    mpp: float | None,
    labels: Sequence[str] | None,
    min_area: float | None,
    target_iou: float,
    max_clicks: int,
    user: User,
    limit: int | None,
    device: str,
    overwrite: bool,
    scheduler: str | None,
) -> list[EvaluationResult]:
    """Evaluate models one after the other, a run folder each; return what is on disk.

    Parameters
    ----------
    models
        Label -> name or path, with its decoder or without.
    slides, annotations, mpp, labels, min_area, target_iou, max_clicks, user, limit, overwrite
        See `histosam_core.evaluation.evaluate_slides`.
    out
        The folder of all runs.
    job
        Told the progress, and in a notice what was left out.
    device, scheduler
        See `runner_of`.
    """
    from histosam_core import evaluation
    from histosam_core.cli.evaluate import run_folder_name
    from histosam_core.errors import OutputExistsError
    from histosam_core.evaluation.settings import DEFAULT_MIN_AREA_MM2
    from histosam_core.evaluation.whole_slide import slides_name

    if (out / "summary.json").exists() and not overwrite:
        raise OutputExistsError(
            f"{out} holds the results of an evaluation; choose another folder or pass --overwrite"
        )
    folders = []
    told: set[str] = set()
    for label, source in models.items():
        dataset = slides_name(slides)
        with (
            evaluation.runner_of(source, scheduler, device=device) as runner,
            job.progress_bar(label) as progress,
        ):
            folder = out / "runs" / run_folder_name(label, dataset)
            result = evaluation.evaluate_slides(
                runner,
                slides,
                annotations=annotations,
                name=label,
                out=folder,
                target_iou=target_iou,
                max_clicks=max_clicks,
                user=user,
                slide_mpp=mpp,
                labels=labels or None,
                min_area_mm2=DEFAULT_MIN_AREA_MM2 if min_area is None else min_area,
                limit=limit,
                progress=progress,
                overwrite=overwrite,
                keep_finished=True,
            )
        for text in _to_tell(result):
            if text not in told:
                told.add(text)
                _tell(job, text)
        folders.append(folder)
    # The report is made from the rows on disk, so that it can be made again to the letter.
    return evaluation.read_records(folders)


def end_left_out(results: Sequence[EvaluationResult]) -> None:
    """End the command with 1 where something was left out that should have been evaluated."""
    n = len({what for result in results for what in result.header.get("left_out", {})})
    if n:
        from histosam_core.console import err

        err.print(f"[bold red]left out that should count: {n}[/]; the notes above say why")
        raise typer.Exit(1)


def _to_tell(result: EvaluationResult) -> list[str]:
    left_out = result.header.get("left_out", {})
    return [*result.header.get("notes", ()), *(f"left out: {why}" for why in left_out.values())]


def _tell(job: JobEvents, text: str) -> None:
    if job.wanted:
        job.emit({"event": "notice", "text": text})
        return
    from rich.markup import escape

    from histosam_core.console import err

    err.print(f"[yellow]note:[/] {escape(text)}")
