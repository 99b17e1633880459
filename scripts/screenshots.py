"""Make the pictures of docs/napari.md: a real window on a virtual display, real mouse events.

    .venv/bin/python scripts/screenshots.py [--model CHECKPOINT] [--out docs/images]

The slide is the sample slide (File > Open Sample > HistoSAM). Needs Xvfb, as the tests do.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from napari_histosam.virtual_display import rerun_on_virtual_display

WINDOW_WH = 1500, 940
QUALITY = 82


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="histosam-tiny")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    asked = parser.parse_args()
    rerun_on_virtual_display()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        os.environ["HISTOSAM_CACHE"] = str(Path(folder) / "cache")
        os.environ["HISTOSAM_DATA"] = str(Path(folder) / "data")
        Pictures(asked.out).take(asked.model)


class Pictures:
    """A session like a user's, photographed.

    Parameters
    ----------
    out
        Folder of the pictures.
    """

    def __init__(self, out: Path) -> None:
        import napari
        from napari_histosam.hand import Hand
        from napari_histosam.interactive.widget import InteractiveWidget

        self.out = out
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
        for name, clicks in STORY:
            for x, y, is_positive in clicks:
                hand.click((x, y), right=not is_positive)
                hand.settle()
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

    def rest(self) -> None:
        """Wait until tiles are loaded and the look-ahead has come to its end."""
        for _ in range(150):
            self.hand.breathe()
            if self.widget.controller._ahead.wait_idle(0.02):
                break
        for layer in self.viewer.layers:
            levels = getattr(layer, "data", None)
            wait = getattr(levels[0] if isinstance(levels, list | tuple) else levels, "wait", None)
            if wait is not None:
                wait()
        for _ in range(40):
            self.hand.breathe()

    def save(self, name: str) -> None:
        """Write the whole window as JPEG."""
        from PIL import Image

        picture: Any = self.viewer.screenshot(canvas_only=False, flash=False)
        path = self.out / f"{name}.jpg"
        Image.fromarray(picture[..., :3]).save(path, quality=QUALITY)
        print(f"{path}: {self.widget.status_bar.text}")


STORY = (
    ("napari_first_click", [(1400, 1500, True)]),
    ("napari_corrected", [(1700, 2300, True), (600, 1500, False)]),
)


if __name__ == "__main__":
    main()
