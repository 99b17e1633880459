"""A pathologist's minutes: open a slide, outline a tumour by mouse, accept, export; the outline is
compared with the tumour that was drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from histosam_core.annotation import read_geojson
from histosam_core.clicks import next_click
from histosam_core.geometry import Region
from histosam_core.metrics import iou
from histosam_core.recipes.synthetic import render_slide
from histosam_core.slide.write import write_svs

pytestmark = [pytest.mark.gui, pytest.mark.slow]

SIDE_PX, MPP, GRID_MPP = 3000, 0.5, 2.0
MAX_CLICKS = 20


def largest_tumor(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask)
    sizes = ndimage.sum(mask, labels, range(1, count + 1))
    found: NDArray[np.bool_] = labels == 1 + int(np.argmax(sizes))
    return found


@pytest.mark.timeout(300)
def test_a_tumour_is_outlined_over_several_windows_and_exported(
    viewer: Any, tmp_path: Path
) -> None:
    from mouse_hand import Hand
    from qtpy.QtCore import Qt

    from napari_histosam.interactive.widget import InteractiveWidget

    drawn = render_slide("liver", (SIDE_PX, SIDE_PX), mpp=MPP, rng=12)
    path = write_svs(tmp_path / "case.svs", drawn.image, mpp=MPP, magnification=20)
    step = round(GRID_MPP / MPP)
    truth = largest_tumor(drawn.tumor_mask[step // 2 :: step, step // 2 :: step])
    whole = Region((0.0, 0.0), truth.shape[::-1], GRID_MPP)

    (layer,) = viewer.open(path, plugin="napari-histosam")
    assert layer.scale.tolist() == [MPP, MPP]
    widget = InteractiveWidget(viewer)
    viewer.window.add_dock_widget(widget, name="HistoSAM")
    widget.controller.grows = False  # its clicks are compared with those of a session without
    hand = Hand(viewer, widget)
    widget.setup_panel.start_button.click()
    hand.wait(lambda: widget.controller.is_open, 120)

    given: list[Any] = []
    mask = np.zeros_like(truth)
    overlaps: list[float] = []
    windows = set()
    while len(given) < MAX_CLICKS and not (overlaps and overlaps[-1] >= 0.85):
        wanted = next_click(truth.astype(np.int8), mask, given)
        given.append(wanted)
        xy = whole.frame(MPP).to_level0(wanted.xy)
        hand.look_at(xy, zoom=0.3)
        hand.click(xy, right=not wanted.is_positive)
        hand.settle()
        view = widget.controller.view
        windows.add(view.answer.region)
        mask = widget.controller.thread.engine.session.mask_region(whole)[0]
        overlaps.append(float(iou(truth, mask)))

    n_clicks = len(widget.controller.view.clicks)
    hand.key(Qt.Key.Key_Z)
    hand.settle()
    assert len(widget.controller.view.clicks) == n_clicks - 1
    hand.key(Qt.Key.Key_Y)
    hand.settle()
    hand.key(Qt.Key.Key_C)
    hand.settle()
    assert len(windows) > 1
    out = tmp_path / "case.geojson"
    widget.controller.export_file(out)
    hand.settle()
    widget.shut_down()

    (region,) = read_geojson(out).regions
    assert region.label == "Tumor"
    assert region.measurements["Clicks"] == n_clicks <= MAX_CLICKS
    exported = read_geojson(out).mask(whole, MPP) == 1
    assert np.array_equal(exported, mask)
    assert iou(truth, exported) >= 0.8, overlaps
