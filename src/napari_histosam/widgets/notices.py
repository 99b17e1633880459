"""napari's notifications."""

from __future__ import annotations

from typing import Any


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
