"""A person at work in the viewer: how long a click takes, and whether the window ever freezes.

    python benchmarks/bench_viewer_clicks.py [--model histosam-tiny] [--seconds 20]

A real window on a virtual display with software OpenGL, real mouse events through Qt, a synthetic
slide. Prints: the first mask on a fresh spot; click to painted mask with the embedding
ready, and the interface thread's share of it; the same with 200 accepted objects and 2,000 clicks
behind it; and the gaps between the beats of a 10 ms timer on the interface thread while embeddings
are computed, clicks come at 5 a second and the view pans.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shapely

sys.path.append(str(Path(__file__).parents[1] / "tests" / "rigs"))
from virtual_display import rerun_on_virtual_display

from histosam_core.session.operations import Drop

BEAT_MS = 10
OBJECTS, CLICKS_EACH = 200, 10
SLIDE_PX = 6000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="histosam-tiny")
    parser.add_argument("--seconds", type=float, default=20.0)
    asked = parser.parse_args()
    rerun_on_virtual_display()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        os.environ["HISTOSAM_CACHE"] = str(Path(folder) / "cache")
        os.environ["HISTOSAM_DATA"] = str(Path(folder) / "data")
        run(Path(folder), asked.model, asked.seconds)


def run(folder: Path, model: str, seconds: float) -> None:
    from mouse_hand import Hand

    import napari
    from histosam_core.recipes.synthetic import render_slide
    from histosam_core.slide.write import write_svs
    from napari_histosam.interactive.widget import InteractiveWidget

    print(f"drawing a synthetic slide of {SLIDE_PX} x {SLIDE_PX} px ...")
    drawn = render_slide("liver", (SLIDE_PX, SLIDE_PX), mpp=0.5, rng=3)
    path = write_svs(folder / "slide.svs", drawn.image, mpp=0.5, magnification=20)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1400, 900)
    viewer.open(path, plugin="napari-histosam")
    widget = InteractiveWidget(viewer)
    viewer.window.add_dock_widget(widget, name="HistoSAM")
    hand = Hand(viewer, widget)
    widget.controller.grows = False
    widget.setup_panel.choose(model=model)
    start = time.perf_counter()
    widget.setup_panel.start()
    hand.wait(lambda: widget.controller.is_open)
    print(f"model loaded and session open      {time.perf_counter() - start:7.2f} s")
    watch = Watch(widget.controller)
    fresh_spots(hand, watch)
    alone = ready_spots(hand, watch, "embedding ready")
    busy = crowded(hand, watch, drawn.tumor_mask.shape)
    print(f"    with {OBJECTS} objects / alone        {busy / alone:7.2f}")
    heartbeat(hand, seconds)
    growing(hand, drawn.tumor_mask)
    widget.shut_down()
    viewer.close()


class Watch:
    """Measures clicks: from the mouse to the painted mask, and the interface thread's share."""

    def __init__(self, controller: Any) -> None:
        self.controller = controller
        self.shares: list[float] = []
        for owner, name in ((controller, "click"), (controller.thread, "_answered")):
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, call: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.shares[-1:] = [sum(self.shares[-1:]) + 1e3 * (time.perf_counter() - start)]

        return timed

    def click(self, hand: Any, xy: tuple[float, float], **how: bool) -> tuple[float, float]:
        """Click and wait; return milliseconds to the painted mask, and of the interface thread."""
        self.shares.append(0.0)
        start = time.perf_counter()
        hand.click(xy, **how)
        while not self.controller.is_settled:
            hand.breathe()
            time.sleep(0.001)
        hand.canvas.native.repaint()
        return 1e3 * (time.perf_counter() - start), self.shares[-1]


def spots(rng: np.random.Generator, count: int, low: float, high: float) -> Any:
    return [tuple(map(float, xy)) for xy in rng.uniform(low, high, (count, 2))]


def fresh_spots(hand: Any, watch: Watch) -> None:
    """Each click far from the last, nothing encoded ahead."""
    watch.controller.look_ahead.is_on = False
    times = []
    for xy in spots(np.random.default_rng(0), 8, 500, SLIDE_PX - 500):
        hand.look_at(xy, zoom=0.5)
        times.append(watch.click(hand, xy)[0])
        watch.controller.submit(Drop())
        hand.settle()
    line("first mask on a fresh spot", times)


def ready_spots(hand: Any, watch: Watch, name: str) -> float:
    """Clicks in one window, in the middle of the slide; the first is not counted."""
    middle = SLIDE_PX / 2
    hand.look_at((middle, middle), zoom=0.5)
    at = spots(np.random.default_rng(1), 31, middle - 200, middle + 200)
    answers = [watch.click(hand, xy, right=bool(k % 3 == 2)) for k, xy in enumerate(at)][1:]
    watch.controller.submit(Drop())
    hand.settle()
    line(f"click to painted mask, {name}", [total for total, _ in answers])
    line("    interface thread", [share for _, share in answers])
    return float(np.median([total for total, _ in answers]))


