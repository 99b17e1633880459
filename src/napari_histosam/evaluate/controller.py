"""Jobs, results and patches: what the widget calls, and what it is told. No widgets.

Everything here runs on the interface thread and returns at once. One worker starts jobs and reads
the results that grow, another opens patches and runs models; what comes late for a patch that has
been left is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from histosam_core.errors import EvaluationRecordsError
from histosam_core.evaluation.walkthrough import mismatch
from napari_histosam.evaluate.engine import Engine, source_of
from napari_histosam.evaluate.export import export_results
from napari_histosam.evaluate.scene import Opened
from napari_histosam.evaluate.watch import News, Watch
from napari_histosam.jobs.job import Job, find_jobs, start_job
from napari_histosam.viewer.workers import Answer, SerialWorker

if TYPE_CHECKING:
    from histosam_core.evaluation.records import PatchRecord
    from napari_histosam.evaluate.choices import Choices
    from napari_histosam.evaluate.engine import Picture
    from napari_histosam.evaluate.results import Run

__all__ = ["Controller", "runs_to_compare"]

KIND = "evaluate"


class _LeftError(Exception):
    """The patch that this work was for has been left."""


class Controller:
    """Evaluations in one widget.

    Parameters
    ----------
    post
        Runs a callable soon on the interface thread; may be called from any thread.
    engine
        Opens patches; None: one of its own.
    """

    news_changed = Signal(News)
    jobs_listed = Signal(object)
    opened_changed = Signal(object)
    busy_changed = Signal(str, int, int)
    failed = Signal(object)
    informed = Signal(str)

    def __init__(
        self, post: Callable[[Callable[[], None]], None], engine: Engine | None = None
    ) -> None:
        self.news = News()
        self.opened: Opened | None = None
        self._post = post
        self._engine = engine or Engine()
        self._watch: Watch | None = None
        self._told: dict[str, str] = {}
        self._is_looking = False
        self._n_pending = 0
        self._token = 0
        self._reads = SerialWorker("histosam-evaluations", lambda a: post(lambda: self._take(a)))
        self._opens = SerialWorker("histosam-patches", lambda a: post(lambda: self._take(a)))

    @property
    def is_settled(self) -> bool:
        """Whether every request is answered, and its answer taken."""
        return self._n_pending == 0

    # Jobs and results.

    def start(self, choices: Choices) -> None:
        """Start a job, and watch it."""

        def work() -> Job:
            about = choices.about
            return start_job(KIND, choices.title, choices.arguments(), about=about)

        self._submit(self._reads, "start", work)

    def list_jobs(self) -> None:
        """Find the jobs of this kind; `jobs_listed` tells them and their states, newest first."""
        self._submit(self._reads, "list", lambda: [(job, job.state()) for job in find_jobs(KIND)])

    def watch_job(self, job: Job) -> None:
        """Show a job and what it has found so far."""
        self._begin(Path(str(job.about.get("out", job.folder))), job)

    def open_results(self, folder: Path) -> None:
        """Show the results in a folder; the job that makes them too, where there is one."""

        def work() -> Job | None:
            wanted = str(folder)
            return next((j for j in find_jobs(KIND) if str(j.about.get("out")) == wanted), None)

        self._submit(self._reads, "job of results", lambda: (folder, work()))

    def look(self) -> None:
        """Look again at job and results, unless that is on its way already."""
        watch = self._watch
        if watch is None or self._is_looking:
            return
        self._is_looking = True
        self._submit(self._reads, "look", lambda: (watch, watch.look()))

    def order(self, word: str) -> None:
        """Tell the job: "pause", "resume", "stop", "kill" or "remove"."""
        job = self.news.job
        if job is not None:
            self._submit(self._reads, word, lambda: getattr(job, word)())
            self.look()

    def export(self, path: Path) -> None:
        """Write the table or the report."""
        results = self.news.results
        if results is not None:
            runs = [run.result for run in results.runs]
            self._submit(self._reads, "export", lambda: export_results(runs, path))

    # Patches.

    def open_patch(self, run: Run, record: PatchRecord, other: Run | None = None) -> None:
        """Show a patch at once, and its masks as soon as the model has given them.

        Parameters
        ----------
        run, record
            The patch, and the run that it is of.
        other
            The run to put beside it.
        """
        self._token += 1
        token = self._token

        def work() -> tuple[int, Picture, Run | None]:
            return token, self._engine.open(run.result, record), other

        self._submit(self._opens, "open", work)
        self._busy("Reading the patch", 0, 0)

    def compare_with(self, run: Run | None) -> None:
        """Put another run's model beside it on the same clicks; None takes it away."""
        if self.opened is not None:
            self.opened = replace(
                self.opened, other=None if run is None else run.result, other_walk=None
            )
            self.opened_changed.emit(self.opened)
            if run is not None:
                self._walk(self.opened, is_other=True)

    def say_source(self, name: str, source: str) -> None:
        """Say where the model of that name is; its masks are made then."""
        self._told[name] = source
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
        """End the threads; jobs go on."""
        self._token += 1
        self._watch = None
        self._opens.submit("close", self._engine.close)
        for worker in (self._reads, self._opens):
            worker.close(wait_s)

    def _submit(self, worker: SerialWorker, name: str, work: Callable[[], Any]) -> None:
        self._n_pending += 1
        worker.submit(name, work)

    # What comes back.

    def _begin(self, folder: Path, job: Job | None) -> None:
        self.close_patch()
        self._told = {}
        if job is not None:
            self._told = {str(k): str(v) for k, v in dict(job.about.get("models") or {}).items()}
        self._watch, self._is_looking = Watch(folder, job), False
        self.look()

    def _walk(self, opened: Opened, *, is_other: bool) -> None:
        token, picture = self._token, opened.picture
        run = opened.other if is_other else picture.result
        if run is None:
            return
        told, name = dict(self._told), run.name

        def progress(done: int, total: int, message: str = "") -> None:
            if token != self._token:
                raise _LeftError
            self._post(lambda: self._busy(f"{name}: click {done} of {total}", done, total, token))

        def work() -> Any:
            progress(0, 0)
            source = source_of(run, told)
            walk = self._engine.walk(picture, run, source, progress=progress)
            return token, run, is_other, walk

        self._busy(f"Loading {name}", 0, 0)
        self._submit(self._opens, "walk", work)

    def _take(self, answer: Answer) -> None:
        try:
            self._take_answer(answer)
        finally:  # what it has led to is on its way by now
            self._n_pending -= 1

    def _take_answer(self, answer: Answer) -> None:
        if answer.name == "look":
            self._is_looking = False
        if answer.error is not None:
            self._take_error(answer)
        elif answer.name in ("start", "job of results"):
            folder, job = self._told_of(answer.result)
            self._begin(folder, job)
            if answer.name == "start":
                self.list_jobs()
        elif answer.name == "list":
            self.jobs_listed.emit(answer.result)
        elif answer.name == "look":
            self._take_news(*answer.result)
        elif answer.name == "open":
            self._take_picture(*answer.result)
        elif answer.name == "walk":
            self._take_walk(*answer.result)
        elif answer.name == "export":
            self.informed.emit(f"wrote {answer.result}")
        elif answer.name == "remove":
            self._watch = None
            self.list_jobs()

    def _take_error(self, answer: Answer) -> None:
        if isinstance(answer.error, _LeftError):
            return
        if answer.name in ("open", "walk"):
            self._busy("", 0, 0)
        if answer.name == "look":
            self._watch = None
        self.failed.emit(answer.error)

    def _told_of(self, result: Any) -> tuple[Path, Job | None]:
        if isinstance(result, tuple):
            return result
        return Path(str(result.about["out"])), result

    def _take_news(self, watch: Watch, news: News) -> None:
        if watch is not self._watch:
            return
        before, self.news = self.news, news
        self.news_changed.emit(news)
        known = set(before.results.problems if before.results else ())
        for problem in news.results.problems if news.results else ():
            if problem not in known:
                self.failed.emit(EvaluationRecordsError(problem))

    def _take_picture(self, token: int, picture: Picture, other: Run | None) -> None:
        if token != self._token:
            return
        self.opened = Opened(picture, other=None if other is None else other.result)
        self.opened_changed.emit(self.opened)
        self._walk(self.opened, is_other=False)
        if other is not None:
            self._walk(self.opened, is_other=True)

    def _take_walk(self, token: int, run: Any, is_other: bool, walk: Any) -> None:
        opened = self.opened
        if token != self._token or opened is None or (is_other and opened.other is not run):
            return
        if is_other:
            self.opened = replace(opened, other_walk=walk)
        else:
            told = mismatch(walk, opened.picture.record.ious)
            self.opened = replace(opened, walk=walk, mismatch=told)
        self._busy("", 0, 0)
        self.opened_changed.emit(self.opened)

    def _busy(self, words: str, done: int, total: int, token: int | None = None) -> None:
        if token is None or token == self._token:
            self.busy_changed.emit(words, done, total)


def runs_to_compare(runs: Sequence[Run], run: Run) -> list[Run]:
    """Return the runs whose model can be put beside a run's: of other models, each once."""
    found: dict[str, Run] = {}
    for one in runs:
        if one.result.name != run.result.name and one.result.name not in found:
            found[one.result.name] = one
    return list(found.values())
