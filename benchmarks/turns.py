"""Ways of doing the same thing, timed in turns, so that other load on the machine meets all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = ["in_turns"]


def in_turns(
    ways: Mapping[str, Callable[[], Tensor]], repetitions: int, *, prefix: str = ""
) -> tuple[dict[str, float], float]:
    """Time each way `repetitions` times without gradients, after one time each that does not count.

    Prints a line for each: milliseconds of wall time, the median and the least, CPU milliseconds
    over all threads, and the ratios of the first way's medians to these.

    Parameters
    ----------
    ways
        What to do, by name; the first is what the others are compared with.
    repetitions
        How often.
    prefix
        Stands before each name.

    Returns
    -------
    ratios
        Wall time of the first way over each one's.
    difference
        The greatest absolute difference of any result from the first way's.
    """
    walls: dict[str, list[float]] = {name: [] for name in ways}
    cpus: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        results = {name: call() for name, call in ways.items()}
        for _ in range(repetitions):
            for name, call in ways.items():
                wall, cpu = time.perf_counter(), time.process_time()
                call()
                walls[name].append(1e3 * (time.perf_counter() - wall))
                cpus[name].append(1e3 * (time.process_time() - cpu))
    first = next(iter(ways))
    ratios = {}
    for name in ways:
        wall, cpu = statistics.median(walls[name]), statistics.median(cpus[name])
        ratios[name] = statistics.median(walls[first]) / wall
        of_cpu = statistics.median(cpus[first]) / cpu
        compared = "" if name == first else f"   {ratios[name]:.2f} x wall, {of_cpu:.2f} x CPU"
        print(
            f"  {prefix}{name:16}{wall:9.1f} ms (least {min(walls[name]):.1f}, CPU {cpu:.1f})"
            f"{compared}",
            flush=True,
        )
    difference = max(float((one - results[first]).abs().max()) for one in results.values())
    return ratios, difference
