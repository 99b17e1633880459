"""Regions of slides opened and stepped through again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histosam_core.errors import EvaluationRecordsError
from histosam_core.evaluation import evaluate_slides, read_records
from histosam_core.evaluation.pictures import read_mask
from histosam_core.evaluation.slide_walkthrough import open_region, thin, walk_through_region
from histosam_core.evaluation.walkthrough import mismatch

from .slide_stand_ins import DARK, Brush, write_slide


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Two regions of one slide, read back."""
    slides = tmp_path / "liver"
    slides.mkdir()
    write_slide(slides, "a", [(100, 100, 400, 160), (500, 300, 600, 400)])
    evaluate_slides(
        Brush(), slides, out=tmp_path / "run", name="brush", max_clicks=12, min_area_mm2=0.0005
    )
    (result,) = read_records(tmp_path / "run")
    return result


def test_recorded_clicks_give_the_recorded_ious_and_the_last_mask(run: Any) -> None:
    for record in run.patches:
        region = open_region(run, record)
        walk = walk_through_region(Brush(), region, record.clicks)
        np.testing.assert_array_equal(walk.ious, record.ious)
        assert region.step == 1
        np.testing.assert_array_equal(walk.masks[-1], read_mask(run.folder, record.index))
        other = walk_through_region(Brush(radius_px=9), region, record.clicks)
        assert "have changed" in mismatch(other, record.ious)


def test_a_large_region_is_thinned_and_its_ious_are_not(run: Any) -> None:
    record = run.patches[0]
    whole, thinned = open_region(run, record), open_region(run, record, longest_px=60)
    assert thinned.step > 1
    assert max(thinned.image.shape) <= 60
    truth = thin(thinned.truth.mask, thinned.step)
    assert truth.shape == thinned.image.shape[:2]
    dark = np.abs(thinned.image.astype(int) - DARK).max(axis=2) < 30
    assert (dark == (truth == 1)).mean() > 0.93  # the image shows the place of the truth
    walk = walk_through_region(Brush(), thinned, record.clicks)
    np.testing.assert_array_equal(walk.ious, record.ious)
    np.testing.assert_array_equal(
        walk.masks[0],
        thin(walk_through_region(Brush(), whole, record.clicks).masks[0], thinned.step),
    )


def test_an_annotation_that_has_changed_is_told(run: Any, tmp_path: Path) -> None:
    write_slide(tmp_path / "liver", "a", [(500, 300, 700, 420)])
    with pytest.raises(EvaluationRecordsError, match="no longer outlines"):
        open_region(run, run.patches[0])
