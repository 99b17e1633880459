"""Patches found out by slide and by place: no pixel in two parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histosam_core.annotation import PolygonAnnotation
from histosam_core.dataset import ExtractionSummary, extract_patches, open_patches, split_patches
from histosam_core.dataset.patches import SlideRecord
from histosam_core.dataset.place_split import GAPS, split_places
from histosam_core.dataset.plan import REASONS, SlidePlan
from histosam_core.errors import EmptyDatasetError

SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}
LEAST = {"train": 4, "validation": 2, "test": 4}
PX = 100


def plan(name: str, corners: object, mpp: float = 2.0) -> SlidePlan:
    locations = np.asarray(corners, dtype=float).reshape(-1, 2) * (2.0 / mpp)
    n = len(locations)
    record = SlideRecord(name, f"{name}.svs", f"{name}.xml", name, mpp, (9999, 9999), 0, n)
    half = np.full(n, 0.5)
    counts = dict.fromkeys(REASONS, 0)
    return SlidePlan(record, PolygonAnnotation(()), locations, half, half, n, counts, ())


def grid(columns: int, rows: int, step: int = 50, at: tuple[int, int] = (0, 0)) -> np.ndarray:
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    return np.stack([x.ravel(), y.ravel()], axis=1) * step + np.array(at)


def split(*plans: SlidePlan, **changes: object):
    return split_patches(
        plans, **{"shares": SHARES, "least": LEAST, "mpp": 2.0, "patch_size_px": PX, **changes}
    )


def counts(found) -> dict[str, int]:
    return {part: sum(p.record.n_patches for p in plans) for part, plans in found.parts.items()}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 25)), min_size=10, max_size=60, unique=True
    )
)
def test_squares_of_different_parts_never_share_a_pixel(cells: list[tuple[int, int]]) -> None:
    corners = np.array(cells, dtype=float) * 50
    found = split_places(corners, PX, shares=list(SHARES.values()), least=[4, 2, 4])
    if found is None:
        return
    part, gap = found
    assert gap in GAPS
    apart = np.abs(corners[:, None] - corners[None]).max(axis=2)
    different = (part[:, None] != part[None]) & (part[:, None] >= 0) & (part[None] >= 0)
    assert (apart[different] >= PX * (1 + gap) - 1e-6).all()
    assert (np.bincount(part[part >= 0], minlength=3) >= [4, 2, 4]).all()


def test_enough_slides_stay_whole() -> None:
    found = split(*(plan(f"case{i}", grid(4, 3)) for i in range(6)))
    assert found.by == "slides"
    assert [len(plans) for plans in found.parts.values()] == [3, 1, 2]
    names = [p.record.name for plans in found.parts.values() for p in plans]
    assert sorted(names) == [f"case{i}" for i in range(6)]


def test_many_slides_are_split_by_their_patches() -> None:
    found = split(*(plan(f"case{i}", grid(1 + i, 4)) for i in range(12)))
    total = sum(4 * (1 + i) for i in range(12))
    assert found.by == "slides"
    for part, n in counts(found).items():
        assert n / total == pytest.approx(SHARES[part], abs=0.08)


def test_the_order_of_the_slides_does_not_matter() -> None:
    plans = [plan(f"case{i}", grid(3 + i % 3, 4)) for i in range(5)]
    one, other = split(*plans), split(*reversed(plans))
    assert {k: [p.record.name for p in v] for k, v in one.parts.items()} == {
        k: [p.record.name for p in v] for k, v in other.parts.items()
    }


def test_of_two_slides_the_smaller_one_is_held_out() -> None:
    found = split(plan("large", grid(12, 4)), plan("small", grid(4, 4)))
    assert found.by == "slide and place"
    assert [p.record.name for p in found.parts["test"]] == ["small"]
    assert {p.record.name for part in ("train", "validation") for p in found.parts[part]} == {
        "large"
    }
    assert "large: split by place" in found.notes[0]


def test_regions_of_one_slide_stay_whole() -> None:
    corners = [grid(4, 2), grid(2, 2, at=(900, 0)), grid(3, 2, at=(0, 900))]
    found = split(plan("case", np.concatenate(corners)))
    assert found.by == "place"
    assert counts(found) == {"train": 8, "validation": 4, "test": 6}
    assert "gap of 200 um" in found.notes[0]
    assert "left out" not in found.notes[0]


def test_one_region_is_cut_into_blocks_with_a_gap() -> None:
    found = split(plan("case", grid(30, 2), mpp=0.5))
    assert found.by == "place"
    assert sum(counts(found).values()) < 60
    boxes = {part: plans[0].locations_xy[:, 0] for part, plans in found.parts.items()}
    level0 = PX * 4
    assert boxes["validation"].min() - boxes["train"].max() >= 2 * level0
    assert boxes["test"].min() - boxes["validation"].max() >= 2 * level0
    assert "were left out" in found.notes[0]


def test_too_few_patches_and_a_crowd_say_what_to_do() -> None:
    with pytest.raises(EmptyDatasetError, match=r"6 patches are too few.*outline more tumour"):
        split(plan("case", grid(3, 2)))
    with pytest.raises(EmptyDatasetError, match=r"12 patches of 1 slide lie too close.*apart"):
        split(plan("case", grid(4, 3, step=20)))


def test_one_slide_becomes_three_stores_that_share_no_pixel(new_slide, tmp_path: Path) -> None:
    slide, annotation = new_slide(size=1024)
    out = tmp_path / "out"
    small = {"mpp": 2.0, "patch_size_px": 32, "stride_px": 16, "min_tissue": 0.0}

    def splits(plans):
        return split_patches(plans, shares=SHARES, least=LEAST, mpp=2.0, patch_size_px=32)

    summary = extract_patches([(slide, annotation)], out, **small, splits=splits)
    assert summary.split_by == "place"
    assert ExtractionSummary.load(out) == summary
    seen = np.zeros((1024, 1024), dtype=int)
    for i, split in enumerate(summary.n_patches, start=1):
        store = open_patches(out, split)
        assert len(store) == summary.n_patches[split] == store.slides[0].n_patches
        for x, y in store.locations_xy.astype(int):
            taken = seen[y : y + 128, x : x + 128]
            assert np.isin(taken, (0, i)).all()
            taken[:] = i


def test_a_plan_that_has_no_patch_is_in_no_part() -> None:
    empty = plan("empty", [])
    found = split(replace(empty), *(plan(f"case{i}", grid(4, 3)) for i in range(3)))
    assert all(p.record.n_patches for plans in found.parts.values() for p in plans)
