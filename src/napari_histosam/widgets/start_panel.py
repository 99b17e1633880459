"""The end of a page of settings: what is wrong or will be done, and the button that starts."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from napari_histosam.widgets.parts import (
    GREY,
    WARNING,
    breakable,
    push_button,
    stacked,
    wrapped,
)

CHECK_MS = 150
"""After the last change, until settings are checked."""


class StartPanel(QWidget):
    """Checks settings a moment after they change, and starts what can be started.

    Parameters
    ----------
    caption
        Of the button.
    check
        Returns what is wrong, and else what will be done.
    start
        What the button does.
    """

    def __init__(
        self, caption: str, check: Callable[[], tuple[str, str]], start: Callable[[], None]
    ) -> None:
        super().__init__()
        self._check = check
        self.verdict = ""
        self._label = wrapped()
        self.button = push_button(
            caption, "Runs in a process of its own: napari may be closed meanwhile", start
        )
        stacked(self, self._label, self.button)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(CHECK_MS)
        self._soon.timeout.connect(self.check)

    def check_soon(self) -> None:
        """Check when nothing has changed for a moment."""
        self._soon.start()

    def check(self) -> bool:
        """Check now; return whether it can be started."""
        self._soon.stop()
        problem, plan = self._check()
        self.verdict = problem or plan
        self._label.setText(breakable(self.verdict))
        self._label.setStyleSheet(f"color: {WARNING if problem else GREY};")
        self.button.setEnabled(not problem)
        return not problem
