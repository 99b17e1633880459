"""Figures of what a mean hides: NoC slide by slide, and repeat by repeat of a user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from histosam_core.evaluation.report.plots import (
    FAINT,
    INK,
    MARKERS,
    colour_of,
    group_by_dataset,
    panels,
    shared_legend,
    style,
)
from histosam_core.evaluation.report.summary import RunSummary, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from histosam_core.evaluation.records import EvaluationResult

__all__ = ["MOST_SLIDES", "repeats_figure", "slides_figure"]

MOST_SLIDES = 30
"""More rows than this are not read any more: the hardest slides are shown."""
NAME_LETTERS = 28


def slides_figure(results: Sequence[EvaluationResult], threshold: float = 0.85) -> Figure:
    """Draw NoC slide by slide, a panel per data set, a row per slide, a mark per model.

    The hardest slides stand on top, `MOST_SLIDES` of them at most. The dashed lines are each
    model's mean over its slides.
    """
    groups = group_by_dataset(results)
    colours = colour_of(results)
    summaries = {
        dataset: [summarise(run, thresholds=(threshold,), failure_thresholds=()) for run in runs]
        for dataset, runs in groups.items()
    }
    n_rows = max(len(_order(lines, threshold)) for lines in summaries.values())
    with style():
        figure, axes = panels(len(groups), panel_wh=(4.4, 0.9 + 0.24 * n_rows))
        for axis, (dataset, lines) in zip(axes, summaries.items(), strict=True):
            _slides_panel(axis, lines, threshold, colours)
            axis.set_title(dataset, loc="left", fontweight="bold")
        shared_legend(figure, axes)
    return figure


def repeats_figure(results: Sequence[EvaluationResult]) -> Figure:
    """Draw the NoC of each of a user's repeats, a panel per data set, a column per threshold.

    A mark per repeat, a bar at their mean, and a cross at the mean of each patch's worst repeat.
    """
    groups = group_by_dataset(results)
    colours = colour_of(results)
    with style():
        figure, axes = panels(len(groups), panel_wh=(4.4, 3.2))
        for axis, (dataset, runs) in zip(axes, groups.items(), strict=True):
            summaries = [s for s in map(summarise, runs) if s.repeats]
            thresholds = sorted({t for s in summaries for t in s.repeats})
            for i, s in enumerate(summaries):
                at = (i - (len(summaries) - 1) / 2) * 0.8 / max(len(summaries), 1)
                marker = MARKERS[list(colours).index(s.name) % len(MARKERS)]
                for column, threshold in enumerate(thresholds):
                    if threshold in s.repeats:
                        _repeats_column(axis, s, threshold, column + at, colours[s.name], marker)
            axis.set_xticks(range(len(thresholds)), [f"NoC@{100 * t:.0f}" for t in thresholds])
            axis.set_xlim(-0.6, len(thresholds) - 0.4)
            axis.set_title(dataset, loc="left", fontweight="bold")
            axis.margins(y=0.12)
        axes[0].set_ylabel("clicks")
        shared_legend(figure, axes)
    return figure


def _slides_panel(
    axis: Axes, lines: Sequence[RunSummary], threshold: float, colours: dict[str, str]
) -> None:
    order = _order(lines, threshold)
    rows = {slide: len(order) - 1 - i for i, slide in enumerate(order)}
    for line in lines:
        colour = colours[line.name]
        shown = [(one.noc[threshold], rows[one.slide]) for one in line.slides if one.slide in rows]
        axis.plot(
            [noc for noc, _ in shown],
            [row for _, row in shown],
            linestyle="none",
            marker=MARKERS[list(colours).index(line.name) % len(MARKERS)],
            markersize=5.5,
            color=colour,
            label=line.name,
            zorder=3,
        )
        mean = line.noc_by_slide.get(threshold)
        if mean is not None and np.isfinite(mean):
            axis.axvline(mean, color=colour, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for row in rows.values():
        axis.axhline(row, color=FAINT, linewidth=0.8, zorder=0)
    axis.set_yticks(list(rows.values()), [_short(slide) for slide in rows])
    axis.set_ylim(-0.6, len(order) - 0.4)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.set_xlim(left=0)
    axis.set_xlabel(f"NoC@{100 * threshold:.0f}, mean over the slide's patches")


def _repeats_column(
    axis: Axes, summary: RunSummary, threshold: float, x: float, colour: str, marker: str
) -> None:
    spread = summary.repeats[threshold]
    n = len(spread.means)
    places = x + 0.12 * (np.linspace(-1, 1, n) if n > 1 else np.zeros(1))
    label = summary.name if threshold == min(summary.repeats) else None
    axis.plot(
        places, spread.means, linestyle="none", marker=marker, markersize=4, color=colour,
        alpha=0.75, label=label,
    )  # fmt: skip
    mean = float(np.mean(spread.means))
    axis.plot([x - 0.16, x + 0.16], [mean, mean], color=INK, linewidth=1.4)
    axis.plot([x], [spread.worst], linestyle="none", marker="x", markersize=6, color=colour)


def _order(lines: Sequence[RunSummary], threshold: float) -> list[str]:
    """Slides, hardest first."""
    by_slide: dict[str, list[float]] = {}
    for line in lines:
        for one in line.slides:
            if threshold in one.noc:
                by_slide.setdefault(one.slide, []).append(one.noc[threshold])
    ordered = sorted(by_slide, key=lambda slide: -float(np.mean(by_slide[slide])))
    return ordered[:MOST_SLIDES]


def _short(name: str) -> str:
    return name if len(name) <= NAME_LETTERS else f"{name[:11]}...{name[-14:]}"
