"""Long jobs: the `histosam` command in a process of its own, which outlives viewer and napari.

Everything that is known of a job is read from its folder, so any process finds any job. A process
holds the lock of its control file while it lives, which distinguishes it from another that got its
number later.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from histosam_core.errors import JobError
from histosam_core.paths import data_folder
from napari_histosam.jobs.job_folder import (
    Event,
    JobFolder,
    end_process,
    is_alive,
    start_process,
)

JobState = Literal["running", "paused", "stopped", "finished", "failed", "lost"]
Awaited = Literal["", "pause", "stop"]

ALIVE: tuple[JobState, ...] = ("running", "paused")
"""States of a job whose process is there."""
ENDS: Mapping[str, JobState] = {"result": "finished", "stopped": "stopped", "error": "failed"}
"""The events that a process ends with, and what the job is then."""
AT_WORK = frozenset(("progress", "step", "validation"))
"""Events of work that has left something in the run folder."""
START_SECONDS = 120.0
"""That a process may take until it has its lock."""
KEPT = ("kind", "title", "arguments", "about", "working_folder", "created")
"""What of a job its folder keeps."""
LOST = (
    "the process ended without an error message: it was killed, the machine went down, or memory "
    "ran out; Resume goes on from the state that was saved last"
)


@dataclass(frozen=True, slots=True)
class Job:
    """A long job; its folder is asked anew each time."""

    folder: Path
    id: str
    """What holds everything that is known of it, and that folder's name."""
    kind: str
    """The verb: "finetune", "evaluate" or "improve"."""
    title: str
    """What a user knows it by."""
    arguments: tuple[str, ...]
    """Of the command `histosam`, the verb first."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Whatever the caller wants to know again: plain values."""
    working_folder: str = "."
    """That relative paths start from."""
    created: float = 0.0
    """Seconds since the epoch."""

    @property
    def out(self) -> Path | None:
        """Folder of what it makes; None where nothing says so."""
        given = self.about.get("out")
        if given is None and "--out" in self.arguments[:-1]:
            given = self.arguments[self.arguments.index("--out") + 1]
        return None if given is None else Path(self.working_folder) / given

    def state(self) -> JobState:
        """Return its state.

        It is "paused" as soon as a pause is asked for; `awaited` says whether it rests by now.
        "lost" is a job whose process has gone without an end.
        """
        had_begun = bool(self._files.first_event())
        if self._files.is_held():
            return "paused" if self._files.order() == "pause" else "running"
        ends = [ENDS[event["event"]] for event in self._files.tail() if event["event"] in ENDS]
        if ends:
            return ends[-1]
        if self._files.first_event():
            # It may have begun between the two looks; else its lock would still be held.
            return "lost" if had_begun else "running"
        return "running" if self._is_starting() else "failed"

    def awaited(self) -> Awaited:
        """Return the order that a running job has not carried out yet; empty where there is none.

        It obeys between two steps, and a step of a large model may take a minute.
        """
        order = self._files.order()
        if order == "pause":
            is_paused = [event["event"] for event in self._files.tail()[-1:]] == ["paused"]
            return "" if is_paused else "pause"
        return "stop" if order == "stop" else ""

    def read_events(self, offset: int = 0, *, limit: int | None = None) -> tuple[list[Event], int]:
        """Return the events from an offset in bytes on, and the offset to go on from.

        A line that is only half written is left for the next time; what is no event is left out.
        At most `limit` bytes are read; None reads to the end.
        """
        return self._files.read_events(offset, limit)

    def pause(self) -> None:
        """Let the work rest at its next step, its memory kept; JobError where it does not run."""
        self._order("pause")

    def stop(self) -> None:
        """Let the work save its state and end; JobError where it does not run."""
        self._order("stop")

    def resume(self) -> None:
        """Go on: at once where it is paused, else in a new process from what was saved.

        Raises
        ------
        JobError
            It has finished.
        OutputWriteError
            The job's folder cannot be written.
        """
        state = self.state()
        if state in ALIVE:
            self._order("run")
        elif state == "finished":
            raise JobError(f"{self.title} has finished; start a new job to do more")
        else:
            self._start(self._arguments_to_go_on())

    def kill(self) -> None:
        """End the process at once; what it did since it last saved its state is lost."""
        process = self._process()
        if process is not None and self.state() in ALIVE:
            end_process(process)

    def error_text(self) -> str:
        """Return one line that says what went wrong and what to do; empty where nothing did."""
        state = self.state()
        if state == "lost":
            return LOST
        if state != "failed":
            return ""
        for event in reversed(self._files.tail()):
            if event["event"] == "error":
                return str(event.get("text", ""))
        return self._files.last_words() or f"the process did not start; see {self._files.errors}"

    def remove(self) -> None:
        """Forget the job; checkpoints and reports that it wrote elsewhere stay.

        Raises
        ------
        JobError
            It still runs, or its folder cannot be removed.
        """
        if self.state() in ALIVE:
            raise JobError(f"{self.title} still runs; stop it before you remove it")
        try:
            shutil.rmtree(self.folder)
        except OSError as error:
            raise JobError(
                f"cannot remove {self.folder}: {error.strerror}; remove it by hand"
            ) from error

    @property
    def _files(self) -> JobFolder:
        return JobFolder(self.folder)

    def _process(self) -> int | None:
        """The last process's number, by its own word where it has begun."""
        return self._files.first_event().get("pid", self._files.read("sitting").get("pid"))

    def _is_starting(self) -> bool:
        attempt = self._files.read("sitting")
        is_new = time.time() - attempt.get("started", self.created) < START_SECONDS
        return is_new and is_alive(attempt.get("pid"))

    def _order(self, word: str) -> None:
        if self.state() not in ALIVE:
            raise JobError(f"{self.title} is not running; press Resume to go on with it")
        self._files.write_order(word)

    def _start(self, arguments: Sequence[str]) -> None:
        files = self._files
        offsets = files.begin_attempt()
        try:
            process = start_process(
                [*arguments, "--events", "--control", str(files.control)],
                events=files.events,
                errors=files.errors,
                working_folder=self.working_folder,
                name=self.id,
            )
        except OSError as error:
            raise files.unwritable(error) from error
        try:
            files.write("sitting", {"pid": process, "started": time.time(), **offsets})
        except BaseException:
            end_process(process)
            raise

    def _arguments_to_go_on(self) -> list[str]:
        """The arguments for a process that goes on where the last one stopped."""
        events, _ = self.read_events()
        if not any(event["event"] in AT_WORK for event in events):
            return list(self.arguments)  # it never began, and may have been refused
        again = [text for text in self.arguments if text not in ("--resume", "--overwrite")]
        if self.kind == "evaluate":  # goes on by itself
            return again
        has_state = self.out is not None and (self.out / "state.pt").is_file()
        if self.kind == "finetune" and not has_state:
            return [*again, "--overwrite"]  # what lies there are its own first files
        return [*again, "--resume"]


