"""Somebody's own model: encode, and decode that returns a plain array. Nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from histosam_core.clicks import Box
from histosam_core.errors import PredictionError
from histosam_core.geometry import Region
from histosam_core.model import Prediction
from histosam_core.session import Predictor, Session, fold, replay
from histosam_core.session.journal import JournalWriter, read_journal

if TYPE_CHECKING:
    from histosam_core.slide import Slide

CLICKS = [((601, 501), True), ((690, 520), True), ((640, 480), False)]


class Model:
    """Paints dark pixels round positive clicks, and keeps what was painted before."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, Prediction | None]] = []

    def encode(self, image):
        return image[..., 1] < 180

    def decode(self, embedding, clicks, previous=None):
        self.asked.append((len(clicks), previous))
        yy, xx = np.mgrid[: embedding.shape[0], : embedding.shape[1]]
        mask = np.zeros(embedding.shape, bool) if previous is None else previous.logits > 0
        for click in clicks:
            near = (xx - click.xy[0]) ** 2 + (yy - click.xy[1]) ** 2 < 100
            mask = mask | (near & embedding) if click.is_positive else mask & ~near
        return np.where(mask, 5.0, -5.0)  # float64


@pytest.fixture
def own() -> Model:
    return Model()


def test_a_session_answers_with_it_and_undoes(slide: Slide, own: Model) -> None:
    session = Session(slide, own)
    assert session.grid.mpp == 2.0, "the paper's geometry"
    areas = [session.area_mm2]
    for xy, is_positive in CLICKS:
        answer = session.click(xy, is_positive)
        assert answer.quality is None
        areas.append(session.area_mm2)
    assert 0 == areas[0] < areas[1] < areas[2] > areas[3] > 0
    assert own.asked[0][1] is None
    for n, previous in own.asked[1:]:
        assert n > 1
        assert isinstance(previous, Prediction)
        assert previous.logits.dtype == np.float32
        assert (previous.quality, previous.state) == (None, None)
    for area in reversed(areas[:-1]):
        session.undo()
        assert session.area_mm2 == area
    session.redo()
    assert session.accept().region.metadata["Checkpoint"] == "Model"


def test_a_box_reaches_it_as_clicks(slide: Slide, own: Model) -> None:
    session = Session(slide, own)
    session.box((560, 460, 660, 540))
    assert own.asked == [(5, None)]
    assert session.area_mm2 > 0
    assert session.prompts == (Box((560, 460, 660, 540)),)


def test_a_journal_is_restored_and_replayed_with_it(
    slide: Slide, own: Model, tmp_path: Path
) -> None:
    journal = JournalWriter(tmp_path / "session.jsonl")
    session = Session(slide, own, journal=journal)
    session.click(*CLICKS[0])
    session.accept("Stroma")
    for click in CLICKS:
        session.click(*click)
    session.undo()
    events = read_journal(journal.path)
    again = Session(slide, own)
    again.restore(fold(events))
    assert again.prompts == session.prompts
    assert again.can_redo
    assert again.geometry().equals(session.geometry())
    report = replay(events, slide, lambda _: own)
    assert report.is_identical
    assert report.models == report.journalled_models == ("Model",)
    (region,) = report.regions
    assert region.geometry.equals(session.objects[0].geometry)


def test_two_of_them_never_share_an_embedding(slide: Slide, own: Model) -> None:
    region = Region((0.0, 0.0), (128, 128), 1.0)
    assert Predictor(slide, own, 0.5).key(region) != Predictor(slide, own, 0.5).key(region)


def test_what_it_answers_is_checked_as_any_models(slide: Slide, own: Model, monkeypatch) -> None:
    session = Session(slide, own)
    monkeypatch.setattr(own, "decode", lambda *_: np.zeros((3, 3)))
    with pytest.raises(PredictionError, match=r"\(3, 3\) logits for a window of 400 x 400"):
        session.click(*CLICKS[0])
    monkeypatch.setattr(own, "decode", lambda *_: np.full((400, 400), np.nan))
    with pytest.raises(PredictionError, match="not numbers"):
        session.click(*CLICKS[0])
    assert session.prompts == ()
