"""What a click changes far away from it."""

from __future__ import annotations

import numpy as np
import pytest

from histosam_core.errors import ConfigError
from histosam_core.metrics import far_change


def test_only_changes_beyond_the_radius_count() -> None:
    masks = np.zeros((3, 10, 30), dtype=bool)
    masks[1:, 5, 5] = True  # near the second click
    masks[2, 0, 29] = True  # far from the third
    shares = far_change(masks, [(5, 5), (5, 5), (5, 5)], radius_px=10)
    far = sum((x - 5) ** 2 + (y - 5) ** 2 > 100 for x in range(30) for y in range(10))
    assert shares == pytest.approx([0, 1 / far])


def test_a_pixel_at_the_radius_is_near() -> None:
    masks = np.zeros((2, 1, 12), dtype=bool)
    masks[1, 0, 10] = True
    assert far_change(masks, [(0, 0), (0, 0)], radius_px=10).tolist() == [0.0]
    assert far_change(masks, [(0, 0), (0, 0)], radius_px=9.9).tolist() == [0.5]


def test_one_click_corrects_nothing() -> None:
    assert far_change(np.ones((1, 4, 4), dtype=bool), [(0, 0)]).shape == (0,)


def test_where_nothing_is_far_there_is_no_value() -> None:
    assert np.isnan(far_change(np.ones((2, 4, 4), dtype=bool), [(0, 0), (1, 1)])).all()


def test_masks_and_clicks_must_fit() -> None:
    with pytest.raises(ConfigError, match=r"\(n, H, W\) for the 1 clicks"):
        far_change(np.ones((2, 4, 4), dtype=bool), [(0, 0)])
