"""What a reproduction leaves to be read: one HTML page, CSV, LaTeX, and summary.json."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.atomic import new_file
from histosam_core.reproduce.kim2023 import (
    METRICS,
    PAIP2019_TEST,
    SETS,
    STAGES,
    TRAINING_PATCHES,
    PatchSet,
    Stage,
    methods_of,
)
from histosam_core.reproduce.open_choices import choices
from histosam_core.reproduce.paper_tables import (
    Row,
    best_of,
    csv_table,
    figures,
    latex_table,
    number,
    rows_of,
)
from histosam_core.reproduce.settings import SYNTHETIC_MARK
from histosam_core.version import __version__

if TYPE_CHECKING:
    from histosam_core.evaluation import EvaluationResult
    from histosam_core.reproduce.settings import FailureCount
    from histosam_core.reproduce.survey import Survey

OUTPUT_FILES = (
    "tables.csv", "table_zero_shot.tex", "table_finetuned.tex", "summary.json", "tables.html",
)  # fmt: skip
ALIKE = 0.05
"""Differences up to this share of the paper's figure are shown as alike."""
LEAST = 0.02
"""Differences of shares up to this are alike too."""


def write_tables(view: Survey, *, curves: bool = True) -> list[Path]:
    """Write both tables, the paper's figures beside ours, in all their forms.

    Cells that are not done say so. `curves`: whether the page shows the mean IoU after each click,
    which takes a second to draw. Return what was written, the HTML page last.
    """
    texts = {
        "tables.csv": csv_table(view),
        **{f"table_{stage}.tex": latex_table(view, stage) for stage in STAGES},
        "summary.json": json.dumps(summary(view), indent=2) + "\n",
        "tables.html": render_page(view, curves=curves),
    }
    paths = [view.settings.out / name for name in OUTPUT_FILES]
    for path in paths:
        with new_file(path) as temporary:
            temporary.write_text(texts[path.name], encoding="utf-8")
    return paths


def summary(view: Survey) -> dict[str, Any]:
    """Return everything that is known of the work, as JSON types."""
    cells = [
        _cell(row, view)
        for stage in STAGES
        for rows in rows_of(view, stage).values()
        for row in rows
    ]
    return {
        "schema": 1,
        "paper": "kim2023",
        "histosam": __version__,
        "settings": view.settings.as_dict(),
        "cells": cells,
        "n_done": view.count("done"),
        "n_not_run": view.count("not run"),
        "data": {
            name: None if files is None else files.to_dict() for name, files in view.cohorts.items()
        },
        "patches": {
            key: cut.summary.to_dict() | {"folder": str(cut.folder)}
            for key, cut in view.patches.items()
        },
        "finetuning": {name: asdict(one) for name, one in view.tuned.items()},
        "choices": [choice._asdict() for choice in choices(view.settings)],
        "notices": list(view.notices),
    }


def _cell(row: Row, view: Survey) -> dict[str, Any]:
    state = row.state
    cell = {
        "stage": state.cell.method.stage,
        "set": state.cell.patch_set.key,
        "method": state.cell.method.key,
        "status": state.status,
        "reason": state.reason,
        "n_done": state.n_done,
        "n_patches": state.n_patches,
        "n_patches_paper": state.cell.patch_set.n_patches,
        "seconds_left": state.seconds,
        "paper": dict(row.paper),
        "ours": {name: _plain(value) for name, value in row.ours.items()} or None,
        "difference": {name: _plain(row.difference(name)) for name in METRICS}
        if row.ours
        else None,
    }
    if state.result is not None:
        other: FailureCount = "true" if view.settings.failures == "ritm" else "ritm"
        counted = figures(state, other)
        cell[f"nof_{other}"] = {n: _plain(v) for n, v in counted.items() if n.startswith("nof")}
        cell["checkpoint"] = dict(state.result.header.get("checkpoint", {}))
        cell["folder"] = str(state.result.folder)
    return cell


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class _Figure:
    """One figure of a row, as the page shows it."""

    ours: str
    paper: str
    difference: str
    kind: str  # "better", "worse", "alike", or "" where nothing can be compared
    is_best: bool
    is_paper_best: bool


@dataclass(frozen=True, slots=True)
class _Line:
    title: str
    status: str
    figures: Mapping[str, _Figure]


