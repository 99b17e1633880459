"""The accepted objects in a label pyramid, kept in step with the session's list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from histosam_core.errors import ConfigError
from napari_histosam.viewer.label_pyramid import MAX_LABEL, LabelPyramid

if TYPE_CHECKING:
    from histosam_core.session import AcceptedObject, WindowGrid

__all__ = ["DrawnObjects"]


class DrawnObjects:
    """Draws objects that are new or changed, erases those that are gone; touches no others.

    Parameters
    ----------
    grid
        Whose pixels the pyramid has.
    """

    def __init__(self, grid: WindowGrid) -> None:
        self.pyramid = LabelPyramid(grid.size_wh)
        self._frame = grid.frame
        self._drawn: dict[str, tuple[int, Any]] = {}
        self._next_label = 1

    @property
    def labels(self) -> dict[str, int]:
        """An object's id -> its label."""
        return {key: label for key, (label, _) in self._drawn.items()}

    def update(self, objects: Iterable[AcceptedObject]) -> None:
        """Bring the pyramid in step.

        Raises
        ------
        ConfigError
            There were more objects than labels.
        """
        present = {accepted.id: accepted.geometry for accepted in objects}
        for key in self._drawn.keys() - present.keys():
            self.pyramid.erase(self._drawn.pop(key)[0])
        for key, geometry in present.items():
            label, drawn = self._drawn.get(key, (0, None))
            if drawn is geometry:
                continue
            if drawn is None:
                label = self._free_label()
                self.pyramid.draw(label, geometry, self._frame)
            else:  # it keeps its place in the pile
                self.pyramid.redraw(label, geometry, self._frame)
            self._drawn[key] = label, geometry

    def _free_label(self) -> int:
        label, self._next_label = self._next_label, self._next_label + 1
        if label > MAX_LABEL:
            raise ConfigError(
                f"more than {MAX_LABEL} objects were drawn; export them and start a new session"
            )
        return label
