"""What `histosam reproduce` prints: how the cells stand, and both tables."""

from __future__ import annotations

from textwrap import shorten
from typing import TYPE_CHECKING

from rich.table import Table

from histosam_core import console
from histosam_core.reproduce.kim2023 import METRICS, SETS, STAGES, TRAINING_PATCHES, methods_of
from histosam_core.reproduce.outputs import duration
from histosam_core.reproduce.paper_tables import number, rows_of

if TYPE_CHECKING:
    from histosam_core.reproduce.survey import CellState, Selection, Survey

MOST_MISSING = 8


def show_survey(view: Survey, selection: Selection) -> None:
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
            status = f"cut: {splits} ({_in_paper(one.key, one.n_patches)})"
        console.out.print(f"Patches, {one.title}: {status}", markup=False)
    _show_cells(view)
    _show_reasons([state for state in view.states if state.reason])
    _show_times(view, selection)


def show_result(view: Survey, selection: Selection) -> None:
    """Print both tables, ours and the paper's, and where the files are."""
    for stage, title in STAGES.items():
        for patch_set, rows in rows_of(view, stage).items():
            done = [row for row in rows if row.ours]
            if not done:
                continue
            headings = ["Method", *METRICS.values()]
            table = _table(f"{title}, {patch_set.title}", "ours, below the paper's", headings)
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
        table = _table(title, "", ["Method", *(one.title for one in SETS)])
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
    reasons: dict[str, list[str]] = {}
    for state in states:
        names = reasons.setdefault(state.reason, [])
        if state.cell.title not in names:
            names.append(state.cell.title)
    for reason, names in reasons.items():
        console.out.print(f"not run: {', '.join(names)}: {reason}", style="yellow", markup=False)


def _show_times(view: Survey, selection: Selection) -> None:
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
    by_words: dict[str, list[str]] = {}
    for method in (m for m in methods_of("finetuned") if m in tunings):
        left = view.seconds_of_tuning(method)
        words = unknown if left is None else f"about {duration(left)} more" if left else "done"
        by_words.setdefault(words, []).append(method.title)
    for words, titles in by_words.items():
        console.out.print(f"Fine-tuning, {words}: {', '.join(titles)}", markup=False)


def _in_paper(key: str, n_test: int) -> str:
    if key != "paip2019_x5":
        return f"{n_test} in the paper"
    numbers = (*TRAINING_PATCHES.values(), n_test)
    return f"{', '.join(map(str, numbers))} in the paper"


def _table(title: str, aside: str, headings: list[str]) -> Table:
    from rich.box import SIMPLE_HEAD

    table = Table(
        title=f"{title}  [dim]{aside}[/]",
        title_style="bold",
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
    )
    table.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        table.add_column(heading, justify="right")
    return table
