"""The table of results, for a terminal and as plain text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from histosam_core.evaluation.plots import group_by_dataset
from histosam_core.evaluation.summary import (
    FAILURE_THRESHOLDS,
    NOC_THRESHOLDS,
    Estimate,
    RunSummary,
    summarise,
)

if TYPE_CHECKING:
    from rich.console import Group

    from histosam_core.evaluation.records import EvaluationResult

__all__ = ["HEADINGS", "cells", "number", "plain_table", "rich_table", "seconds"]

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


def cells(summary: RunSummary) -> tuple[str, ...]:
    """Return one line of the table as text, in the order of `HEADINGS`."""

    def value(estimates: Mapping[float, Estimate], threshold: float) -> str:
        return number(estimates[threshold].value) if threshold in estimates else MISSING

    return (
        summary.name,
        summary.dataset,
        *(value(summary.noc, t) for t in NOC_THRESHOLDS),
        *(value(summary.failures, t) for t in FAILURE_THRESHOLDS),
        seconds(summary.spc_s),
        seconds(summary.encode_s),
        seconds(summary.decode_s),
        str(summary.n_patches) + ("" if summary.is_complete else "*"),
        str(summary.n_slides),
    )


def rich_table(results: Sequence[EvaluationResult]) -> Group:
    """Return the table for a terminal, a block per data set.

    A run that was cut off has a star at its patches.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table

    shown = [i for i, heading in enumerate(HEADINGS) if heading not in ("Data", "Slides")]
    blocks = []
    for dataset, runs in group_by_dataset(results).items():
        summaries = [summarise(run) for run in runs]
        n_slides = max(summary.n_slides for summary in summaries)
        table = Table(
            title=f"{dataset}  [dim]{n_slides} slide{'s' if n_slides != 1 else ''}[/]",
            title_style="bold",
            title_justify="left",
            header_style="bold",
            box=SIMPLE_HEAD,
            padding=0,
            pad_edge=False,
        )
        for i in shown:
            if i == 0:
                table.add_column(HEADINGS[i], overflow="fold", min_width=12)
            else:
                table.add_column(HEADINGS[i], justify="right", no_wrap=True)
        for summary in summaries:
            row = cells(summary)
            table.add_row(*(row[i] for i in shown))
        blocks.append(table)
    return Group(*blocks)


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
