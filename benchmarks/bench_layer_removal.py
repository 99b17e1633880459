"""Taking a session's layers out of the viewer: one by one, as napari's list does, against at once.

    python benchmarks/bench_layer_removal.py [--rounds 5]

That happens when another slide is started and when the widget's dock is closed, on the interface
thread. A real window on a virtual display with software OpenGL, the five layers of a session.
Prints the thread's CPU seconds, medians, since other load does not show in them; and those of one
collection of Python's garbage, which napari 0.9.2 makes at every removal.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests" / "rigs"))
from virtual_display import rerun_on_virtual_display

SIDE_PX = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    rerun_on_virtual_display()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        run(asked.rounds)


def run(rounds: int) -> None:
    from napari_histosam.viewer.torch_beside_opengl import import_torch

    import_torch()  # a session has it, and its objects count among those that are looked through
    import napari
    from napari_histosam.viewer.layers import remove_in_own_context, remove_layers

    viewer = napari.Viewer(show=True)
    remove_in_own_context(viewer)
    image = viewer.add_image(np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8), rgb=True)

    def one_by_one(layers: list[Any]) -> None:
        for layer in layers:
            viewer.layers.remove(layer)

    ways: dict[str, Callable[[list[Any]], None]] = {
        "one by one": one_by_one,
        "at once": lambda layers: remove_layers(viewer, layers),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, remove in ways.items():
            layers = session_layers(image)
            viewer.layers.extend(layers)
            breathe()
            start = time.thread_time()
            remove(layers)
            seconds[way].append(time.thread_time() - start)
            breathe()
    for way, measured in seconds.items():
        print(f"{way:12} {statistics.median(measured):6.2f} s")
    start = time.thread_time()
    gc.collect()
    print(f"{'of garbage':12} {time.thread_time() - start:6.2f} s a collection")
    ratio = statistics.median(seconds["one by one"]) / statistics.median(seconds["at once"])
    print(f"one by one / at once: {ratio:.1f}")
    viewer.close()


def session_layers(image: Any) -> list[Any]:
    """The layers of a session, over an image layer."""
    from napari_histosam.viewer import layers as ours
    from napari_histosam.viewer.coordinates import ImageFrame

    frame, units = ImageFrame.of(image), image.units
    mask = (np.random.default_rng(0).random((SIDE_PX, SIDE_PX)) > 0.5).astype(np.uint8)
    levels = [mask, mask[::2, ::2], mask[::4, ::4]]
    return [
        ours.make_objects(None, levels, frame.affine(), units, None),
        ours.make_heat_map(None, 200 * mask, frame.affine(), units),
        ours.make_mask(None, mask, frame.affine(), units),
        ours.make_boxes(None, frame, units, 3.0),
        ours.make_clicks(None, frame, units, 20.0),
    ]


def breathe() -> None:
    """Let the window draw."""
    from qtpy.QtWidgets import QApplication

    for _ in range(10):
        QApplication.processEvents()


if __name__ == "__main__":
    main()
