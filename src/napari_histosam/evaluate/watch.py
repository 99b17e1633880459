"""A job and the results that it fills, looked at again and again. On a worker's thread; no Qt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.errors import EvaluationRecordsError
from napari_histosam.evaluate.results import Results, ResultsReader
from napari_histosam.jobs.job import ALIVE

if TYPE_CHECKING:
    from napari_histosam.jobs.job import Awaited, Job, JobState

__all__ = ["News", "Watch"]


@dataclass(frozen=True, slots=True, eq=False)
class News:
    """How the job and its results stand.

    Parameters
    ----------
    results
        As far as they have come; None before a folder was chosen.
    job
        The job that is watched; None where results were opened.
    state
        Its state.
    awaited
        What it was told and has not done yet.
    done, total, message
        What it said last: progress of the run at hand.
    error
        One line where it failed.
    report
        The report that is there.
    """

    results: Results | None = None
    job: Job | None = None
    state: JobState | None = None
    awaited: Awaited = ""
    done: int = 0
    total: int = 0
    message: str = ""
    error: str = ""
    report: Path | None = None

    @property
    def is_alive(self) -> bool:
        """Whether a job works on the results."""
        return self.state in ALIVE


class Watch:
    """What is looked at.

    Parameters
    ----------
    folder
        Of the results.
    job
        That fills them; None: nobody does.
    """

    def __init__(self, folder: Path, job: Job | None) -> None:
        self.folder = folder
        self.job = job
        self._reader = ResultsReader(folder)
        self._offset = 0
        self._progress: Mapping[str, Any] = {}

    def look(self) -> News:
        """Read job and results.

        Raises
        ------
        EvaluationRecordsError
            Nobody fills the folder, and it holds no run.
        """
        job, report = self.job, self.folder / "report.html"
        # The state first: what a job writes before its end is read after it.
        state = None if job is None else job.state()
        if job is not None:
            events, self._offset = job.read_events(self._offset)
            told = [event for event in events if event["event"] == "progress"]
            self._progress = told[-1] if told else self._progress
        results = self._reader.read()
        if job is None and not results.runs and not results.problems:
            raise EvaluationRecordsError(
                f"no evaluation below {self.folder}; choose a folder that `histosam evaluate` wrote"
            )
        title, message = (str(self._progress.get(k) or "") for k in ("title", "message"))
        return News(
            results=results,
            job=job,
            state=state,
            awaited=job.awaited() if job is not None and state in ALIVE else "",
            done=int(self._progress.get("done") or 0),
            total=int(self._progress.get("total") or 0),
            message=": ".join(filter(None, (title, message))),
            error="" if job is None else job.error_text(),
            report=report if report.is_file() else None,
        )
