"""An opened patch in the viewer: our layers and their colours, next to whatever the user has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

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
    from napari_histosam.evaluate.engine import Opened, Picture

Mode = Literal["mask", "change", "disagreement"]
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
PILE: tuple[ours.Role, ...] = (
    *("patch", "change", "disagreement", ours.MASK, "other mask", "truth", ours.CLICKS),
)
"""Our layers, undermost first."""
VIEW_SHARE = 0.9  # of the canvas that a patch fills when it is opened
GAP_SHARE = 0.05
OUTLINE_PX = 2


class Scene:
    """Our layers of one patch at a time in one viewer; `owner` goes into their tags."""

    def __init__(self, viewer: Any, owner: object) -> None:
        self._viewer = viewer
        self._owner = owner
        self._layers: dict[ours.Role, Any] = {}
        self._picture: Picture | None = None
        self._place: tuple[NDArray[np.float64], Any] = (np.eye(3), None)
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def layers(self) -> tuple[Any, ...]:
        """Our layers that are in the viewer now."""
        return tuple(self._layers.values())

    def layer(self, role: ours.Role) -> Any | None:
        """Return one of our layers, or None."""
        return self._layers.get(role)

    def shows(self, picture: Picture) -> bool:
        """Whether it is the patch that is open."""
        return picture is self._picture

    def open(self, picture: Picture) -> None:
        """Show another patch: image, truth and clicks, next to what the user has in the viewer."""
        self._picture = picture
        affine, units = self._place = self._free_place(picture)
        # Layers stay and get other data: removing some holds the window for half a second.
        for layer in self._layers.values():
            layer.visible = False  # else napari slices it anew at each change
            layer.affine, layer.units = affine, units
        self._set("patch", picture.image)
        self._layers["patch"].name = picture.record.patch_id
        self._set("truth", np.where(picture.truth == -1, 2, picture.truth).astype(np.uint8))
        self._set(ours.CLICKS, np.empty((0, 2)))  # `show` puts them there
        self._look_at(picture.truth.shape, affine)

    def show(self, opened: Opened, click: int, mode: Mode) -> None:
        """Show the state after a click, 1 the first."""
        picture = self._picture
        if picture is not None:
            self._show_clicks(picture, click)
        is_pair = opened.other_walk is not None
        self._set(ours.MASK, opened.mask(click))
        self._set("other mask", opened.other_mask(click) if is_pair else None)
        self._set("change", opened.change(click) if mode == "change" else None)
        self._set("disagreement", opened.disagreement(click) if mode == "disagreement" else None)
        mask = self._layers.get(ours.MASK)
        if mask is not None:
            as_outline = is_pair or mode != "mask"
            mask.contour = OUTLINE_PX if as_outline else 0
            mask.opacity = 0.9 if as_outline else 0.45

    def hide(self) -> None:
        """Show no patch; our layers stay, hidden, for the next one."""
        self._picture = None
        for layer in self._layers.values():
            layer.visible = False

    def remove(self) -> None:
        """Take our layers out of the viewer."""
        self._picture = None
        ours.remove_layers(self._viewer, list(self._layers.values()))
        self._layers.clear()

    def close(self) -> None:
        """Let go of the viewer; our layers stay."""
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    def _show_clicks(self, picture: Picture, n: int) -> None:
        """Show the first n clicks, numbered from 1."""
        # Data, not `shown`: napari 0.9.2 paints points that are not shown.
        layer = self._layers[ours.CLICKS]
        layer.selected_data = set()
        layer.current_size = DISC_SHARE * max(picture.truth.shape)
        layer.data = to_row_column(picture.clicks_xy[:n])
        layer.features = {"number": np.arange(1, n + 1)}
        layer.size = layer.current_size
        layer.border_color = ours.click_colors(picture.record.clicks[:n])
        layer.refresh()

    def _set(self, role: ours.Role, data: NDArray[Any] | None) -> None:
        """Let the layer of a role show this; it is hidden where there is nothing."""
        layer = self._layers.get(role)
        if data is None:
            if layer is not None:
                layer.visible = False
            return
        data = data.astype(np.uint8) if data.dtype == bool else data
        if layer is None:
            affine, units = self._place
            self._add(role, _make_layer(self._owner, role, data, affine=affine, units=units))
        else:
            layer.data = data
            if not layer.visible:
                layer.visible = True

    def _add(self, role: ours.Role, layer: Any) -> None:
        """Put a layer where it belongs in the pile; the clicks are the active layer."""
        layers = self._viewer.layers
        above = [
            layers.index(other)
            for other_role, other in self._layers.items()
            if PILE.index(other_role) > PILE.index(role) and other in layers
        ]
        self._layers[role] = layer
        layers.insert(min(above, default=len(layers)), layer)
        layers.selection.active = self._layers.get(ours.CLICKS, layer)

    def _free_place(self, picture: Picture) -> tuple[NDArray[np.float64], Any]:
        """Where nothing of the user's lies: right of it, in its units."""
        affine = np.diag((picture.mpp, picture.mpp, 1.0))
        theirs = [layer for layer in self._viewer.layers if ours.tag_of(layer) is None]
        if not theirs:
            return affine, ("um", "um")
        units = theirs[0].units[-2:]
        if str(units[-1]) not in ("micrometer", "micron", "um"):
            affine = np.eye(3)
        extent = self._viewer.layers.get_extent(theirs)
        (top, _), (_, right) = np.asarray(extent.world)[:, -2:]
        gap = GAP_SHARE * picture.truth.shape[1] * affine[0, 0]
        affine[:2, 2] = top, right + gap
        return affine, units

    def _look_at(self, shape: tuple[int, ...], affine: NDArray[np.float64]) -> None:
        height, width = shape
        scale, (top, left) = affine[0, 0], affine[:2, 2]
        camera = self._viewer.scene.camera
        camera.center = (0.0, top + (height - 1) * scale / 2, left + (width - 1) * scale / 2)
        camera.zoom = VIEW_SHARE * min(self._viewer.canvas.size) / (max(shape) * scale)

    def _on_removed(self, event: Any) -> None:
        for role, layer in list(self._layers.items()):
            if layer is event.value:
                del self._layers[role]


def _make_layer(owner: object, role: ours.Role, data: Any, **place: Any) -> Any:
    """Return the layer of a role: (H, W, 3) uint8 RGB, clicks, or (H, W) uint8 classes.

    `place` is its affine and units; clicks begin without any.
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
