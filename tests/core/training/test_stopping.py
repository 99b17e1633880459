"""Ctrl-C while training."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from histosam_core.training.compute import Processes
from histosam_core.training.stopping import StopRequest

ALONE = Processes(0, 1, "cpu")


def test_the_first_signal_waits_for_the_check_and_the_second_does_not() -> None:
    before = signal.getsignal(signal.SIGINT)
    with StopRequest(ALONE) as stop:
        stop.check()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            stop.check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_request_to_terminate_counts_too() -> None:
    with StopRequest(ALONE) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            stop.check()


def test_outside_the_main_thread_it_leaves_signals_alone() -> None:
    seen = []

    def work() -> None:
        with StopRequest(ALONE) as stop:
            stop.check()
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
