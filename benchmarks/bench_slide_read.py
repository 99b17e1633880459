"""Reading speed beside OpenSlide on one JPEG slide: regions, and a sweep of patches.

Run: ``python benchmarks/bench_slide_read.py``. Each measurement is a process of its own; readers
take turns, and the best of the rounds counts, so that other work on the machine disturbs little.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

READERS = ("histosam", "openslide")
REGION_PX, PATCH_PX, SWEEP = 512, 400, (24, 12)

Read = Callable[[int, int, int], NDArray[np.uint8]]


def peak_mb() -> float:
    """Return this process's peak resident memory in MB (not its parent's, as getrusage may)."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(t for t in status.read_text().splitlines() if t.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def opened(reader: str, path: Path) -> Read:
    """Return a function (x, y, side) -> (side, side, 3) uint8 at level 0."""
    if reader == "histosam":
        from histosam_core.geometry import Region
        from histosam_core.slide import open_slide

        slide = open_slide(path)
        return lambda x, y, side: slide.read_region(Region((x, y), (side, side)))
    import openslide

    handle = openslide.OpenSlide(str(path))
    return lambda x, y, side: np.asarray(handle.read_region((x, y), 0, (side, side)).convert("RGB"))


def measure(reader: str, path: Path, threads: int, size_px: int) -> dict[str, float]:
    """Measure one reader in this process."""
    start = time.perf_counter()
    read = opened(reader, path)
    open_ms = 1e3 * (time.perf_counter() - start)
    rng = np.random.default_rng(1)
    corners = rng.integers(0, size_px - REGION_PX, (60, 2))
    read(0, 0, REGION_PX)
    region_ms = []
    for x, y in corners.tolist():
        start = time.perf_counter()
        read(x, y, REGION_PX)
        region_ms.append(1e3 * (time.perf_counter() - start))
    columns, rows = SWEEP
    patches = [
        (1000 + PATCH_PX * c, 5000 + PATCH_PX * r) for r in range(rows) for c in range(columns)
    ]
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda xy: read(*xy, PATCH_PX).shape, patches):
            pass
    patches_per_s = len(patches) / (time.perf_counter() - start)
    return {
        "open_ms": open_ms,
        "region_ms": float(np.median(region_ms)),
        "patches_per_s": patches_per_s,
        "peak_mb": peak_mb(),
    }


def main() -> None:
    """Build the slide, measure both readers, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=20000, help="pixels a side")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--child", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child, options.file, options.threads, options.size)))
        return
    from repeated_slide import write_repeated_slide

    results: dict[tuple[str, int], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = write_repeated_slide(Path(folder) / "slide.svs", options.size)
        for _ in range(options.rounds):
            for threads in (1, 2):
                for reader in READERS:
                    call = [sys.executable, __file__, "--child", reader, "--file", str(path)]
                    call += ["--threads", str(threads), "--size", str(options.size)]
                    answer = subprocess.run(call, check=True, capture_output=True, text=True)
                    results.setdefault((reader, threads), []).append(json.loads(answer.stdout))
    report(results, as_json=options.json)


def report(results: dict[tuple[str, int], list[dict[str, float]]], *, as_json: bool) -> None:
    """Print the best round of each reader, and our speed as a multiple of OpenSlide's."""
    rows = []
    for (reader, threads), rounds in results.items():
        rows.append(
            {
                "reader": reader,
                "threads": threads,
                "open_ms": min(r["open_ms"] for r in rounds),
                "region_512_ms": min(r["region_ms"] for r in rounds),
                "patches_400_per_s": max(r["patches_per_s"] for r in rounds),
                "peak_mb": max(r["peak_mb"] for r in rounds),
            }
        )
    ratios = []
    for threads in (1, 2):
        ours, theirs = (
            next(r for r in rows if (r["reader"], r["threads"]) == (name, threads))
            for name in READERS
        )
        region = theirs["region_512_ms"] / ours["region_512_ms"]
        patches = ours["patches_400_per_s"] / theirs["patches_400_per_s"]
        ratios.append({"threads": threads, "region_ratio": region, "patches_ratio": patches})
    if as_json:
        print(json.dumps({"rows": rows, "ratios": ratios}, indent=2))
        return
    print("reader     threads  open ms  512 px region ms  400 px patches/s  peak MB")
    for r in rows:
        print(
            f"{r['reader']:<10} {r['threads']:>7}  {r['open_ms']:>7.1f}  "
            f"{r['region_512_ms']:>16.2f}  {r['patches_400_per_s']:>16.0f}  {r['peak_mb']:>7.0f}"
        )
    for r in ratios:
        print(
            f"{r['threads']} thread(s): {r['region_ratio']:.1f} x OpenSlide on regions, "
            f"{r['patches_ratio']:.1f} x on patches"
        )


if __name__ == "__main__":
    main()
