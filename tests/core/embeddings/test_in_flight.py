from __future__ import annotations

import threading
import time

import pytest

from histosam_core.embeddings.memory import InFlight


def test_many_that_want_the_same_at_once_make_it_once() -> None:
    in_flight, go_on = InFlight(), threading.Event()
    made, got = [], []

    def make() -> object:
        assert go_on.wait(30)
        made.append(object())
        return made[-1]

    threads = [
        threading.Thread(target=lambda: got.append(in_flight.get_or_make("key", make)))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.05)  # lets them all come to wait; one too late would make another
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert len(made) == 1
    assert [value for value, _ in got] == made * 5
    assert sum(is_own for _, is_own in got) == 1


def test_each_key_is_made_by_itself_and_nothing_is_remembered() -> None:
    in_flight = InFlight()
    assert in_flight.get_or_make(1, lambda: in_flight.get_or_make(2, lambda: "b")) == (
        ("b", True),
        True,
    )
    assert in_flight.get_or_make(1, lambda: "c") == ("c", True)


def test_an_error_reaches_its_own_caller_and_one_of_the_others_makes_it() -> None:
    in_flight, has_begun, go_on = InFlight(), threading.Event(), threading.Event()
    errors, got = [], []

    def fail() -> object:
        has_begun.set()
        assert go_on.wait(30)
        raise InterruptedError

    def first() -> None:
        try:
            in_flight.get_or_make("key", fail)
        except InterruptedError as error:
            errors.append(error)

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert has_begun.wait(30)
    threads += [
        threading.Thread(target=lambda: got.append(in_flight.get_or_make("key", object)[0]))
        for _ in range(3)
    ]
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert len(errors) == 1
    assert len(got) == 3


def test_a_failed_making_leaves_nothing_behind() -> None:
    in_flight = InFlight()
    with pytest.raises(ZeroDivisionError):
        in_flight.get_or_make("key", lambda: 1 / 0)
    assert in_flight.get_or_make("key", lambda: 1) == (1, True)
