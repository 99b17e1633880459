"""Asks a person to accept a model's licence before its first use."""

from __future__ import annotations

from collections.abc import Iterable

from qtpy.QtWidgets import QMessageBox, QWidget

from histosam_core.errors import HistoSamError
from histosam_core.model.registry.model_choice import parse_model
from histosam_core.model.registry.weights import accept_licence, licence_to_confirm


def licences_accepted(models: Iterable[str], parent: QWidget | None = None) -> bool:
    """Ask for each model whose licence is still to be accepted, and note what is.

    Parameters
    ----------
    models
        Names or paths, with their decoders or without.
    parent
        The widget that the question belongs to.

    Returns
    -------
    bool
        Whether all may be used: False once one is refused.
    """
    for model in models:
        try:
            name = parse_model(model).source
        except HistoSamError:
            continue  # loading it says what is wrong
        text = licence_to_confirm(name)
        if text is None:
            continue
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
