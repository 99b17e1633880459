"""Both tables as numbers beside the paper's, as CSV, and as LaTeX (booktabs)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from histosam_core.evaluation.report.exports import latex_text
from histosam_core.metrics import failure_rate, noc
from histosam_core.reproduce.kim2023 import (
    METRICS,
    SETS,
    STAGES,
    STAGES_IN_FILE,
    PatchSet,
    Stage,
    methods_of,
    paper_figures,
)

if TYPE_CHECKING:
    from histosam_core.reproduce.settings import FailureCount
    from histosam_core.reproduce.survey import Survey
    from histosam_core.reproduce.table_cells import CellState

DIGITS: Mapping[str, int] = {"spc_s": 3}
"""Digits behind the point; 2 for the others, as in the paper."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table, a method on a test set, with its figures by the names of `METRICS`."""

    state: CellState
    paper: Mapping[str, float]
    ours: Mapping[str, float]  # empty where the cell is not done

    def difference(self, metric: str) -> float:
        """Return ours minus the paper's; nan where there is nothing to compare."""
        return self.ours.get(metric, math.nan) - self.paper[metric]


def rows_of(view: Survey, stage: Stage) -> dict[PatchSet, tuple[Row, ...]]:
    """Return a table: its blocks, and their rows in the paper's order."""
    paper = paper_figures()
    table: dict[PatchSet, tuple[Row, ...]] = {}
    for patch_set in SETS:
        places = [(stage, patch_set.key, method.key) for method in methods_of(stage)]
        states = [view.by_key[place] for place in places]
        table[patch_set] = tuple(
            Row(state, paper[place], figures(state, view.settings.failures))
            for place, state in zip(places, states, strict=True)
        )
    return table


def figures(state: CellState, failures: FailureCount) -> dict[str, float]:
    """Return a finished cell's figures by the names of `METRICS`; nothing for another.

    `failures` is the protocol of `failure_rate`.
    """
    result = state.result
    if result is None or state.status != "done":
        return {}
    budget, curves = result.settings.max_clicks, result.iou_curves
    n_clicks = sum(len(patch.clicks) for patch in result.patches)
    seconds = sum(float(patch.wall_s.sum()) for patch in result.patches)
    values = {"spc_s": seconds / n_clicks if n_clicks else math.nan}
    for name in METRICS:
        kind, percent = name[:3], name[3:]
        if kind == "noc":
            values[name] = noc(curves, int(percent) / 100, budget)
        elif kind == "nof":
            values[name] = failure_rate(curves, int(percent) / 100, budget, protocol=failures)
    return values


def number(value: float, metric: str, *, signed: bool = False) -> str:
    """Return a figure as the paper prints it; nothing where there is none."""
    if not math.isfinite(value):
        return ""
    digits = DIGITS.get(metric, 2)
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    # A difference that rounds to nothing has no sign.
    return text.lstrip("+-") if signed and float(text) == 0 else text


def best_of(rows: tuple[Row, ...], *, ours: bool) -> dict[str, float]:
    """Return the least of each column, as printed; nothing where fewer than two rows have it."""
    best = {}
    for metric in METRICS:
        values = [
            float(number(value, metric))
            for row in rows
            if (value := (row.ours if ours else row.paper).get(metric)) is not None
            and math.isfinite(value)
        ]
        if len(values) > 1:
            best[metric] = min(values)
    return best


def csv_table(view: Survey) -> str:
    """Return a row per cell: how it stands, and of each figure ours, the paper's, the difference.

    Stages, data sets and methods are named as in the file of the paper's tables.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = [name + part for name in METRICS for part in ("", "_paper", "_difference")]
    writer.writerow(
        ["stage", "dataset", "method", "status", "reason", "patches", "patches_paper", *columns]
    )
    for name, stage in STAGES_IN_FILE.items():
        for patch_set, rows in rows_of(view, stage).items():
            for row in rows:
                state = row.state
                n = state.n_done if state.status in ("done", "begun") else ""
                facts = (name, patch_set.title, state.cell.method.title, state.status, state.reason)
                writer.writerow([*facts, n, patch_set.n_patches, *_values(row)])
    return buffer.getvalue()


def _values(row: Row) -> Iterator[str]:
    for name in METRICS:
        yield _plain(row.ours.get(name, math.nan))
        yield _plain(row.paper[name])
        yield _plain(row.difference(name))


def latex_table(view: Survey, stage: Stage) -> str:
    """Return one table for LaTeX (booktabs), a block per data set.

    Below each of our figures stand, small, the paper's and the difference. The best of a block is
    bold.
    """
    headings = " & ".join(METRICS.values())
    lines = [
        f"% Kim et al. (2023), {STAGES[stage]}: ours; below, the paper's and the difference.",
        "% Needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{ll{'r' * len(METRICS)}}}",
        "\\toprule",
        f"Data & Method & {headings} \\\\",
    ]
    for patch_set, rows in rows_of(view, stage).items():
        lines.append("\\midrule")
        best = best_of(rows, ours=True)
        for i, row in enumerate(rows):
            data = latex_text(patch_set.title) if i == 0 else ""
            lines += _latex_row(data, row, best)
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _latex_row(data: str, row: Row, best: Mapping[str, float]) -> Iterator[str]:
    ours = []
    for metric in METRICS:
        text = number(row.ours.get(metric, math.nan), metric) or "--"
        is_best = text != "--" and best.get(metric) == float(text)
        ours.append(f"\\textbf{{{text}}}" if is_best else text)
    yield f"{data} & {latex_text(row.state.cell.method.title)} & {' & '.join(ours)} \\\\"
    below = []
    for metric in METRICS:
        paper = number(row.paper[metric], metric)
        difference = number(row.difference(metric), metric, signed=True)
        text = f"{paper}, ${difference}$" if difference else paper
        below.append(f"{{\\scriptsize {text}}}")
    yield f" & & {' & '.join(below)} \\\\"


def _plain(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""
