"""Recorded clicks given again: the same masks, and what two models make of the same clicks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from histosam_core.clicks import Click
from histosam_core.errors import ConfigError
from histosam_core.evaluation import evaluate, read_records, run_clicks
from histosam_core.evaluation.walkthrough import disagreement, mismatch, walk_through


def test_recorded_clicks_give_the_recorded_ious_and_masks(model, store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    evaluate(model, store, name="blob", out=tmp_path / "run", max_clicks=6)
    (run,) = read_records(tmp_path / "run")
    for record in run.patches:
        patch = store[record.index]
        walk = walk_through(model, patch.image, patch.gt_mask, record.clicks)
        np.testing.assert_array_equal(walk.ious, record.ious)
        assert mismatch(walk, record.ious) == ""
        once = run_clicks(model, patch.image, patch.gt_mask, max_clicks=6)
        np.testing.assert_array_equal(walk.masks[-1], once.mask)


def test_the_masks_threshold_of_the_run_counts(model, store) -> None:  # type: ignore[no-untyped-def]
    patch = store[1]
    run = run_clicks(model, patch.image, patch.gt_mask, max_clicks=4, mask_threshold=0.3)
    same = walk_through(model, patch.image, patch.gt_mask, run.clicks, mask_threshold=0.3)
    np.testing.assert_array_equal(same.ious, run.ious)
    other = walk_through(model, patch.image, patch.gt_mask, run.clicks, mask_threshold=0.49)
    assert (other.masks.sum(axis=(1, 2)) < same.masks.sum(axis=(1, 2))).all()


def test_another_checkpoint_is_seen(model, store) -> None:  # type: ignore[no-untyped-def]
    patch = store[1]
    run = run_clicks(model, patch.image, patch.gt_mask, max_clicks=4)
    other = type(model)(radius_px=3.0)
    walk = walk_through(other, patch.image, patch.gt_mask, run.clicks)
    assert "checkpoint or the patches have changed" in mismatch(walk, run.ious)
    assert "1 clicks were recorded" in mismatch(walk, run.ious[:1])


def test_progress_counts_the_clicks(model, store) -> None:  # type: ignore[no-untyped-def]
    clicks, seen = [Click((10, 10), True), Click((20, 20), False)], []
    walk_through(
        model,
        store[0].image,
        store[0].gt_mask,
        clicks,
        progress=lambda done, total, message="": seen.append((done, total)),
    )
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_what_does_not_fit_is_refused(model, store) -> None:  # type: ignore[no-untyped-def]
    image, truth = store[0].image, store[0].gt_mask
    for clicks, gt in (([], truth), ([Click((48, 3), True)], truth), ([], truth[:5])):
        with pytest.raises(ConfigError):
            walk_through(model, image, gt, clicks)
    with pytest.raises(ConfigError, match="one shape"):
        disagreement(truth, truth[:5], truth)


def test_disagreement_says_who_is_right() -> None:
    gt = np.array([[1, 1, 1, 1, 0, 0, 0, 0, -1]])
    a = np.array([[1, 1, 0, 0, 0, 0, 1, 1, 1]])
    b = np.array([[1, 0, 1, 0, 0, 1, 0, 1, 0]])
    assert disagreement(a, b, gt).tolist() == [[1, 2, 3, 4, 0, 2, 3, 4, 0]]