def crowded(hand: Any, watch: Watch, hw: tuple[int, int]) -> float:
    """The same with many accepted objects, their clicks journalled and listed."""
    from histosam_core.annotation import AnnotatedRegion

    rng = np.random.default_rng(2)
    regions = []
    for x, y in spots(rng, OBJECTS, 200, min(hw) - 200):
        outline = shapely.Point(x, y).buffer(float(rng.uniform(40, 160)))
        given = " ".join(f"{a:.1f},{b:.1f},+" for a, b in spots(rng, CLICKS_EACH, x - 30, x + 30))
        metadata = {"Tool": "HistoSAM", "Checkpoint": "histosam-tiny", "Click list": given}
        regions.append(AnnotatedRegion(outline, label="Stroma", metadata=metadata))
    controller = watch.controller
    controller._ask("import", lambda e: (e.session.add_objects(regions), e.view())[1])
    hand.settle()
    n_clicks = sum(len(one.clicks) for one in controller.view.objects)
    print(f"    now {len(controller.view.objects)} objects, {n_clicks} clicks")
    return ready_spots(hand, watch, f"{OBJECTS} objects")


def heartbeat(hand: Any, seconds: float) -> None:
    """Beat every 10 ms while windows are encoded ahead, clicks come and the view pans."""
    from qtpy.QtCore import QTimer

    controller = hand.widget.controller
    controller.look_ahead.is_on = True
    rng = np.random.default_rng(4)
    beats: list[float] = []
    timer = QTimer()
    timer.setInterval(BEAT_MS)
    timer.timeout.connect(lambda: beats.append(time.perf_counter()))
    hand.look_at((1500, 1500), zoom=0.5)
    timer.start()
    begin = clicked = panned = time.perf_counter()
    place = np.array([1500.0, 1500.0])
    n_clicks = 0
    while time.perf_counter() - begin < seconds:
        now = time.perf_counter()
        if now - panned > 0.1:
            panned = now
            place = np.clip(place + rng.uniform(-60, 120, 2), 800, SLIDE_PX - 800)
            hand.look_at((float(place[0]), float(place[1])))
        if now - clicked > 0.2:
            clicked = now
            x, y = place + rng.uniform(-300, 300, 2)
            hand.click((float(x), float(y)), right=bool(rng.random() < 0.3))
            n_clicks += 1
        hand.breathe()
        time.sleep(0.001)
    timer.stop()
    gaps = 1e3 * np.diff(beats)
    hand.settle(300)
    print(f"heartbeat of {BEAT_MS} ms for {seconds:.0f} s, {n_clicks} clicks: {len(gaps)} beats")
    print(
        f"    gaps: median {np.median(gaps):.0f}, 95th percentile {np.percentile(gaps, 95):.0f}, "
        f"99th {np.percentile(gaps, 99):.0f}, greatest {gaps.max():.0f} ms"
    )


def growing(hand: Any, tumor: Any) -> None:
    """Beat while an object grows, with a click in the middle of it every second or so."""
    from qtpy.QtCore import QTimer

    controller = hand.widget.controller
    controller.look_ahead.is_on, controller.grows = False, True
    controller.submit(Drop())
    hand.settle(300)
    depth = cv2.distanceTransform(np.pad(tumor, 1).astype(np.uint8), cv2.DIST_L2, 5)
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    hand.look_at((float(x), float(y)), zoom=0.1)
    rng, beats, answers, windows = np.random.default_rng(5), [], [], 0
    timer = QTimer()
    timer.setInterval(BEAT_MS)
    timer.timeout.connect(lambda: beats.append(time.perf_counter()))
    timer.start()
    hand.click((float(x), float(y)))
    asked, seen = time.perf_counter(), 0
    until = asked + 120
    while windows + seen < 60 and time.perf_counter() < until:
        now, view = time.perf_counter(), controller.view
        if view.n_grown < seen:
            windows += seen
        seen = view.n_grown
        if now - asked > 1.0 or (not controller.is_growing and controller.is_settled):
            count, asked = len(view.clicks), now
            dx, dy = rng.uniform(-1500, 1500, 2)
            at = float(np.clip(x + dx, 0, SLIDE_PX - 1)), float(np.clip(y + dy, 0, SLIDE_PX - 1))
            hand.click(at, right=not tumor[int(at[1]), int(at[0])])
            while len(controller.view.clicks) <= count:
                hand.breathe()
                time.sleep(0.001)
            answers.append(1e3 * (time.perf_counter() - now))
        hand.breathe()
        time.sleep(0.001)
    timer.stop()
    gaps = 1e3 * np.diff(beats)
    print(f"growing into {windows + seen} windows, {len(answers)} clicks in the middle")
    print(
        f"    gaps: median {np.median(gaps):.0f}, 95th percentile {np.percentile(gaps, 95):.0f}, "
        f"greatest {gaps.max():.0f} ms"
    )
    line("    click in the middle to its mask", answers)
    controller.stop_growing()
    hand.settle(300)


def line(name: str, times: list[float]) -> None:
    low, high = np.min(times), np.max(times)
    print(
        f"{name:44} median {np.median(times):6.0f} ms   ({low:.0f} to {high:.0f}, n {len(times)})"
    )


if __name__ == "__main__":
    main()
