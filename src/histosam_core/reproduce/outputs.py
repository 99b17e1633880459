"""What a reproduction leaves to be read: one HTML page, CSV, LaTeX, and summary.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.atomic import new_file
from histosam_core.evaluation.report.exports import plain_json
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
from histosam_core.reproduce.paper_tables import (
    Row,
    csv_table,
    figures,
    latex_table,
    printed,
    rows_of,
)
from histosam_core.reproduce.settings import SYNTHETIC_MARK
from histosam_core.version import __version__

if TYPE_CHECKING:
    from histosam_core.reproduce.settings import FailureCount
    from histosam_core.reproduce.survey import Survey


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
    for name, text in texts.items():
        with new_file(view.settings.out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [view.settings.out / name for name in texts]


def summary(view: Survey) -> dict[str, Any]:
    """Return everything that is known of the work, as JSON types."""
    blocks = (rows for table in _tables(view).values() for rows in table.values())
    return {
        "schema": 1,
        "paper": "kim2023",
        "histosam": __version__,
        "settings": view.settings.as_dict(),
        "cells": plain_json([_cell(row, view) for rows in blocks for row in rows]),
        "n_done": view.count("done"),
        "n_not_run": view.count("not run"),
        "data": {
            name: None if files is None else files.to_dict() for name, files in view.cohorts.items()
        },
        "patches": {
            key: cut.to_dict() | {"folder": str(cut.out)} for key, cut in view.patches.items()
        },
        "finetuning": {name: asdict(one) for name, one in view.tuned.items()},
        "choices": view.settings.choices(),
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
        "paper": row.paper,
        "ours": row.ours or None,
        "difference": {name: row.difference(name) for name in METRICS} if row.ours else None,
    }
    if state.result is not None:
        other: FailureCount = "true" if view.settings.failures == "ritm" else "ritm"
        counted = figures(state, other)
        cell[f"nof_{other}"] = {n: value for n, value in counted.items() if n.startswith("nof")}
        cell["checkpoint"] = state.result.header.get("checkpoint", {})
        cell["folder"] = str(state.result.folder)
    return cell


def render_page(view: Survey, *, curves: bool = True) -> str:
    """Return the page: one HTML text that needs nothing beside it.

    `curves`: whether to draw the mean IoU after each click.
    """
    from histosam_core.evaluation.report.page import page_template

    cut = view.patches.get(PAIP2019_TEST.key)
    return page_template(__package__, "kim2023.html.j2").render(
        version=__version__,
        synthetic=(view.settings.out / SYNTHETIC_MARK).is_dir(),
        view=view,
        metrics=METRICS,
        stages=STAGES,
        tables={
            stage: {one: list(zip(rows, printed(rows), strict=True)) for one, rows in table.items()}
            for stage, table in _tables(view).items()
        },
        counts={patch_set: _counts(view, patch_set) for patch_set in SETS},
        training=[
            (split, n, None if cut is None else cut.n_patches.get(split, 0))
            for split, n in TRAINING_PATCHES.items()
        ],
        curves={stage: _curves(view, stage) if curves else "" for stage in STAGES},
        choices=view.settings.choices(),
        tuned=[
            (method.title, view.tuned[method.key])
            for method in methods_of("finetuned")
            if method.key in view.tuned
        ],
        machines=_machines(view),
        duration=duration,
    )


def _tables(view: Survey) -> dict[Stage, dict[PatchSet, tuple[Row, ...]]]:
    return {stage: rows_of(view, stage) for stage in STAGES}


def duration(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _counts(view: Survey, patch_set: PatchSet) -> str:
    """How many patches, here and in the paper."""
    cut = view.patches.get(patch_set.key)
    paper = f"{patch_set.n_patches} patches in the paper"
    if cut is None:
        return f"{paper}, none cut here yet"
    n, n_slides = cut.n_patches.get("test", 0), len(cut.slides.get("test", {}))
    here = f"{n} here, of {n_slides} slide{'s' * (n_slides != 1)}"
    limit = view.settings.limit
    return f"{paper}, {here}" + (f", {limit} used" if limit and limit < n else "")


def _curves(view: Survey, stage: Stage) -> str:
    """Mean IoU after each click, as a data URI; empty where no cell is done."""
    from histosam_core.evaluation.report.example_patches import data_uri
    from histosam_core.evaluation.report.plots import curve_figure, figure_svg

    results = [
        replace(row.state.result, dataset=patch_set.title)
        for patch_set, rows in rows_of(view, stage).items()
        for row in rows
        if row.ours and row.state.result is not None
    ]
    if not results:
        return ""
    return data_uri(figure_svg(curve_figure(results)).encode(), "image/svg+xml")


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
