"""The table of results as a file: CSV, the HTML report, or LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from histosam_core.atomic import new_file
from histosam_core.errors import ConfigError, EvaluationRecordsError, OutputWriteError
from histosam_core.evaluation.report.exports import csv_table, latex_table

if TYPE_CHECKING:
    from histosam_core.evaluation.records import EvaluationResult

__all__ = ["EXPORTS", "export_path", "export_results"]

EXPORTS = {
    ".csv": "Table with intervals (*.csv)",
    ".html": "Report (*.html)",
    ".tex": "LaTeX table (*.tex)",
}
"""Suffix -> how a file dialog calls it."""


def export_path(path: str, kind: str) -> Path:
    """Return the path that a file dialog means: with the suffix of the kind where it has none."""
    suffix = next((s for s, text in EXPORTS.items() if text == kind), ".csv")
    return Path(path) if Path(path).suffix.casefold() in EXPORTS else Path(path + suffix)


def export_results(results: Sequence[EvaluationResult], path: Path) -> Path:
    """Write results as the suffix says; a file that is there is replaced.

    Parameters
    ----------
    results
        The runs; those without a finished patch are left out.
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
    suffix = path.suffix.casefold()
    if suffix not in EXPORTS:
        raise ConfigError(f"{path.name} must end in .csv, .html or .tex")
    runs = [run for run in results if run.patches]
    if not runs:
        raise EvaluationRecordsError("no patch is finished yet; export when the first ones are")
    try:
        if suffix == ".html":
            from histosam_core.evaluation.report.page import write_report

            return write_report(runs, path)
        text = csv_table(runs) if suffix == ".csv" else latex_table(runs)
        with new_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    except OutputWriteError:
        raise
    except OSError as error:
        raise OutputWriteError(
            f"cannot write {path}: {error.strerror}; choose another place"
        ) from error
    return path
