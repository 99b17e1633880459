"""The annotations layer's tiles: draw and erase one of many objects, read a view, memory.

Run: ``python benchmarks/bench_label_pyramid.py``. The slide has 100,000 x 100,000 px, the grid a
quarter of that; an object is 400 grid pixels across, its outline has 800 corners.
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import shapely

from histosam_core.geometry import Frame
from napari_histosam.viewer.label_pyramid import LabelPyramid

GRID_PX, DOWNSAMPLE, EXTENT_PX, VIEW_PX, CORNERS = 25_000, 4.0, 400, 2048, 800


def outline(rng: np.random.Generator, extent_px: float) -> Any:
    """Return a wavy outline somewhere on the slide, level-0 pixels."""
    radius = extent_px * DOWNSAMPLE / 2
    x, y = rng.uniform(radius, GRID_PX * DOWNSAMPLE - radius, 2)
    turn = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    r = radius * (0.9 + 0.1 * np.sin(7 * turn + rng.uniform(0, 6)))
    return shapely.Polygon(np.column_stack((x + r * np.cos(turn), y + r * np.sin(turn))))


def median_ms(work: Callable[[int], Any], count: int) -> float:
    """Return the median time of `work(0)`, `work(1)`, ... in milliseconds."""
    took = []
    for number in range(count):
        start = time.perf_counter()
        work(number)
        took.append(1e3 * (time.perf_counter() - start))
    return float(np.median(took))


def measure(n_objects: int, rounds: int) -> dict[str, float]:
    """Fill a pyramid and measure it."""
    rng = np.random.default_rng(1)
    frame = Frame((0.0, 0.0), (DOWNSAMPLE, DOWNSAMPLE))
    pyramid = LabelPyramid((GRID_PX, GRID_PX), frame)
    tracemalloc.start()
    for number in range(n_objects):
        pyramid.draw(number + 1, outline(rng, EXTENT_PX))
    memory_mb = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    more = [outline(rng, EXTENT_PX) for _ in range(rounds)]
    first = n_objects + 1
    draw_ms = median_ms(lambda i: pyramid.draw(first + i, more[i]), rounds)
    erase_ms = median_ms(lambda i: pyramid.erase(first + i), rounds)
    level = pyramid.levels[0]
    corners = rng.integers(0, GRID_PX - VIEW_PX, (rounds, 2)).tolist()

    def read(number: int) -> Any:
        x, y = corners[number]
        return level[y : y + VIEW_PX, x : x + VIEW_PX]

    points = rng.uniform(0, GRID_PX * DOWNSAMPLE, (rounds, 2))
    return {
        "objects": n_objects,
        "draw_ms": draw_ms,
        "erase_ms": erase_ms,
        "read_view_ms": median_ms(read, rounds),
        "label_at_ms": median_ms(lambda i: pyramid.label_at(tuple(points[i])), rounds),
        "memory_mb": memory_mb,
    }


def main() -> None:
    """Measure with 1 and with 200 objects, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="how often each is repeated")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows = [measure(count, options.rounds) for count in (1, 200)]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print("objects  draw ms  erase ms  read 2048 px view ms  label at a point ms  memory MB")
    for r in rows:
        print(
            f"{r['objects']:>7}  {r['draw_ms']:>7.2f}  {r['erase_ms']:>8.2f}  "
            f"{r['read_view_ms']:>20.2f}  {r['label_at_ms']:>19.3f}  {r['memory_mb']:>9.1f}"
        )
    print(f"draw: {rows[1]['draw_ms'] / rows[0]['draw_ms']:.2f} x with 200 objects")


if __name__ == "__main__":
    main()
