"""The slide behind any image layer, and its scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Image, Labels, Points
from PIL import Image as Picture

from histosam_core.errors import ImageError
from histosam_core.slide import open_slide
from napari_histosam.reader import read_slide
from napari_histosam.viewer.slide_of_layer import layer_mpp, slide_of_layer

RGB = np.arange(40 * 60 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 60, 3)
UM = ("um", "um")


def layer_of(path: Path) -> Any:
    data, attributes, _ = read_slide(path)[0]
    return Image(data, **attributes)


def from_file(data: Any, path: Path, **attributes: Any) -> Any:
    """A layer as another reader makes it, which says where it is from."""
    from napari.layers._source import layer_source

    with layer_source(path=str(path), reader_plugin="napari"):
        return Image(data, **attributes)


def pixels(slide: Any) -> np.ndarray:
    return np.asarray(slide.levels[0])


def test_our_own_layer_has_its_slide(slide_path: Path) -> None:
    layer = layer_of(slide_path)
    slide = slide_of_layer(layer)
    assert slide.path == slide_path
    assert slide is slide_of_layer(layer)


def test_the_file_of_another_readers_layer_is_used(slide_path: Path) -> None:
    with open_slide(slide_path) as same:
        layer = from_file(pixels(same), slide_path, rgb=True)
    slide = slide_of_layer(layer)
    assert slide.path == slide_path
    assert len(slide.levels) == 2
    assert slide.mpp == 0.5


def test_a_layer_that_was_changed_is_not_its_file(slide_path: Path) -> None:
    with open_slide(slide_path) as same:
        changed = 255 - pixels(same)
    slide = slide_of_layer(from_file(changed, slide_path, rgb=True, name="changed"))
    assert slide.name == "changed"
    np.testing.assert_array_equal(pixels(slide), changed)


def test_a_layer_of_another_size_is_not_its_file(slide_path: Path) -> None:
    slide = slide_of_layer(from_file(RGB, slide_path, rgb=True, name="part"))
    assert (slide.name, slide.size_wh) == ("part", (60, 40))


def test_a_file_that_is_no_slide_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "image.xyz"
    path.write_bytes(b"not an image")
    slide = slide_of_layer(from_file(RGB, path, rgb=True, name="mine"))
    np.testing.assert_array_equal(pixels(slide), RGB)


def test_the_file_of_a_small_image_is_used(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Picture.fromarray(RGB).save(path)
    assert slide_of_layer(from_file(RGB, path, rgb=True)).path == path


def test_an_array_layer_without_a_file_works() -> None:
    slide = slide_of_layer(Image(RGB, rgb=True, name="mine", scale=(0.5, 0.5), units=UM))
    assert (slide.name, slide.mpp) == ("mine", 0.5)
    np.testing.assert_array_equal(pixels(slide), RGB)


def test_grey_shows_as_its_contrast_limits_show_it() -> None:
    grey = np.array([[50, 100, 150, 200, 250]], np.uint8)
    shown = pixels(slide_of_layer(Image(grey, contrast_limits=(100, 200))))
    np.testing.assert_array_equal(shown[0, :, 0], [0, 0, 128, 255, 255])


def test_sixteen_bits_show_as_their_contrast_limits_show_them() -> None:
    deep = np.array([[0, 1000, 2000, 4000]], np.uint16)
    shown = pixels(slide_of_layer(Image(deep, contrast_limits=(0, 2000))))
    np.testing.assert_array_equal(shown[0, :, 0], [0, 128, 255, 255])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_point_colours_are_shares_of_one(dtype: Any) -> None:
    shown = pixels(slide_of_layer(Image(RGB.astype(dtype) / 255, rgb=True)))
    np.testing.assert_array_equal(shown, RGB)


def test_a_constant_image_is_no_error() -> None:
    assert pixels(slide_of_layer(Image(np.zeros((5, 6), np.uint8)))).shape == (5, 6, 3)


def test_transparency_is_laid_over_white() -> None:
    rgba = np.dstack([RGB, np.zeros((40, 60), np.uint8)])
    assert (pixels(slide_of_layer(Image(rgba, rgb=True))) == 255).all()


def test_a_pyramid_keeps_its_levels() -> None:
    big = np.zeros((400, 600, 3), np.uint8)
    layer = Image([big, big[::2, ::2], big[::4, ::4]], rgb=True, multiscale=True)
    assert [level.size_wh for level in slide_of_layer(layer).levels] == [
        (600, 400),
        (300, 200),
        (150, 100),
    ]


@pytest.mark.parametrize(
    "layer",
    [
        Image(np.zeros((5, 40, 60), np.uint8), name="stack"),
        Image(np.zeros((5, 40, 60, 3), np.uint8), rgb=True, name="stack"),
        Image(np.zeros((40, 60, 7), np.uint8), rgb=False, name="stack"),
    ],
)
def test_stacks_and_channels_are_refused_with_the_fix(layer: Any) -> None:
    with pytest.raises(ImageError, match=r"'stack' is a stack of .*choose Split Stack") as caught:
        slide_of_layer(layer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "kind"),
    [(Labels(np.zeros((5, 6), np.uint8)), "Labels"), (Points(np.zeros((0, 2))), "Points")],
)
def test_other_layers_are_refused_by_name(layer: Any, kind: str) -> None:
    with pytest.raises(ImageError, match=f"is a {kind} layer; choose the image layer"):
        slide_of_layer(layer)


@pytest.mark.parametrize(
    ("scale", "units", "mpp"),
    [
        ((0.5, 0.5), ("um", "um"), 0.5),
        ((250, 250), ("nm", "nm"), 0.25),
        ((0.001, 0.002), ("mm", "mm"), 1.5),
        ((-0.5, 0.5), ("um", "um"), 0.5),
        ((0.5, 0.5), ("pixel", "pixel"), None),
        ((0.5, 0.5), None, None),
        ((2, 2), ("s", "um"), None),
    ],
)
def test_mpp_is_the_scale_where_its_unit_is_a_length(
    scale: tuple[float, float], units: Any, mpp: float | None
) -> None:
    found = layer_mpp(Image(RGB, rgb=True, scale=scale, units=units))
    assert found == (None if mpp is None else pytest.approx(mpp))


def test_the_fingerprint_of_a_layer_follows_its_pixels() -> None:
    one = slide_of_layer(Image(RGB, rgb=True))
    same = slide_of_layer(Image(RGB.copy(), rgb=True, name="other"))
    other = slide_of_layer(Image(255 - RGB, rgb=True))
    assert one.fingerprint == same.fingerprint != other.fingerprint
