"""Jobs: real processes that run, pause, stop, die, and are found again by others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from histosam_core.errors import JobError, OutputWriteError
from napari_histosam.jobs import job as jobs
from napari_histosam.jobs import job_folder as job_process
from napari_histosam.jobs.job import Job, find_jobs, start_job

STAND_IN = Path(__file__).with_name("job_stand_in.py")


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(job_process, "PROGRAM", (str(STAND_IN),))
    yield
    for job in find_jobs():
        job.kill()


def wait(condition: Callable[[], Any], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def counted(job: Job) -> int:
    events, _ = job.read_events()
    return max((event["done"] for event in events if event["event"] == "progress"), default=0)


def kinds(job: Job) -> list[str]:
    return [event["event"] for event in job.read_events()[0]]


def endless(kind: str = "improve") -> Job:
    job = start_job(kind, "Count", ["9999", "0.02"])
    wait(lambda: counted(job) >= 1)
    return job


def test_a_job_runs_and_tells_how_far_it_is_until_its_result() -> None:
    job = start_job("finetune", "Count to three", ["3", "0.25"], about={"out": Path("runs/a")})
    assert job.state() == "running"
    events: list[dict[str, Any]] = []
    offset = 0
    while not events or events[-1]["event"] != "result":
        more, offset = job.read_events(offset)
        events += more
        time.sleep(0.01)
    wait(lambda: job.state() == "finished")
    done = [event["done"] for event in events if event["event"] == "progress"]
    assert done == [1, 2, 3]
    assert events[0]["event"] == "start"
    assert all(abs(event["time"] - time.time()) < 600 for event in events)
    assert events[-1]["counted"] == 3
    assert job.error_text() == ""
    with pytest.raises(JobError, match="has finished"):
        job.resume()


def test_a_job_of_settings_reads_them_from_its_folder() -> None:
    settings = {"out": "runs/a", "epochs": 3}
    job = start_job("finetune", "Tune", settings=settings, about={"out": "runs/a"})
    path = job.folder / "settings.json"
    assert job.arguments == ("finetune", "--config", str(path))
    assert json.loads(path.read_text()) == settings
    (found,) = find_jobs()
    assert found.arguments == job.arguments
    assert found.out == Path.cwd() / "runs/a"


def test_a_paused_job_rests_and_goes_on_in_the_same_process() -> None:
    job = endless()
    assert job.awaited() == ""
    job.pause()
    assert job.state() == "paused"
    wait(lambda: "paused" in kinds(job))
    assert job.awaited() == ""
    at_rest = counted(job)
    time.sleep(0.5)
    assert counted(job) == at_rest
    job.resume()
    wait(lambda: counted(job) > at_rest)
    assert job.state() == "running"
    assert kinds(job).count("start") == 1


def test_a_stopped_job_goes_on_in_a_new_process_with_resume() -> None:
    job = endless()
    job.pause()
    wait(lambda: "paused" in kinds(job))
    job.stop()
    wait(lambda: job.state() == "stopped")
    assert kinds(job)[-1] == "stopped"
    with pytest.raises(JobError, match="is not running"):
        job.pause()
    short = Job(job.folder, job.id, job.kind, job.title, ("2", "0"))
    short.resume()
    wait(lambda: short.state() == "finished")
    assert short.read_events()[0][-1]["resumed"] is True


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_killed_process_is_lost_and_the_line_it_died_in_spoils_nothing() -> None:
    job = start_job("improve", "Dies in a line", ["9", "0.25", "--broken"])
    wait(lambda: job._files.events.read_bytes().endswith(b"progr"))
    assert kinds(job) == ["start", "progress"]
    job.kill()
    wait(lambda: job.state() == "lost")
    assert "Resume" in job.error_text()
    Job(job.folder, job.id, job.kind, job.title, ("2", "0")).resume()
    wait(lambda: job.state() == "finished")
    assert kinds(job) == ["start", "progress", "start", "progress", "progress", "result"]


def test_what_a_job_was_told_is_awaited_until_its_step_is_done_and_can_be_taken_back() -> None:
    job = start_job("evaluate", "Slow", ["2", "600"])
    wait(lambda: "start" in kinds(job))
    for order in ("pause", "stop"):
        getattr(job, order)()
        assert job.awaited() == order
        job.resume()
        assert job.awaited() == ""
    assert job.state() == "running"


def test_another_process_finds_the_job_and_can_stop_it() -> None:
    job = endless()
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "from napari_histosam.jobs.job import find_jobs\n"
            "(job,) = find_jobs('improve')\n"
            "print(job.id, job.state(), len(job.read_events()[0]) > 1)\n"
            "job.stop()",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == [job.id, "running", "True"]
    wait(lambda: job.state() == "stopped")


def test_a_job_goes_on_when_the_process_that_started_it_has_ended() -> None:
    subprocess.run(
        [
            sys.executable,
            "-c",
            "from napari_histosam.jobs import job, job_folder\n"
            f"job_folder.PROGRAM = ({str(STAND_IN)!r},)\n"
            "job.start_job('evaluate', 'Count', ['9999', '0.02'])",
        ],
        check=True,
    )
    (job,) = find_jobs()
    wait(lambda: counted(job) >= 1)
    before = counted(job)
    wait(lambda: counted(job) > before)
    job.stop()
    wait(lambda: job.state() == "stopped")


def test_two_jobs_run_beside_each_other_and_are_listed_newest_first() -> None:
    first, second = endless("improve"), endless("evaluate")
    assert [job.id for job in find_jobs()] == [second.id, first.id]
    assert [job.id for job in find_jobs("improve")] == [first.id]
    first.stop()
    wait(lambda: first.state() == "stopped")
    assert second.state() == "running"


def test_a_job_that_runs_is_not_removed_one_that_has_ended_is() -> None:
    job = endless()
    with pytest.raises(JobError, match="stop it"):
        job.remove()
    job.kill()
    wait(lambda: job.state() == "lost")
    job.remove()
    assert find_jobs() == []


def test_a_failed_job_tells_its_one_line_and_is_tried_again_as_it_was() -> None:
    job = start_job("improve", "Fails", ["--fails"])
    wait(lambda: job.state() == "failed")
    assert job.error_text() == "nothing can be counted; give a number"
    assert job._arguments_to_go_on() == ["--fails"]


def test_a_call_that_the_command_line_refuses_is_a_failure_with_its_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    job = start_job("finetune", "Wrong", ["info", "--no-such-option"])
    wait(lambda: job.state() == "failed")
    assert "no-such-option" in job.error_text()


def test_a_process_that_was_given_a_dead_ones_number_is_not_taken_for_it() -> None:
    job = endless()
    job.kill()
    wait(lambda: job.state() == "lost")
    job._files.write("sitting", {**job._files.read("sitting"), "pid": os.getpid()})
    assert job.state() == "lost"
    job.kill()  # must not end this test


@pytest.mark.parametrize("has_state", [False, True])
def test_a_fine_tuning_goes_on_from_its_state_or_begins_anew(
    tmp_path: Path, has_state: bool
) -> None:
    out = tmp_path / "run"
    arguments = ("finetune", "--out", str(out), "--overwrite")
    job = Job(tmp_path, "id", "finetune", "Tune", arguments)
    job._files.events.write_text('{"event": "step"}\n')
    if has_state:
        out.mkdir()
        (out / "state.pt").touch()
    wanted = "--resume" if has_state else "--overwrite"
    assert job._arguments_to_go_on() == [*arguments[:3], wanted]


def test_a_data_folder_that_cannot_be_written_is_told_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").touch()
    monkeypatch.setenv("HISTOSAM_DATA", str(tmp_path / "taken"))
    with pytest.raises(OutputWriteError, match="HISTOSAM_DATA"):
        start_job("improve", "Count", ["1", "0"])


def test_a_full_disk_leaves_neither_folder_nor_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def start(*arguments: Any, **call: Any) -> int:
        started.append(job_process.start_process(*arguments, **call))
        return started[-1]

    write = jobs.JobFolder.write

    def refuse(folder: Any, name: Any, values: Any) -> None:
        if name == "sitting":
            raise OutputWriteError("the disk is full; free space")
        write(folder, name, values)

    monkeypatch.setattr(jobs, "start_process", start)
    monkeypatch.setattr(jobs.JobFolder, "write", refuse)
    with pytest.raises(OutputWriteError, match="free space"):
        start_job("improve", "Count", ["9999", "0.02"])
    assert not any(jobs.jobs_folder().iterdir())
    wait(lambda: not job_process.is_alive(started[0]))


def test_folders_that_hold_no_job_are_left_out() -> None:
    (jobs.jobs_folder() / "other").mkdir(parents=True)
    (jobs.jobs_folder() / "broken").mkdir()
    (jobs.jobs_folder() / "broken" / "job.json").write_text('{"kind": "impr')
    assert find_jobs() == []


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another session there")
def test_ctrl_c_in_the_terminal_of_napari_does_not_reach_the_job() -> None:
    # A shell lets what it starts in the background ignore SIGINT, and so would the job.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        job = endless()
    finally:
        signal.signal(signal.SIGINT, before)
    assert os.getsid(job._process() or 0) != os.getsid(0)
    os.kill(job._process() or 0, signal.SIGINT)  # sent to it alone, it stops as asked
    wait(lambda: job.state() == "stopped")
