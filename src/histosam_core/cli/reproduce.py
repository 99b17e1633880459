"""`histosam reproduce`: a paper's tables, made again and laid beside the printed ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from histosam_core.cli.options import (
    FLAG,
    NOTHING,
    USUAL,
    Given,
    JobOptions,
    gather,
    options_of,
    run_job,
    takes,
)
from histosam_core.errors import ConfigError
from histosam_core.reproduce.settings import SYNTHETIC_MARK, ReproduceSettings

if TYPE_CHECKING:
    from histosam_core.job_events import JobEvents
    from histosam_core.reproduce import Survey

Paper = Literal["kim2023"]


@takes(options_of(ReproduceSettings))
def reproduce(
    paper: Annotated[Paper, Parameter(help="Which paper.")],
    *,
    given: Given = NOTHING,
    only: Annotated[
        tuple[str, ...],
        FLAG,
        Parameter(
            help="Methods, sets and stages, separated by commas: ritm,refining or zero_shot or "
            "camelyon16_x10. May be repeated; different kinds narrow each other down.",
        ),
    ] = (),
    dry_run: Annotated[
        bool, FLAG, Parameter(help="List the cells and what is missing; run nothing.")
    ] = False,
    synthetic: Annotated[
        bool,
        FLAG,
        Parameter(help="Try it all on synthetic slides with small networks."),
    ] = False,
    options: JobOptions = USUAL,
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
    from histosam_core.reproduce import Selection

    selection = Selection.parse(list(only))

    def work(job: JobEvents) -> Survey:
        from histosam_core.reproduce import look
        from histosam_core.reproduce import reproduce as run

        usual = _of_synthetic(given) if synthetic else {}
        settings = gather(ReproduceSettings, given, config=options.config, usual=usual)
        if synthetic:
            _make_synthetic(settings, job, is_dry=dry_run)
        if dry_run:
            view = look(settings, selection)
        else:
            view = run(settings, selection, bars=job.progress_bar, on_event=job.report)
        job.result(out=str(settings.out), **_counts(view))
        return view

    def show(view: Survey) -> None:
        from histosam_core.cli.reproduce_tables import show_result, show_survey

        (show_survey if dry_run else show_result)(view, selection)

    view = run_job(
        options,
        work,
        stopped=f"Stopped; what is finished is kept in {given.get('out', 'OUT')}. Go on with the "
        "same command",
        facts=_summary,
        show=show,
    )
    if not dry_run and any(view.by_key[cell.key].status != "done" for cell in selection.cells):
        raise SystemExit(1)


def _of_synthetic(given: Given) -> Mapping[str, Any]:
    """The settings of a synthetic run; options override them."""
    from histosam_core.recipes.stand_in_study import SyntheticPlan, synthetic_values

    own = [name for name in ("paip", "camelyon", "weights") if name in given]
    if own:
        raise ConfigError(f"--synthetic makes its own data and weights; leave out --{own[0]}")
    return synthetic_values(given["out"], SyntheticPlan()) if "out" in given else {}


def _make_synthetic(settings: ReproduceSettings, job: JobEvents, *, is_dry: bool) -> None:
    from histosam_core.recipes.stand_in_study import (
        SyntheticPlan,
        make_synthetic_folders,
        make_synthetic_weights,
    )
    from histosam_core.reproduce.run import check_folder

    made = settings.out / SYNTHETIC_MARK
    if is_dry:
        if not made.is_dir():
            raise ConfigError(
                f"no synthetic slides are in {settings.out} yet, and --dry-run makes none; leave "
                "--dry-run out"
            )
        return
    check_folder(settings)
    with job.progress_bar("Synthetic slides") as progress:
        make_synthetic_folders(made, SyntheticPlan(), seed=settings.seed, progress=progress)
    make_synthetic_weights(made / "weights", seed=settings.seed)


def _summary(view: Survey) -> dict[str, Any]:
    from histosam_core.reproduce.outputs import summary

    return summary(view)


def _counts(view: Survey) -> dict[str, int]:
    statuses = ("done", "begun", "to do", "not run", "not chosen")
    return {status.replace(" ", "_"): view.count(status) for status in statuses}
