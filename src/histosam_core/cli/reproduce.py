"""`histosam reproduce`: a paper's tables, made again and laid beside the printed ones."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from histosam_core.cli import options  # noqa: TC001 - typer reads the annotations
from histosam_core.job_events import ControlOption, EventsOption, JobEvents, job_events

if TYPE_CHECKING:
    from histosam_core.reproduce import ReproduceSettings, Selection, Survey

__all__ = ["reproduce"]

Paper = Literal["kim2023"]


def reproduce(
    paper: Annotated[Paper, typer.Argument(help="Which paper: kim2023.")],
    out: Annotated[Path, typer.Option(help="Folder for patches, runs and tables.")],
    paip: Annotated[
        Path | None, typer.Option(help="PAIP2019: the unpacked Training_phase_* folders.")
    ] = None,
    camelyon: Annotated[
        Path | None, typer.Option(help="CAMELYON16: slides and annotations, in any layout.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Folder of published weights, by their official file names."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Other weights to start from, FAMILY=NAME or FAMILY=FILE; the families are ritm, "
            "focalclick, simpleclick and sam. May be repeated."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Methods, sets and stages, divided by commas: ritm,refining or zero_shot or "
            "camelyon16_x10. May be repeated; different kinds narrow each other down."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells and what is missing; do nothing.")
    ] = False,
    synthetic: Annotated[
        bool,
        typer.Option(
            "--synthetic", help="On synthetic slides with small networks: whether it all works."
        ),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(help="Patches of each test set, for a quick look.")
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(help="End each fine-tuning within this time.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Of each fine-tuning (default: 30).")] = None,
    paip_mask: Annotated[
        str | None, typer.Option(help="viable or whole: what is tumour (default: viable).")
    ] = None,
    paip_splits: Annotated[
        Path | None,
        typer.Option(help="CSV with the columns slide,split, instead of a draw by slide."),
    ] = None,
    camelyon_part: Annotated[
        str | None, typer.Option(help="testing, training or both (default: testing).")
    ] = None,
    keep_partial: Annotated[
        bool,
        typer.Option("--keep-partial", help="Use slides with unfinished annotations too."),
    ] = False,
    stride: Annotated[
        int | None, typer.Option(help="Step of the grid in patch pixels (default: 400).")
    ] = None,
    min_tissue: Annotated[
        float | None, typer.Option(help="Least share of tissue (default: 0).")
    ] = None,
    max_clicks: Annotated[
        int | None, typer.Option(help="Clicks per patch at most (default: 20).")
    ] = None,
    mask_threshold: Annotated[
        float | None, typer.Option(help="A mask is where the probability exceeds it (0.49).")
    ] = None,
    failures: Annotated[
        str | None,
        typer.Option(help="ritm or true: whether the last click may count (default: ritm)."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Patches clicked on together (default: 1).")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Of every fine-tuning, NAME=VALUE; may be repeated. See docs/finetuning."
        ),
    ] = None,
    seed: options.SeedOption = None,
    workers: Annotated[
        int | None, typer.Option(help="Threads that read slides (default: one per core, 8 most).")
    ] = None,
    device: options.DeviceOption = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON instead of a table.")
    ] = False,
    events: EventsOption = False,
    control: ControlOption = None,
) -> None:
    """Cut the paper's patches, count clicks, fine-tune, count again; write both tables.

    Cells that are done are kept: when it is stopped, or when weights or slides have come, the same
    command goes on. The tables stand in OUT as tables.html, tables.csv and LaTeX, summary.json has
    everything.

    **Examples**

        histosam reproduce kim2023 --paip PAIP2019 --camelyon CAMELYON16 --weights weights
        --out kim2023 --dry-run

        histosam reproduce kim2023 --paip PAIP2019 --camelyon CAMELYON16 --weights weights
        --out kim2023 --device cuda

        histosam reproduce kim2023 --camelyon CAMELYON16 --weights weights --out look
        --only sam,ritm --only zero_shot --limit 20

        histosam reproduce kim2023 --synthetic --out synthetic
    """
    from histosam_core import console
    from histosam_core.reproduce import Selection

    given: dict[str, Any] = {
        "paip": paip,
        "camelyon": camelyon,
        "weights": weights,
        "models": _models(model or []) or None,
        "limit": limit,
        "max_minutes": max_minutes,
        "epochs": epochs,
        "paip_mask": paip_mask,
        "paip_split_file": paip_splits,
        "camelyon_part": camelyon_part,
        "keep_partial": keep_partial or None,
        "stride_px": stride,
        "min_tissue": min_tissue,
        "max_clicks": max_clicks,
        "mask_threshold": mask_threshold,
        "failures": failures,
        "batch_size": batch_size,
        "seed": seed,
        "workers": workers,
        "device": device,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    chosen |= _of_synthetic(out, chosen) if synthetic else {}
    selection = Selection.parse(only or [])
    view: Survey | None = None
    with suppress(KeyboardInterrupt), job_events(events, control) as job:
        settings = gather_settings(out, chosen, setting or [])
        if synthetic and not dry_run:
            _make_synthetic(settings, job)
        elif synthetic:
            _check_made(settings)
        view = _run(settings, selection, job, is_dry=dry_run)
        job.result(out=str(out), **_counts(view))
    if view is None:
        console.err.print(
            f"Stopped; what is finished is kept in {out}. Go on with the same command"
        )
        raise typer.Exit(1)
    if json and not events:
        from histosam_core.reproduce.outputs import summary

        console.print_json(summary(view))
    elif not events:
        from histosam_core.cli.reproduce_tables import show_result, show_survey

        if dry_run:
            show_survey(view, selection)
        else:
            show_result(view, selection)
    if not dry_run and any(view.by_key[cell.key].status != "done" for cell in selection.cells):
        raise typer.Exit(1)


def _models(texts: list[str]) -> dict[str, str]:
    """Read FAMILY=NAME of `--model`."""
    from histosam_core.errors import ConfigError

    models = {}
    for text in texts:
        family, separator, name = text.partition("=")
        if not (separator and family and name):
            raise ConfigError(f"--model {text}: write FAMILY=NAME, such as ritm=ritm_h18s")
        models[family] = name
    return models


def gather_settings(out: Path, chosen: dict[str, Any], extra: list[str]) -> ReproduceSettings:
    """Merge the options with the settings of fine-tunings that `--set` gives.

    Raises
    ------
    ConfigError
        A value is malformed, or settings are wrong.
    """
    from histosam_core.cli.finetune import parse_settings
    from histosam_core.reproduce import ReproduceSettings

    tuning = dict(chosen.get("tuning", {}))
    parse_settings(extra, tuning)
    return ReproduceSettings(out=out, **{**chosen, "tuning": tuning})


def _of_synthetic(out: Path, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a synthetic run; options go before its own."""
    from histosam_core.errors import ConfigError
    from histosam_core.recipes.stand_in_study import SyntheticPlan, synthetic_values

    own = [name for name in ("paip", "camelyon", "weights") if name in chosen]
    if own:
        raise ConfigError(f"--synthetic makes its own data and weights; leave out --{own[0]}")
    usual = synthetic_values(out, SyntheticPlan())
    models = {**usual["models"], **chosen.get("models", {})}
    return {**usual, **chosen, "models": models}


