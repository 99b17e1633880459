"""`histosam reproduce`: a paper's tables, made again and laid beside the printed ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from histosam_core import console
from histosam_core.cli import options
from histosam_core.errors import ConfigError
from histosam_core.reproduce.kim2023 import METRICS, SETS, STAGES, TRAINING_PATCHES, methods_of
from histosam_core.reproduce.settings import SYNTHETIC_MARK, ReproduceSettings

if TYPE_CHECKING:
    from histosam_core.job_events import JobEvents
    from histosam_core.reproduce.survey import CellState, Selection, Survey

Paper = Literal["kim2023"]
MOST_MISSING = 8


@options.takes(options.options_of(ReproduceSettings))
def reproduce(
    paper: Annotated[Paper, Parameter(help="Which paper.")],
    *,
    given: options.Given = options.NOTHING,
    only: Annotated[
        tuple[str, ...],
        options.FLAG,
        Parameter(
            help="Methods, sets and stages, separated by commas: ritm,refining or zero_shot or "
            "camelyon16_x10. May be repeated; different kinds narrow each other down.",
        ),
    ] = (),
    dry_run: Annotated[
        bool, options.FLAG, Parameter(help="List the cells and what is missing; run nothing.")
    ] = False,
    synthetic: Annotated[
        bool,
        options.FLAG,
        Parameter(help="Try it all on synthetic slides with small networks."),
    ] = False,
    call: options.JobOptions = options.USUAL,
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
        settings = options.gather(ReproduceSettings, given, config=call.config, usual=usual)
        if synthetic:
            _make_synthetic(settings, job, is_dry=dry_run)
        if dry_run:
            view = look(settings, selection)
        else:
            view = run(settings, selection, bars=job.progress_bar, on_event=job.report)
        statuses = ("done", "begun", "to do", "not run", "not chosen")
        counts = {status.replace(" ", "_"): view.count(status) for status in statuses}
        job.result(out=str(settings.out), **counts)
        return view

    view = options.run_job(
        call,
        work,
        stopped=f"Stopped; what is finished is kept in {given.get('out', 'OUT')}. Go on with the "
        "same command",
        facts=_summary,
        show=lambda view: (_show_survey if dry_run else _show_result)(view, selection),
    )
    if not dry_run and any(view.by_key[cell.key].status != "done" for cell in selection.cells):
        raise SystemExit(1)


def _of_synthetic(given: options.Given) -> Mapping[str, Any]:
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


def _show_survey(view: Survey, selection: Selection) -> None:
    """Print the data that are there, the cells and how they stand, and what it will take."""
    for cohort, files in view.cohorts.items():
        if files is None:
            console.out.print(f"{cohort.upper()}: no folder given", markup=False)
            continue
        console.out.print(f"{files.name}: {files.described()}", markup=False)
        for line in files.missing[:MOST_MISSING]:
            console.out.print(f"  missing: {shorten(line, 160, placeholder=' ...')}", markup=False)
        if len(files.missing) > MOST_MISSING:
            more = len(files.missing) - MOST_MISSING
            console.out.print(f"  missing: {more} more files; --json lists them")
    for one in SETS:
        cut = view.patches.get(one.key)
        status = f"to be cut ({one.n_patches} in the paper)"
        if cut is not None:
            splits = ", ".join(f"{n} {split}" for split, n in cut.n_patches.items())
            others = TRAINING_PATCHES.values() if one.key == "paip2019_x5" else ()
            in_paper = ", ".join(str(n) for n in (*others, one.n_patches))
            status = f"cut: {splits} ({in_paper} in the paper)"
        console.out.print(f"Patches, {one.title}: {status}", markup=False)
    _show_cells(view)
    _show_reasons([state for state in view.states if state.reason])
    _show_times(view, selection)


def _show_result(view: Survey, selection: Selection) -> None:
    """Print both tables, ours and the paper's, and where the files are."""
    from histosam_core.reproduce.paper_tables import number, rows_of

    for stage, title in STAGES.items():
        for patch_set, rows in rows_of(view, stage).items():
            done = [row for row in rows if row.ours]
            if not done:
                continue
            headings = ["Method", *METRICS.values()]
            aside = "[dim]ours, below the paper's[/]"
            table = _table(f"{title}, {patch_set.title}  {aside}", headings)
            for row in done:
                cells = (
                    f"{number(row.ours[name], name)}\n[dim]{number(row.paper[name], name)}[/]"
                    for name in METRICS
                )
                table.add_row(row.state.cell.method.title, *cells)
            console.out.print(table)
            console.out.print()
    wanted = [view.by_key[cell.key] for cell in selection.cells]
    _show_reasons([state for state in wanted if state.reason])
    n_done = sum(state.status == "done" for state in wanted)
    console.out.print(f"{n_done} of {len(wanted)} cells are done")
    console.out.print(f"Open {view.settings.out / 'tables.html'}", markup=False)


