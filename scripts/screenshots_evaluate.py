"""Make the pictures of docs/napari_evaluate.md: a real window, real slides, real runs.

    .venv/bin/python scripts/screenshots_evaluate.py [--out docs/images]

Draws slides whose tumour is known, cuts patches from them, and lets the widget evaluate both
decoders of the bundled model on the patches, and one on the slides with a user who misses. Needs
Xvfb, as the tests do.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from histosam_core.dataset import extract_patches
from histosam_core.recipes.synthetic.cohort import make_cohort

sys.path.append(str(Path(__file__).parents[1] / "tests" / "rigs"))
from virtual_display import rerun_on_virtual_display

WINDOW_WH = 1500, 940
QUALITY = 62
N_SLIDES, SLIDE_UM = 4, 2400.0
MAX_CLICKS, SLIDE_CLICKS = 20, 12
MODELS = ("histosam-tiny@sam", "histosam-tiny")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--work", type=Path, help="keep slides and results here")
    asked = parser.parse_args()
    rerun_on_virtual_display()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.work or Path(temporary)
        os.environ["HOME"] = str(folder)  # paths in the pictures begin with ~
        os.environ["NAPARI_CONFIG"] = str(folder / "settings.yaml")
        os.environ["HISTOSAM_CACHE"] = str(folder / "cache")
        os.environ["HISTOSAM_DATA"] = str(folder / "data")
        take(folder, asked.out)


def take(folder: Path, out: Path) -> None:
    """Evaluate, open, compare; a picture after each."""
    import napari
    from napari_histosam.evaluate.widget import EvaluateWidget
    from napari_histosam.viewer.torch_beside_opengl import import_torch

    import_torch()
    slides, patches = draw(folder)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*WINDOW_WH)
    widget = EvaluateWidget(viewer)
    viewer.window.add_dock_widget(widget, name="HistoSAM: evaluate models")
    pictures = Pictures(viewer, widget, out)
    panel = widget.setup_panel
    panel.choose(models=MODELS, data=[patches], out=Path("~/results"), max_clicks=MAX_CLICKS)
    panel.check()
    pictures.save("napari_evaluate_new")
    panel.start_panel.button.click()
    pictures.wait(lambda: sum(run.n_done for run in pictures.runs) >= 26, 900)
    widget.runs_table.selectRow(0)
    pictures.save("napari_evaluate_running")
    pictures.wait(lambda: widget.job_panel.state in ("finished", "failed"), 900)
    pictures.rest(2.0)
    print(widget.job_panel.status, widget.job_panel.error, *widget.runs_table.texts, sep="\n")
    widget.runs_table.selectRow(0)
    widget.open_button.click()
    pictures.settle()
    widget.step_panel.slider.setValue(max(1, widget.step_panel.slider.value() // 3))
    pictures.save("napari_evaluate_patch")
    widget.step_panel.choose_mode("change")
    pictures.save("napari_evaluate_change")
    widget.step_panel.choose_other(widget.step_panel.others[0])
    pictures.settle()
    widget.step_panel.choose_mode("disagreement")
    pictures.save("napari_evaluate_compare")
    widget.step_panel.close_button.click()

    panel.choose(
        models=MODELS[-1:],
        data=[slides],
        out=Path("~/regions"),
        max_clicks=SLIDE_CLICKS,
        limit=3,
        user="jitter",
        repeats=2,
    )
    panel.check()
    panel.start_panel.button.click()
    pictures.wait(lambda: len(pictures.runs) == 1 and pictures.ended, 900)
    print(widget.job_panel.status, widget.job_panel.error, *widget.runs_table.texts, sep="\n")
    widget.runs_table.selectRow(0)
    widget.open_button.click()
    pictures.settle()
    widget.step_panel.choose_mode("mask")
    pictures.save("napari_evaluate_slide")
    widget.shut_down()
    viewer.close()


class Pictures:
    """A widget at work, photographed.

    Parameters
    ----------
    viewer
        napari's.
    widget
        Docked in it.
    out
        Folder of the pictures.
    """

    def __init__(self, viewer: Any, widget: Any, out: Path) -> None:
        self.viewer = viewer
        self.widget = widget
        self.out = out

    @property
    def runs(self) -> Any:
        """What the table shows."""
        results = self.widget.controller.results
        return results.runs if results else ()

    @property
    def ended(self) -> bool:
        """Whether the job has come to an end."""
        return self.widget.job_panel.state not in ("running", "paused")

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Let the window live until a condition holds."""
        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {timeout_s:g} s: {self.widget.job_panel.status}")
            self.rest(0.05)

    def settle(self) -> None:
        """Wait until the patch and its masks are there."""
        self.rest(0.2)
        self.wait(lambda: self.widget.controller.is_settled, 600)

    def rest(self, seconds: float) -> None:
        """Let the window live."""
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.01)

    def save(self, name: str) -> None:
        """Write the whole window as JPEG."""
        from PIL import Image

        self.rest(1.0)
        image = np.asarray(self.viewer.screenshot(canvas_only=False, flash=False))[..., :3]
        path = self.out / f"{name}.jpg"
        Image.fromarray(image).save(path, quality=QUALITY, optimize=True)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def draw(folder: Path) -> tuple[Path, Path]:
    """Draw annotated slides and cut them into patches; return both folders."""
    slides, patches = folder / "slides" / "liver", folder / "patches" / "liver"
    if not patches.exists():
        make_cohort(slides, n_slides=N_SLIDES, slide_um=SLIDE_UM, seed=11)
        extract_patches(slides, patches, stride_px=300, splits={"test": 1.0})
    return slides, patches


if __name__ == "__main__":
    main()