def jobs_folder() -> Path:
    """Where jobs are kept: a folder of the user's data folder; it need not be there yet."""
    return data_folder() / "jobs"


def start_job(
    kind: str,
    title: str,
    arguments: Sequence[str] = (),
    *,
    settings: Mapping[str, object] | None = None,
    about: Mapping[str, object] | None = None,
) -> Job:
    """Start `histosam` in a process that goes on when this one ends.

    Parameters
    ----------
    kind
        The verb: "finetune", "evaluate" or "improve".
    title
        What a user knows the job by.
    arguments
        Of the command, the verb first; ``--events`` and ``--control`` are added.
    settings
        The command's settings by name, instead of arguments; the job's folder keeps them.
    about
        Plain values that come back with the job; "out" is where its results will be.

    Raises
    ------
    OutputWriteError
        The data folder cannot be written.
    """
    now = time.time()
    stamp = datetime.fromtimestamp(now).strftime("%Y-%m-%dT%H-%M-%S")
    name = f"{stamp}-{kind}-{secrets.token_hex(2)}"
    files = JobFolder(jobs_folder() / name)
    if settings is not None:
        arguments = (kind, "--config", str(files.settings))
    job = Job(files.path, name, kind, title, tuple(arguments), dict(about or {}), os.getcwd(), now)
    try:
        files.path.mkdir(parents=True)
    except OSError as error:
        raise files.unwritable(error) from error
    try:
        if settings is not None:
            files.write("settings", settings)
        job._start(job.arguments)
        files.write("job", {name: getattr(job, name) for name in KEPT})
    except BaseException:
        job.kill()
        shutil.rmtree(files.path, ignore_errors=True)
        raise
    return job


def find_jobs(kind: str | None = None) -> list[Job]:
    """List the jobs of this user, newest first; of one kind, or of all.

    Folders that hold no job are left out.
    """
    folder = jobs_folder()
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(KeyError, TypeError, ValueError):
            read = JobFolder(path).read("job")
            kept = {name: read[name] for name in KEPT}
            kept |= {"arguments": tuple(map(str, kept["arguments"]))}
            kept |= {"about": dict(kept["about"]), "created": float(kept["created"])}
            if kind in (None, kept["kind"]):
                found.append(Job(folder=path, id=path.name, **kept))
    return sorted(found, key=lambda job: (job.created, job.id), reverse=True)
