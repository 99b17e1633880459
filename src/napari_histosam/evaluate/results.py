"""The results in a folder, read again while they grow, and their exports. No Qt, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from histosam_core.atomic import new_file
from histosam_core.errors import ConfigError, EvaluationRecordsError
from histosam_core.evaluation.records import read_records
from histosam_core.evaluation.report.exports import csv_table, latex_table
from histosam_core.evaluation.report.summary import summarise
from histosam_core.metrics import clicks_to_reach

if TYPE_CHECKING:
    from histosam_core.evaluation.records import EvaluationResult, PatchRecord
    from histosam_core.evaluation.report.summary import RunSummary

EXPORTS = {
    ".csv": "Table with intervals (*.csv)",
    ".html": "Report (*.html)",
    ".tex": "LaTeX table (*.tex)",
}
"""Suffix -> its name in a file dialog."""
HEADER_NAME, ROWS_NAME = "evaluation.json", "rows.csv"

Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One model on one data set, as far as it has come."""

    folder: Path
    """The run folder, by which it is known."""
    result: EvaluationResult
    """Its records."""
    summary: RunSummary
    """Its line of the table."""
    n_done: int
    n_expected: int
    """Patches times repeats: finished, and asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """All runs of a folder."""

    folder: Path
    """Where they are."""
    runs: tuple[Run, ...] = ()
    """In the order in which they were started."""
    problems: tuple[str, ...] = ()
    """A line per run folder that cannot be read."""


@dataclass(frozen=True, slots=True, eq=False)
class PatchRow:
    """One patch of a run."""

    record: PatchRecord
    """Its clicks."""
    clicks_needed: float
    """To the run's target, 0.90 at most; infinity where it was never reached."""
    last_iou: float
    """After the last click."""


class ResultsReader:
    """Reads a folder that is a run's or holds some at any depth; what has not changed is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[Path, tuple[Stamp, Run | str]] = {}

    def read(self) -> Results:
        """Read what there is now; a folder without a run gives no run and no problem."""
        found = sorted(self.folder.rglob(HEADER_NAME)) if self.folder.is_dir() else []
        known = {}
        for header in found:
            folder = header.parent
            stamp = _stamp(folder)
            if stamp is None:  # a run that begins just now
                continue
            before = self._known.get(folder)
            known[folder] = before if before and before[0] == stamp else (stamp, _read(folder))
        self._known = known
        runs = [run for _, run in known.values() if isinstance(run, Run)]
        runs.sort(key=lambda run: str(run.result.header.get("started", "")))
        problems = tuple(text for _, text in known.values() if isinstance(text, str))
        return Results(self.folder, tuple(runs), problems)


def rank_patches(result: EvaluationResult) -> list[PatchRow]:
    """Return a run's patches, worst first: by the clicks needed, then by the last IoU."""
    target = min(result.settings.target_iou, 0.90)
    needed = clicks_to_reach(result.iou_curves, target, result.settings.max_clicks)
    rows = [
        PatchRow(record, float(clicks), float(record.ious[-1]))
        for record, clicks in zip(result.patches, needed, strict=True)
    ]
    return sorted(rows, key=lambda row: (-row.clicks_needed, row.last_iou))


def export_path(path: str, kind: str) -> Path:
    """Return the path that a file dialog means: with the suffix of the kind where it has none."""
    suffix = next((s for s, text in EXPORTS.items() if text == kind), ".csv")
    return Path(path) if Path(path).suffix.casefold() in EXPORTS else Path(path + suffix)


def export_results(results: Sequence[EvaluationResult], path: Path) -> Path:
    """Write results as the suffix says, .csv, .html or .tex; a file that is there is replaced.

    Runs without a finished patch are left out.

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
    if suffix == ".html":
        from histosam_core.evaluation.report.page import write_report

        return write_report(runs, path)
    text = csv_table(runs) if suffix == ".csv" else latex_table(runs)
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
    return path


def _stamp(folder: Path) -> Stamp | None:
    try:
        stats = [(folder / name).stat() for name in (HEADER_NAME, ROWS_NAME)]
    except OSError:
        return None
    return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)


def _read(folder: Path) -> Run | str:
    try:
        (result,) = read_records(folder)
    except EvaluationRecordsError as error:
        return str(error)
    n_done = len(result.patches)
    n_patches = result.header.get("dataset", {}).get("n_evaluated")
    expected = n_done if n_patches is None else int(n_patches) * result.user.repeats
    return Run(folder, result, summarise(result), n_done, expected)
