"""Tissue against glass."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from histosam_core.slide import open_slide, tissue_mask

Image = NDArray[np.uint8]
PINK, GLASS, INK = (225, 170, 205), (240, 240, 240), (20, 20, 22)


def noisy(image: Image, rng: np.random.Generator) -> Image:
    return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def slide_with_disc(glass: tuple[int, int, int], colour: tuple[int, int, int]) -> Image:
    image = np.full((300, 400, 3), glass, np.uint8)
    cv2.circle(image, (120, 150), 80, colour, -1)
    return image


@pytest.mark.parametrize("glass", [(255, 255, 255), GLASS, (238, 238, 225), (222, 224, 230)])
@pytest.mark.parametrize("colour", [PINK, (110, 60, 140), (235, 205, 222), (200, 205, 230)])
def test_disc_of_tissue_is_found_on_any_glass(
    rng: np.random.Generator, glass: tuple[int, int, int], colour: tuple[int, int, int]
) -> None:
    truth = slide_with_disc((0, 0, 0), (1, 1, 1))[..., 0] > 0
    mask = tissue_mask(noisy(slide_with_disc(glass, colour), rng))
    assert mask.dtype == np.bool_
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9


def test_glass_alone_is_no_tissue(rng: np.random.Generator) -> None:
    assert tissue_mask(noisy(np.full((200, 200, 3), GLASS, np.uint8), rng)).mean() < 0.01


@pytest.mark.parametrize("colour", [PINK, (235, 205, 222), (110, 60, 140)])
def test_tissue_alone_is_all_tissue(rng: np.random.Generator, colour: tuple[int, int, int]) -> None:
    assert tissue_mask(noisy(np.full((200, 200, 3), colour, np.uint8), rng)).mean() > 0.99


def test_black_pen_is_no_tissue(rng: np.random.Generator) -> None:
    image = slide_with_disc(GLASS, PINK)
    cv2.line(image, (250, 50), (380, 280), INK, 12)
    mask = tissue_mask(noisy(image, rng))
    assert mask[:, 230:].mean() < 0.01
    assert mask[100:200, 80:160].all()


def test_grey_image_is_split_by_darkness(rng: np.random.Generator) -> None:
    grey = cv2.cvtColor(slide_with_disc(GLASS, PINK), cv2.COLOR_RGB2GRAY)
    grey = noisy(grey, rng)
    mask = tissue_mask(np.repeat(grey[..., None], 3, axis=2))
    assert mask[100:200, 80:160].mean() > 0.99
    assert mask[:, 230:].mean() < 0.01


@pytest.mark.real_slide
def test_real_tissue_is_found(data_dir: Path) -> None:
    with open_slide(data_dir / "slides/CMU-1-Small-Region.svs") as slide:
        mask = tissue_mask(slide.thumbnail(600))
    assert 0.25 < mask.mean() < 0.45
    assert mask[350:550, 200:300].mean() > 0.9  # the middle of the piece
    assert mask[400:, :100].mean() < 0.01  # glass