def _show_cells(view: Survey) -> None:
    for stage, title in STAGES.items():
        table = _table(title, ["Method", *(one.title for one in SETS)])
        for method in methods_of(stage):
            states = [view.by_key[stage, one.key, method.key] for one in SETS]
            tuning = ""
            if stage == "finetuned":
                n, _ = view.begun.get(method.key, (0, 0.0))
                tuning = " [dim](tuned)[/]" if method.key in view.tuned else ""
                tuning = f" [dim]({n} of {view.settings.epochs} epochs)[/]" if n else tuning
            table.add_row(method.title + tuning, *(_short(state) for state in states))
        console.out.print()
        console.out.print(table)


def _short(state: CellState) -> str:
    if state.status == "begun":
        return f"begun, {state.n_done} of {state.n_patches}"
    if state.status == "to do":
        n = "" if state.n_patches is None else f", {state.n_patches} patches"
        return f"to do{n}"
    return state.status


def _show_reasons(states: list[CellState]) -> None:
    """Print each reason once, with the cells that it holds for."""
    reasons: dict[str, dict[str, None]] = defaultdict(dict)
    for state in states:
        reasons[state.reason][state.cell.title] = None
    for reason, names in reasons.items():
        console.out.print(f"not run: {', '.join(names)}: {reason}", style="yellow", markup=False)


def _show_times(view: Survey, selection: Selection) -> None:
    from histosam_core.reproduce.outputs import duration

    wanted = (view.by_key[cell.key] for cell in selection.cells)
    open_states = [state for state in wanted if state.is_open]
    if not open_states:
        return
    known = [state.seconds for state in open_states if state.seconds is not None]
    paper = sum(state.cell.paper_seconds(state.n_left) for state in open_states)
    console.out.print()
    console.out.print(
        f"{len(open_states)} cells to click: about {duration(paper)} at the pace of the paper's "
        "GPU (RTX A6000)"
    )
    if known:
        console.out.print(f"  {len(known)} of them about {duration(sum(known))} at the pace here")
    tunings = {s.cell.method for s in open_states if s.cell.method.stage == "finetuned"}
    budget = view.settings.max_minutes
    unknown = "time not known yet" if budget is None else f"at most {duration(60 * budget)} each"
    by_words: dict[str, list[str]] = defaultdict(list)
    for method in (m for m in methods_of("finetuned") if m in tunings):
        left = view.seconds_of_tuning(method)
        words = unknown if left is None else f"about {duration(left)} more" if left else "done"
        by_words[words].append(method.title)
    for words, titles in by_words.items():
        console.out.print(f"Fine-tuning, {words}: {', '.join(titles)}", markup=False)


def _table(title: str, headings: list[str]) -> Table:
    first, *others = headings
    return Table(
        Column(first, no_wrap=True),
        *(Column(heading, justify="right") for heading in others),
        title=title,
        title_style="bold",
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
    )
