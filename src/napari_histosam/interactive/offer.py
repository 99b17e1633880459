"""A banner that offers to go on with an earlier session on the slide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout

if TYPE_CHECKING:
    from pathlib import Path

    from histosam_core.session.journal.folder import JournalSummary
    from napari_histosam.interactive.controller import Controller
    from napari_histosam.interactive.view import View

__all__ = ["Offer", "describe"]


class Offer(QFrame):
    """Offers to go on with an earlier session on the slide.

    Parameters
    ----------
    controller
        Whose session it would be.
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self._journal: Path | None = None
        self._text = QLabel()
        self._text.setWordWrap(True)
        go_on, afresh = QPushButton("Continue it"), QPushButton("Start afresh")
        go_on.clicked.connect(self.accept)
        afresh.clicked.connect(controller.dismiss_offers)
        afresh.setToolTip("The earlier session stays in its journal")
        row = QHBoxLayout()
        row.addWidget(go_on)
        row.addWidget(afresh)
        layout = QVBoxLayout(self)
        layout.addWidget(self._text)
        layout.addLayout(row)
        self.setObjectName("offer")
        self.setStyleSheet("QFrame#offer { border: 2px solid #4c9aff; border-radius: 4px; }")
        self.setVisible(False)

    def accept(self) -> None:
        """Go on with the session that is offered."""
        if self._journal is not None:
            self._controller.resume(self._journal)

    def show_offers(self, view: View | None) -> None:
        """Offer the newest earlier session, until this one has clicks of its own."""
        is_new = view is not None and not (view.objects or view.prompts)
        offer = view.offers[0] if view is not None and view.offers and is_new else None
        self._journal = None if offer is None else offer.path
        if offer is not None:
            self._text.setText(describe(offer))
        self.setVisible(offer is not None)


def describe(offer: JournalSummary) -> str:
    """Return what an earlier session holds, in a line of rich text."""
    when = offer.changed.astimezone().strftime("%d %b %Y, %H:%M")
    parts = []
    if offer.n_objects:
        parts.append(f"{offer.n_objects} accepted object{'s' * (offer.n_objects > 1)}")
    if offer.n_open_prompts:
        clicks = f"{offer.n_open_prompts} click{'s' * (offer.n_open_prompts > 1)}"
        parts.append(f"one in work with {clicks}")
    return f"<b>An earlier session on this slide</b>, {when}: {', '.join(parts) or 'clicks'}."
