from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from napari_histosam.viewer.workers import Answer, SerialWorker


class Inbox:
    """Keeps what was delivered."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def __call__(self, answer: Answer) -> None:
        self.answers.append(answer)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def worker(inbox: Inbox) -> Iterator[SerialWorker]:
    made = SerialWorker("test-session", inbox)
    yield made
    assert made.close(5)


def test_requests_are_numbered_and_answered_in_order(worker: SerialWorker, inbox: Inbox) -> None:
    numbers = [worker.submit("square", lambda n=n: n * n) for n in range(20)]
    assert worker.wait_idle(5)
    assert [a.number for a in inbox.answers] == numbers == sorted(numbers)
    assert [a.result for a in inbox.answers] == [n * n for n in range(20)]


def test_an_error_is_an_answer_and_the_next_request_is_carried_out(
    worker: SerialWorker, inbox: Inbox
) -> None:
    def fails() -> None:
        raise ValueError("no")

    worker.submit("first", fails)
    worker.submit("second", lambda: "done")
    assert worker.wait_idle(5)
    assert isinstance(inbox.answers[0].error, ValueError)
    assert (inbox.answers[1].name, inbox.answers[1].result) == ("second", "done")


def test_work_never_runs_on_the_caller_s_thread(worker: SerialWorker, inbox: Inbox) -> None:
    worker.submit("where", threading.get_ident)
    assert worker.wait_idle(5)
    assert inbox.answers[0].result != threading.get_ident()


def test_close_finishes_what_waits(inbox: Inbox) -> None:
    made = SerialWorker("test-closing", inbox)
    for n in range(5):
        made.submit("number", lambda n=n: n)
    assert made.close(5)
    assert [a.result for a in inbox.answers] == [0, 1, 2, 3, 4]
    made.submit("late", lambda: "never")
    assert len(inbox.answers) == 5
