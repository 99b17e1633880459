"""The tables of results: a row per model and data set, and the patches of one of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QSizePolicy

from histosam_core.evaluation.report.plots import colour_of
from histosam_core.evaluation.report.summary import FAILURE_THRESHOLDS, NOC_THRESHOLDS, Estimate
from histosam_core.evaluation.report.tables import MISSING, number, seconds
from napari_histosam.widgets.rows_table import Column, RowsTable

if TYPE_CHECKING:
    from histosam_core.evaluation.report.summary import RunSummary
    from napari_histosam.evaluate.results import PatchRow, Run

SMALL = 0.88
"""Of the usual letters: eight columns stand in a dock."""


class RunsTable(RowsTable):
    """Shows runs, filled while they come in; below the means their 95 % bootstrap intervals."""

    def __init__(self) -> None:
        self._colours: Mapping[str, str] = {}
        super().__init__(
            (
                Column(
                    "Model, data",
                    "The colour is the curve's; below the model the data set",
                    _name,
                    color=lambda run: self._colours[run.result.name],
                    more=lambda run: f"{_name(run)}\n{run.folder}",
                    is_number=False,
                ),
                *(_noc(threshold) for threshold in NOC_THRESHOLDS),
                *(_nof(threshold) for threshold in FAILURE_THRESHOLDS),
                Column(
                    "SPC",
                    "Seconds per click, encoding and the simulated user included",
                    lambda run: seconds(run.summary.spc_s),
                ),
                Column(
                    "Done",
                    "Patches done, of those asked for",
                    lambda run: f"{run.n_done}\nof {run.n_expected}",
                ),
            ),
            lambda run: run.folder,
            row_px=34,
            least=2,
            most=6,
            width_px=456,
        )
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        font = self.font()
        font.setPointSizeF(SMALL * font.pointSizeF())
        self.setFont(font)
        self.horizontalHeader().setFont(font)

    def show_rows(self, rows: Sequence[Any]) -> None:
        """Show these runs in the colours of their curves."""
        self._colours = colour_of([run.result for run in rows])
        super().show_rows(rows)


class PatchesTable(RowsTable):
    """Shows the patches of a run, worst first."""

    def __init__(self) -> None:
        super().__init__(
            (
                Column("Patch", "Double click or Enter opens it", _patch, is_number=False),
                Column(
                    "Clicks",
                    "To the run's target, 0.90 at most",
                    _clicks,
                    key=lambda row: (row.clicks_needed, -row.last_iou),
                    width_px=52,
                ),
                Column(
                    "Last IoU",
                    "After the last click",
                    lambda row: f"{row.last_iou:.3f}",
                    key=lambda row: row.last_iou,
                    width_px=64,
                ),
                Column(
                    "Tumour",
                    "Share of it that is tumour",
                    _tumour,
                    key=lambda row: row.record.tumor_fraction or 0.0,
                    width_px=60,
                ),
                Column("Slide", "", lambda row: row.record.slide, width_px=80, is_number=False),
            ),
            lambda row: (row.record.index, row.record.repeat),
            row_px=20,
            least=4,
            most=8,
            sort_column=1,
        )


def _noc(threshold: float) -> Column:
    tip = f"Mean clicks to IoU {threshold:.2f}; below it the 95 % bootstrap interval"
    return Column(
        f"NoC\n@{round(100 * threshold)}",
        f"{tip}. Fewer is better",
        lambda run: _cell(run.summary.noc.get(threshold)),
        more=lambda run: _more(run.summary, threshold),
    )


def _nof(threshold: float) -> Column:
    tip = f"Share of patches that never reach IoU {threshold:.2f}, and its interval"
    return Column(
        f"NoF\n@{round(100 * threshold)}",
        f"{tip}. Less is better",
        lambda run: _cell(run.summary.failures.get(threshold), is_share=True),
    )


def _name(run: Run) -> str:
    summary = run.summary
    user = "" if run.result.user.kind == "ideal" else f", {summary.user}"
    return f"{summary.name}\n{summary.dataset}{user}"


def _more(summary: RunSummary, threshold: float) -> str:
    """What else is known of a NoC."""
    lines = [f"Intervals resample {summary.resampled}"]
    if threshold in summary.noc_by_slide:
        by_slide = number(summary.noc_by_slide[threshold])
        lines.append(f"Mean of the {summary.n_slides} slides' means: {by_slide}")
    spread = summary.repeats.get(threshold)
    if spread is not None:
        lines.append(
            f"Over the repeats: {number(spread.low)} to {number(spread.high)}, standard deviation "
            f"{number(spread.std)}; the worst repeat of each patch: {number(spread.worst)}"
        )
    return "\n".join(lines)


def _cell(one: Estimate | None, *, is_share: bool = False) -> str:
    """A mean, and its interval in the line below."""
    if one is None or not math.isfinite(one.value):
        return MISSING
    scale, digits = (100, 0) if is_share else (1, 1)
    mean = f"{100 * one.value:.0f} %" if is_share else number(one.value)
    if not math.isfinite(one.low):
        return mean
    low, high = (number(scale * value, digits) for value in (one.low, one.high))
    return f"{mean}\n{low}\N{EN DASH}{high}"


def _patch(row: PatchRow) -> str:
    record = row.record
    return record.patch_id + (f" ({record.repeat + 1})" if record.repeat else "")


def _clicks(row: PatchRow) -> str:
    return f"{row.clicks_needed:.0f}" if math.isfinite(row.clicks_needed) else "never"


def _tumour(row: PatchRow) -> str:
    share = row.record.tumor_fraction
    return "" if share is None else f"{100 * share:.0f} %"
