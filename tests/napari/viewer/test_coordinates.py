from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histosam_core.geometry import Frame
from napari_histosam.viewer.coordinates import ImageFrame, grid_matrix, to_row_column, to_xy

napari_layers = pytest.importorskip("napari.layers")
ANY = st.floats(-1e5, 1e5)


def image_frame(**transform: object) -> ImageFrame:
    image = napari_layers.Image(np.zeros((60, 80, 3), np.uint8), rgb=True, **transform)
    return ImageFrame.of(image)


def test_axes_are_swapped_between_world_and_level0() -> None:
    frame = image_frame()
    assert frame.to_level0((7.0, 30.0)) == pytest.approx((30.0, 7.0))
    assert frame.to_world((30.0, 7.0)) == pytest.approx((7.0, 30.0))


def test_leading_axes_of_a_deeper_viewer_are_ignored() -> None:
    assert image_frame().to_level0((5.0, 7.0, 30.0)) == pytest.approx((30.0, 7.0))


@given(ANY, ANY)
def test_world_round_trip_with_scale_shift_and_rotation(x: float, y: float) -> None:
    frame = image_frame(scale=(0.25, 0.5), translate=(100, -7), rotate=30)
    assert frame.to_level0(frame.to_world((x, y))) == pytest.approx((x, y), abs=1e-6)


@pytest.mark.parametrize("downsample", [1.0, 2.0, 4.0, 4.008, 16.0])
def test_a_coarser_layer_lies_over_the_pixels_it_stands_for(downsample: float) -> None:
    grid = Frame((120.0, 40.0), (downsample, downsample))
    image = image_frame(scale=(0.25, 0.25), translate=(3, 5))
    coarse = napari_layers.Labels(np.zeros((9, 9), np.uint8), affine=image.affine(grid))
    for xy in ((0.0, 0.0), (3.0, 7.0)):
        expected = image.to_world(grid.to_level0(xy))
        assert coarse.data_to_world((xy[1], xy[0])) == pytest.approx(expected)
    # The corner of its first pixel is the corner of the level-0 pixel where the grid begins.
    corner = coarse.data_to_world((-0.5, -0.5))
    assert corner == pytest.approx(image.to_world((119.5, 39.5)))


def test_the_half_pixel_is_in_the_matrix() -> None:
    matrix = grid_matrix(Frame((0.0, 0.0), (4.0, 4.0)))
    assert (matrix @ (0, 0, 1))[:2] == pytest.approx((1.5, 1.5))


def test_points_swap_axes_and_back() -> None:
    rows = to_row_column([(1.0, 2.0), (3.0, 4.0)])
    assert rows.tolist() == [[2.0, 1.0], [4.0, 3.0]]
    assert to_xy(rows[1]) == (3.0, 4.0)
    assert to_row_column([]).shape == (0, 2)
