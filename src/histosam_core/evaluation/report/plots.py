"""The figures of a report: mean IoU per click, and how the number of clicks is spread."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosam_core.atomic import new_file
from histosam_core.metrics import clicks_to_reach, miou_per_click

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from histosam_core.evaluation.records import EvaluationResult

__all__ = [
    "colour_of",
    "curve_figure",
    "distribution_figure",
    "figure_png",
    "figure_svg",
    "group_by_dataset",
    "panels",
    "shared_legend",
    "style",
]

# Okabe and Ito's colours, which people with any colour vision tell apart; yellow left out as too
# pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#4D4D4D")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, FAINT = "#1f2933", "#d5dae0"
TARGETS = (0.80, 0.85, 0.90)
STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": "#8a94a0",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "svg.fonttype": "path",
    # A fixed salt and no date make the same rows give the same file.
    "svg.hashsalt": "histosam",
}


def group_by_dataset(results: Sequence[EvaluationResult]) -> dict[str, list[EvaluationResult]]:
    """Return the runs of each data set, both in the order in which they come."""
    groups: dict[str, list[EvaluationResult]] = {}
    for result in results:
        groups.setdefault(result.dataset, []).append(result)
    return groups


def colour_of(results: Sequence[EvaluationResult]) -> dict[str, str]:
    """Return a colour for every model, the same in all figures made of these runs."""
    names = list(dict.fromkeys(result.name for result in results))
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def curve_figure(results: Sequence[EvaluationResult]) -> Figure:
    """Draw the mean IoU after each click, a panel per data set and a line per model.

    A patch that reached its target keeps its last IoU. The light lines are the thresholds of NoC.
    """
    groups = group_by_dataset(results)
    colours = colour_of(results)
    with style():
        figure, axes = panels(len(groups), panel_wh=(4.4, 3.4))
        for axis, (dataset, runs) in zip(axes, groups.items(), strict=True):
            budget = max(run.settings.max_clicks for run in runs)
            lowest = 1.0
            for run in runs:
                means = miou_per_click(run.iou_curves, run.settings.max_clicks)
                clicks = np.arange(1, len(means) + 1)
                marker = MARKERS[list(colours).index(run.name) % len(MARKERS)]
                axis.plot(
                    clicks,
                    means,
                    color=colours[run.name],
                    marker=marker,
                    markersize=3.5,
                    linewidth=1.6,
                    label=run.name,
                )
                lowest = min(lowest, float(np.nanmin(means)) if len(run.patches) else 1.0)
            for target in TARGETS:
                axis.axhline(target, color=FAINT, linewidth=0.8, zorder=0)
            axis.set_title(dataset, loc="left", fontweight="bold")
            axis.set_xlabel("clicks")
            axis.set_xlim(0.5, budget + 0.5)
            axis.set_xticks(_click_ticks(budget))
            axis.set_ylim(max(0.0, math.floor(10 * lowest - 0.2) / 10), 1.0)
        axes[0].set_ylabel("mean IoU")
        shared_legend(figure, axes)
    return figure


def distribution_figure(results: Sequence[EvaluationResult], threshold: float = 0.85) -> Figure:
    """Draw how many clicks patches needed for IoU `threshold`.

    A row per model, a column per data set. The last bar, hatched, holds the patches that never got
    there.
    """
    groups = group_by_dataset(results)
    colours = colour_of(results)
    n_rows = max(len(runs) for runs in groups.values())
    with style():
        figure, axes = panels(len(groups), n_rows, panel_wh=(4.4, 1.35), share="col")
        for column, (dataset, runs) in enumerate(groups.items()):
            for row in range(n_rows):
                axis = axes[row * len(groups) + column]
                if row >= len(runs):
                    axis.set_axis_off()
                    continue
                tallest = _histogram(axis, runs[row], threshold, colours[runs[row].name])
                # The rows of a column share their axis: a limit set anew would cut the others.
                axis.set_ylim(0, max(axis.get_ylim()[1] if row else 0, 1.06 * tallest))
                if row == 0:
                    axis.set_title(dataset, loc="left", fontweight="bold", pad=20)
                if row == len(runs) - 1:
                    axis.set_xlabel(f"clicks to IoU {100 * threshold:.0f} %")
                    axis.tick_params(labelbottom=True)
                else:
                    axis.tick_params(labelbottom=False)
                if column == 0:
                    axis.set_ylabel("patches, %")
    return figure


def figure_svg(figure: Figure) -> str:
    """Return a figure as an SVG text; letters are outlines, so it looks the same everywhere."""
    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def figure_png(figure: Figure, path: str | Path, dpi: int = 160) -> None:
    """Write a figure as PNG, whole or not at all."""
    with style(), new_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi)


def _histogram(axis: Axes, run: EvaluationResult, threshold: float, colour: str) -> float:
    """Draw the bars; return the height of the tallest."""
    budget = run.settings.max_clicks
    needed = clicks_to_reach(run.iou_curves, threshold, budget)
    n = max(len(needed), 1)
    reached = needed[np.isfinite(needed)].astype(int)
    shares = 100 * np.bincount(reached, minlength=budget + 1)[1:] / n
    failed = 100 * (len(needed) - len(reached)) / n
    axis.bar(np.arange(1, budget + 1), shares, width=0.82, color=colour)
    # Far enough off that its label stands free.
    at = budget + max(2, round(budget / 10))
    axis.bar(at, failed, width=0.82, color="white", edgecolor=colour, hatch="////", linewidth=1)
    median = f"{np.median(needed):.0f}" if np.median(needed) <= budget else "not reached"
    axis.text(
        1.0, 1.02, f"median {median}", transform=axis.transAxes, ha="right", va="bottom", fontsize=8
    )
    axis.text(
        0.0, 1.02, run.name, transform=axis.transAxes, va="bottom", color=colour, fontweight="bold"
    )
    ticks = _click_ticks(budget)
    axis.set_xticks([*ticks, at], [*(str(t) for t in ticks), "never"])
    axis.set_xlim(0.3, at + 0.9)
    return max(float(shares.max(initial=0)), failed)


def _click_ticks(budget: int) -> list[int]:
    step = 1 if budget <= 10 else 5 if budget <= 60 else 20
    return [1, *range(max(step, 2), budget + 1, step)]


def panels(
    n_columns: int, n_rows: int = 1, *, panel_wh: tuple[float, float], share: Any = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes in row-major order; sizes in inches."""
    from matplotlib.figure import Figure

    size = panel_wh[0] * n_columns, panel_wh[1] * n_rows + 0.3
    # A Figure of its own instead of pyplot's: no window system, nothing to close.
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=share, sharey=share)
    return figure, list(grid.ravel())


def shared_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """Put one legend below all panels."""
    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=min(len(handles), 4),
        frameon=False,
    )


def style() -> Any:
    """Return a context in which figures are drawn, and saved."""
    import matplotlib as mpl

    return mpl.rc_context(STYLE)
