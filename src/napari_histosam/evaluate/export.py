"""The table of results as a file: CSV, the HTML report, or LaTeX."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from histosam_core.atomic import new_file
from histosam_core.errors import ConfigError, EvaluationRecordsError, OutputWriteError
from histosam_core.evaluation.summary import (
    FAILURE_THRESHOLDS,
    NOC_THRESHOLDS,
    Estimate,
    RunSummary,
    summarise,
)

if TYPE_CHECKING:
    from histosam_core.evaluation.records import EvaluationResult

__all__ = ["EXPORTS", "export_path", "export_results"]

EXPORTS = {
    ".csv": "Table with intervals (*.csv)",
    ".html": "Report (*.html)",
    ".tex": "LaTeX table (*.tex)",
}
"""Suffix -> how a file dialog calls it."""

_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}


def export_path(path: str, kind: str) -> Path:
    """Return the path that a file dialog means: with the suffix of the kind where it has none."""
    suffix = next((s for s, text in EXPORTS.items() if text == kind), ".csv")
    return Path(path) if Path(path).suffix.casefold() in EXPORTS else Path(path + suffix)


def export_results(results: Sequence[EvaluationResult], path: Path) -> Path:
    """Write results as the suffix says; a file that is there is replaced.

    Parameters
    ----------
    results
        The runs.
    path
        Ends in .csv, .html or .tex.

    Raises
    ------
    ConfigError
        Another suffix.
    EvaluationRecordsError
        No patch is finished yet.
    OutputWriteError
        The file cannot be written.
    """
    if path.suffix.casefold() not in EXPORTS:
        raise ConfigError(f"{path.name} must end in .csv, .html or .tex")
    if not any(run.patches for run in results):
        raise EvaluationRecordsError("no patch is finished yet; export when the first ones are")
    try:
        if path.suffix.casefold() == ".html":
            from histosam_core.evaluation.report import write_report

            return write_report([run for run in results if run.patches], path)
        write = _csv if path.suffix.casefold() == ".csv" else _latex
        text = write([summarise(result) for result in results])
        with new_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    except OutputWriteError:
        raise
    except OSError as error:
        raise OutputWriteError(
            f"cannot write {path}: {error.strerror}; choose another place"
        ) from error
    return path


def _csv(summaries: Sequence[RunSummary]) -> str:
    """A row per run; an estimate is three columns: value, low, high."""
    head = ["model", "dataset", "patches", "slides", "clicks", "is_complete", "spc_s"]
    names = [*_columns("noc", NOC_THRESHOLDS), *_columns("nof", FAILURE_THRESHOLDS)]
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([*head, *(f"{n}{part}" for n in names for part in ("", "_low", "_high"))])
    for s in summaries:
        facts = [s.name, s.dataset, s.n_patches, s.n_slides, s.n_clicks, int(s.is_complete)]
        row: list[object] = [*facts, _plain(s.spc_s)]
        for estimates, thresholds in ((s.noc, NOC_THRESHOLDS), (s.failures, FAILURE_THRESHOLDS)):
            for threshold in thresholds:
                one = estimates.get(threshold)
                row += ["", "", ""] if one is None else map(_plain, (one.value, one.low, one.high))
        writer.writerow(row)
    return buffer.getvalue()


def _latex(summaries: Sequence[RunSummary]) -> str:
    """A booktabs table; intervals are small, in brackets."""
    n_values = len(NOC_THRESHOLDS) + len(FAILURE_THRESHOLDS)
    headings = [
        *(f"NoC@{round(100 * t)}" for t in NOC_THRESHOLDS),
        *(f"NoF@{round(100 * t)}" for t in FAILURE_THRESHOLDS),
        "SPC (s)",
    ]
    lines = [
        "% 95 % bootstrap intervals in brackets; needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{ll{'r' * (n_values + 1)}}}",
        "\\toprule",
        f"Model & Data & {' & '.join(headings)} \\\\",
        "\\midrule",
    ]
    for s in summaries:
        values = [
            *(_bracketed(s.noc, t, 2) for t in NOC_THRESHOLDS),
            *(_bracketed(s.failures, t, 3) for t in FAILURE_THRESHOLDS),
            f"{s.spc_s:.3f}" if math.isfinite(s.spc_s) else "--",
        ]
        star = "" if s.is_complete else f"\\textsuperscript{{*}} ({s.n_patches} patches)"
        lines.append(
            f"{_escaped(s.name)}{star} & {_escaped(s.dataset)} & {' & '.join(values)} \\\\"
        )
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _columns(name: str, thresholds: Sequence[float]) -> list[str]:
    return [f"{name}{round(100 * t)}" for t in thresholds]


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else ""


def _bracketed(estimates: Mapping[float, Estimate], threshold: float, digits: int) -> str:
    one = estimates.get(threshold)
    if one is None or not math.isfinite(one.value):
        return "--"
    interval = f"{one.low:.{digits}f}, {one.high:.{digits}f}"
    return f"{one.value:.{digits}f} {{\\scriptsize [{interval}]}}"


def _escaped(text: str) -> str:
    return re.sub(r"[&%$#_{}~^\\]", lambda found: _LATEX[found.group()], text)
