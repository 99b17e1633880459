"""`histosam evaluate`: simulated clicks on patches, for one model or several, and the report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from histosam_core.cli.evaluate_slides import (
    AnnotationsOption,
    LabelOption,
    MinAreaOption,
    MppOption,
    SchedulerOption,
    SlidesOption,
    end_left_out,
    evaluate_slides,
)
from histosam_core.job_events import ControlOption, EventsOption, JobEvents, job_events

if TYPE_CHECKING:
    from histosam_core.clicks import User
    from histosam_core.evaluation import EvaluationResult

__all__ = ["evaluate"]

UserKind = Literal["ideal", "jitter", "region"]


def evaluate(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model's name or a checkpoint's path; NAME@sam or NAME@refining takes that one "
            "of its decoders, LABEL=NAME gives it another name in the report. Repeat it to compare "
            "models."
        ),
    ] = None,
    patches: Annotated[
        list[Path] | None,
        typer.Option(help="A patch store that `histosam prepare` wrote. May be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the rows and the report; made if missing.")
    ] = None,
    target_iou: Annotated[
        float, typer.Option(help="Stop clicking at this IoU; above 1 means never.")
    ] = 0.90,
    max_clicks: Annotated[int, typer.Option(help="Clicks per patch at most.")] = 20,
    limit: Annotated[
        int | None, typer.Option(help="Patches per store at most, spread evenly over it.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Patches that advance together.")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace earlier results in the folder.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON instead of a table.")
    ] = False,
    report: Annotated[bool, typer.Option(help="Write report.html.")] = True,
    user: Annotated[
        UserKind,
        typer.Option(
            help="Who clicks: ideal (the middle of the deepest error), jitter (aims there and "
            "misses), region (anywhere in that error)."
        ),
    ] = "ideal",
    sigma: Annotated[
        float,
        typer.Option(
            help="With --user jitter: how far it misses, SD in patch pixels; on slides, in pixels "
            "at the model's resolution."
        ),
    ] = 8.0,
    repeats: Annotated[
        int | None,
        typer.Option(
            help="Times such a user clicks on each patch or region.  [default: 5; ideal: 1]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of such a user's draws.")] = 0,
    latex: Annotated[
        Path | None, typer.Option(help="Write the table for LaTeX to this file too.")
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps embeddings for other runs with the same encoder."),
    ] = None,
    from_rows: Annotated[
        Path | None,
        typer.Option(help="Make the report again from the rows in this folder; runs no model."),
    ] = None,
    slides: SlidesOption = None,
    annotations: AnnotationsOption = None,
    mpp: MppOption = None,
    label: LabelOption = None,
    min_area: MinAreaOption = None,
    scheduler: SchedulerOption = None,
    events: EventsOption = False,
    control: ControlOption = None,
) -> None:
    """Click on patches as a simulated user would, and count the clicks a model needs.

    Writes a row per click, the table as `summary.json`, `summary.csv` and `table.tex`, `curves.png`
    and a self-contained `report.html`. When it is stopped, the same command goes on where it was.

    **Examples**

        histosam evaluate --model histosam-tiny --patches data/liver/test.zarr --out results

        histosam evaluate --model histosam-tiny --model ours=runs/refining/best.safetensors
        --patches data/liver/test.zarr --patches data/lymph/test.zarr --out results

        histosam evaluate --model histosam-tiny@refining --model histosam-tiny@sam
        --patches data/liver/test.zarr --out decoders

        histosam evaluate --model histosam-tiny --slides slides --max-clicks 60 --out results

        histosam evaluate --model md=md.safetensors --model ours=ours.safetensors
        --patches data/liver/test.zarr --user jitter --sigma 8 --repeats 5 --out jittered

        histosam evaluate --model histosam-tiny --slides slides --max-clicks 60
        --user jitter --repeats 3 --out jittered

        histosam evaluate --from-rows results --latex table.tex
    """
    from histosam_core import console

    with job_events(events, control) as job:
        from histosam_core import evaluation
        from histosam_core.atomic import new_file
        from histosam_core.errors import ConfigError

        if from_rows is not None:
            if model or patches or slides:
                raise ConfigError(
                    "--from-rows runs no model; leave out --model, --patches and --slides"
                )
            results = evaluation.read_records(from_rows)
            out = out or from_rows
        elif slides is not None:
            if not model or patches or out is None:
                raise ConfigError("with --slides give --model and --out, and no --patches")
            if embeddings is not None:
                raise ConfigError("--embeddings go with --patches, not --slides")
            evaluation.ProtocolSettings(target_iou, max_clicks)
            results = evaluate_slides(
                labelled(model),
                slides,
                out,
                job,
                annotations=annotations,
                mpp=mpp,
                labels=label,
                min_area=min_area,
                target_iou=target_iou,
                max_clicks=max_clicks,
                user=who(user, sigma, repeats, seed),
                limit=limit,
                device=device,
                overwrite=overwrite,
                scheduler=scheduler,
            )
        else:
            if not model or not patches or out is None:
                raise ConfigError("give --model, --patches and --out (or --from-rows alone)")
            if annotations or mpp or label or min_area is not None:
                raise ConfigError(
                    "--annotations, --mpp, --label and --min-area go with --slides, not --patches"
                )
            evaluation.ProtocolSettings(target_iou, max_clicks)
            if embeddings is not None and scheduler is not None:
                raise ConfigError(
                    "--embeddings are kept here and do not help a scheduler's workers"
                )
            results = _run(
                labelled(model),
                patches,
                out,
                job,
                target_iou=target_iou,
                max_clicks=max_clicks,
                user=who(user, sigma, repeats, seed),
                limit=limit,
                batch_size=batch_size,
                device=device,
                overwrite=overwrite,
                scheduler=scheduler,
                embeddings=embeddings,
            )
        written = evaluation.write_outputs(results, out, report=report)
        if latex is not None:
            with new_file(latex) as temporary:
                temporary.write_text(evaluation.latex_table(results), encoding="utf-8")
        job.result(out=str(out), report=str(written[-1]) if report else None)
    if events or json:
        if json and not events:
            console.print_json(evaluation.summary_json(results))
        end_left_out(results)
        return
    console.out.print(evaluation.rich_table(results))
    if any(result.settings.target_iou < 0.90 for result in results):
        console.err.print("NoC@90 and NoF@90 need --target-iou 0.9 or more; they are left out")
    console.out.print(f"Open [bold]{written[-1]}[/]" if report else f"Wrote {written[0]}")
    end_left_out(results)


def who(kind: UserKind, sigma_px: float, repeats: int | None, seed: int) -> User:
    """Return the user that the options describe; one with draws repeats 5 times unless told."""
    from histosam_core.clicks import User

    usual = 1 if kind == "ideal" else 5
    return User(kind, sigma_px, usual if repeats is None else repeats, seed)


def labelled(models: list[str]) -> dict[str, str]:
    """Return label -> name or path, with the decoder where one was asked for.

    Labels are short, and different for different models.

    Raises
    ------
    ConfigError
        Two labels are the same, or there is no such decoder.
    CheckpointError
        A model does not have the decoder.
    """
    from histosam_core.errors import ConfigError
    from histosam_core.model.registry.model_choice import parse_model

    found: dict[str, str] = {}
    for text in models:
        label, separator, source = text.partition("=")
        choice = parse_model(source if separator else text)
        if not separator:
            label = choice.long_title if choice.is_plain or choice.title in found else choice.title
            source = text
        if not label or not source or label in found:
            raise ConfigError(
                f"--model {text}: the label {label!r} is empty or taken; write LABEL=NAME"
            )
        found[label] = source
    return found


def _run(
    models: dict[str, str],
    stores: list[Path],
    out: Path,
    job: JobEvents,
    *,
    target_iou: float,
    max_clicks: int,
    user: User,
    limit: int | None,
    batch_size: int,
    device: str,
    overwrite: bool,
    scheduler: str | None,
    embeddings: Path | None,
) -> list[EvaluationResult]:
    from histosam_core import evaluation
    from histosam_core.dataset import open_patches
    from histosam_core.embeddings.image_cache import EmbeddingCache
    from histosam_core.errors import ConfigError, OutputExistsError

    if (out / "summary.json").exists() and not overwrite:
        raise OutputExistsError(
            f"{out} holds the results of an evaluation; choose another folder or pass --overwrite"
        )
    opened = [open_patches(path) for path in stores]
    names = [str(store.name) for store in opened]
    if len(set(names)) < len(names):
        raise ConfigError(f"two patch stores are called {names}; give each its own name")
    folders = []
    # Several models may share an encoder; what one alone encodes, nobody asks for again.
    keep = scheduler is None and (len(models) > 1 or embeddings is not None)
    cache = EmbeddingCache(folder=embeddings) if keep else None
    for label, source in models.items():
        with evaluation.runner_of(source, scheduler, device=device, cache=cache) as runner:
            for store, dataset in zip(opened, names, strict=True):
                with job.progress_bar(f"{label} on {dataset}") as progress:
                    folder = out / "runs" / run_folder_name(label, dataset)
                    evaluation.evaluate(
                        runner,
                        store,
                        name=label,
                        out=folder,
                        target_iou=target_iou,
                        max_clicks=max_clicks,
                        user=user,
                        limit=limit,
                        batch_size=batch_size,
                        progress=progress,
                        overwrite=overwrite,
                        keep_finished=True,
                    )
                    folders.append(folder)
        del runner  # before the next model is loaded
    # The report is made from the rows on disk, so that it can be made again to the letter.
    return evaluation.read_records(folders)


def run_folder_name(label: str, dataset: str) -> str:
    """Return a folder name that every file system takes."""
    return "@".join(
        re.sub(r"[^\w.@-]+", "-", text).strip("-.") or "run" for text in (label, dataset)
    )
