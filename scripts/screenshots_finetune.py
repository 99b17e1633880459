"""Make the pictures of docs/napari_finetune.md: a real window, a real slide, a real job.

    .venv/bin/python scripts/screenshots_finetune.py [--minutes 3] [--out docs/images]

Draws a slide whose tumour is known, imports the tumour's outlines as accepted objects, and lets the
widget fine-tune the bundled model on them. Needs Xvfb, as the tests do.
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

from histosam_core.annotation import AnnotatedRegion, write_geojson
from histosam_core.annotation.outlines import mask_to_geometry
from histosam_core.recipes.synthetic import render_slide
from histosam_core.slide.write import write_svs

sys.path.append(str(Path(__file__).parents[1] / "tests" / "rigs"))
from virtual_display import rerun_on_virtual_display

WINDOW_WH = 1500, 940
QUALITY = 72
SIDE_PX, MPP, SEED = 9000, 0.5, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    asked = parser.parse_args()
    rerun_on_virtual_display()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HOME"] = folder  # paths in the pictures begin with ~
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        os.environ["HISTOSAM_CACHE"] = str(Path(folder) / "cache")
        os.environ["HISTOSAM_DATA"] = str(Path(folder) / "data")
        take(Path(folder), asked.out, asked.minutes)


def take(folder: Path, out: Path, minutes: float) -> None:
    """Outline, fine-tune, and photograph both pages of the widget."""
    from mouse_hand import Hand
    from PIL import Image

    import napari
    from napari_histosam.finetune.widget import FinetuneWidget
    from napari_histosam.interactive.widget import InteractiveWidget

    slide, outlines = draw(folder)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*WINDOW_WH)
    viewer.open(slide, plugin="napari-histosam")
    outline = InteractiveWidget(viewer)
    viewer.window.add_dock_widget(outline, name="HistoSAM: outline by clicks")
    hand = Hand(viewer, outline)
    outline.setup_panel.start_button.click()
    hand.wait(lambda: outline.controller.is_open, 120)
    outline.controller.import_file(outlines)
    hand.settle()
    viewer.reset_view()
    widget = FinetuneWidget(viewer)
    viewer.window.add_dock_widget(widget, name="HistoSAM: fine-tune a model", tabify=True)
    rest(hand, 1.0)

    def save(name: str) -> None:
        rest(hand, 1.0)
        image = np.asarray(viewer.screenshot(canvas_only=False, flash=False))[..., :3]
        path = out / f"{name}.jpg"
        Image.fromarray(image).save(path, quality=QUALITY, optimize=True)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")

    settings = widget.settings_panel
    settings.data_panel.choose("viewer", is_all_outlined=True)
    settings.choose(max_minutes=minutes, out=Path("~/my-liver"), device="cpu")
    settings.check()
    save("napari_finetune_new")
    settings.start_panel.button.click()
    panel = widget.job_panel
    hand.wait(lambda: ended(panel), 60 * (minutes + 30))
    print(panel.status, panel.error, widget.training_panel.log, sep="\n")
    rest(hand, 3.0)  # the curves are drawn at most every two seconds
    save("napari_finetune")
    outline.shut_down()
    viewer.close()


def draw(folder: Path) -> tuple[Path, Path]:
    """Write a slide and the outlines of its tumour; return both paths."""
    drawn = render_slide("liver", (SIDE_PX, SIDE_PX), mpp=MPP, rng=SEED)
    slide = write_svs(folder / "liver-07.svs", drawn.image, mpp=MPP, magnification=20)
    traced = mask_to_geometry(drawn.tumor_mask)
    regions = [
        AnnotatedRegion(polygon, label="Tumor").measured(MPP)
        for polygon in getattr(traced, "geoms", [traced])
    ]
    return slide, write_geojson(folder / "tumour.geojson", regions)


def ended(panel: Any) -> bool:
    """Whether the job has come to an end."""
    return panel.status.partition(":")[0] not in ("Running", "Paused")


def rest(hand: Any, seconds: float, until: Callable[[], bool] | None = None) -> None:
    """Let the window live."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (until is not None and until()):
        hand.breathe()
        time.sleep(0.01)


if __name__ == "__main__":
    main()
