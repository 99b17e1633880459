"""Results and patches: what the dock calls, and the signals that answer. No widgets.

Everything here runs on the interface thread and returns at once. One worker reads the results that
grow, another opens patches and runs models; answers for a patch that has been left are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from histosam_core.errors import EvaluationRecordsError
from histosam_core.evaluation.walkthrough import mismatch
from napari_histosam.evaluate.engine import Engine, Opened, source_of
from napari_histosam.evaluate.results import Results, ResultsReader, export_results
from napari_histosam.viewer.workers import Answer, SerialWorker

if TYPE_CHECKING:
    from histosam_core.evaluation.records import PatchRecord
    from histosam_core.evaluation.walkthrough import Walkthrough
    from napari_histosam.evaluate.engine import Picture
    from napari_histosam.evaluate.results import Run

READ, EXPORT, OPEN, CLOSE = "read results", "export", "open patch", "close"


class _LeftError(Exception):
    """The patch that this work was for has been left."""


class Controller:
    """Results in one dock, and the patch of them that is open.

    `post` runs a callable soon on the interface thread; it may be called from any thread.
    """

    results_changed = Signal(object)
    opened_changed = Signal(object)
    busy_changed = Signal(str, int, int)
    failed = Signal(object)
    informed = Signal(str)

    def __init__(self, post: Callable[[Callable[[], None]], None]) -> None:
        self.results: Results | None = None
        self.opened: Opened | None = None
        self._post = post
        self._engine = Engine()
        self._reader: ResultsReader | None = None
        self._is_growing = False
        self._sources: dict[str, str] = {}
        self._is_reading = self._is_due = False
        self._n_pending = 0
        self._token = 0
        self._reads = SerialWorker("histosam-results", lambda a: post(lambda: self._take(a)))
        self._opens = SerialWorker("histosam-patches", lambda a: post(lambda: self._take(a)))

    @property
    def is_settled(self) -> bool:
        """Whether every request is answered, and its answer taken."""
        return self._n_pending == 0

    # Results.

    def show_results(
        self, folder: Path | None, sources: Mapping[str, str] | None, *, is_growing: bool
    ) -> None:
        """Show the results in a folder.

        Parameters
        ----------
        folder
            Holds runs at any depth; None shows nothing.
        sources
            Names in the results -> what `parse_model` takes, where that is known.
        is_growing
            Whether a job fills it; else it is an error that it holds no run.
        """
        self.close_patch()
        self._sources = dict(sources or {})
        self._reader = None if folder is None else ResultsReader(folder)
        self._is_reading, self._is_growing = False, is_growing
        self.results = None
        self.results_changed.emit(None)
        self.look()

    def look(self) -> None:
        """Read the results again, now or as soon as the reading that is on its way has ended."""
        reader = self._reader
        self._is_due = self._is_reading
        if reader is None or self._is_reading:
            return
        self._is_reading = True
        self._submit(self._reads, READ, reader.read, lambda r: self._take_results(reader, r))

    def export(self, path: Path) -> None:
        """Write the table or the report."""
        if self.results is not None:
            runs = [run.result for run in self.results.runs]
            self._submit(
                self._reads,
                EXPORT,
                lambda: export_results(runs, path),
                lambda written: self.informed.emit(f"wrote {written}"),
            )

    # Patches.

    def open_patch(self, run: Run, record: PatchRecord, other: Run | None = None) -> None:
        """Show a run's patch at once, and its masks as soon as the model has given them.

        `other` is the run to compare it with.
        """
        self._token += 1
        token = self._token
        self._submit(
            self._opens,
            OPEN,
            lambda: self._engine.open(run.result, record),
            lambda picture: self._take_picture(token, picture, other),
        )
        self._busy("Reading the patch", 0, 0)

    def compare_with(self, run: Run | None) -> None:
        """Compare with another run's model on the same clicks; None ends that."""
        if self.opened is not None:
            other = None if run is None else run.result
            self.opened = replace(self.opened, other=other, other_walk=None)
            self.opened_changed.emit(self.opened)
            if run is not None:
                self._walk(self.opened, is_other=True)

    def set_source(self, name: str, source: str) -> None:
        """State where the model of that name is; its masks are made then."""
        self._sources[name] = source
        opened = self.opened
        if opened is None:
            return
        if opened.walk is None:
            self._walk(opened, is_other=False)
        if opened.other is not None and opened.other_walk is None:
            self._walk(opened, is_other=True)

    def close_patch(self) -> None:
        """Leave the patch; work for it is dropped."""
        self._token += 1
        self.opened = None
        self.opened_changed.emit(None)
        self._busy("", 0, 0)

    def close(self, wait_s: float = 0.0) -> None:
        """End the threads."""
        self._token += 1
        self._reader = None
        self._opens.submit(CLOSE, self._engine.close)
        for worker in (self._reads, self._opens):
            worker.close(wait_s)

    def _submit(
        self,
        worker: SerialWorker,
        name: str,
        work: Callable[[], Any],
        take: Callable[[Any], None],
    ) -> None:
        self._n_pending += 1
        worker.submit(name, lambda: (take, work()))

    def _take(self, answer: Answer) -> None:
        if answer.name == CLOSE:
            return
        try:
            if answer.name == READ:
                self._is_reading = False
            if answer.error is None:
                take, result = answer.result
                take(result)
            elif not isinstance(answer.error, _LeftError):
                if answer.name == OPEN:
                    self._busy("", 0, 0)
                self.failed.emit(answer.error)
        finally:  # what it has led to is on its way by now
            self._n_pending -= 1

    def _take_results(self, reader: ResultsReader, results: Results) -> None:
        if reader is not self._reader:
            return
        known = set(self.results.problems if self.results else ())
        self.results = results
        self.results_changed.emit(results)
        for problem in results.problems:
            if problem not in known:
                self.failed.emit(EvaluationRecordsError(problem))
        if not (self._is_growing or results.runs or results.problems):
            self._reader = None
            self.failed.emit(
                EvaluationRecordsError(
                    f"no evaluation in {results.folder}; choose a folder that "
                    "`histosam evaluate` wrote"
                )
            )
        if self._is_due:
            self.look()

    def _take_picture(self, token: int, picture: Picture, other: Run | None) -> None:
        if token != self._token:
            return
        self.opened = Opened(picture, other=None if other is None else other.result)
        self.opened_changed.emit(self.opened)
        self._walk(self.opened, is_other=False)
        if other is not None:
            self._walk(self.opened, is_other=True)

    def _walk(self, opened: Opened, *, is_other: bool) -> None:
        """Give the clicks to a model again."""
        token, picture, sources = self._token, opened.picture, dict(self._sources)
        run = opened.other if is_other else picture.result
        if run is None:
            return

        def progress(done: int, total: int, message: str = "") -> None:
            if token != self._token:
                raise _LeftError
            words = f"{run.name}: click {done} of {total}"
            self._post(lambda: self._busy(words, done, total, token))

        def work() -> Walkthrough:
            progress(0, 0)
            return self._engine.walk(picture, run, source_of(run, sources), progress=progress)

        self._busy(f"Loading {run.name}", 0, 0)
        self._submit(self._opens, OPEN, work, lambda walk: self._take_walk(token, run, walk))

    def _take_walk(self, token: int, run: Any, walk: Walkthrough) -> None:
        opened = self.opened
        if token != self._token or opened is None:
            return
        if run is opened.picture.result:
            differs = mismatch(walk, opened.picture.record.ious)
            self.opened = replace(opened, walk=walk, mismatch=differs)
        elif run is opened.other:
            self.opened = replace(opened, other_walk=walk)
        else:
            return
        self._busy("", 0, 0)
        self.opened_changed.emit(self.opened)

    def _busy(self, words: str, done: int, total: int, token: int | None = None) -> None:
        if token is None or token == self._token:
            self.busy_changed.emit(words, done, total)


def runs_to_compare(runs: Sequence[Run], run: Run) -> list[Run]:
    """Return the runs that a run can be compared with: of other models, each once."""
    found: dict[str, Run] = {}
    for one in runs:
        if one.result.name != run.result.name:
            found.setdefault(one.result.name, one)
    return list(found.values())
