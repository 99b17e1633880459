"""Validation by clicks: the protocol's rules, and which scores are better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from histosam_core.model import Prediction
from histosam_core.training.validation import (
    ValidationScores,
    click_batch,
    evenly_spread,
    score,
)

if TYPE_CHECKING:
    from histosam_core.clicks import Click


class Scripted:
    """Answers with the truth from its n-th click on, with nothing before.

    It keeps which patch it was and how often it had answered there as its state.
    """

    def __init__(self, truths: dict[int, np.ndarray], right_from: dict[int, int]) -> None:
        self.truths, self.right_from = truths, right_from
        self.asked: list[tuple[list[int], list[Any]]] = []
        self.answers: list[list[Prediction]] = []

    def encode_batch(self, images: Any) -> Any:
        raise NotImplementedError

    encode = decode = encode_batch

    def decode_batch(
        self, embeddings: list[int], clicks: list[list[Click]], previous: list[Prediction | None]
    ) -> list[Prediction]:
        self.asked.append((list(embeddings), list(previous)))
        answers = []
        for which, made in zip(embeddings, clicks, strict=True):
            right = len(made) >= self.right_from[which]
            logits = np.where(self.truths[which] & right, 5.0, -5.0).astype(np.float32)
            answers.append(Prediction(logits, state=(which, len(made))))
        self.answers.append(answers)
        return answers


def _truth(seed: int) -> np.ndarray:
    gt = np.zeros((20, 20), bool)
    gt[4 + seed : 15, 3:12] = True
    return gt


def test_each_patch_is_clicked_until_it_is_good_and_no_longer() -> None:
    truths = {i: _truth(i) for i in range(3)}
    model = Scripted(truths, {0: 1, 1: 3, 2: 99})
    curves = click_batch(
        model, [0, 1, 2], [t.astype(np.int8) for t in truths.values()], max_clicks=5
    )
    assert [len(curve) for curve in curves] == [1, 3, 5]
    assert curves[1].tolist() == [0.0, 0.0, 1.0]
    assert [which for which, _ in model.asked] == [[0, 1, 2], [1, 2], [1, 2], [2], [2]]
    assert model.asked[0][1] == [None] * 3
    for n, (which, given) in enumerate(model.asked[1:], start=1):
        assert [p.state for p in given] == [(i, n) for i in which]
        assert all(any(p is answer for answer in model.answers[n - 1]) for p in given)
    scores = score(curves, max_clicks=5)
    assert (scores.noc80, scores.noc85, scores.noc90) == (3.0, 3.0, 3.0)
    assert scores.miou_per_click == pytest.approx((1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3))


def test_validation_can_be_stopped_between_clicks() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    model = Scripted({0: _truth(0)}, {0: 9})
    with pytest.raises(KeyboardInterrupt):
        click_batch(model, [0], [_truth(0).astype(np.int8)], check=stop)
    assert not model.asked


def test_it_is_the_evaluations_result(
    small_model: Callable[..., Any], small_patches: Callable[..., Any]
) -> None:
    from histosam_core.evaluation import run_clicks

    model, patches = small_model(), small_patches(3, 1)
    embeddings = model.encode_batch([p.image for p in patches])
    curves = click_batch(model, embeddings, [p.gt_mask for p in patches], max_clicks=4)
    for patch, curve in zip(patches, curves, strict=True):
        alone = run_clicks(model, patch.image, patch.gt_mask, max_clicks=4)
        np.testing.assert_allclose(curve, alone.ious, atol=0.02)


@pytest.mark.parametrize("has_batches", [False, True])
def test_a_models_state_goes_back_into_it_as_in_the_evaluation(
    zooming_model: Any,
    batched_zooming_model: Any,
    small_patches: Callable[..., Any],
    has_batches: bool,
) -> None:
    from histosam_core.evaluation import run_clicks

    model = batched_zooming_model if has_batches else zooming_model
    patches = small_patches(5, 1)
    embeddings = [model.encode(p.image) for p in patches]
    curves = click_batch(model, embeddings, [p.gt_mask for p in patches], max_clicks=6)
    befores = [asked.previous for asked in model.asked]
    counts = [0 if before is None else before.state.n_answers for before in befores]
    assert sorted(counts) == sorted(n for curve in curves for n in range(len(curve)))
    for patch, curve in zip(patches, curves, strict=True):
        alone = run_clicks(type(model)(), patch.image, patch.gt_mask, max_clicks=6)
        assert curve.tolist() == alone.ious.tolist()


def _scores(noc85: float, *ious: float) -> ValidationScores:
    return ValidationScores(1.0, noc85, 9.0, ious, 4)


def test_fewer_clicks_are_better_and_the_iou_breaks_ties() -> None:
    assert _scores(3, 0.5).is_better_than(None)
    assert _scores(3, 0.5).is_better_than(_scores(4, 0.9))
    assert _scores(3, 0.6).is_better_than(_scores(3, 0.5))
    assert not _scores(3, 0.5).is_better_than(_scores(3, 0.5))


def test_scores_survive_as_plain_values() -> None:
    scores = _scores(3, 0.25, 0.5)
    assert ValidationScores.from_dict(asdict(scores)) == scores
    assert scores.miou_after(1) == 0.25
    assert scores.miou_after(20) == 0.5


def test_a_limit_spreads_evenly() -> None:
    assert evenly_spread(4, None) == [0, 1, 2, 3]
    assert evenly_spread(10, 5) == [0, 2, 4, 6, 8]
    assert evenly_spread(3, 9) == [0, 1, 2]
