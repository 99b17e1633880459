"""How a patch of an evaluation looks in the viewer: its layers, made and coloured here alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from histosam_core.evaluation.walkthrough import (
    BOTH_RIGHT,
    BOTH_WRONG,
    ONLY_A_RIGHT,
    ONLY_B_RIGHT,
)
from napari_histosam.evaluate.engine import ADDED, REMOVED
from napari_histosam.viewer import layers as ours
from napari_histosam.viewer.coordinates import to_row_column

if TYPE_CHECKING:
    from histosam_core.clicks import Click

RGB = tuple[int, int, int]

TRUTH_RGB: RGB = (0, 225, 225)
IGNORED_RGB: RGB = (120, 120, 120)
OTHER_RGB: RGB = (60, 120, 255)
CHANGE_COLORS: Mapping[int, RGB] = {ADDED: (0, 200, 80), REMOVED: (255, 70, 40)}
DISAGREEMENT_COLORS: Mapping[int, RGB] = {
    BOTH_RIGHT: (235, 235, 235),
    ONLY_A_RIGHT: ours.MASK_RGB,
    ONLY_B_RIGHT: OTHER_RGB,
    BOTH_WRONG: (225, 20, 20),
}
LABELS: Mapping[ours.Role, tuple[str, Mapping[int, RGB], float, int]] = {
    "truth": ("Truth", {1: TRUTH_RGB, 2: IGNORED_RGB}, 1.0, 2),
    "change": ("Change", CHANGE_COLORS, 0.55, 0),
    "disagreement": ("Disagreement", DISAGREEMENT_COLORS, 0.5, 0),
    "mask": ("Mask", {1: ours.MASK_RGB}, 0.45, 0),
    "other mask": ("Mask of the other model", {1: OTHER_RGB}, 0.9, 2),
}
"""Role -> name, colours, opacity, contour width."""
DISC_SHARE = 0.03
"""Of the image's side."""


def make_layer(owner: object, role: ours.Role, data: Any, **place: Any) -> Any:
    """Return the layer of a role: the image of a patch, its clicks, or one of `LABELS`.

    Parameters
    ----------
    owner
        Goes into the layer's tag.
    role
        What it shows.
    data
        (H, W, 3) uint8 RGB, or (H, W) uint8 classes; clicks begin without any.
    place
        Affine and units.
    """
    from napari.layers import Image, Labels, Points

    place["metadata"] = {ours.TAG: ours.LayerTag(role, owner)}
    if role == "patch":
        return Image(data, rgb=True, **place)
    if role == ours.CLICKS:
        layer = Points(
            np.empty((0, 2)),
            name="Clicks",
            symbol="disc",
            face_color="transparent",
            border_color=ours.POSITIVE,
            border_width=0.25,
            canvas_size_limits=ours.SCREEN_PX,
            features={"number": np.empty(0, int)},
            text={"string": "{number}", "color": "white", "size": 11, "anchor": "upper_left"},
            **place,
        )
    else:
        name, colors, opacity, contour = LABELS[role]
        colormap = ours.label_colormap(colors)
        layer = Labels(data, name=name, colormap=colormap, opacity=opacity, **place)
        layer.contour = contour
    layer.editable = False
    return layer


def show_clicks(
    layer: Any, clicks: Sequence[Click], clicks_xy: Sequence[tuple[float, float]], side_px: int
) -> None:
    """Let the layer of clicks show these, numbered from 1, at these pixels of an image."""
    # Data, not `shown`: napari 0.9.2 paints points that are not shown.
    layer.selected_data = set()
    layer.current_size = DISC_SHARE * side_px
    layer.data = to_row_column(clicks_xy)
    layer.features = {"number": np.arange(1, len(clicks) + 1)}
    layer.size = layer.current_size
    layer.border_color = ours.click_colors(clicks)
    layer.refresh()
