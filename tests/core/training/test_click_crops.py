"""Crops of patches, and the part of a crop that FocalClick's refiner is trained on."""

from __future__ import annotations

from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histosam_core.dataset.augment import AugmentSettings
from histosam_core.training import TrainConfig
from histosam_core.training.families.focalclick import draw_focus, trimap_of
from histosam_core.training.samples import Examples, draw_crop

GEOMETRY = AugmentSettings(brightness_contrast=False, rgb_shift=False)


def _patch(side: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """An object whose pixels are red, ignored ones that are blue, and green around."""
    rows, columns = np.mgrid[:side, :side] / side
    gt = ((rows - 0.5) ** 2 + (columns - 0.4) ** 2 < 0.07).astype(np.int8)
    gt[rows > 0.85] = -1
    colours = np.array([[0, 200, 0], [200, 0, 0], [0, 0, 200]], np.uint8)
    return colours[gt], gt


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    way=st.sampled_from(["scaled", "window"]),
    size=st.sampled_from([(64, 96), (150, 150), (256, 256)]),
)
def test_image_and_mask_of_a_crop_stay_together(seed: int, way: Any, size: tuple[int, int]) -> None:
    image, gt = _patch()
    before = image.copy(), gt.copy()
    rng = np.random.default_rng(seed)
    crop, mask = draw_crop(image, gt, rng, size_hw=size, augmentation=GEOMETRY, way=way)
    assert (crop.shape, crop.dtype) == ((*size, 3), np.uint8)
    assert (mask.shape, mask.dtype) == (size, np.int8)
    # Resizing mixes colours at borders alone.
    agrees = np.choose(mask, [crop[..., 1], crop[..., 0], crop[..., 2]], mode="wrap") > 100
    inner = cv2.erode(agrees.astype(np.uint8), np.ones((3, 3))) > 0
    assert agrees.mean() > 0.93
    assert inner.mean() > 0.8
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(gt, before[1])


def test_the_same_draws_give_the_same_crop() -> None:
    drawn = [
        draw_crop(
            *_patch(), np.random.default_rng(3), size_hw=(64, 64), augmentation=AugmentSettings()
        )
        for _ in range(2)
    ]
    np.testing.assert_array_equal(drawn[0][0], drawn[1][0])
    np.testing.assert_array_equal(drawn[0][1], drawn[1][1])


def test_without_augmentation_a_crop_is_cut_at_the_patchs_scale_or_is_all_of_it() -> None:
    image, gt = _patch()
    rng = np.random.default_rng(0)
    crop, mask = draw_crop(image, gt, rng, size_hw=(50, 60), augmentation=AugmentSettings.none())
    places = [
        (y, x)
        for y in range(71)
        for x in range(61)
        if (gt[y : y + 50, x : x + 60] == mask).all()
        and (image[y : y + 50, x : x + 60] == crop).all()
    ]
    assert places
    crop, mask = draw_crop(
        image, gt, rng, size_hw=(120, 120), augmentation=AugmentSettings.none(), way="window"
    )
    np.testing.assert_array_equal(crop, image)
    np.testing.assert_array_equal(mask, gt)


def test_a_patch_smaller_than_the_crop_is_continued_by_reflection() -> None:
    image, gt = _patch(40)
    rng = np.random.default_rng(1)
    crop, mask = draw_crop(image, gt, rng, size_hw=(100, 130), augmentation=AugmentSettings.none())
    assert crop.min() == 0
    assert crop.any(-1).all()  # no black that is no tissue
    assert set(np.unique(mask)) == {-1, 0, 1}
    assert mask.shape == (100, 130)


def test_a_crop_without_object_is_drawn_again() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    gt = np.zeros((300, 300), np.int8)
    gt[:60, :60] = 1
    draws = [
        draw_crop(image, gt, np.random.default_rng(seed), size_hw=(64, 64), augmentation=GEOMETRY)[
            1
        ]
        for seed in range(60)
    ]
    # One place in fifteen or so holds some of it.
    assert np.mean([(mask == 1).any() for mask in draws]) > 0.25
    nothing = np.zeros((100, 100), np.int8)
    _, mask = draw_crop(
        image, nothing, np.random.default_rng(0), size_hw=(32, 32), augmentation=GEOMETRY
    )
    assert not mask.any()


