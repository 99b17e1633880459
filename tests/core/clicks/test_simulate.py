"""The simulated user: hand-made cases, properties, and the reference vectors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from histosam_core.clicks import Click, next_click
from histosam_core.clicks.simulate import error_depths
from histosam_core.errors import ConfigError

Mask = NDArray[np.bool_]


def blank(height: int = 9, width: int = 11) -> Mask:
    return np.zeros((height, width), bool)


def test_first_click_is_positive_at_the_middle_of_the_object() -> None:
    gt = blank()
    gt[2:7, 3:8] = True
    assert next_click(gt, blank()) == Click((5, 4), True)


def test_click_is_negative_where_the_wrong_foreground_is_deeper() -> None:
    gt, pred = blank(), blank()
    gt[0:3, 0:3] = True
    pred[3:8, 5:10] = True
    assert next_click(gt, pred) == Click((7, 5), False)


def test_a_tie_gives_a_negative_click() -> None:
    gt, pred = blank(), blank()
    gt[1:4, 1:4] = True
    pred[1:4, 6:9] = True
    assert next_click(gt, pred) == Click((7, 2), False)


def test_first_maximum_in_row_major_order_is_taken() -> None:
    gt = blank()
    gt[2:4, 2:4] = True
    assert next_click(gt, blank()).xy == (2.0, 2.0)


def test_the_edge_of_the_image_is_an_edge_of_the_error() -> None:
    gt = np.ones((5, 5), bool)
    assert next_click(gt, np.zeros((5, 5), bool)) == Click((2, 2), True)


def test_a_clicked_pixel_is_not_clicked_again() -> None:
    gt = blank()
    gt[2:7, 3:8] = True
    first = next_click(gt, blank())
    second = next_click(gt, blank(), [first])
    assert second.is_positive
    assert second.xy == (4.0, 3.0)


def test_no_error_gives_a_negative_click_at_the_origin_every_time() -> None:
    gt = blank()
    gt[2:7, 3:8] = True
    clicks: list[Click] = []
    for _ in range(3):
        clicks.append(next_click(gt, gt, clicks))
    assert clicks == [Click((0, 0), False)] * 3


def test_ignored_pixels_are_no_error_however_they_are_marked() -> None:
    gt = np.zeros((9, 11), np.int8)
    gt[1:4, 1:4] = 1
    gt[4:9, 4:9] = -1
    pred = np.ones((9, 11), bool)
    by_label = next_click(gt, pred)
    by_mask = next_click(gt == 1, pred, ignore_mask=gt == -1)
    assert by_label == by_mask
    x, y = (int(v) for v in by_label.xy)
    assert not by_label.is_positive
    assert gt[y, x] == 0


def test_clicks_outside_the_image_are_harmless() -> None:
    gt = blank()
    gt[2:7, 3:8] = True
    outside = [Click((-1, 4)), Click((11, 4)), Click((5, -3)), Click((5, 9))]
    assert next_click(gt, blank(), outside) == next_click(gt, blank())


@pytest.mark.parametrize(
    ("gt", "pred", "ignored"),
    [
        (np.zeros((3, 4), bool), np.zeros((4, 3), bool), None),
        (np.zeros((3, 4), bool), np.zeros((3, 4), bool), np.zeros((3, 3), bool)),
        (np.zeros((0, 4), bool), np.zeros((0, 4), bool), None),
        (np.zeros(4, bool), np.zeros(4, bool), None),
    ],
)
def test_masks_that_do_not_fit_are_refused(gt: Mask, pred: Mask, ignored: Mask | None) -> None:
    with pytest.raises(ConfigError, match="shape"):
        next_click(gt, pred, ignore_mask=ignored)


masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


@given(data=st.data(), gt=masks)
def test_the_click_lies_on_an_error_of_its_sign(data: st.DataObject, gt: Mask) -> None:
    pred = data.draw(hnp.arrays(bool, gt.shape))
    click = next_click(gt, pred)
    x, y = (int(v) for v in click.xy)
    if (gt == pred).all():
        assert click == Click((0, 0), False)
    else:
        assert gt[y, x] != pred[y, x]
        assert click.is_positive == gt[y, x]


@given(data=st.data(), gt=masks)
def test_depth_equals_a_search_over_all_pixels(data: st.DataObject, gt: Mask) -> None:
    pred = data.draw(hnp.arrays(bool, gt.shape))
    click = next_click(gt, pred)

    def deepest(error: Mask) -> int:
        padded = np.pad(error, 1)
        clear, inside = np.argwhere(~padded), np.argwhere(padded)
        if len(inside) == 0:
            return 0
        return int(((inside[:, None] - clear[None]) ** 2).sum(-1).min(1).max())

    missed, wrong = deepest(gt & ~pred), deepest(~gt & pred)
    assert click.is_positive == (missed > wrong)


@pytest.mark.real_slide
def test_equals_every_robust_reference_case(data_dir: Path) -> None:
    vectors = np.load(data_dir / "reference" / "clicker.npz")
    compared = 0
    for case in vectors["cases"]:
        key = f"c{case:03d}"
        height, width = (int(v) for v in vectors[f"{key}_shape"])

        def unpack(packed: NDArray[np.uint8], h: int = height, w: int = width) -> Mask:
            return np.unpackbits(packed, count=h * w).reshape(h, w).astype(bool)

        gt = unpack(vectors[f"{key}_gt"]).astype(np.int8)
        if f"{key}_ignore" in vectors.files:
            gt[unpack(vectors[f"{key}_ignore"])] = -1
        expected = vectors[f"{key}_clicks"]
        robust = vectors[f"{key}_robust"]
        past: list[Click] = []
        for pred, (y, x, positive), exact in zip(
            vectors[f"{key}_pred"], expected.tolist(), robust, strict=True
        ):
            if exact:
                assert next_click(gt, unpack(pred), past) == Click((x, y), bool(positive)), key
                compared += 1
            past.append(Click((x, y), bool(positive)))
    assert compared > 100


def test_clicks_and_metrics_do_without_torch() -> None:
    code = (
        "import sys, histosam_core.clicks, histosam_core.metrics; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ties_are_broken_the_same_way_each_time() -> None:
    """OpenCV's distances may differ in their last bits from call to call; depths may not."""
    rng = np.random.default_rng(18)
    gt, pred = rng.random((2, 150, 200)) < 0.5
    missed, _ = error_depths(gt, pred)
    squared = missed.astype(np.float64) ** 2
    assert np.abs(squared - squared.round()).max() < 1e-5
    assert len({next_click(gt, pred).xy for _ in range(50)}) == 1
