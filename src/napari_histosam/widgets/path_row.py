"""A field for a path, with a button that looks for it."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QMenu, QToolButton, QWidget

__all__ = ["PathRow"]


class PathRow(QWidget):
    """A path that is typed, pasted or looked for.

    Parameters
    ----------
    caption
        Of the dialog.
    placeholder
        Shown while the field is empty.
    files
        Which files may be chosen beside folders, as Qt's dialog has it; empty: folders alone.
    """

    changed = Signal()

    def __init__(self, caption: str, placeholder: str = "", files: str = "") -> None:
        super().__init__()
        self._caption, self._files = caption, files
        self._field = QLineEdit()
        self._field.setPlaceholderText(placeholder)
        self._field.textChanged.connect(lambda _: self.changed.emit())
        button = QToolButton()
        button.setText("\N{HORIZONTAL ELLIPSIS}")
        button.setToolTip(caption)
        if files:
            menu = QMenu(button)
            menu.addAction("A folder\N{HORIZONTAL ELLIPSIS}", self._ask_folder)
            menu.addAction("A file\N{HORIZONTAL ELLIPSIS}", self._ask_file)
            button.setMenu(menu)
            button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        else:
            button.clicked.connect(self._ask_folder)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._field, 1)
        row.addWidget(button)

    @property
    def path(self) -> Path | None:
        """What the field holds, absolute; None while it is empty."""
        text = self._field.text().strip()
        return Path(text).expanduser().absolute() if text else None

    @path.setter
    def path(self, path: Path | None) -> None:
        self._field.setText("" if path is None else str(path))

    def _ask_folder(self) -> None:
        self._take(QFileDialog.getExistingDirectory(self, self._caption, self._start()))

    def _ask_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, self._caption, self._start(), self._files)
        self._take(path)

    def _start(self) -> str:
        path = self.path
        return "" if path is None else str(path if path.is_dir() else path.parent)

    def _take(self, path: str) -> None:
        if path:
            self._field.setText(path)
