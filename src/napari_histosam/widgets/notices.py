"""What the user is told by napari's notifications, and asked before a model's first use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qtpy.QtWidgets import QMessageBox, QWidget

from histosam_core.errors import HistoSamError
from histosam_core.model.registry.model_choice import parse_model
from histosam_core.model.registry.weights import accept_licence, licence_to_confirm


def inform(message: str) -> None:
    """Show something that went well, or that the user should know."""
    from napari.utils.notifications import show_info

    show_info(message)


def notify(message: str, actions: list[tuple[str, Any]] | None = None) -> None:
    """Show an error in one line, with buttons that lead out of it."""
    from napari.utils.notifications import (
        Notification,
        NotificationSeverity,
        notification_manager,
    )

    buttons = tuple((text, lambda _, action=action: action()) for text, action in actions or ())
    notification_manager.dispatch(
        Notification(message, severity=NotificationSeverity.ERROR, actions=buttons)
    )


def report(error: BaseException) -> None:
    """Show an unexpected error, with its traceback behind a button."""
    from napari.utils.notifications import notification_manager

    notification_manager.receive_error(type(error), error, error.__traceback__)


def licences_accepted(models: Iterable[str], parent: QWidget | None = None) -> bool:
    """Ask for each model, by name or path, whose licence is to be accepted, and note what is.

    Returns whether all may be used: False once one is refused.
    """
    for model in models:
        try:
            name = parse_model(model).source
        except HistoSamError:
            continue  # loading it says what is wrong
        text = licence_to_confirm(name)
        if text is not None:
            if not _is_accepted_now(name, text, parent):
                return False
            accept_licence(name)
    return True


def _is_accepted_now(name: str, text: str, parent: QWidget | None) -> bool:
    question = QMessageBox(parent)
    question.setIcon(QMessageBox.Icon.Warning)
    question.setWindowTitle(f"The licence of {name}")
    question.setText(f"{text[:1].upper()}{text[1:]}.")
    question.setInformativeText("Do you accept this? You are asked once.")
    accept = question.addButton("I accept", QMessageBox.ButtonRole.AcceptRole)
    question.setDefaultButton(question.addButton(QMessageBox.StandardButton.Cancel))
    question.exec()
    return question.clickedButton() is accept
