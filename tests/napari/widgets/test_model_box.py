"""What lists of models say of each, and the question that comes before some of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from histosam_core.model.registry.registry import MODELS, list_models, weights_path
from histosam_core.model.registry.weights import licence_to_confirm
from napari_histosam.widgets.model_box import model_state, model_tip

FOR_RESEARCH = "focalclick_b0_s2"

pytestmark = pytest.mark.gui


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HISTOSAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HISTOSAM_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("HISTOSAM_ACCEPT_LICENCE", raising=False)


def test_every_model_says_what_it_needs_and_cannot_do() -> None:
    for spec in list_models():
        tip = model_tip(spec)
        assert spec.licence in tip
        assert ("Takes no boxes" in tip) == (not spec.takes_boxes)
        assert ("No embeddings ahead" in tip) == (not spec.encodes_ahead)
        assert (spec.terms in tip) or not spec.terms
    ritm = MODELS["ritm_h18s"]
    assert model_state(ritm).startswith("to download, ")
    assert "MB on disk" in model_tip(ritm)
    assert model_state(MODELS["histosam-tiny"]) == "bundled"


def test_a_model_to_be_had_by_hand_says_where_and_where_to_put_it() -> None:
    spec = MODELS["simpleclick_vit_b"]
    assert model_state(spec).startswith("get it by hand")
    assert str(spec.page) in model_tip(spec)
    assert str(weights_path(spec)) in model_tip(spec)
    weights_path(spec).parent.mkdir(parents=True)
    weights_path(spec).touch()
    assert model_state(spec) == "downloaded"
    assert str(spec.page) not in model_tip(spec)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, application: object) -> Callable[[str], list[str]]:
    """Say beforehand which button is pressed; what was asked is listed."""

    from qtpy.QtWidgets import QMessageBox

    asked: list[str] = []

    def press(button: str) -> list[str]:
        def run(self: QMessageBox) -> int:
            asked.append(self.text())
            next(b for b in self.buttons() if b.text().replace("&", "") == button).click()
            return 0

        monkeypatch.setattr(QMessageBox, "exec", run)
        return asked

    return press


def test_a_licence_is_asked_for_once(answers: Callable[[str], list[str]]) -> None:
    from napari_histosam.widgets.notices import licences_accepted

    asked = answers("I accept")
    assert licences_accepted(["histosam-tiny", "histosam-tiny@sam", "/no/such/file.pth"])
    assert not asked
    assert licences_accepted([FOR_RESEARCH])
    assert licences_accepted([FOR_RESEARCH])
    assert len(asked) == 1
    assert "commercial" in asked[0]
    assert licence_to_confirm(FOR_RESEARCH) is None


def test_a_licence_that_is_refused_is_asked_for_again(answers: Callable[[str], list[str]]) -> None:
    from napari_histosam.widgets.notices import licences_accepted

    asked = answers("Cancel")
    assert not licences_accepted(["histosam-tiny", FOR_RESEARCH])
    assert not licences_accepted([FOR_RESEARCH])
    assert len(asked) == 2
    assert licence_to_confirm(FOR_RESEARCH) is not None