def test_windows_are_mostly_neither_empty_nor_full() -> None:
    image, gt = _patch(200)
    shares = [
        (
            draw_crop(
                image,
                gt,
                np.random.default_rng(seed),
                size_hw=(96, 96),
                augmentation=GEOMETRY,
                way="window",
            )[1]
            == 1
        ).mean()
        for seed in range(100)
    ]
    assert np.mean([0.015 < share < 0.85 for share in shares]) > 0.97


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(0, 3))
def test_a_focus_is_a_part_of_the_crop_enlarged(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:96, :96]
    gt = np.zeros((96, 96), np.int8)
    for _ in range(n):
        y, x = rng.integers(0, 96, 2)
        gt[(rows - y) ** 2 + (columns - x) ** 2 < rng.integers(4, 900)] = 1
    gt[:5] = -1
    image = np.repeat(((gt + 1) * 100).astype(np.uint8)[..., None], 3, -1)
    focus = draw_focus(image, gt, rng)
    y1, y2, x1, x2 = focus.box
    assert 0 <= y1 < y2 <= 96
    assert 0 <= x1 < x2 <= 96
    assert focus.image.shape == (96, 96, 3)
    assert focus.gt_mask.shape == focus.trimap.shape == (96, 96)
    assert set(np.unique(focus.gt_mask)) <= {-1, 0, 1}
    np.testing.assert_array_equal(focus.gt_mask == -1, focus.trimap == -1)
    share = (gt[y1:y2, x1:x2] == 1).mean()
    assert (focus.gt_mask == 1).mean() == pytest.approx(share, abs=0.05)


def test_a_focus_is_on_the_object_or_on_its_border() -> None:
    gt = np.zeros((256, 256), np.int8)
    gt[60:180, 90:200] = 1
    gt[5:15, 5:15] = 1  # not the largest
    image = np.zeros((256, 256, 3), np.uint8)
    sides = []
    for seed in range(80):
        y1, y2, x1, x2 = draw_focus(image, gt, np.random.default_rng(seed)).box
        part = gt[y1:y2, x1:x2]
        assert (part == 1).any()
        assert (part == 0).any()
        sides.append((y2 - y1) / 120)
    # Windows on the border are 0.55 to 1.4 times as high as the object, all others 1.1 to 1.6.
    assert 0.2 < np.mean(np.array(sides) < 1) < 0.5


def test_a_trimap_marks_what_a_small_mask_cannot_hold() -> None:
    straight = np.zeros((128, 128), bool)
    straight[:, 64:] = True
    marked = trimap_of(straight)
    assert not marked[:, :40].any()
    assert not marked[:, 90:].any()
    spot = np.zeros((128, 128), bool)
    spot[60:64, 60:64] = True
    # It is lost, and two pixels round it are marked.
    expected = np.zeros((128, 128), bool)
    expected[58:66, 58:66] = True
    np.testing.assert_array_equal(trimap_of(spot), expected)


def test_examples_are_crops_drawn_afresh_in_every_epoch_whoever_asks(small_patches: Any) -> None:
    def examples(workers: int) -> Examples:
        config = TrainConfig(
            out="run",
            model="focalclick_b0_s2",
            crop_size=(64, 64),
            batch_size=2,
            seed=5,
            workers=workers,
        )
        crop = partial(draw_crop, size_hw=(64, 64), augmentation=config.augment, way="window")
        return Examples(small_patches(4, 0), config, draw_crop=crop, draw_focus=draw_focus)

    first = [e for batch in examples(0).batches(1) for e in batch]
    again = [e for batch in examples(2).batches(1) for e in batch]
    later = [e for batch in examples(0).batches(2) for e in batch]
    assert sorted(e.index for e in first) == [0, 1, 2, 3]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.clicks == other.clicks
        assert one.focus.box == other.focus.box
    second = {e.index: e for e in later}
    assert not any(np.array_equal(e.image, second[e.index].image) for e in first)
    (resumed,) = examples(0).batches(1, first_step=1)
    assert [e.index for e in resumed] == [e.index for e in first[2:]]
