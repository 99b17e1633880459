"""Make the pictures of docs/napari.md: a real window on a virtual display, real mouse events.

    .venv/bin/python scripts/screenshots.py [--model CHECKPOINT] [--out docs/images] [--only NAME]

The slide is the sample slide (File > Open Sample > HistoSAM). Needs Xvfb, as the tests do.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from histosam_core.clicks import Click, next_click
from histosam_core.geometry import Region

sys.path.append(str(Path(__file__).parents[1] / "tests" / "rigs"))
from virtual_display import rerun_on_virtual_display

WINDOW_WH = 1500, 940
QUALITY = 70
N_CLICKS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="histosam-tiny")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--only", help="keep but the picture after all clicks, under this name")
    asked = parser.parse_args()
    rerun_on_virtual_display()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        os.environ["HISTOSAM_CACHE"] = str(Path(folder) / "cache")
        os.environ["HISTOSAM_DATA"] = str(Path(folder) / "data")
        Pictures(asked.out, asked.only).take(asked.model)


class Pictures:
    """A session like a user's, photographed.

    Parameters
    ----------
    out
        Folder of the pictures.
    only
        What the picture after all clicks is called, where it is the only one to keep.
    """

    def __init__(self, out: Path, only: str | None = None) -> None:
        from mouse_hand import Hand

        import napari
        from napari_histosam.interactive.widget import InteractiveWidget

        self.out, self.only = out, only
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(*WINDOW_WH)
        self.viewer.open_sample("napari-histosam", "synthetic_liver")
        self.widget = InteractiveWidget(self.viewer)
        self.viewer.window.add_dock_widget(self.widget, name="HistoSAM: outline by clicks")
        self.hand = Hand(self.viewer, self.widget)

    def take(self, model: str) -> None:
        """Click, correct, accept; a picture after each."""
        from qtpy.QtCore import Qt

        hand, key = self.hand, Qt.Key
        self.widget.setup_panel.choose(model=model)
        self.widget.setup_panel.start_button.click()
        hand.wait(lambda: self.widget.controller.is_open, 120)
        hand.look_at((2000, 2000), zoom=0.21)
        self.rest()
        self.save("napari_start")
        for name, n_clicks in (("napari_first_click", 1), ("napari_corrected", N_CLICKS - 1)):
            for _ in range(n_clicks):
                self.click_on_largest_error()
            self.rest()
            self.save(name)
        hand.key(key.Key_C)
        hand.settle()
        self.rest()
        self.save("napari_accepted")
        hand.key(key.Key_Z)
        hand.settle()
        hand.key(key.Key_O)
        hand.key(key.Key_H)
        self.rest()
        self.save("napari_probability")
        self.widget.shut_down()
        self.viewer.close()

    def click_on_largest_error(self) -> None:
        """Click where the mask and the known tumour differ most, as the evaluation's user does."""
        session = self.widget.controller.thread.engine.session
        step = round(session.grid.downsample)
        truth = largest(np.asarray(self.viewer.layers["Tumor (truth)"].data)[::step, ::step] > 0)
        whole = Region((0.0, 0.0), truth.shape[::-1], session.grid.mpp)
        mask, _ = session.mask_region(whole)
        frame = whole.frame(session.slide_mpp)
        given = [Click(frame.from_level0(c.xy), c.is_positive) for c in session.clicks]
        wanted = next_click(truth.astype(np.int8), mask, given)
        self.hand.click(frame.to_level0(wanted.xy), right=not wanted.is_positive)
        self.hand.settle()

    def rest(self) -> None:
        """Wait until tiles are loaded and the look-ahead has come to its end."""
        from napari_histosam.reader import tag_of_slide

        for _ in range(150):
            self.hand.breathe()
            if self.widget.controller.look_ahead.wait_idle(0.02):
                break
        for layer in self.viewer.layers:
            tag = tag_of_slide(layer)
            if tag is not None and tag.shown is not None:
                tag.shown.wait_idle()
        for _ in range(40):
            self.hand.breathe()

    def save(self, name: str) -> None:
        """Write the whole window as JPEG."""
        from PIL import Image

        if self.only is not None:
            if name != "napari_corrected":
                return
            name = self.only
        picture: Any = self.viewer.screenshot(canvas_only=False, flash=False)
        path = self.out / f"{name}.jpg"
        Image.fromarray(picture[..., :3]).save(path, quality=QUALITY)
        print(f"{path}: {self.widget.status_bar.text}")


def largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected part of a mask."""
    labels, count = ndimage.label(mask)
    found: NDArray[np.bool_] = labels == 1 + int(
        np.argmax(ndimage.sum(mask, labels, range(1, count + 1)))
    )
    return found


if __name__ == "__main__":
    main()
