"""Whatever image layer a user has: outlined, or refused in a line that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

from histosam_core.errors import ImageError, MissingMppError
from napari_histosam.interactive.controller import engine_of_layer

SIDE = 1200


@pytest.fixture
def show(make_desk: Callable[[Path], Any], slide_path: Path) -> Callable[..., Any]:
    """Add an image to a viewer and choose it for the session."""

    def add(data: Any, **how: Any) -> Any:
        desk = make_desk(slide_path)
        desk.controller.look_ahead.is_on = False
        desk.engine_for = engine_of_layer
        desk.controller.engine_for = engine_of_layer
        desk.image = desk.viewer.add_image(data, **how)
        return desk

    return add


def outlines(desk: Any, xy: tuple[float, float], **choices: Any) -> bool:
    """Whether a click there gives a mask that is painted there."""
    desk.start(**choices)
    desk.controller.click(xy)
    desk.settle()
    return bool(desk.view.clicks) and desk.mask_at(xy) == 1 and desk.view.area_mm2 > 0


@pytest.fixture
def crop(drawn: Any) -> Any:
    """A piece of the slide with tumour in its middle, and that point in the piece."""
    x, y = (int(v) for v in drawn.inside)
    x0, y0 = (min(max(v - SIDE // 2, 0), 3000 - SIDE) for v in (x, y))
    return drawn.image[y0 : y0 + SIDE, x0 : x0 + SIDE], (x - x0, y - y0)


def test_an_array_without_a_file(show: Callable[..., Any], crop: Any, tmp_path: Path) -> None:
    desk = show(crop[0], rgb=True, scale=(0.5, 0.5), units=("um", "um"), name="piece")
    assert outlines(desk, crop[1])
    assert desk.view.slide_mpp == 0.5
    assert desk.view.journal.is_file()


def test_a_dask_pyramid(show: Callable[..., Any], crop: Any) -> None:
    levels = [
        da.from_array(crop[0], (256, 256, 3)),
        da.from_array(crop[0][::2, ::2], (256, 256, 3)),
    ]
    desk = show(levels, rgb=True, multiscale=True, scale=(0.5, 0.5), units=("um", "um"))
    assert outlines(desk, crop[1])


def test_grey(show: Callable[..., Any], crop: Any) -> None:
    grey = crop[0].mean(axis=2).astype(np.uint8)
    desk = show(grey, scale=(0.5, 0.5), units=("um", "um"))
    desk.start()
    desk.controller.click(crop[1])
    desk.settle()
    assert desk.failures == []
    assert len(desk.view.clicks) == 1


def test_sixteen_bits_as_the_contrast_limits_show_them(show: Callable[..., Any], crop: Any) -> None:
    grey = crop[0].mean(axis=2).astype(np.uint16) * 8 + 1000
    desk = show(grey, scale=(0.5, 0.5), units=("um", "um"), contrast_limits=(1000, 3040))
    desk.start()
    read = desk.controller.thread.engine.slide.read_level(0, (0, 0), (64, 64))
    assert np.abs(read[..., 0].astype(int) - crop[0][:64, :64].mean(axis=2)).max() <= 1


def test_rgba(show: Callable[..., Any], crop: Any) -> None:
    opaque = np.full((*crop[0].shape[:2], 1), 255, np.uint8)
    desk = show(np.concatenate([crop[0], opaque], axis=2), rgb=True)
    assert outlines(desk, crop[1], slide_mpp=0.5)


def test_an_image_without_scale_is_asked_for_it(show: Callable[..., Any], crop: Any) -> None:
    desk = show(crop[0], rgb=True)
    desk.controller.open(desk.image, _setup())
    desk.settle()
    assert isinstance(desk.failures[0].error, MissingMppError)
    assert outlines(desk, crop[1], slide_mpp=0.5)


@pytest.mark.parametrize("shape", [(5, 300, 300), (2, 3, 64, 64), (4, 64, 64, 3)])
def test_a_stack_is_refused_with_a_way_out(
    show: Callable[..., Any], shape: tuple[int, ...]
) -> None:
    desk = show(np.zeros(shape, np.uint8), rgb=shape[-1] == 3)
    desk.controller.open(desk.image, _setup())
    desk.settle()
    assert isinstance(desk.failures[0].error, ImageError)
    assert "Split Stack" in desk.failures[0].message
    assert not desk.controller.is_open


def test_a_session_on_an_array_is_found_again(
    show: Callable[..., Any], make_desk: Callable[[Path], Any], crop: Any
) -> None:
    first = show(crop[0], rgb=True, scale=(0.5, 0.5), units=("um", "um"), name="piece")
    assert outlines(first, crop[1])
    first.controller.thread.engine._journal.close()  # the process is gone
    first.controller.thread.engine._journal = None
    again = show(crop[0].copy(), rgb=True, scale=(0.5, 0.5), units=("um", "um"), name="piece")
    again.start()
    assert [offer.n_open_prompts for offer in again.view.offers] == [1]
    again.controller.resume(again.view.offers[0].path)
    again.settle()
    assert again.view.clicks == first.view.clicks
    assert again.mask_at(crop[1]) == 1


def _setup() -> Any:
    from napari_histosam.interactive.view import Setup

    return Setup(model="histosam-tiny", device="cpu")
