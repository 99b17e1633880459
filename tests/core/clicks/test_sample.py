"""Training clicks: against the reference vectors, and by property."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histosam_core.clicks import Click
from histosam_core.clicks.sample import (
    click_count_probabilities,
    first_click_candidates,
    next_click_candidates,
    sample_next_click,
    sample_random_clicks,
)


@pytest.fixture(scope="module")
def reference(data_dir: Path) -> dict[str, np.ndarray]:
    with np.load(data_dir / "reference" / "nextpoints.npz") as vectors:
        return dict(vectors)


def _cases(reference: dict[str, np.ndarray]) -> list[str]:
    return sorted({key.split("_")[0] for key in reference if key[1:3].isdigit()})


class _Draw(np.random.Generator):
    """A generator whose `integers` takes the first, the middle or the last of n."""

    def __init__(self, which: int) -> None:
        super().__init__(np.random.PCG64(0))
        self.which = which
        self.n: int | None = None

    def integers(self, n: int) -> int:  # type: ignore[override]
        self.n = n
        return (0, n // 2, n - 1)[self.which]


@pytest.mark.real_slide
def test_next_clicks_are_drawn_from_exactly_the_reference_candidates(
    reference: dict[str, np.ndarray],
) -> None:
    without_error = 0
    assert len(_cases(reference)) >= 10
    for case in _cases(reference):
        scale = float(reference[f"{case}_pred_scale"])
        probability = (reference[f"{case}_pred"] / scale).astype(np.float32)
        label = reference[f"{case}_label"]
        for which, row in enumerate(reference[f"{case}_result_first_mid_last"]):
            n, written, y, x, _ = (int(v) for v in row)
            rng = _Draw(which)
            click = sample_next_click(label, probability, rng)
            if n == 0:
                without_error += 1
                assert click is None
                continue
            # The points tensor holds 24 positive rows, then 24 negative ones.
            assert click == Click(xy=(x, y), is_positive=written < 24)
            assert rng.n == n
            assert int(next_click_candidates(label, probability)[0].sum()) == n
    assert without_error > 0


@pytest.mark.real_slide
def test_first_click_candidates_equal_the_reference(reference: dict[str, np.ndarray]) -> None:
    for case in _cases(reference):
        height, width = (int(v) for v in reference[f"{case}_shape"])

        def unpack(packed: np.ndarray, h: int = height, w: int = width) -> np.ndarray:
            return np.unpackbits(packed, count=h * w).reshape(h, w).astype(bool)

        gt = unpack(reference[f"{case}_gt"])
        expected = unpack(reference[f"{case}_first_click_center_candidates"])
        np.testing.assert_array_equal(first_click_candidates(gt), expected)


@pytest.mark.real_slide
def test_click_counts_follow_the_reference_distribution(reference: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(click_count_probabilities(24), reference["pos_probs_24_g0.8"])
    np.testing.assert_allclose(click_count_probabilities(25), reference["neg_probs_25_g0.8"])


def _disk(size: int = 80, radius: float = 20) -> np.ndarray:
    ys, xs = np.mgrid[:size, :size] - size // 2
    return (ys**2 + xs**2 <= radius**2).astype(np.int8)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), max_clicks=st.integers(1, 24), centre=st.booleans())
def test_random_clicks_have_the_sign_of_the_pixel_they_lie_on(
    seed: int, max_clicks: int, centre: bool
) -> None:
    rng = np.random.default_rng(seed)
    gt = np.where(rng.random((20, 30)) < 0.1, -1, rng.random((20, 30)) < 0.4).astype(np.int8)
    clicks = sample_random_clicks(gt, rng, max_clicks=max_clicks, first_at_centre=centre)
    assert 1 <= sum(c.is_positive for c in clicks) <= max_clicks
    assert sum(not c.is_positive for c in clicks) <= max_clicks
    for click in clicks:
        x, y = (int(v) for v in click.xy)
        assert gt[y, x] == int(click.is_positive)
    signs = [c.is_positive for c in clicks]
    assert signs == sorted(signs, reverse=True)


def test_same_seed_gives_the_same_clicks() -> None:
    draws = [sample_random_clicks(_disk(), np.random.default_rng(7)) for _ in range(2)]
    assert draws[0] == draws[1]


def test_a_mask_without_object_gets_negatives_only() -> None:
    rng = np.random.default_rng(0)
    drawn = [sample_random_clicks(np.zeros((9, 9)), rng) for _ in range(30)]
    assert any(drawn)
    assert not any(click.is_positive for clicks in drawn for click in clicks)


def test_a_mask_that_fills_the_image_gets_positives_only() -> None:
    rng = np.random.default_rng(0)
    drawn = [sample_random_clicks(np.ones((9, 9)), rng) for _ in range(30)]
    assert all(click.is_positive for clicks in drawn for click in clicks)


def test_nine_positive_draws_of_ten_keep_off_the_edge() -> None:
    rng = np.random.default_rng(0)
    gt = _disk()
    eroded = np.zeros_like(gt, dtype=bool)
    ys, xs = np.nonzero(gt)
    for y, x in zip(ys, xs, strict=True):
        eroded[y, x] = gt[y - 3 : y + 4, x - 3 : x + 4].all()
    kept_off = []
    for _ in range(400):
        positives = [c for c in sample_random_clicks(gt, rng) if c.is_positive]
        kept_off.append(all(eroded[int(c.xy[1]), int(c.xy[0])] for c in positives))
    # Draws from the whole disk also miss its rim now and then.
    assert 0.88 < np.mean(kept_off) < 0.98


def test_half_of_the_negatives_lie_in_the_band_round_the_object() -> None:
    rng = np.random.default_rng(0)
    gt = _disk(size=400, radius=30)
    reach = int(np.ceil(0.1 * np.sqrt(gt.sum())))
    grown = np.pad(gt, reach)
    band = np.zeros_like(gt, dtype=bool)
    for dy in range(2 * reach + 1):
        for dx in range(2 * reach + 1):
            band |= grown[dy : dy + 400, dx : dx + 400] > 0
    band &= gt == 0
    inside = [
        band[int(c.xy[1]), int(c.xy[0])]
        for _ in range(500)
        for c in sample_random_clicks(gt, rng)
        if not c.is_positive
    ]
    expected = 0.5 + 0.5 * band.sum() / (gt == 0).sum()
    assert np.mean(inside) == pytest.approx(expected, abs=0.04)


def test_first_click_at_the_centre_lies_deep_in_the_object() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        first = sample_random_clicks(_disk(), rng, first_at_centre=True)[0]
        assert first.is_positive
        assert np.hypot(first.xy[0] - 40, first.xy[1] - 40) < 20 * (1 - 1 / 1.7) + 1


def test_no_error_gives_no_next_click() -> None:
    gt = _disk()
    rng = np.random.default_rng(0)
    assert sample_next_click(gt, gt.astype(np.float32), rng) is None
    assert sample_next_click(gt, np.full(gt.shape, 0.49), rng) is None


def test_next_click_is_positive_on_missed_and_negative_on_wrong_foreground() -> None:
    gt = _disk()
    rng = np.random.default_rng(0)
    missed = sample_next_click(gt, np.zeros(gt.shape), rng)
    wrong = sample_next_click(gt, np.ones(gt.shape), rng)
    assert missed is not None
    assert missed.is_positive
    assert wrong is not None
    assert not wrong.is_positive


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_next_click_lies_on_an_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gt = rng.integers(-1, 2, (17, 23))
    probability = rng.random((17, 23)).astype(np.float32)
    click = sample_next_click(gt, probability, rng)
    assert click is not None
    x, y = (int(v) for v in click.xy)
    if click.is_positive:
        assert gt[y, x] == 1
        assert probability[y, x] < 0.49
    else:
        assert gt[y, x] < 1
        assert probability[y, x] > 0.49
