"""The current object on the screen: its mask, and its probability where that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_histosam.interactive.scene.painter import Stage, changed_tiles, paint, stage_for
from napari_histosam.viewer import layers as ours

if TYPE_CHECKING:
    from histosam_core.geometry import Frame
    from histosam_core.session import CanvasSnapshot

__all__ = ["Display", "MaskLayers"]

OUTLINE_PX = 2


@dataclass(frozen=True, slots=True)
class Display:
    """How the current object is shown.

    Parameters
    ----------
    as_outline
        Its outline instead of a fill.
    opacity
        Of the mask, 0 to 1.
    heat_map
        Whether its probability is shown too.
    """

    as_outline: bool = False
    opacity: float = 0.45
    heat_map: bool = False


@dataclass(slots=True)
class _Painted:
    """What stands in the arrays that the layers show."""

    stage: Stage | None = None
    canvas: CanvasSnapshot = field(default_factory=dict)
    downsample: float = 1.0
    mask: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((1, 1), np.uint8))
    heat: NDArray[np.uint8] | None = None


class MaskLayers:
    """Keeps the Mask and Probability layers in step with a canvas.

    Parameters
    ----------
    affine_of
        The ``affine`` of a layer on a grid over level 0.
    make
        Called with the role, a new layer's data and affine; puts the layer into the viewer and
        returns it.
    find
        Returns the layer of a role that is in the viewer, or None.
    """

    def __init__(
        self,
        affine_of: Callable[[Frame], NDArray[np.float64]],
        make: Callable[[ours.Role, NDArray[np.uint8], NDArray[np.float64]], Any],
        find: Callable[[ours.Role], Any],
    ) -> None:
        self.display = Display()
        self._affine_of = affine_of
        self._make = make
        self._find = find
        self._is = _Painted()

    @property
    def frame(self) -> Frame | None:
        """Where the layers' pixels lie over level 0; None before there are any."""
        stage = self._is.stage
        return None if stage is None else stage.frame(self._is.downsample)

    def show(self, canvas: CanvasSnapshot, downsample: float) -> None:
        """Show a canvas whose pixels have so many level-0 pixels along a side."""
        is_ = self._is
        painted = {index for index, tile in canvas.items() if tile.area_px}
        if self._find(ours.MASK) is None and not painted:
            return
        is_same_grid = downsample == is_.downsample and self._find(ours.MASK) is not None
        if not is_same_grid or is_.stage is None or not is_.stage.holds(painted):
            self._set_stage(stage_for(painted or ((0, 0),)), canvas, downsample)
            return
        changed = [i for i in changed_tiles(is_.canvas, canvas) if is_.stage.holds((i,))]
        is_.canvas = canvas
        if changed:
            paint(is_.mask, is_.stage, canvas, changed, is_.heat)
            for role in (ours.MASK, ours.HEAT_MAP):
                layer = self._find(role)
                if layer is not None:
                    layer.refresh(extent=False, thumbnail=False)

    def set_display(self, display: Display) -> None:
        """Show the object in another way."""
        self.display = display
        mask = self._find(ours.MASK)
        if mask is not None:
            self._style(mask)
            if display.heat_map and self._find(ours.HEAT_MAP) is None:
                self._show_heat()
        heat = self._find(ours.HEAT_MAP)
        if heat is not None:
            heat.visible = display.heat_map

    def _set_stage(self, stage: Stage, canvas: CanvasSnapshot, downsample: float) -> None:
        mask = np.zeros(stage.shape, np.uint8)
        paint(mask, stage, canvas, [i for i in canvas if stage.holds((i,))])
        self._is = _Painted(stage, canvas, downsample, mask)
        is_new = self._find(ours.MASK) is None
        layer = self._put(ours.MASK, mask)
        if is_new:  # else it looks as the user has set it, here or in napari's own controls
            self._style(layer)
        if self.display.heat_map or self._find(ours.HEAT_MAP) is not None:
            self._show_heat()

    def _show_heat(self) -> None:
        is_ = self._is
        if is_.stage is None:
            return
        is_.heat = np.zeros(is_.stage.shape, np.uint8)
        tiles = [i for i in is_.canvas if is_.stage.holds((i,))]
        paint(is_.mask, is_.stage, is_.canvas, tiles, is_.heat)
        self._put(ours.HEAT_MAP, is_.heat).visible = self.display.heat_map

    def _put(self, role: ours.Role, data: NDArray[np.uint8]) -> Any:
        """Let the layer of a role show an array where the stage lies."""
        stage, layer = self._is.stage, self._find(role)
        affine = np.eye(3) if stage is None else self._affine_of(stage.frame(self._is.downsample))
        if layer is None:
            return self._make(role, data, affine)
        layer.data = data
        layer.affine = affine
        return layer

    def _style(self, mask: Any) -> None:
        mask.contour = OUTLINE_PX if self.display.as_outline else 0
        mask.opacity = self.display.opacity
