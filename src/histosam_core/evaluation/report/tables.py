"""The table of results, for a terminal and as plain text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from histosam_core.evaluation.report.comparison import Difference, compare
from histosam_core.evaluation.report.plots import group_by_dataset
from histosam_core.evaluation.report.summary import (
    FAILURE_THRESHOLDS,
    NOC_THRESHOLDS,
    Estimate,
    RunSummary,
    summarise,
)

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from histosam_core.evaluation.records import EvaluationResult

__all__ = [
    "HEADINGS",
    "cells",
    "interval",
    "number",
    "p_value",
    "plain_table",
    "rich_table",
    "seconds",
]

MISSING = "–"
HEADINGS = (
    "Model",
    "Data",
    *(f"NoC@{round(100 * t)}" for t in NOC_THRESHOLDS),
    *(f"NoF@{round(100 * t)}" for t in FAILURE_THRESHOLDS),
    "SPC",
    "Encode",
    "Decode",
    "Patches",
    "Slides",
)


def number(value: float | None, digits: int = 2) -> str:
    """Return a number for people; a dash where there is none."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def seconds(value: float) -> str:
    """Return a time for people, in ms or s."""
    if not math.isfinite(value):
        return MISSING
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.2f} s"


def interval(estimate: Estimate, digits: int = 1) -> str:
    """Return an estimate's interval for people; nothing where there is none."""
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return ""
    return f"[{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def p_value(p: float) -> str:
    """Return a p value for people; a dash where there is none."""
    if not math.isfinite(p):
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def cells(summary: RunSummary, between: str = " ") -> tuple[str, ...]:
    """Return one line of the table as text, in the order of `HEADINGS`.

    Parameters
    ----------
    summary
        The line.
    between
        What stands between a NoC and its interval.
    """

    def value(estimates: Mapping[float, Estimate], threshold: float) -> str:
        return number(estimates[threshold].value) if threshold in estimates else MISSING

    def with_interval(threshold: float) -> str:
        if threshold not in summary.noc:
            return MISSING
        one = summary.noc[threshold]
        return f"{number(one.value)}{between}{interval(one)}".rstrip()

    return (
        summary.name,
        summary.dataset,
        *(with_interval(t) for t in NOC_THRESHOLDS),
        *(value(summary.failures, t) for t in FAILURE_THRESHOLDS),
        seconds(summary.spc_s),
        seconds(summary.encode_s),
        seconds(summary.decode_s),
        str(summary.n_patches) + ("" if summary.is_complete else "*"),
        str(summary.n_slides),
    )


def rich_table(results: Sequence[EvaluationResult]) -> Group:
    """Return the table for a terminal, a block per data set, with the differences below.

    A run that was cut off has a star at its patches.
    """
    from rich.console import Group, RenderableType
    from rich.text import Text

    left_out = ("Data", "Encode", "Decode", "Slides")
    shown = [i for i, heading in enumerate(HEADINGS) if heading not in left_out]
    blocks: list[RenderableType] = []
    for dataset, runs in group_by_dataset(results).items():
        summaries = [summarise(run) for run in runs]
        n_slides = max(summary.n_slides for summary in summaries)
        users = dict.fromkeys(summary.user for summary in summaries)
        said = [f"{n_slides} slide{'s' if n_slides != 1 else ''}", *users]
        table = _rich(dataset, ", ".join(said), [HEADINGS[i] for i in shown])
        for summary in summaries:
            row = cells(summary, between="\n")
            table.add_row(_two_lines(row[0]), *(row[i] for i in shown[1:]))
        blocks.append(table)
        blocks += [Text(line, style="dim") for s in summaries if (line := _repeats_line(s))]
        differences = compare(runs)
        if differences:
            blocks.append(_differences(differences))
    return Group(*blocks)


def _two_lines(name: str) -> str:
    """Break a name before its decoder, so that a narrow table does not break it within."""
    model, at, decoder = name.rpartition("@")
    return f"{model}\n@{decoder}" if model and at else name


def _differences(differences: Sequence[Difference]) -> Table:
    """A row per pair of models: what the second needs more or fewer."""
    tested = " or ".join(dict.fromkeys(d.tested for d in differences))
    corrected = ", p by Holm" if len(differences) > len(NOC_THRESHOLDS) else ""
    table = _rich(
        "Differences on the same patches",
        f"clicks more (+) or fewer (-); signs flipped by {tested}{corrected}",
        ["Model", *(heading for heading in HEADINGS if heading.startswith("NoC"))],
    )
    pairs: dict[tuple[str, str], dict[float, Difference]] = {}
    for d in differences:
        pairs.setdefault((d.name, d.reference), {})[d.threshold] = d
    for (name, reference), found in pairs.items():
        row = [f"{name}\nagainst {reference}"]
        for threshold in NOC_THRESHOLDS:
            one = found.get(threshold)
            text = MISSING
            if one is not None:
                low, high = number(one.noc.low), number(one.noc.high)
                text = f"{one.noc.value:+.2f} [{low}, {high}]\np {p_value(one.p_holm)}"
            row.append(text)
        table.add_row(*row)
    return table


def _rich(title: str, aside: str, headings: Sequence[str]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=f"{escape(title)}  [dim]{escape(aside)}[/]",
        title_style="bold",
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
        show_edge=False,
    )
    table.add_column(headings[0], overflow="fold", min_width=12)
    for heading in headings[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _repeats_line(summary: RunSummary) -> str:
    """What differs between the user's repeats, in a line; nothing for one repeat."""
    if not summary.repeats:
        return ""
    told = (
        f"NoC@{round(100 * t)} {number(s.low)} to {number(s.high)} (SD {number(s.std)}, worst of "
        f"each patch {number(s.worst)})"
        for t, s in summary.repeats.items()
    )
    return f"{summary.name}, repeats: {'; '.join(told)}"


def plain_table(results: Sequence[EvaluationResult]) -> str:
    """Return the table as Markdown, aligned, for logs and READMEs."""
    rows = [HEADINGS, *(cells(summarise(result)) for result in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]

    def line(row: Sequence[str]) -> str:
        aligned = [
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "| " + " | ".join(aligned) + " |"

    rule = ["-" * w if i < 2 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join([line(rows[0]), line(rule), *(line(row) for row in rows[1:])])
