"""Which patches are kept, decided from overview and mask."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from histosam_core.dataset import plan as planning
from histosam_core.dataset.plan import plan_slide, plan_slides
from histosam_core.dataset.settings import ExtractionSettings
from histosam_core.errors import AnnotationError, MissingMppError

SETTINGS = ExtractionSettings(mpp=2.0, patch_size_px=32, stride_px=32)


def test_kept_cells_are_those_with_the_wanted_share_and_every_other_has_a_reason(new_slide):
    tumor = np.zeros((512, 512), bool)
    tumor[128:, 192:] = True
    plan = plan_slide(*new_slide(tumor=tumor), SETTINGS)
    # Cells are 128 level-0 pixels: those of column 1 and rows 1 to 3 are half tumour.
    assert plan.locations_xy.tolist() == [[128, 128], [128, 256], [128, 384]]
    assert plan.tumor_fraction.tolist() == [0.5, 0.5, 0.5]
    assert plan.n_candidates == 16
    assert plan.rejected["too_little_tumor"] == 7
    assert plan.rejected["too_much_tumor"] == 6
    assert plan.record.n_patches == 3
    assert plan.record.level == 1
    assert plan.record.mpp == pytest.approx(0.5)


def test_ends_of_the_wanted_share_are_included(new_slide):
    tumor = np.zeros((128, 256), bool)
    tumor[:, 64:128] = True
    tumor[:32, 128:] = True
    settings = ExtractionSettings(
        mpp=2.0, patch_size_px=32, stride_px=32, tumor_fraction=(0.25, 0.5)
    )
    plan = plan_slide(*new_slide(tumor=tumor), settings)
    assert plan.tumor_fraction.tolist() == [0.5, 0.25]


def test_cells_without_tissue_fall_away(new_slide):
    tumor = np.zeros((256, 256), bool)
    tumor[64:192] = True
    tissue = np.ones_like(tumor)
    tissue[:, 128:] = False
    plan = plan_slide(*new_slide(tumor=tumor, tissue=tissue), SETTINGS)
    assert plan.locations_xy[:, 0].tolist() == [0, 0]
    assert plan.rejected["too_little_tissue"] == 2
    everything = ExtractionSettings(mpp=2.0, patch_size_px=32, stride_px=32, min_tissue=0)
    assert len(plan_slide(*new_slide(tumor=tumor, tissue=tissue), everything).locations_xy) == 4


def test_stride_smaller_than_the_patch_overlaps(new_slide):
    settings = ExtractionSettings(mpp=2.0, patch_size_px=32, stride_px=8)
    assert plan_slide(*new_slide(size=512), settings).n_candidates == 13 * 13


def test_resolution_that_is_no_whole_factor_keeps_the_grid_in_step(new_slide):
    settings = ExtractionSettings(mpp=1.7, patch_size_px=32, stride_px=32, tumor_fraction=(0, 1))
    plan = plan_slide(*new_slide(size=512), settings)
    steps = np.unique(np.diff(np.unique(plan.locations_xy[:, 1])))
    np.testing.assert_allclose(steps, 32 * 1.7 / plan.record.mpp)


def test_enlarging_is_noted(new_slide):
    settings = ExtractionSettings(mpp=0.25, patch_size_px=32, stride_px=32)
    assert "enlarged" in plan_slide(*new_slide(size=128), settings).notes[0]


def test_slide_without_mpp_raises_until_it_is_stated(new_slide):
    pair = new_slide(mpp=None)
    with pytest.raises(MissingMppError, match="--slide-mpp"):
        plan_slide(*pair, SETTINGS)
    stated = ExtractionSettings(mpp=2.0, patch_size_px=32, stride_px=32, slide_mpp=0.5)
    assert plan_slide(*pair, stated).record.mpp == 0.5


def test_annotation_of_another_slide_raises_naming_both(new_slide, tmp_path):
    far = np.zeros((900, 900), bool)
    far[800:, 800:] = True
    small, _ = new_slide("small", size=256)
    _, annotation = new_slide("large", tumor=far)
    with pytest.raises(AnnotationError, match=r"large\.geojson matches no part of .*small\.tif"):
        plan_slide(small, annotation, SETTINGS)


def test_slide_smaller_than_a_patch_has_no_candidate(new_slide):
    assert plan_slide(*new_slide(size=100), SETTINGS).n_candidates == 0


def test_progress_is_called_again_while_a_slide_is_planned(monkeypatch):
    calls, often = [], threading.Event()
    monkeypatch.setattr(planning, "_PROGRESS_S", 0.001)
    monkeypatch.setattr(planning, "plan_slide", lambda *_: often.wait(10))

    def progress(done, total, message=""):
        calls.append((done, total))
        if calls.count((0, 1)) == 3:
            often.set()

    assert plan_slides([(Path("s"), Path("a"))], SETTINGS, 1, progress) == [True]
    assert calls.count((0, 1)) >= 3


def test_no_slide_is_begun_while_progress_waits(monkeypatch):
    begun, meanwhile = [], []
    monkeypatch.setattr(planning, "plan_slide", lambda slide, *_: begun.append(slide))

    def progress(done, total, message=""):
        before = len(begun)
        time.sleep(0.02)
        meanwhile.append(len(begun) - before)

    pairs = [(Path(f"s{i}"), Path("a")) for i in range(12)]
    plan_slides(pairs, SETTINGS, 1, progress)
    assert len(begun) == 12
    assert max(meanwhile) <= 1  # the slide that was already begun


def test_plans_come_in_the_slides_order_whichever_is_done_first(monkeypatch):
    second = threading.Event()

    def plan(slide, *_):
        second.wait(10) if slide.name == "0" else second.set()
        return slide.name

    monkeypatch.setattr(planning, "plan_slide", plan)
    pairs = [(Path(f"{i}"), Path("a")) for i in range(3)]
    assert plan_slides(pairs, SETTINGS, 2, lambda *_: None) == ["0", "1", "2"]
