"""What a reproduction leaves to be read: the tables as HTML, CSV and LaTeX, and summary.json."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.atomic import new_file
from histosam_core.reproduce.choices import choices
from histosam_core.reproduce.kim2023 import METRICS, STAGES
from histosam_core.reproduce.page import render_page
from histosam_core.reproduce.tables import Row, csv_table, figures, latex_table, rows_of
from histosam_core.version import __version__

if TYPE_CHECKING:
    from histosam_core.reproduce.settings import FailureCount
    from histosam_core.reproduce.survey import Survey

__all__ = ["OUTPUT_FILES", "summary", "write_tables"]

OUTPUT_FILES = (
    "tables.csv", "table_zero_shot.tex", "table_finetuned.tex", "summary.json", "tables.html",
)  # fmt: skip


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