def _make_synthetic(settings: ReproduceSettings, job: JobEvents) -> None:
    from histosam_core.recipes.stand_in_study import (
        SyntheticPlan,
        make_synthetic_folders,
        make_synthetic_weights,
    )
    from histosam_core.reproduce.run import check_folder
    from histosam_core.reproduce.settings import SYNTHETIC_MARK

    check_folder(settings)
    made = settings.out / SYNTHETIC_MARK
    with job.progress_bar("Synthetic slides") as progress:
        make_synthetic_folders(made, SyntheticPlan(), seed=settings.seed, progress=progress)
    make_synthetic_weights(made / "weights", seed=settings.seed)


def _check_made(settings: ReproduceSettings) -> None:
    """Make sure that there is something to look at."""
    from histosam_core.errors import ConfigError
    from histosam_core.reproduce.settings import SYNTHETIC_MARK

    if not (settings.out / SYNTHETIC_MARK).is_dir():
        raise ConfigError(
            f"no synthetic slides are in {settings.out} yet, and --dry-run makes none; leave "
            "--dry-run out"
        )


def _run(
    settings: ReproduceSettings, selection: Selection, job: JobEvents, *, is_dry: bool
) -> Survey:
    from histosam_core import console
    from histosam_core.reproduce import look
    from histosam_core.reproduce import reproduce as run

    if is_dry:
        return look(settings, selection)

    def tell(event: Mapping[str, object]) -> None:
        job.emit(event)
        if event["event"] == "notice" and not job.wanted:
            console.err.print(f"note: {event['text']}", style="yellow", markup=False)

    return run(settings, selection, bars=job.progress_bar, on_event=tell)


def _counts(view: Survey) -> dict[str, int]:
    statuses = ("done", "begun", "to do", "not run", "not chosen")
    return {status.replace(" ", "_"): view.count(status) for status in statuses}