def render_page(view: Survey, *, curves: bool = True) -> str:
    """Return the page: one HTML text that needs nothing beside it.

    `curves`: whether to draw the mean IoU after each click.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("histosam_core.reproduce", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tables = {
        stage: {patch_set: _lines(rows) for patch_set, rows in rows_of(view, stage).items()}
        for stage in STAGES
    }
    return environment.get_template("kim2023.html.j2").render(
        version=__version__,
        synthetic=(view.settings.out / SYNTHETIC_MARK).is_dir(),
        view=view,
        metrics=METRICS,
        stages=STAGES,
        tables=tables,
        counts={patch_set: _counts(view, patch_set) for patch_set in SETS},
        training=_training_counts(view),
        curves={stage: _curves(view, stage) if curves else "" for stage in STAGES},
        choices=choices(view.settings),
        tuned=[
            (method.title, view.tuned[method.key])
            for method in methods_of("finetuned")
            if method.key in view.tuned
        ],
        machines=_machines(view),
        n_cells=len(view.states),
        duration=duration,
    )


def duration(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _lines(rows: tuple[Row, ...]) -> list[_Line]:
    best, paper_best = best_of(rows, ours=True), best_of(rows, ours=False)
    return [
        _Line(
            row.state.cell.method.title,
            "" if row.state.status == "done" else row.state.described(),
            {name: _figure(row, name, best, paper_best) for name in METRICS},
        )
        for row in rows
    ]


def _figure(
    row: Row, metric: str, best: Mapping[str, float], paper_best: Mapping[str, float]
) -> _Figure:
    ours, paper = row.ours.get(metric), row.paper[metric]
    text, paper_text = "" if ours is None else number(ours, metric), number(paper, metric)
    difference = number(row.difference(metric), metric, signed=True).replace("-", "\N{MINUS SIGN}")
    kind = ""
    if ours is not None and difference:
        apart = row.difference(metric)
        is_alike = abs(apart) <= max(ALIKE * paper, LEAST if metric.startswith("nof") else 0.0)
        kind = "alike" if is_alike or metric == "spc_s" else "better" if apart < 0 else "worse"
    return _Figure(
        ours=text,
        paper=paper_text,
        difference=difference,
        kind=kind,
        is_best=bool(text) and best.get(metric) == float(text),
        is_paper_best=paper_best.get(metric) == float(paper_text),
    )


def _counts(view: Survey, patch_set: PatchSet) -> str:
    """How many patches, here and in the paper."""
    cut = view.patches.get(patch_set.key)
    paper = f"{patch_set.n_patches} patches in the paper"
    if cut is None:
        return f"{paper}, none cut here yet"
    n = cut.summary.n_patches.get("test", 0)
    n_slides = len(cut.summary.slides.get("test", {}))
    here = f"{n} here, of {n_slides} slide{'s' * (n_slides != 1)}"
    limit = view.settings.limit
    return f"{paper}, {here}" + (f", {limit} used" if limit and limit < n else "")


def _training_counts(view: Survey) -> list[tuple[str, int, int | None]]:
    """Split, the paper's patches, ours."""
    cut = view.patches.get(PAIP2019_TEST.key)
    return [
        (split, n, None if cut is None else cut.summary.n_patches.get(split, 0))
        for split, n in TRAINING_PATCHES.items()
    ]


def _curves(view: Survey, stage: Stage) -> str:
    """Mean IoU after each click, as a data URI; empty where no cell is done."""
    from histosam_core.evaluation.report.plots import curve_figure, figure_svg

    results: list[EvaluationResult] = [
        replace(state.result, dataset=state.cell.patch_set.title)
        for one in SETS
        for state in view.states
        if state.cell.method.stage == stage
        and state.cell.patch_set == one
        and state.status == "done"
        and state.result is not None
    ]
    if not results:
        return ""
    svg = figure_svg(curve_figure(results)).encode()
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def _machines(view: Survey) -> list[str]:
    """What the cells were clicked on, each once."""
    machines = []
    for state in view.states:
        if state.result is None:
            continue
        header: Mapping[str, Any] = state.result.header
        software = header.get("software", {})
        device = software.get("gpu") or header.get("checkpoint", {}).get("device", "")
        if device == "cpu":
            device = f"CPU, {software.get('torch_threads', '?')} threads"
        system, torch = software.get("system", ""), software.get("torch", "?")
        machines.append(f"{device} ({system}, torch {torch})")
    return list(dict.fromkeys(machines))
