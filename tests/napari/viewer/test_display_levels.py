"""Which levels a slide is shown at, and what their pixels are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from histosam_core.errors import SlideFormatError
from histosam_core.slide import Slide, open_array, open_slide
from napari_histosam.viewer.display_levels import DAMAGED, OVERVIEW_PX, plan_levels


class Blank:
    """An array of one value, of any size."""

    def __init__(self, width: int, height: int) -> None:
        self.shape, self.dtype = (height, width), np.dtype(np.uint8)

    def __getitem__(self, key: Sequence[slice]) -> np.ndarray:
        return np.zeros([len(range(*k.indices(n))) for k, n in zip(key, self.shape, strict=True)])


def blank_slide(side: int, *downsamples: int) -> Slide:
    return open_array([Blank(side // d, side // d) for d in downsamples], name="blank")


@pytest.fixture
def slide(slide_path: Path) -> Iterator[Slide]:
    with open_slide(slide_path) as slide:
        yield slide


@pytest.mark.parametrize(
    ("side", "stored", "shown"),
    [
        (100_000, (1, 4, 16), (1, 2, 4, 8, 16, 32, 64, 128)),
        (100_000, (1, 2, 4, 8, 16, 32, 64, 128, 256), (1, 2, 4, 8, 16, 32, 64, 128)),
        (24_000, (1, 10), (1, 2, 4, 10, 20)),
        (24_000, (1, 3), (1, 3, 6, 12, 24)),
        (3000, (1,), (1, 2)),
        (1500, (1, 4), (1,)),
        (1501, (1,), (1, 2)),
    ],
)
def test_neighbouring_levels_are_about_two_apart_down_to_a_small_one(
    side: int, stored: tuple[int, ...], shown: tuple[int, ...]
) -> None:
    levels = plan_levels(blank_slide(side, *stored))
    assert tuple(round(one.source.downsample * one.factor) for one in levels) == shown
    assert max(levels[-1].size_wh) <= OVERVIEW_PX
    ratios = [a.size_wh[0] / b.size_wh[0] for a, b in pairwise(levels)]
    assert all(1.8 < ratio < 3.1 for ratio in ratios)


def test_a_levels_own_pixels_come_untouched(slide: Slide) -> None:
    for shown in plan_levels(slide):
        if shown.factor == 1:
            np.testing.assert_array_equal(
                shown.read(100, 50, 300, 200),
                slide.read_level(shown.source.index, (100, 50), (300, 200)),
            )


def test_averaged_pixels_are_the_mean_of_those_they_cover(slide: Slide) -> None:
    shown = plan_levels(slide)[1]
    assert (shown.factor, shown.size_wh) == (2, (2500, 1850))
    source = slide.read_level(0, (200, 100), (600, 400)).astype(float)
    mean = source.reshape(200, 2, 300, 2, 3).mean(axis=(1, 3))
    assert np.abs(shown.read(100, 50, 300, 200) - mean).max() <= 0.5


def test_incomplete_pixels_at_the_far_edge_show_what_there_is() -> None:
    image = np.full((1601, 1603, 3), 100, np.uint8)
    image[:, -1], image[-1] = 10, 10
    shown = plan_levels(open_array(image, name="odd"))[1]
    assert shown.size_wh == (802, 801)
    whole = shown.read(0, 0, 802, 801)
    assert (whole[:-1, :-1] == 100).all()
    assert (whole[-1] == 10).all()
    assert (whole[:, -1] == 10).all()


def test_reading_in_bands_changes_nothing(slide: Slide, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = plan_levels(slide)[1]
    at_once = shown.read(30, 20, 900, 700)
    monkeypatch.setattr("napari_histosam.viewer.display_levels._BAND_PX", 50_000)
    np.testing.assert_array_equal(shown.read(30, 20, 900, 700), at_once)


def test_tiles_cover_a_level_once(slide: Slide) -> None:
    for shown in plan_levels(slide):
        covered = np.zeros(shown.size_wh[::-1], np.uint8)
        for at in shown.tiles():
            x, y, w, h = shown.bounds(*at)
            assert w > 0 < h
            covered[y : y + h, x : x + w] += 1
        assert (covered == 1).all()


def test_a_tile_of_a_coarse_level_never_needs_very_much_of_the_file() -> None:
    for shown in plan_levels(blank_slide(200_000, 1)):
        assert max(shown.tile_wh) * shown.factor <= 4096


@pytest.fixture
def damaged(slide_path: Path, tmp_path: Path) -> Path:
    """The slide with the JPEG of the tile in column 2, row 1 of level 0 overwritten."""
    import tifffile

    with tifffile.TiffFile(slide_path) as tiff:
        page = tiff.pages[0]
        index = 1 * -(-page.imagewidth // page.tilewidth) + 2
        offset, count = page.dataoffsets[index], page.databytecounts[index]
    data = bytearray(slide_path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path = tmp_path / "damaged.svs"
    path.write_bytes(data)
    return path


def test_damaged_tiles_show_grey_and_the_rest_stays(damaged: Path, slide: Slide) -> None:
    with open_slide(damaged) as broken:
        shown = plan_levels(broken)[0]
        with pytest.raises(SlideFormatError, match="column 2, row 1 is damaged"):
            shown.read(0, 0, 1000, 600)
        damage: list[str] = []
        pixels = shown.read(0, 0, 1000, 600, damage)
    assert "column 2, row 1 is damaged" in damage[0]
    grey = np.s_[240:480, 480:720]
    assert (pixels[grey] == DAMAGED).all()
    expected = slide.read_level(0, (0, 0), (1000, 600))
    expected[grey] = DAMAGED
    np.testing.assert_array_equal(pixels, expected)


def test_averaged_levels_are_grey_where_their_source_is_damaged(damaged: Path) -> None:
    with open_slide(damaged) as broken:
        damage: list[str] = []
        pixels = plan_levels(broken)[1].read(0, 0, 500, 300, damage)
    assert damage
    assert (pixels[120:240, 240:360] == DAMAGED).all()
    assert (pixels[:119] != DAMAGED).any()


def test_undamaged_reads_say_nothing(slide: Slide) -> None:
    damage: list[str] = []
    plan_levels(slide)[1].read(0, 0, 500, 300, damage)
    assert damage == []
