"""Objects that go on beyond the windows that were clicked in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from histosam_core.geometry import Region
from histosam_core.session import Session, fold, read_journal, replay
from histosam_core.session.journal import JournalWriter
from histosam_core.slide import Slide, open_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from histosam_core.clicks import Click
    from histosam_core.model import Prediction

WHOLE = Region((0.0, 0.0), (1000, 600), 1.0)
BAR = np.s_[150:330, 100:900]
INSIDE, OUTSIDE = (500.0, 240.0), (500.0, 450.0)


def tissue(rng: np.random.Generator, share: float, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Pink tissue in which so large a share of 3 px squares is dark, as nuclei are."""
    small = rng.random((shape[0] // 3 + 1, shape[1] // 3 + 1)) < share
    dark = np.kron(small, np.ones((3, 3), bool))[: shape[0], : shape[1]]
    image = np.empty((*shape, 3), np.uint8)
    image[:] = (220, 170, 200)
    image[dark] = (90, 60, 130)
    noisy = image + rng.normal(0, 4, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    """600 x 1000 px: a bar of cellular tissue, six windows long, in tissue with few cells."""
    rng = np.random.default_rng(0)
    whole = tissue(rng, 0.03, (600, 1000))
    cellular = tissue(rng, 0.35, (600, 1000))
    whole[BAR] = cellular[BAR]
    return whole


@pytest.fixture
def slide(image: NDArray[np.uint8]) -> Slide:
    return open_array(image, name="made", mpp=1.0)


@pytest.fixture
def truth(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    mask = np.zeros(image.shape[:2], bool)
    mask[BAR] = True
    return mask


class LocalModel:
    """The mask input, or nothing, with discs of 15 px round clicks (50 px without a mask input)."""

    def __init__(self) -> None:
        from histosam_core.model import ModelInfo, TrainingGeometry

        self.info = ModelInfo("local", TrainingGeometry(1.0, 160), sha256="cd" * 32)
        self.device = "cpu"
        self.n_decoded = 0

    def encode(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return image.copy()

    def decode(
        self,
        embedding: NDArray[np.uint8],
        clicks: Sequence[Click],
        previous: Prediction | None = None,
        *,
        box_xyxy: Any = None,
    ) -> NDArray[np.float32]:
        self.n_decoded += 1
        yy, xx = np.mgrid[: embedding.shape[0], : embedding.shape[1]]
        logits = np.full(embedding.shape[:2], -4, np.float32)
        if previous is not None:
            logits = previous.logits.copy()
        for click in clicks:
            near = np.hypot(xx - click.xy[0], yy - click.xy[1]) < (50 if previous is None else 15)
            logits[near] = 4 if click.is_positive else -4
        return logits


def session_on(slide: Slide, **settings: Any) -> Session:
    return Session(slide, LocalModel(), **settings)


def mask_of(session: Session) -> NDArray[np.bool_]:
    return session.mask_region(WHOLE)[0]


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_an_object_grows_from_one_click_until_it_ends(
    slide: Slide, truth: NDArray[np.bool_]
) -> None:
    session = session_on(slide)
    session.click(INSIDE)
    clicked = iou(mask_of(session), truth)
    answered = session.grow()
    assert clicked < 0.2
    assert iou(mask_of(session), truth) > 0.75
    assert 6 <= answered < 64
    assert session.growth is not None
    assert session.growth.is_finished
    assert not session.can_grow
    assert session.grow() == 0


def test_growth_in_steps_is_growth_at_once(slide: Slide) -> None:
    at_once, in_steps = session_on(slide), session_on(slide)
    for session in (at_once, in_steps):
        session.click(INSIDE)
    at_once.grow()
    while in_steps.can_grow:
        in_steps.grow(1)
    assert np.array_equal(mask_of(at_once), mask_of(in_steps))


def test_undo_takes_growth_back_with_its_click(slide: Slide) -> None:
    session = session_on(slide)
    session.click(INSIDE)
    session.grow()
    grown = mask_of(session)
    session.click((200.0, 500.0))
    session.grow(2)
    more = mask_of(session)
    session.undo()
    assert np.array_equal(mask_of(session), grown)
    session.redo()
    assert np.array_equal(mask_of(session), more)
    session.undo()
    session.undo()
    assert not mask_of(session).any()
    session.redo()
    assert np.array_equal(mask_of(session), grown)


def test_the_budget_is_kept_and_gone_on_from(slide: Slide) -> None:
    session = session_on(slide)
    session.click(INSIDE)
    assert session.grow(3) == 3
    assert session.growth is not None
    assert session.growth.waiting
    assert not session.growth.is_finished
    assert session.grow(2) == 2
    assert session.growth.n_windows == 5


def test_a_negative_click_holds_and_cuts_off_what_lies_beyond(slide: Slide) -> None:
    session = session_on(slide)
    session.click(INSIDE)
    session.grow()
    session.lasso([(640.0, 100.0), (680.0, 100.0), (680.0, 400.0), (640.0, 400.0)], False)
    session.click((655.0, 240.0), is_positive=False)
    session.grow()
    mask = mask_of(session)
    assert not mask[100:400, 640:681].any()
    assert mask[240, 500]
    assert not mask[:, 700:].any()


def test_a_lasso_stays_as_it_was_drawn(slide: Slide) -> None:
    session = session_on(slide)
    session.lasso([(700.0, 400.0), (800.0, 400.0), (800.0, 500.0), (700.0, 500.0)])
    session.click(INSIDE)
    session.grow()
    mask = mask_of(session)
    assert mask[401:500, 701:800].all()


def test_growth_never_overwrites_an_outline_that_was_begun_from(slide: Slide) -> None:
    import shapely

    session = session_on(slide)
    session.refine(shapely.box(300, 200, 420, 420))
    session.click(INSIDE)
    begun = mask_of(session)[200:420, 300:420].copy()
    session.grow()
    assert np.array_equal(mask_of(session)[200:420, 300:420], begun)


@pytest.mark.parametrize("prompts", ["none", "box", "negative", "lasso"])
def test_some_objects_do_not_grow(slide: Slide, prompts: str) -> None:
    session = session_on(slide)
    if prompts == "box":
        session.box((400.0, 180.0, 600.0, 300.0))
    elif prompts == "negative":
        session.click(INSIDE, is_positive=False)
    elif prompts == "lasso":
        session.lasso([(400.0, 180.0), (600.0, 180.0), (600.0, 300.0)])
    before = mask_of(session)
    assert not session.can_grow
    assert session.grow() == 0
    assert np.array_equal(mask_of(session), before)


class ContraryModel(LocalModel):
    """After two answers, the opposite of what it is shown."""

    def decode(self, embedding: Any, clicks: Any, previous: Any = None, **how: Any) -> Any:
        logits = super().decode(embedding, clicks, previous, **how)
        return logits if self.n_decoded <= 2 else -logits


def test_an_answer_that_contradicts_what_is_known_is_not_taken(slide: Slide) -> None:
    session = Session(slide, ContraryModel())
    session.click(INSIDE)
    session.grow(1)
    clicked = mask_of(session)
    session.grow()
    assert np.array_equal(mask_of(session) & clicked, mask_of(session))
    assert session.growth is not None
    assert session.growth.is_finished


def test_a_click_on_glass_grows_nowhere(slide: Slide, image: NDArray[np.uint8]) -> None:
    pale = image.copy()
    pale[400:] = 250
    session = session_on(open_array(pale, name="made", mpp=1.0))
    session.click((500.0, 520.0))
    session.grow()
    assert mask_of(session)[:390].sum() == 0


def test_an_object_cut_by_the_slides_edge_ends_there(image: NDArray[np.uint8]) -> None:
    cut = image[200:, 150:600]
    session = session_on(open_array(np.ascontiguousarray(cut), name="made", mpp=1.0))
    session.click((200.0, 60.0))
    session.grow()
    mask = session.mask_region(Region((0.0, 0.0), (450, 400), 1.0))[0]
    assert mask[5, 200]
    assert mask[60, 5]
    assert session.growth is not None
    assert session.growth.is_finished


def test_a_journal_brings_growth_back(slide: Slide, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    session = session_on(slide, journal=JournalWriter(path))
    session.click(INSIDE)
    session.grow(4)
    session.grow(3)
    session.click((130.0, 200.0))
    session.grow(2)
    expected = mask_of(session)
    again = session_on(slide)
    again.restore(fold(read_journal(path)))
    assert np.array_equal(mask_of(again), expected)
    assert again.growth == session.growth
    moved = tmp_path / "two.jsonl"
    elsewhere = session_on(slide)
    elsewhere.restore(fold(read_journal(path)), JournalWriter(moved))
    third = session_on(slide)
    third.restore(fold(read_journal(moved)))
    assert np.array_equal(mask_of(third), expected)
    third.undo()
    session.undo()
    assert np.array_equal(mask_of(third), mask_of(session))


def test_a_replay_grows_to_the_same_outline(slide: Slide, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    session = session_on(slide, journal=JournalWriter(path))
    session.click(INSIDE)
    session.grow()
    session.accept()
    session.end()
    report = replay(read_journal(path), slide, lambda model: LocalModel())
    assert report.is_identical


def test_taking_out_a_click_keeps_what_grew_before_it(slide: Slide) -> None:
    session = session_on(slide)
    session.click(INSIDE)
    session.grow()
    first = mask_of(session)
    session.click((200.0, 500.0))
    session.grow(3)
    session.remove_prompts([1])
    assert np.array_equal(mask_of(session), first)


def test_a_window_far_along_costs_no_more_answers(slide: Slide) -> None:
    session = session_on(slide)
    session.click(INSIDE)
    model: Any = session.model
    for _ in range(5):
        before = model.n_decoded
        session.grow(1)
        assert model.n_decoded - before <= 1
