"""What can be asked of a session that is open: most calls become a numbered request.

The part of `Controller` that only hands on, and what the next click and accept will say; nothing
here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from histosam_core.clicks import Click
from histosam_core.errors import ConfigError
from napari_histosam.interactive.pending import ClickEdit

if TYPE_CHECKING:
    from histosam_core.clicks import Box, Prompt
    from histosam_core.session import OverlapRule
    from napari_histosam.interactive.class_choice import ClassChoice
    from napari_histosam.interactive.classes import Color
    from napari_histosam.interactive.engine import Engine
    from napari_histosam.interactive.view import View

__all__ = ["Requests"]

XY = tuple[float, float]
Edges = tuple[float, float, float, float]


class Requests:
    """Requests of one session, and the choices that go into them; the controller sends them."""

    sign_changed = Signal(bool)

    view: View | None
    overlap: OverlapRule
    _classes: ClassChoice
    _is_positive: bool

    @property
    def is_positive(self) -> bool:
        """Whether a left click says that a place belongs to the object."""
        return self._is_positive

    @property
    def label(self) -> str:
        """The class that the next object is accepted as."""
        return self._classes.label

    @property
    def classes(self) -> dict[str, Color]:
        """The classes and their colours."""
        return self._classes.colors

    def click(self, xy: XY, is_positive: bool | None = None) -> None:
        """Answer a click.

        Parameters
        ----------
        xy
            Level-0 pixels.
        is_positive
            None: what `is_positive` says.
        """
        if self.view is None:
            return self._complain("click", ConfigError("press Start first: no session is open"))
        click = Click(xy, self._is_positive if is_positive is None else is_positive)
        self._submit(
            "click",
            lambda e: e.click(click.xy, click.is_positive),
            at=click.xy,
            edits=[ClickEdit(None, click)],
        )

    def box(self, xyxy: Edges) -> None:
        """Answer a box; level-0 pixels."""
        x0, y0, x1, y1 = xyxy
        self._submit("box", lambda e: e.box(xyxy), at=((x0 + x1) / 2, (y0 + y1) / 2))

    def lasso(self, points_xy: Sequence[XY], is_positive: bool | None = None) -> None:
        """Draw an area by hand, level-0 pixels; None: what `is_positive` says."""
        points = tuple(points_xy)
        sign = self._is_positive if is_positive is None else is_positive
        self._submit("lasso", lambda e: e.lasso(points, sign))

    def replace_box(self, box: Box, xyxy: Edges) -> None:
        """Take a box out and answer another in its stead."""
        self.remove([box])
        self.box(xyxy)

    def move(self, click: Click, xy: XY) -> None:
        """Move a click of the object at hand."""
        edit = ClickEdit(click, Click(xy, click.is_positive))
        self._submit("move", lambda e: e.move(click, xy), at=xy, edits=[edit])

    def remove(self, prompts: Sequence[Prompt]) -> None:
        """Take clicks or boxes of the object at hand out."""
        given = tuple(prompts)
        edits = [ClickEdit(prompt, None) for prompt in given if isinstance(prompt, Click)]
        self._submit("remove", lambda e: e.remove(given), edits=edits)

    def undo(self) -> None:
        """Undo the last click, box or edit; with none left, the last accept or drop."""
        self._submit("undo", lambda e: e.undo())

    def redo(self) -> None:
        """Put back what was undone last."""
        self._submit("redo", lambda e: e.redo())

    def accept(self) -> None:
        """Keep the object at hand as the chosen class."""
        label, color, rule = self._classes.label, self._classes.color, self.overlap
        self._submit("accept", lambda e: e.accept(label, color, rule))

    def drop(self) -> None:
        """Forget the object at hand; undo brings it back."""
        self._submit("drop", lambda e: e.drop())

    def reopen(self, object_id: str) -> None:
        """Correct an accepted object; the one at hand must be accepted or dropped first.

        Its class is the chosen one until it is accepted or dropped.
        """
        for accepted in () if self.view is None else self.view.objects:
            if accepted.id == object_id:
                self._classes.begin_correction(accepted)
        self._submit("reopen", lambda e: e.reopen(object_id))

    def reopen_at(self, xy: XY) -> None:
        """Correct the accepted object under a level-0 point."""
        found = self.object_at(xy)
        if found is None:
            return self._complain("reopen", ConfigError("no accepted object lies there"))
        self.reopen(found)

    def object_at(self, xy: XY) -> str | None:
        """Return the id of the topmost accepted object at a level-0 point."""
        if self.view is None:
            return None
        label = self.view.pyramid.label_at(xy)
        return next((key for key, one in self.view.labels.items() if one == label), None)

    def relabel(self, object_id: str, label: str) -> None:
        """Give an accepted object another class."""
        color = self._classes.colors.get(label)
        self._submit("relabel", lambda e: e.relabel(object_id, label, color))

    def delete(self, object_id: str) -> None:
        """Remove an accepted object."""
        self._submit("delete", lambda e: e.delete(object_id))

    def import_file(self, path: Path) -> None:
        """Add the objects of an annotation file."""
        self._submit("import", lambda e: e.import_file(path))

    def export_file(self, path: Path) -> None:
        """Write the accepted objects."""
        progress = self._progress("working")
        self._submit("export", lambda e: e.export_file(path, progress))

    def resume(self, path: Path) -> None:
        """Go on with an earlier session on this slide."""
        self._submit("restore", lambda e: e.resume(path))

    def dismiss_offers(self) -> None:
        """Begin afresh; earlier sessions stay in their journals."""
        self._submit("dismiss", lambda e: e.dismiss_offers())

    def set_positive(self, is_positive: bool) -> None:
        """Say what a left click means."""
        if is_positive != self._is_positive:
            self._is_positive = is_positive
            self.sign_changed.emit(is_positive)

    def toggle_sign(self) -> None:
        """Let left clicks mean the opposite."""
        self.set_positive(not self._is_positive)

    def set_label(self, label: str, color: Color | None = None) -> None:
        """Choose the class of the next object; a new one is added to the classes."""
        self._classes.choose(label, color)

    def rename_label(self, label: str) -> None:
        """Give the chosen class another name, and every accepted object of it."""
        old = self.label
        self._classes.rename(label)
        for accepted in () if self.view is None else self.view.objects:
            if accepted.label == old:
                self.relabel(accepted.id, self.label)

    def remove_label(self) -> None:
        """Take the chosen class off the list; objects of it keep it."""
        self._classes.remove()

    def _submit(
        self,
        name: str,
        work: Callable[[Engine], View],
        *,
        at: XY | None = None,
        edits: Sequence[ClickEdit] = (),
    ) -> None:
        """Ask the session's thread; `at` is where a model must look, level-0 pixels."""
        raise NotImplementedError

    def _complain(self, name: str, error: BaseException) -> None:
        """Tell why something was not done."""
        raise NotImplementedError

    def _progress(self, phase: Any) -> Callable[..., None]:
        """Return what tells how far long work has come."""
        raise NotImplementedError
