"""The table of results, for a terminal and as plain text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from histosam_core.evaluation.summary import (
    FAILURE_THRESHOLDS,
    NOC_THRESHOLDS,
    Estimate,
    RunSummary,
    summarise,
)

if TYPE_CHECKING:
    from rich.table import Table

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


def rich_table(results: Sequence[EvaluationResult], title: str | None = None) -> Table:
    """Return the table for a terminal; a run that was cut off has a star at its patches."""
    from rich.table import Table

    table = Table(title=title, header_style="bold", title_justify="left")
    for i, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if i < 2 else "right", no_wrap=i > 1)
    previous = None
    for result in results:
        if previous not in (None, result.dataset):
            table.add_section()
        previous = result.dataset
        table.add_row(*cells(summarise(result)))
    return table


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
