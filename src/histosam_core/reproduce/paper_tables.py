"""Both tables as numbers beside the paper's, as CSV, and as LaTeX (booktabs)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
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
    from histosam_core.reproduce.survey import CellState, Survey

DIGITS: Mapping[str, int] = {"spc_s": 3}
"""Digits behind the point; 2 for the others, as in the paper."""
ALIKE = 0.05
"""Differences up to this share of the paper's figure are shown as alike."""
LEAST = 0.02
"""Differences of shares up to this are alike too."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table, a method on a test set, with its figures by the names of `METRICS`."""

    state: CellState
    paper: Mapping[str, float]
    ours: Mapping[str, float]  # empty where the cell is not done

    def difference(self, metric: str) -> float:
        """Return ours minus the paper's; nan where there is nothing to compare."""
        return self.ours.get(metric, math.nan) - self.paper[metric]

    def kind(self, metric: str) -> str:
        """Return "better", "worse" or "alike", or "" where there is nothing to compare."""
        apart, least = self.difference(metric), LEAST if metric.startswith("nof") else 0.0
        if math.isnan(apart):
            return ""
        is_alike = abs(apart) <= max(ALIKE * self.paper[metric], least)
        return "alike" if is_alike or metric == "spc_s" else "better" if apart < 0 else "worse"


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure as it is printed; empty texts where there is none."""

    ours: str
    paper: str
    difference: str
    kind: str  # see `Row.kind`
    is_best: bool
    is_paper_best: bool


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


def best_of(rows: Sequence[Row], *, ours: bool) -> dict[str, float]:
    """Return the least of each column, as printed; nothing where fewer than two rows have it."""
    best = {}
    for metric in METRICS:
        texts = [
            number((row.ours if ours else row.paper).get(metric, math.nan), metric) for row in rows
        ]
        values = [float(text) for text in texts if text]
        if len(values) > 1:
            best[metric] = min(values)
    return best


def printed(rows: Sequence[Row]) -> list[dict[str, Figure]]:
    """Return the rows of a block as they are printed, by the names of `METRICS`."""
    best, paper_best = best_of(rows, ours=True), best_of(rows, ours=False)

    def figure(row: Row, metric: str) -> Figure:
        ours = number(row.ours.get(metric, math.nan), metric)
        paper = number(row.paper[metric], metric)
        return Figure(
            ours,
            paper,
            number(row.difference(metric), metric, signed=True),
            row.kind(metric),
            is_best=bool(ours) and best.get(metric) == float(ours),
            is_paper_best=paper_best.get(metric) == float(paper),
        )

    return [{metric: figure(row, metric) for metric in METRICS} for row in rows]


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
                values = (
                    f"{value:.6g}" if math.isfinite(value) else ""
                    for m in METRICS
                    for value in (row.ours.get(m, math.nan), row.paper[m], row.difference(m))
                )
                writer.writerow([*facts, n, patch_set.n_patches, *values])
    return buffer.getvalue()


def latex_table(view: Survey, stage: Stage) -> str:
    """Return one table for LaTeX (booktabs), a block per data set.

    Below each of our figures stand, small, the paper's and the difference. The best of a block is
    bold.
    """
    lines = [
        f"% Kim et al. (2023), {STAGES[stage]}: ours; below, the paper's and the difference.",
        "% Needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{ll{'r' * len(METRICS)}}}",
        "\\toprule",
        f"Data & Method & {' & '.join(METRICS.values())} \\\\",
    ]
    for patch_set, rows in rows_of(view, stage).items():
        lines.append("\\midrule")
        data = latex_text(patch_set.title)
        for row, line in zip(rows, printed(rows), strict=True):
            ours, below = [], []
            for one in line.values():
                ours.append(f"\\textbf{{{one.ours}}}" if one.is_best else one.ours or "--")
                text = f"{one.paper}, ${one.difference}$" if one.difference else one.paper
                below.append(f"{{\\scriptsize {text}}}")
            title = latex_text(row.state.cell.method.title)
            lines.append(f"{data} & {title} & {' & '.join(ours)} \\\\")
            lines.append(f" & & {' & '.join(below)} \\\\")
            data = ""
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])
