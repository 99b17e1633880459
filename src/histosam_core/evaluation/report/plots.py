"""The figures of a report: a panel per data set, a colour and a mark per model."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from histosam_core.atomic import new_file
from histosam_core.evaluation.report.summary import RunSummary, summarise
from histosam_core.evaluation.report.tables import group_by_dataset
from histosam_core.metrics import clicks_to_reach, miou_per_click

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from histosam_core.evaluation.records import EvaluationResult

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
WIDTH_IN = 4.4
MOST_SLIDES = 30
"""More rows than this are not read any more: the hardest slides are shown."""
NAME_LETTERS = 28

Looks = dict[str, dict[str, Any]]


def colour_of(results: Sequence[EvaluationResult]) -> dict[str, str]:
    """Return a colour for every model, the same in all figures made of these runs."""
    return {name: look["color"] for name, look in _looks(results).items()}


def curve_figure(results: Sequence[EvaluationResult]) -> Figure:
    """Draw the mean IoU after each click, a line per model.

    A patch that reached its target keeps its last IoU. The light lines are the thresholds of NoC.
    """

    def draw(axis: Axes, runs: Sequence[EvaluationResult], looks: Looks) -> None:
        budget, lowest = max(run.settings.max_clicks for run in runs), 1.0
        for run in runs:
            means = miou_per_click(run.iou_curves, run.settings.max_clicks)
            clicks, look = np.arange(1, len(means) + 1), looks[run.name]
            axis.plot(clicks, means, markersize=3.5, linewidth=1.6, label=run.name, **look)
            lowest = min(lowest, float(np.nanmin(means)) if len(run.patches) else 1.0)
        for target in TARGETS:
            axis.axhline(target, color=FAINT, linewidth=0.8, zorder=0)
        axis.set_xlabel("clicks")
        axis.set_xlim(0.5, budget + 0.5)
        axis.set_xticks(_click_ticks(budget))
        axis.set_ylim(max(0.0, math.floor(10 * lowest - 0.2) / 10), 1.0)

    return _figure(results, 3.4, draw, ylabel="mean IoU")


def slides_figure(results: Sequence[EvaluationResult], threshold: float = 0.85) -> Figure:
    """Draw NoC slide by slide, a row per slide, a mark per model.

    The hardest slides stand on top, `MOST_SLIDES` of them at most. The dashed lines are each
    model's mean over its slides.
    """
    lines_of: dict[str, list[RunSummary]] = {}
    for dataset, runs in group_by_dataset(results).items():
        lines_of[dataset] = [
            summarise(run, thresholds=(threshold,), failure_thresholds=()) for run in runs
        ]
    n_rows = max(len(_hardest(lines, threshold)) for lines in lines_of.values())

    def draw(axis: Axes, runs: Sequence[EvaluationResult], looks: Looks) -> None:
        lines = lines_of[runs[0].dataset]
        order = _hardest(lines, threshold)
        rows = {slide: len(order) - 1 - i for i, slide in enumerate(order)}
        for line in lines:
            shown = [(s.noc[threshold], rows[s.slide]) for s in line.slides if s.slide in rows]
            options: dict[str, Any] = {
                "linestyle": "none",
                "markersize": 5.5,
                "label": line.name,
                "zorder": 3,
            }
            axis.plot([x for x, _ in shown], [y for _, y in shown], **options, **looks[line.name])
            mean = line.noc_by_slide.get(threshold)
            if mean is not None and np.isfinite(mean):
                colour = looks[line.name]["color"]
                axis.axvline(mean, color=colour, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        for row in rows.values():
            axis.axhline(row, color=FAINT, linewidth=0.8, zorder=0)
        axis.set_yticks(list(rows.values()), [_short(slide) for slide in rows])
        axis.set_ylim(-0.6, len(order) - 0.4)
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        axis.set_xlim(left=0)
        axis.set_xlabel(f"NoC@{100 * threshold:.0f}, mean over the slide's patches")

    return _figure(results, 0.9 + 0.24 * n_rows, draw)


def repeats_figure(results: Sequence[EvaluationResult]) -> Figure:
    """Draw the NoC of each of a user's repeats, a column per threshold.

    A mark per repeat, a bar at their mean, and a cross at the mean of each patch's worst repeat.
    """

    def draw(axis: Axes, runs: Sequence[EvaluationResult], looks: Looks) -> None:
        lines = [line for line in map(summarise, runs) if line.repeats]
        thresholds = sorted({t for line in lines for t in line.repeats})
        for i, line in enumerate(lines):
            look, label = looks[line.name], cast("str | None", line.name)
            for t, spread in sorted(line.repeats.items()):
                x = thresholds.index(t) + (i - (len(lines) - 1) / 2) * 0.8 / len(lines)
                n = len(spread.means)
                places = x + 0.12 * (np.linspace(-1, 1, n) if n > 1 else np.zeros(1))
                options: dict[str, Any] = {"linestyle": "none", "markersize": 4, "alpha": 0.75}
                axis.plot(places, spread.means, label=label, **options, **look)
                mean, cross = float(np.mean(spread.means)), {**look, "marker": "x"}
                axis.plot([x - 0.16, x + 0.16], [mean, mean], color=INK, linewidth=1.4)
                axis.plot([x], [spread.worst], linestyle="none", markersize=6, **cross)
                label = None
        axis.set_xticks(range(len(thresholds)), [f"NoC@{100 * t:.0f}" for t in thresholds])
        axis.set_xlim(-0.6, len(thresholds) - 0.4)
        axis.margins(y=0.12)

    return _figure(results, 3.2, draw, ylabel="clicks")


def distribution_figure(results: Sequence[EvaluationResult], threshold: float = 0.85) -> Figure:
    """Draw how many clicks patches needed for IoU `threshold`.

    A row per model, a column per data set. The last bar, hatched, holds the patches that never got
    there.
    """
    groups = group_by_dataset(results)
    looks = _looks(results)
    n_rows = max(len(runs) for runs in groups.values())
    with _style():
        figure, axes = _panels(len(groups), n_rows, 1.35, share="col")
        for column, (dataset, runs) in enumerate(groups.items()):
            for row in range(n_rows):
                axis = axes[row * len(groups) + column]
                if row >= len(runs):
                    axis.set_axis_off()
                    continue
                tallest = _histogram(axis, runs[row], threshold, looks[runs[row].name]["color"])
                # The rows of a column share their axis: a limit set anew would cut the others.
                axis.set_ylim(0, max(axis.get_ylim()[1] if row else 0, 1.06 * tallest))
                if row == 0:
                    axis.set_title(dataset, loc="left", fontweight="bold", pad=20)
                is_last = row == len(runs) - 1
                if is_last:
                    axis.set_xlabel(f"clicks to IoU {100 * threshold:.0f} %")
                axis.tick_params(labelbottom=is_last)
                if column == 0:
                    axis.set_ylabel("patches, %")
    return figure


def figure_svg(figure: Figure) -> str:
    """Return a figure as an SVG text; letters are outlines, so it looks the same everywhere."""
    buffer = io.StringIO()
    with _style():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def figure_png(figure: Figure, path: str | Path, dpi: int = 160) -> None:
    """Write a figure as PNG, whole or not at all."""
    with _style(), new_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi)


def _looks(results: Sequence[EvaluationResult]) -> Looks:
    """Colour and mark of every model."""
    return {
        name: {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        for i, name in enumerate(dict.fromkeys(result.name for result in results))
    }


def _figure(
    results: Sequence[EvaluationResult],
    height_in: float,
    draw: Callable[[Axes, Sequence[EvaluationResult], Looks], None],
    ylabel: str = "",
) -> Figure:
    """Let `draw` fill a panel per data set, and put one legend below all."""
    groups = group_by_dataset(results)
    looks = _looks(results)
    handles: dict[str, Any] = {}
    with _style():
        figure, axes = _panels(len(groups), 1, height_in)
        for axis, (dataset, runs) in zip(axes, groups.items(), strict=True):
            draw(axis, runs, looks)
            axis.set_title(dataset, loc="left", fontweight="bold")
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        axes[0].set_ylabel(ylabel)
        options = {"loc": "outside lower center", "ncols": min(len(handles), 4), "frameon": False}
        figure.legend(list(handles.values()), list(handles), **options)
    return figure


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
    place: dict[str, Any] = {"transform": axis.transAxes, "va": "bottom"}
    axis.text(1.0, 1.02, f"median {median}", ha="right", fontsize=8, **place)
    axis.text(0.0, 1.02, run.name, color=colour, fontweight="bold", **place)
    ticks = _click_ticks(budget)
    axis.set_xticks([*ticks, at], [*(str(t) for t in ticks), "never"])
    axis.set_xlim(0.3, at + 0.9)
    return max(float(shares.max(initial=0)), failed)


def _click_ticks(budget: int) -> list[int]:
    step = 1 if budget <= 10 else 5 if budget <= 60 else 20
    return [1, *range(max(step, 2), budget + 1, step)]


def _hardest(lines: Sequence[RunSummary], threshold: float) -> list[str]:
    by_slide: dict[str, list[float]] = {}
    for line in lines:
        for one in line.slides:
            if threshold in one.noc:
                by_slide.setdefault(one.slide, []).append(one.noc[threshold])
    ordered = sorted(by_slide, key=lambda slide: -float(np.mean(by_slide[slide])))
    return ordered[:MOST_SLIDES]


def _short(name: str) -> str:
    return name if len(name) <= NAME_LETTERS else f"{name[:11]}...{name[-14:]}"


def _panels(
    n_columns: int, n_rows: int, height_in: float, *, share: Any = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes in row-major order."""
    from matplotlib.figure import Figure

    size = WIDTH_IN * n_columns, height_in * n_rows + 0.3
    # A Figure of its own instead of pyplot's: no window system, nothing to close.
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=share, sharey=share)
    return figure, list(grid.ravel())


def _style() -> Any:
    import matplotlib as mpl

    return mpl.rc_context(STYLE)
