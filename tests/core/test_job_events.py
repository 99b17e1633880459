"""`--events` and `--control`: lines for a program, and what it may ask for."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histosam_core.errors import ConfigError, JobError
from histosam_core.file_lock import is_locked
from histosam_core.job_events import JobEvents, job_events


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.naps = 0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.naps += 1


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_of_frequent_events_five_a_second_are_written_and_the_last_one_always(
    clock: Clock,
) -> None:
    stream = io.StringIO()
    job = JobEvents(stream, None, clock=clock, later=lambda seconds, call: None)
    for step in range(1, 101):
        job.emit({"event": "step", "step": step})
        clock.now += 0.01
    job.emit({"event": "validation", "epoch": 1})
    steps = [event["step"] for event in lines(stream.getvalue())[:-1]]
    assert steps[0] == 1
    assert steps[-1] == 100
    assert 5 <= len(steps) <= 6
    assert lines(stream.getvalue())[-1]["event"] == "validation"


def test_what_was_held_back_is_written_when_nothing_follows(clock: Clock) -> None:
    stream, due = io.StringIO(), []
    job = JobEvents(stream, None, clock=clock, later=lambda seconds, call: due.append(call))
    with job.progress_bar("Work") as progress:
        for message in ("step 8", "step 9", "validating"):
            progress(9, 9, message)
        assert [e["message"] for e in lines(stream.getvalue())] == ["step 8"]
        (write,) = due
        write()
        assert [e["message"] for e in lines(stream.getvalue())] == ["step 8", "validating"]
        progress(9, 9, "done")
    assert len(due) == 2


def test_the_same_progress_is_told_once_and_obeys_each_time(tmp_path: Path, clock: Clock) -> None:
    control, stream = tmp_path / "control", io.StringIO()
    job = JobEvents(stream, control, clock=clock)
    with job.progress_bar("Work") as progress:
        for _ in range(3):
            progress(1, 2, "encoding")
            clock.now += 1.0
        control.write_text("stop\n")
        with pytest.raises(KeyboardInterrupt):
            progress(1, 2, "encoding")
    assert [e["message"] for e in lines(stream.getvalue())] == ["encoding"]


def test_values_are_plain_and_a_number_that_is_none_is_null() -> None:
    stream = io.StringIO()
    JobEvents(stream, None).result(loss=float("nan"), iou=np.float32(0.5), out=Path("runs/ä"))
    assert stream.getvalue().isascii()
    (event,) = lines(stream.getvalue())
    assert (event["loss"], event["iou"], event["out"]) == (None, 0.5, str(Path("runs/ä")))
    assert event["time"] > 0


def test_a_paused_job_waits_until_the_file_says_something_else(
    tmp_path: Path, clock: Clock
) -> None:
    control, stream = tmp_path / "control", io.StringIO()
    control.write_text("pause\n")

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.naps == 3:
            control.write_text("run\n")

    job = JobEvents(stream, control, clock=clock, sleep=sleep)
    with job.progress_bar("Work") as progress:
        progress(1, 2)
    assert clock.naps == 3
    assert [e["event"] for e in lines(stream.getvalue())] == ["progress", "paused", "resumed"]


@pytest.mark.parametrize("wants_events", [True, False])
def test_stop_interrupts_as_ctrl_c_does(tmp_path: Path, wants_events: bool) -> None:
    control = tmp_path / "control"
    control.write_text("stop")
    job = JobEvents(io.StringIO() if wants_events else None, control)
    with pytest.raises(KeyboardInterrupt), job.progress_bar("Work") as progress:
        progress(1, 2)


def test_work_goes_on_when_nobody_can_be_told() -> None:
    class FullDisk(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    job = JobEvents(FullDisk(), None)
    with job.progress_bar("Work") as progress:
        progress(1, 2)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (ConfigError("epochs is 0; it must be at least 1"), "epochs is 0; it must be at least 1"),
        (RuntimeError("odd\nsecond line"), "unexpected error: RuntimeError: odd; see the log"),
    ],
)
def test_an_error_is_the_last_event_and_passes(
    raised: Exception, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(raised)), job_events(True, None):
        raise raised
    first, last = lines(capsys.readouterr().out)
    assert first["event"] == "start"
    assert (last["event"], last["text"]) == ("error", told)


def test_the_control_file_is_made_and_locked_while_the_work_runs(tmp_path: Path) -> None:
    control = tmp_path / "control"
    with job_events(False, control):
        assert control.read_text() == "run\n"
        assert is_locked(control)
        with pytest.raises(JobError, match="another process"), job_events(False, control):
            pass
    assert not is_locked(control)


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no such right there")
def test_a_control_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="can be written"), job_events(True, tmp_path / "no" / "f"):
        pass
