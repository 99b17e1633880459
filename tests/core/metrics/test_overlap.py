"""IoU and Dice: hand-computed cases, empty cases, ignored pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from histosam_core.errors import ConfigError
from histosam_core.metrics import dice, iou

Mask = NDArray[np.bool_]


def test_hand_computed_overlap() -> None:
    gt = np.array([[1, 1, 1, 0]])
    pred = np.array([[0, 1, 1, 1]], bool)
    assert iou(gt, pred) == 2 / 4
    assert dice(gt, pred) == 4 / 6


def test_two_empty_masks_agree() -> None:
    nothing = np.zeros((3, 3), bool)
    assert iou(nothing, nothing) == dice(nothing, nothing) == 1.0


def test_one_empty_mask_does_not() -> None:
    nothing, something = np.zeros((3, 3), bool), np.eye(3, dtype=bool)
    assert iou(nothing, something) == iou(something, nothing) == 0.0
    assert dice(nothing, something) == dice(something, nothing) == 0.0


def test_ignored_pixels_count_neither_way() -> None:
    gt = np.array([[1, 1, -1, 0, 0]], np.int8)
    pred = np.array([[1, 0, 1, 0, 1]], bool)
    assert iou(gt, pred) == 1 / 3
    assert iou(gt == 1, pred, gt == -1) == 1 / 3
    assert iou(gt, pred, np.array([[0, 0, 0, 0, 1]], bool)) == 1 / 2


def test_all_ignored_is_the_empty_case() -> None:
    assert iou(np.full((2, 2), -1), np.ones((2, 2), bool)) == 1.0


@pytest.mark.parametrize("score", [iou, dice])
def test_masks_of_different_shapes_are_refused(score) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match="shape"):
        score(np.zeros((2, 3)), np.zeros((3, 2), bool))
    with pytest.raises(ConfigError, match="shape"):
        score(np.zeros((2, 3)), np.zeros((2, 3), bool), np.zeros((1, 3), bool))


@given(data=st.data(), gt=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)))
def test_symmetric_bounded_and_tied_to_each_other(data: st.DataObject, gt: Mask) -> None:
    pred = data.draw(hnp.arrays(bool, gt.shape))
    value = iou(gt, pred)
    assert value == iou(pred, gt)
    assert 0 <= value <= 1
    assert (value == 1) == bool((gt == pred).all())
    assert dice(gt, pred) == pytest.approx(2 * value / (1 + value))
