"""Slides that only OpenSlide reads."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import openslide
import pytest

from histosam_core.errors import SlideError, SlideFormatError
from histosam_core.geometry import Region
from histosam_core.slide import open_slide
from histosam_core.slide.readers.openslide import OpenSlideReader


@pytest.mark.real_slide
def test_dicom_reads_through_openslide(data_dir: Path) -> None:
    path = data_dir / "slides/boxes_0.dcm"
    with open_slide(path) as slide, openslide.OpenSlide(path) as other:
        assert slide.reader.name == "OpenSlide (dicom)"
        assert slide.mpp == 0.499
        assert slide.magnification == 20
        expected = np.asarray(other.read_region((0, 0), 0, (16, 16)))[..., :3]
        region = slide.read_region(Region((-4, -4), (16, 16)))
        np.testing.assert_array_equal(region[4:, 4:], expected[:12, :12])
        assert (region[:4] == 255).all()
        copy = pickle.loads(pickle.dumps(slide))  # noqa: S301
    np.testing.assert_array_equal(copy.levels[0][:], expected)
    copy.close()
    with pytest.raises(SlideError, match="closed"):
        copy.read_region(Region((0, 0), (4, 4)))


@pytest.mark.real_slide
def test_both_readers_agree_on_every_level(data_dir: Path) -> None:
    path = data_dir / "slides/boxes.tiff"
    reader = OpenSlideReader(path, 1 << 20)
    with open_slide(path) as slide:
        for level in slide.levels:
            w, h = level.size_wh
            assert reader.layouts[level.index].size_wh == (w, h)
            found = reader.read(level.index, 0, 0, w, h)
            np.testing.assert_array_equal(found, level[:])
            # OpenSlide starts at whole level-0 pixels and interpolates where its downsample is odd.
            part = reader.read(level.index, 5, 3, w - 5, h - 3).astype(int)
            assert np.abs(part - level[3:, 5:]).max() <= (0 if level.downsample <= 2 else 16)
    reader.close()


@pytest.mark.real_slide
def test_damage_found_while_reading_raises(data_dir: Path) -> None:
    reader = OpenSlideReader(data_dir / "slides/unreadable.svs", 1 << 20)
    with pytest.raises(SlideFormatError, match="damaged"):
        reader.read(0, 0, 0, 16, 16)
    reader.close()
