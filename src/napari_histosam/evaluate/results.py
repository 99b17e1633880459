"""The results in a folder, read again and again while they grow. No Qt, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from histosam_core.errors import EvaluationRecordsError
from histosam_core.evaluation.records import read_records
from histosam_core.evaluation.report.summary import summarise
from histosam_core.metrics import clicks_to_reach

if TYPE_CHECKING:
    from histosam_core.evaluation.records import EvaluationResult, PatchRecord
    from histosam_core.evaluation.report.summary import RunSummary

__all__ = ["PatchRow", "Results", "ResultsReader", "Run", "rank_patches"]

HEADER_NAME, ROWS_NAME = "evaluation.json", "rows.csv"

Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One model on one data set, as far as it has come.

    Parameters
    ----------
    folder
        The run folder, by which it is known.
    result
        Its records.
    summary
        Its line of the table.
    n_done, n_expected
        Patches, each as often as the user clicks on it: finished, and asked for.
    """

    folder: Path
    result: EvaluationResult
    summary: RunSummary
    n_done: int
    n_expected: int


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """All runs of a folder.

    Parameters
    ----------
    folder
        Where they are.
    runs
        In the order in which they were started.
    problems
        A line per run folder that cannot be read.
    """

    folder: Path
    runs: tuple[Run, ...] = ()
    problems: tuple[str, ...] = ()

    def run(self, folder: Path | None) -> Run | None:
        """Return the run of a run folder; None where there is none."""
        return next((run for run in self.runs if run.folder == folder), None)


@dataclass(frozen=True, slots=True, eq=False)
class PatchRow:
    """One patch of a run.

    Parameters
    ----------
    record
        Its clicks.
    clicks_needed
        To the run's target, 0.90 at most; infinity where it was never reached.
    last_iou
        After the last click.
    """

    record: PatchRecord
    clicks_needed: float
    last_iou: float


class ResultsReader:
    """Reads a results folder; what has not changed since the last time is not read again.

    Parameters
    ----------
    folder
        A run folder, or a folder that holds some at any depth.
    """

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
