"""How a patch of an evaluation looks in the viewer: its layers, made and coloured here alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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

__all__ = [
    "CHANGE_COLORS",
    "DISAGREEMENT_COLORS",
    "IGNORED_RGB",
    "OTHER_RGB",
    "TRUTH_RGB",
    "make_labels",
    "make_numbered_clicks",
    "make_patch",
    "set_disc_size",
    "show_clicks",
]

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
DISC_SHARE = 0.03  # of the image's side


def make_patch(
    owner: object, image: NDArray[np.uint8], affine: NDArray[np.float64], units: Any, name: str
) -> Any:
    """Return the Image layer of a patch, (H, W, 3) uint8."""
    from napari.layers import Image

    return Image(
        image,
        rgb=True,
        name=name,
        affine=affine,
        units=units,
        metadata={ours.TAG: ours.LayerTag("patch", owner)},
    )


def make_labels(
    owner: object,
    role: ours.Role,
    data: NDArray[np.uint8],
    affine: NDArray[np.float64],
    units: Any,
) -> Any:
    """Return the Labels layer of one of `LABELS`."""
    from napari.layers import Labels

    name, colors, opacity, contour = LABELS[role]
    layer = Labels(
        data,
        name=name,
        affine=affine,
        units=units,
        colormap=ours.label_colormap(colors),
        opacity=opacity,
        metadata={ours.TAG: ours.LayerTag(role, owner)},
    )
    layer.contour = contour
    layer.editable = False
    return layer


def make_numbered_clicks(owner: object, affine: NDArray[np.float64], units: Any) -> Any:
    """Return the Points layer of clicks, empty; `set_disc_size` and `show_clicks` go on."""
    from napari.layers import Points

    layer = Points(
        np.empty((0, 2)),
        name="Clicks",
        affine=affine,
        units=units,
        symbol="disc",
        face_color="transparent",
        border_color=ours.POSITIVE,
        border_width=0.25,
        canvas_size_limits=ours.SCREEN_PX,
        features={"number": np.empty(0, int)},
        text={"string": "{number}", "color": "white", "size": 11, "anchor": "upper_left"},
        metadata={ours.TAG: ours.LayerTag(ours.CLICKS, owner)},
    )
    layer.editable = False
    return layer


def set_disc_size(layer: Any, side_px: int) -> None:
    """Let the clicks of a layer be as large as suits an image of `side_px`."""
    layer.selected_data = set()
    layer.current_size = DISC_SHARE * side_px


def show_clicks(
    layer: Any, clicks: Sequence[Click], clicks_xy: Sequence[tuple[float, float]]
) -> None:
    """Let a layer of `make_numbered_clicks` show these clicks, numbered from 1.

    Parameters
    ----------
    layer
        The layer.
    clicks
        What they are.
    clicks_xy
        Where they lie on the image.
    """
    # Data, not `shown`: napari 0.9.2 paints points that are not shown.
    layer.data = to_row_column(clicks_xy)
    layer.features = {"number": np.arange(1, len(clicks) + 1)}
    layer.size = layer.current_size
    layer.border_color = ours.click_colors(clicks)
    layer.refresh()
