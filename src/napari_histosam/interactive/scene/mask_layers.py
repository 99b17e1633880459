"""The Mask and Probability layers of the current object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from psygnal import SignalGroupDescriptor

from napari_histosam.interactive.scene.painter import Stage
from napari_histosam.viewer import layers as ours

if TYPE_CHECKING:
    from histosam_core.geometry import Frame
    from histosam_core.session import CanvasSnapshot

OUTLINE_PX = 2


@dataclass
class Display:
    """How the current object is shown; ``events`` says what changes."""

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()
    as_outline: bool = False  # its outline instead of a fill
    opacity: float = 0.45  # of the mask, 0 to 1
    heat_map: bool = False  # whether its probability is shown too


class MaskLayers:
    """Keeps the Mask and Probability layers in step with a canvas.

    Parameters
    ----------
    display
        How the object is shown.
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
        display: Display,
        affine_of: Callable[[Frame], NDArray[np.float64]],
        make: Callable[[ours.Role, NDArray[np.uint8], NDArray[np.float64]], Any],
        find: Callable[[ours.Role], Any],
    ) -> None:
        self._display = display
        self._affine_of = affine_of
        self._make = make
        self._find = find
        self._stage: Stage | None = None

    @property
    def frame(self) -> Frame | None:
        """Where the layers' pixels lie over level 0; None before there are any."""
        return None if self._stage is None else self._stage.frame

    def show(self, canvas: CanvasSnapshot, downsample: float) -> None:
        """Show a canvas whose pixels have so many level-0 pixels along a side."""
        stage, mask = self._stage, self._find(ours.MASK)
        if mask is None or stage is None or stage.downsample != downsample:
            stage = None
        if stage is not None and stage.holds(canvas):
            if stage.update(canvas):
                for layer in (mask, self._find(ours.HEAT_MAP)):
                    if layer is not None:
                        layer.refresh(extent=False, thumbnail=False)
        elif mask is not None or any(tile.area_px for tile in canvas.values()):
            self._stage = Stage(canvas, downsample)
            layer = self._put(ours.MASK, self._stage.mask)
            if mask is None:  # else it looks as the user has set it, here or in napari's controls
                self._style(layer)
            if self._display.heat_map or self._find(ours.HEAT_MAP) is not None:
                self._show_heat()

    def restyle(self) -> None:
        """Show the object as the display says now."""
        mask, heat = self._find(ours.MASK), self._find(ours.HEAT_MAP)
        if mask is not None:
            self._style(mask)
        if heat is not None:
            heat.visible = self._display.heat_map
        elif mask is not None and self._display.heat_map:
            self._show_heat()

    def _show_heat(self) -> None:
        if self._stage is not None:
            heat = self._put(ours.HEAT_MAP, self._stage.add_heat())
            heat.visible = self._display.heat_map

    def _put(self, role: ours.Role, data: NDArray[np.uint8]) -> Any:
        """Let the layer of a role show an array where the stage lies."""
        layer, frame = self._find(role), self.frame
        affine = np.eye(3) if frame is None else self._affine_of(frame)
        if layer is None:
            return self._make(role, data, affine)
        layer.data = data
        layer.affine = affine
        return layer

    def _style(self, mask: Any) -> None:
        mask.contour = OUTLINE_PX if self._display.as_outline else 0
        mask.opacity = self._display.opacity
