"""Threads that click at the same time, and stand still while their caller is busy."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from histosam_core.evaluation.protocol.click_loop import Each, in_turn

MAX_THREADS = 16
TRIALS_PER_THREAD = 4
"""For fewer, handing trials to a pool of threads costs more than it gains."""
STEP_S = 0.2
"""At most, between two calls of `on_step` while workers compute."""

Result = TypeVar("Result")


class _EndedError(Exception):
    """Nobody wants what this worker would compute."""


def on_workers(
    work: Callable[[Each, Callable[[], None]], Iterable[Result]],
    n_workers: int,
    on_step: Callable[[], None],
) -> Iterator[Result]:
    """Run several workers on threads of their own; yield what any of them finishes.

    `work` is called with what lets users click, and with what to call between its steps. `on_step`
    is called again and again on the caller's thread. Workers wait while it runs, and while the
    caller is busy with a result; they end after the current step when it raises, or when the
    caller wants no more.
    """
    results: queue.SimpleQueue[tuple[Result] | BaseException | None] = queue.SimpleQueue()
    stop = threading.Event()
    gate = threading.Lock()  # shut while the caller is busy

    def wait_for_caller() -> None:
        with gate:
            pass
        if stop.is_set():
            raise _EndedError

    def run() -> None:
        try:
            _use_one_torch_thread()  # what a new thread starts with depends on torch's build
            for result in work(in_turn, wait_for_caller):
                results.put((result,))
        except _EndedError:
            pass
        except BaseException as error:  # raised again by who waits for results
            results.put(error)
        finally:
            results.put(None)

    with _one_torch_thread():
        threads = [threading.Thread(target=run, name=f"worker {i}") for i in range(n_workers)]
        for thread in threads:
            thread.start()
        try:
            n_running = n_workers
            while n_running:
                try:
                    result = results.get(timeout=STEP_S)
                except queue.Empty:
                    with gate:
                        on_step()
                    continue
                if isinstance(result, BaseException):
                    raise result
                if result is None:
                    n_running -= 1
                else:
                    with gate:
                        yield result[0]
        finally:
            stop.set()
            for thread in threads:
                thread.join()


@contextmanager
def pool_of(n_threads: int, n_at_once: int) -> Iterator[Each]:
    """Yield what calls a function with every item, on threads where `n_at_once` items pay."""
    n_threads = min(n_threads, n_at_once // TRIALS_PER_THREAD)
    if n_threads < 2:
        yield in_turn
        return
    with ThreadPoolExecutor(n_threads, thread_name_prefix="users") as pool:

        def on_threads(function: Callable[..., None], items: Iterable[Any]) -> None:
            for _ in pool.map(function, items):
                pass

        yield on_threads


def n_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return min(MAX_THREADS, len(os.sched_getaffinity(0)))
    return min(MAX_THREADS, os.cpu_count() or 1)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    _use_one_torch_thread()
    try:
        yield
    finally:
        if torch is not None and before is not None:
            torch.set_num_threads(before)


def _use_one_torch_thread() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
