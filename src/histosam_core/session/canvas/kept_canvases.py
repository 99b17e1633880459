"""Which canvases of one object are kept: the latest, and of the older ones every so many.

A canvas follows from the prompts, so one that is not kept can be made again, bit for bit, from the
nearest before it that is. What is kept here bounds both: the memory of an object with thousands of
prompts, and the answers that going back to any of its states takes.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histosam_core.session.canvas.canvas import CanvasSnapshot
    from histosam_core.session.history import Step

__all__ = ["KeptCanvases"]

RECENT = 64
"""Of so many steps, those made or gone back to last, the canvas is kept."""
EVERY = 32
"""Of the others it is kept at every so many along the object."""
MILESTONES = 256
"""So many of those at most, the latest; prompts taken out or moved make steps anew."""


class KeptCanvases:
    """Canvases of the steps of one object.

    A canvas shares the tiles that did not change with the one before it; a step in a window of
    400 px holds about 1.5 MB of its own.
    """

    def __init__(self) -> None:
        self._recent: OrderedDict[Step, CanvasSnapshot] = OrderedDict()
        self._milestones: OrderedDict[Step, CanvasSnapshot] = OrderedDict()

    def keep(self, step: Step, number: int, canvas: CanvasSnapshot) -> None:
        """Keep the canvas after a step, the `number`-th of its object; drop what is too old."""
        if number % EVERY == 0:
            self._put(self._milestones, MILESTONES, step, canvas)
        self._put(self._recent, RECENT, step, canvas)

    def find(self, step: Step) -> CanvasSnapshot | None:
        """Return the canvas after a step; None where it is not kept."""
        canvas = self._recent.get(step)
        return self._milestones.get(step) if canvas is None else canvas

    def __len__(self) -> int:
        return len(self._recent.keys() | self._milestones.keys())

    @staticmethod
    def _put(
        held: OrderedDict[Step, CanvasSnapshot], most: int, step: Step, canvas: CanvasSnapshot
    ) -> None:
        held[step] = canvas
        held.move_to_end(step)
        if len(held) > most:
            held.popitem(last=False)
