"""A 100,000 x 100,000 slide in a real window: opening, panning, zooming; does the window freeze?

    python benchmarks/bench_viewer_open.py [--json]

Opens the slide in napari three times, each in a process of its own: with the slide's own levels,
which decode where napari reads them, on the interface thread ("plain"); with the plugin's, which
never do ("progressive"); and with levels that cost nothing to read ("no slide"), to see what
napari and OpenGL take of this machine. A 10 ms timer beats on the interface thread while the view
moves on by a fifth of its width, 100 times over 20 views, at 1:1 and at 1:3, and zooms in and out.
Software rendering, a window of 1200 x 800, on a virtual display.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench_slide_read import peak_mb

sys.path.append(str(Path(__file__).parents[1] / "tests" / "rigs"))

SIZE_PX = 100_000
BEAT_MS = 10
N_VIEWS, STEPS_PER_VIEW = 20, 5
STEP_S, REST_S = 0.04, 0.25
UM_PER_PX = 0.5
KINDS = ("plain", "progressive", "no slide")


class Heartbeat:
    """Notes when a timer of the interface thread fired, and the gaps between."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.beats: list[float] = []
        self._timer = QTimer()
        self._timer.setInterval(BEAT_MS)
        self._timer.timeout.connect(lambda: self.beats.append(time.perf_counter()))

    def __enter__(self) -> Heartbeat:
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.stop()

    def gaps_ms(self) -> dict[str, float]:
        """Return the 95th percentile and the greatest."""
        gaps = 1e3 * np.diff(self.beats)
        return {"p95_ms": float(np.percentile(gaps, 95)), "max_ms": float(gaps.max())}


class NoSlide:
    """A square level whose pixels lie ready in memory, the same wherever it is read."""

    ndim, dtype = 3, np.dtype(np.uint8)
    pixels = np.random.default_rng(0).integers(0, 256, (2500, 2500, 3), np.uint8)

    def __init__(self, side: int) -> None:
        self.shape = side, side, 3
        self.size = side * side * 3

    def __getitem__(self, key: Any) -> Any:
        rows, columns = (len(range(*k.indices(self.shape[0]))) for k in key[:2])
        return self.pixels[:rows, :columns]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.pixels[: self.shape[0], : self.shape[1]]


def live(seconds: float) -> None:
    """Let the window do what it has to."""
    from qtpy.QtWidgets import QApplication

    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0:
        QApplication.processEvents()
        time.sleep(min(0.001, left))


def add_slide(viewer: Any, path: Path, kind: str) -> Any:
    """Add the slide as a layer."""
    if kind == "progressive":
        return viewer.open(path, plugin="napari-histosam")[0]
    from histosam_core.slide import open_slide

    levels: list[Any] = list(open_slide(path).levels)
    if kind == "no slide":
        levels = [NoSlide(SIZE_PX // 2**k) for k in range(8)]
    return viewer.add_image(
        levels, rgb=True, multiscale=True, scale=(UM_PER_PX, UM_PER_PX), units=("um", "um")
    )


def pan(viewer: Any, px_per_screen_px: float, width: int) -> dict[str, float]:
    """Move over 20 views in small steps, with a pause at each; return the heartbeat's gaps."""
    step = width * px_per_screen_px * UM_PER_PX / STEPS_PER_VIEW
    viewer.scene.camera.zoom = 1 / (px_per_screen_px * UM_PER_PX)
    row, column = 0.3 * SIZE_PX * UM_PER_PX, 0.1 * SIZE_PX * UM_PER_PX
    viewer.scene.camera.center = (0.0, row, column)
    live(0.5)
    with Heartbeat() as heartbeat:
        for view in range(N_VIEWS):
            for _ in range(STEPS_PER_VIEW):
                column += step
                row += step / 4 * (1 if view % 2 else -1)
                viewer.scene.camera.center = (0.0, row, column)
                live(STEP_S)
            live(REST_S)
    return heartbeat.gaps_ms()


def zoom(viewer: Any) -> dict[str, float]:
    """Zoom from the whole slide to single pixels and back, twice."""
    centre = 0.4 * SIZE_PX * UM_PER_PX
    viewer.reset_view()
    live(0.5)
    out, close = viewer.scene.camera.zoom, 2 / UM_PER_PX
    there = np.geomspace(out, close, 60)
    with Heartbeat() as heartbeat:
        for _ in range(2):
            for way in (there, there[::-1]):
                for value in way:
                    viewer.scene.camera.center = (0.0, centre, centre)
                    viewer.scene.camera.zoom = value
                    live(STEP_S)
                centre += 5000 * UM_PER_PX
    return heartbeat.gaps_ms()


def measure(path: Path, kind: str) -> dict[str, Any]:
    """Open, pan and zoom; return seconds, megabytes and gaps."""
    import psutil

    import napari

    process = psutil.Process()
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1200, 800)
    viewer.add_image(np.zeros((64, 64, 3), np.uint8), rgb=True)  # shaders are made once a session
    live(1.0)
    viewer.layers.clear()
    before = process.memory_info().rss
    start = time.perf_counter()
    add_slide(viewer, path, kind)
    viewer.screenshot(canvas_only=True, flash=False)
    opened_s = time.perf_counter() - start
    opened = process.memory_info().rss
    width = viewer.window._qt_viewer.canvas.size[1]
    result: dict[str, Any] = {"open_s": opened_s, "open_mb": (opened - before) / 1e6}
    result["pan 1:1"] = pan(viewer, 1.0, width)
    result["pan 1:3"] = pan(viewer, 3.0, width)
    result["zoom"] = zoom(viewer)
    result["added_mb"] = (process.memory_info().rss - opened) / 1e6
    result["peak_mb"] = (peak_mb() * 2**20 - before) / 1e6
    viewer.close()
    return result


def main() -> None:
    """Build the slide, measure each kind in a new process, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this one")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file:
        print(json.dumps(measure(options.file, options.kind[0])))
        return
    from repeated_slide import write_repeated_slide
    from virtual_display import virtual_display

    results = {}
    with tempfile.TemporaryDirectory() as folder, virtual_display():
        path = write_repeated_slide(Path(folder) / "large.svs", SIZE_PX, share_bytes=True)
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        for kind in options.kind or KINDS:
            call = [sys.executable, __file__, "--file", str(path), "--kind", kind]
            done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True)
            results[kind] = json.loads(done.stdout.splitlines()[-1])
    if options.json:
        print(json.dumps(results))
        return
    table(results)


def table(results: dict[str, dict[str, Any]]) -> None:
    """Print the kinds side by side."""
    print(f"{SIZE_PX} x {SIZE_PX} px; gaps of a {BEAT_MS} ms heartbeat: 95th percentile / greatest")
    print(f"{'':34}" + "".join(f"{kind:>20}" for kind in results))
    for name, key in (
        ("seconds until shown", "open_s"),
        ("MB added by opening", "open_mb"),
        ("MB added by panning and zooming", "added_mb"),
        ("MB added at the peak of it all", "peak_mb"),
    ):
        print(f"{name:34}" + "".join(f"{one[key]:>20.2f}" for one in results.values()))
    for name in ("pan 1:1", "pan 1:3", "zoom"):
        cells = [f"{r[name]['p95_ms']:.0f} / {r[name]['max_ms']:.0f} ms" for r in results.values()]
        print(f"{name:34}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
