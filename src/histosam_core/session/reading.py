"""What can be read of a session: the object at hand, what was accepted, and where windows lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from histosam_core.clicks import Click, Prompt
from histosam_core.errors import EmptyMaskError

if TYPE_CHECKING:
    from histosam_core.geometry import Region
    from histosam_core.session.accepted import Accepted, Ended
    from histosam_core.session.canvas.canvas import CanvasSnapshot
    from histosam_core.session.journal.record import Record
    from histosam_core.session.objects import AcceptedObject
    from histosam_core.session.outline import Outline
    from histosam_core.session.windows.scale import SlideScale
    from histosam_core.session.windows.windows import WindowGrid

__all__ = ["SessionReading"]


class SessionReading:
    """The part of `Session` that changes nothing."""

    scale: SlideScale
    grid: WindowGrid
    _outline: Outline
    _accepted: Accepted
    _ended: Ended | None
    _record: Record
    _told: tuple[str, ...]

    @property
    def slide_mpp(self) -> float:
        """Micrometres per level-0 pixel in use; where they come from: `scale`."""
        return self.scale.mpp

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of this slide with this model; nothing in the usual case."""
        notes = [self.scale.note] if self.scale.note else []
        if self.grid.downsample < 1 - 1e-3:
            notes.append(
                f"the slide has {self.slide_mpp:g} um per pixel, the model wants "
                f"{self.grid.mpp:g}; windows are enlarged, with less detail than it was trained on"
            )
        notes += self._told
        if self._record.note:
            notes.append(self._record.note)
        return tuple(notes)

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The clicks and boxes of the object at hand, in order, level-0 pixels."""
        return self._outline.state.prompts

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks among `prompts`."""
        return tuple(prompt for prompt in self.prompts if isinstance(prompt, Click))

    @property
    def windows(self) -> tuple[Region, ...]:
        """The windows that the object at hand has used, in order of first use."""
        return tuple(self.grid.region(window) for window in self._outline.state.windows)

    @property
    def quality(self) -> float | None:
        """Mean of the model's own estimates, the latest of each window; None without any."""
        return self._outline.state.quality

    @property
    def area_mm2(self) -> float:
        """Area of the mask at hand in square millimetres."""
        return self._outline.canvas.area_um2 / 1e6

    @property
    def canvas_snapshot(self) -> CanvasSnapshot:
        """The canvas of the object at hand: tile (x, y) -> `Tile`.

        Tiles never change: what differs between two snapshots are the tiles that are not the same
        objects.
        """
        return self._outline.canvas.snapshot()

    @property
    def objects(self) -> tuple[AcceptedObject, ...]:
        """What has been accepted, in order, without the one that is `reopened`."""
        return self._accepted.objects

    @property
    def reopened(self) -> AcceptedObject | None:
        """The accepted object that is being corrected, as it was."""
        return self._accepted.reopened

    @property
    def can_undo(self) -> bool:
        """Whether `undo` does anything."""
        return self._outline.history.before is not None or self._ended is not None

    @property
    def can_redo(self) -> bool:
        """Whether `redo` does anything."""
        return self._outline.history.after is not None

    def window_for(self, xy: tuple[float, float]) -> Region:
        """Return the window that a click at the level-0 point (x, y) would go to.

        Raises
        ------
        ClickOutsideSlideError
            The point lies off the slide.
        """
        return self.grid.region(self._outline.window_for(xy))

    def mask_region(self, region: Region | None = None) -> tuple[NDArray[np.bool_], Region]:
        """Return the mask at hand, whole or in one window.

        Parameters
        ----------
        region
            A region of this session (`ClickResult.region`, `windows`); None: the mask's bounding
            box.

        Returns
        -------
        mask
            (h, w) bool.
        region
            Where it lies.

        Raises
        ------
        EmptyMaskError
            The bounding box of an empty mask was asked for.
        ConfigError
            The region does not lie on the session's pixel grid.
        """
        canvas = self._outline.canvas
        if region is None:
            box = canvas.bounding_box
            if box is None:
                raise EmptyMaskError("the mask is empty; click on the object first")
            region = canvas.region(box)
        return canvas.read(self.grid.location_of(region), region.size_wh).mask, region

    def probability_region(self, region: Region) -> NDArray[np.float32]:
        """Return how likely each pixel of a region belongs to the object at hand.

        Parameters
        ----------
        region
            A region of this session, as for `mask_region`.

        Returns
        -------
        (h, w) float32, 0 to 1; nearly 0 where no window has answered.

        Raises
        ------
        ConfigError
            The region does not lie on the session's pixel grid.
        """
        part = self._outline.canvas.read(self.grid.location_of(region), region.size_wh)
        probability: NDArray[np.float32] = expit(part.logits)
        return probability

    def geometry(self, *, min_island_px: int = 0) -> Any:
        """Return the mask at hand as a shapely MultiPolygon; see `Outline.geometry`."""
        return self._outline.geometry(min_island_px=min_island_px)
