"""The table of results: what every form of it shows, and its forms for people.

A terminal, Markdown, CSV, LaTeX and the HTML page all show `COLUMNS` of `blocks_of` the runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from histosam_core.evaluation.report.comparison import Difference, compare
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

MISSING = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """NoC or NoF at one IoU."""

    kind: Literal["noc", "failures"]  # of `RunSummary`: "noc" or "failures"
    threshold: float  # the IoU

    @property
    def heading(self) -> str:
        """What people read, such as NoC@85."""
        return f"{'NoC' if self.kind == 'noc' else 'NoF'}@{round(100 * self.threshold)}"

    @property
    def key(self) -> str:
        """What programs read, such as noc85."""
        return self.heading.lower().replace("@", "")

    def of(self, line: RunSummary) -> Estimate | None:
        """Return the value of a run; None where it does not know."""
        estimates = line.noc if self.kind == "noc" else line.failures
        return estimates.get(self.threshold)

    def is_best(self, line: RunSummary, lines: Sequence[RunSummary]) -> bool:
        """Whether a run is ahead of another one of its data set, and behind none."""
        mine = self.of(line)
        values = {one.value for other in lines if (one := self.of(other)) is not None}
        return mine is not None and len(values) > 1 and mine.value == min(values)


NOC_COLUMNS = tuple(Column("noc", t) for t in NOC_THRESHOLDS)
COLUMNS = (*NOC_COLUMNS, *(Column("failures", t) for t in FAILURE_THRESHOLDS))


@dataclass(frozen=True, slots=True)
class Block:
    """All runs on one data set: their lines of the table, and how they differ pair by pair."""

    dataset: str
    runs: list[EvaluationResult]
    lines: list[RunSummary]
    differences: list[Difference]


def group_by_dataset(results: Sequence[EvaluationResult]) -> dict[str, list[EvaluationResult]]:
    """Return the runs of each data set, both in the order in which they come."""
    groups: dict[str, list[EvaluationResult]] = {}
    for result in results:
        groups.setdefault(result.dataset, []).append(result)
    return groups


def blocks_of(results: Sequence[EvaluationResult]) -> list[Block]:
    """Return a block per data set, in the order in which they come."""
    return [
        Block(dataset, runs, [summarise(run) for run in runs], compare(runs))
        for dataset, runs in group_by_dataset(results).items()
    ]


def number(value: float | None, digits: int = 2) -> str:
    """Return a number for people; a dash where there is none."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def seconds(value: float) -> str:
    """Return a time for people, in ms or s."""
    if not math.isfinite(value):
        return MISSING
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.2f} s"


def p_value(p: float) -> str:
    """Return a p value for people; a dash where there is none."""
    if not math.isfinite(p):
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _cells(line: RunSummary, between: str = " ") -> dict[str, str]:
    """Return one line of the table by its headings; `between` a NoC and its interval."""
    values = {}
    for column in COLUMNS:
        one = column.of(line)
        values[column.heading] = number(None if one is None else one.value)
        if one is not None and column.kind == "noc" and math.isfinite(one.low + one.high):
            values[column.heading] += f"{between}[{one.low:.1f}, {one.high:.1f}]"
    return {
        "Model": line.name,
        "Data": line.dataset,
        **values,
        "SPC": seconds(line.spc_s),
        "Encode": seconds(line.encode_s),
        "Decode": seconds(line.decode_s),
        "Patches": str(line.n_patches) + ("" if line.is_complete else "*"),
        "Slides": str(line.n_slides),
    }


def plain_table(results: Sequence[EvaluationResult]) -> str:
    """Return the table as Markdown, aligned, for logs and READMEs."""
    if not results:
        return ""
    lines = [_cells(summarise(result)) for result in results]
    rows = [list(lines[0]), *(list(line.values()) for line in lines)]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]

    def markdown(row: Sequence[str]) -> str:
        aligned = [
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "| " + " | ".join(aligned) + " |"

    rule = ["-" * w if i < 2 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join(map(markdown, [rows[0], rule, *rows[1:]]))


def rich_table(results: Sequence[EvaluationResult]) -> Group:
    """Return the table for a terminal, a block per data set, with the differences below.

    A run that was cut off has a star at its patches.
    """
    from rich.console import Group, RenderableType
    from rich.text import Text

    left_out = ("Data", "Encode", "Decode", "Slides")
    shown: list[RenderableType] = []
    for block in blocks_of(results):
        n_slides = max(line.n_slides for line in block.lines)
        aside = [f"{n_slides} slide{'s' if n_slides != 1 else ''}"]
        aside += dict.fromkeys(line.user for line in block.lines)
        rows = [_cells(line, between="\n") for line in block.lines]
        headings = [heading for heading in rows[0] if heading not in left_out]
        table = _rich(block.dataset, ", ".join(aside), headings)
        for row in rows:
            # A narrow table does not break a name within, but before its decoder.
            model, at, decoder = row["Model"].rpartition("@")
            row["Model"] = f"{model}\n@{decoder}" if model and at else row["Model"]
            table.add_row(*(row[heading] for heading in headings))
        shown.append(table)
        shown += [Text(text, style="dim") for line in block.lines if (text := _repeats(line))]
        if block.differences:
            shown.append(_differences(block.differences))
    return Group(*shown)


def _differences(differences: Sequence[Difference]) -> Table:
    """A row per pair of models: what the second needs more or fewer."""
    tested = " or ".join(dict.fromkeys(d.tested for d in differences))
    corrected = ", p by Holm" if len(differences) > len(NOC_COLUMNS) else ""
    table = _rich(
        "Differences on the same patches",
        f"clicks more (+) or fewer (-); signs flipped by {tested}{corrected}",
        ["Model", *(column.heading for column in NOC_COLUMNS)],
    )
    pairs: dict[tuple[str, str], dict[float, str]] = {}
    for d in differences:
        interval = f"[{number(d.noc.low)}, {number(d.noc.high)}]"
        text = f"{d.noc.value:+.2f} {interval}\np {p_value(d.p_holm)}"
        pairs.setdefault((d.name, d.reference), {})[d.threshold] = text
    for (name, reference), found in pairs.items():
        cells = (found.get(column.threshold, MISSING) for column in NOC_COLUMNS)
        table.add_row(f"{name}\nagainst {reference}", *cells)
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


def _repeats(line: RunSummary) -> str:
    """What differs between the user's repeats, in a line; nothing for one repeat."""
    if not line.repeats:
        return ""
    spreads = (
        f"NoC@{round(100 * t)} {number(s.low)} to {number(s.high)} (SD {number(s.std)}, worst of "
        f"each patch {number(s.worst)})"
        for t, s in line.repeats.items()
    )
    return f"{line.name}, repeats: {'; '.join(spreads)}"
