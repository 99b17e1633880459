"""Frames: every conversion there and back, at whole and other scales."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histosam_core.errors import MissingMppError, RegionError
from histosam_core.geometry import Frame, Region

points = st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5))
whole = st.sampled_from([1.0, 2.0, 4.0, 16.0, 64.0])
other = st.sampled_from([0.37, 1.002, 2.0005, 4.0001, 5.3]) | st.floats(0.1, 100)
scales = whole | other
frames = st.builds(Frame, points, st.tuples(scales, scales))


@given(frame=frames, xy=points)
def test_to_level0_and_back(frame: Frame, xy: tuple[float, float]) -> None:
    assert frame.from_level0(frame.to_level0(xy)) == pytest.approx(xy, rel=1e-9, abs=1e-4)
    assert frame.to_level0(frame.from_level0(xy)) == pytest.approx(xy, rel=1e-9, abs=1e-4)


@given(
    location=points,
    size=st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
    slide_mpp=st.sampled_from([0.2277, 0.25, 0.499, 1.0]),
    mpp=st.none() | st.floats(0.1, 32),
    xy=points,
)
def test_region_pixels_to_level0_and_back(
    location: tuple[float, float],
    size: tuple[int, int],
    slide_mpp: float,
    mpp: float | None,
    xy: tuple[float, float],
) -> None:
    region = Region(location, size, mpp)
    frame = region.frame(slide_mpp)
    assert frame.from_level0(frame.to_level0(xy)) == pytest.approx(xy, rel=1e-9, abs=1e-4)
    # The region's outer edges: half a pixel before its first centre, half after its last.
    left, top = frame.to_level0((-0.5, -0.5))
    right, bottom = frame.to_level0((size[0] - 0.5, size[1] - 0.5))
    d = region.downsample(slide_mpp)
    assert (left + 0.5, top + 0.5) == pytest.approx(location, rel=1e-9, abs=1e-6)
    assert (right - left, bottom - top) == pytest.approx((size[0] * d, size[1] * d), rel=1e-6)


@given(outer=frames, inner=frames, xy=points)
def test_level0_to_region_to_level_pixels_and_back(
    outer: Frame, inner: Frame, xy: tuple[float, float]
) -> None:
    there = inner.from_level0(outer.to_level0(xy))
    back = outer.from_level0(inner.to_level0(there))
    assert back == pytest.approx(xy, rel=1e-6, abs=1e-2)


@pytest.mark.parametrize("d", [1, 2, 4, 2.0005, 5.3])
def test_coarse_pixel_lies_at_the_mean_of_what_it_covers(d: float) -> None:
    frame = Frame((10.0, 20.0), (d, d))
    for column in range(5):
        left_edge = 10 - 0.5 + column * d
        assert frame.to_level0((column, 0))[0] == pytest.approx(left_edge + d / 2)


def test_whole_downsample_by_hand() -> None:
    frame = Frame((0.0, 0.0), (4.0, 4.0))
    assert frame.to_level0((0, 0)) == (1.5, 1.5)  # the middle of pixels 0, 1, 2, 3
    assert frame.from_level0((1.5, 5.5)) == (0.0, 1.0)
    assert Frame((100.0, 50.0), (2.0, 2.0)).to_level0((3, 1)) == (106.5, 52.5)


@given(
    centre=points,
    size=st.tuples(st.integers(1, 999), st.integers(1, 999)),
    mpp=st.none() | st.floats(0.1, 32),
)
def test_centred_region_has_its_middle_there(
    centre: tuple[float, float], size: tuple[int, int], mpp: float | None
) -> None:
    frame = Region.centred(centre, size, mpp, slide_mpp=0.5).frame(0.5)
    middle = (size[0] - 1) / 2, (size[1] - 1) / 2
    assert frame.to_level0(middle) == pytest.approx(centre, rel=1e-9, abs=1e-6)


def test_region_refuses_what_has_no_pixels_or_place() -> None:
    for size in ((0, 5), (5, -1), (2.5, 4)):
        with pytest.raises(RegionError, match="no pixels"):
            Region((0, 0), size)  # type: ignore[arg-type]
    with pytest.raises(RegionError, match="finite"):
        Region((float("nan"), 0), (1, 1))
    for mpp in (0.0, -1.0, float("inf")):
        with pytest.raises(RegionError, match="mpp"):
            Region((0, 0), (1, 1), mpp)


def test_region_with_mpp_needs_a_slide_with_mpp() -> None:
    assert Region((0, 0), (1, 1)).downsample(None) == 1
    with pytest.raises(MissingMppError, match="--mpp"):
        Region((0, 0), (1, 1), 2.0).downsample(None)
    assert np.isclose(Region((0, 0), (1, 1), 2.0).downsample(0.499), 4.008, atol=1e-3)
