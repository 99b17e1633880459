"""Written slides open as what they claim to be, and nothing half-written stays."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from histosam_core.errors import OutputWriteError, SlideFormatError
from histosam_core.slide import open_slide
from histosam_core.slide.write import write_svs


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    """Smooth in both directions, so that JPEG keeps it nearly as it is."""
    y, x = np.mgrid[0:530, 0:800]
    return np.stack([x * 255 // 799, y * 255 // 529, (x + y) * 255 // 1328], -1).astype(np.uint8)


def test_openslide_opens_svs_as_aperio(tmp_path: Path, image: NDArray[np.uint8]) -> None:
    path = write_svs(tmp_path / "a.svs", image, mpp=0.4952, magnification=20)
    with openslide.OpenSlide(path) as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.4952)
        assert float(slide.properties["openslide.objective-power"]) == 20
        assert slide.level_dimensions == ((800, 530), (200, 132), (50, 33))
        assert "thumbnail" in slide.associated_images


def test_tifffile_sees_svs_series_with_levels(tmp_path: Path, image: NDArray[np.uint8]) -> None:
    path = write_svs(tmp_path / "a.svs", image, mpp=0.5, magnification=20)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_svs
        baseline, thumbnail = tiff.series
        assert [level.shape for level in baseline.levels] == [
            (530, 800, 3),
            (132, 200, 3),
            (33, 50, 3),
        ]
        assert thumbnail.name == "Thumbnail"
        assert not tiff.pages[1].is_tiled
        assert tiff.pages[0].photometric == tifffile.PHOTOMETRIC.YCBCR


def test_open_slide_reads_back_pixels_mpp_and_magnification(
    tmp_path: Path, image: NDArray[np.uint8]
) -> None:
    path = write_svs(tmp_path / "a.svs", image, mpp=0.5, magnification=20, quality=95)
    with open_slide(path) as slide:
        assert slide.size_wh == (800, 530)
        assert slide.mpp == pytest.approx(0.5)
        assert slide.magnification == 20
        full = np.asarray(slide.levels[0][0:530, 0:800])
        quarter = np.asarray(slide.levels[1][0:132, 0:200])
    assert np.abs(full.astype(int) - image).mean() < 2
    blocks = image[:528].reshape(132, 4, 200, 4, 3).mean((1, 3))
    assert np.abs(quarter - blocks).mean() < 2


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(width=st.integers(1, 90), height=st.integers(1, 90))
def test_any_size_opens_and_levels_keep_the_floor(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int
) -> None:
    image = np.full((height, width, 3), 200, np.uint8)
    path = tmp_path_factory.mktemp("sizes") / "a.svs"
    write_svs(path, image, mpp=0.5, magnification=20, tile_px=32)
    with tifffile.TiffFile(path) as tiff:
        shapes = [level.shape[:2] for level in tiff.series[0].levels]
    expected = [(height // d, width // d) for d in (1, 4, 16)]
    assert shapes == [shape for shape in expected if min(shape) > 0]


def test_downsamples_that_do_not_divide_are_means_of_level_0(tmp_path: Path) -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    image[:, 30:] = 240
    path = write_svs(
        tmp_path / "a.svs", image, mpp=0.5, magnification=20, downsamples=(1, 2, 5), quality=100
    )
    with tifffile.TiffFile(path) as tiff:
        fifth = tiff.series[0].levels[2].asarray()
    assert fifth.shape == (12, 12, 3)
    assert np.abs(fifth[:, :6].astype(int)).max() < 12
    assert np.abs(fifth[:, 6:].astype(int) - 240).max() < 12


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image": np.zeros((4, 4), np.uint8)}, r"\(H, W, 3\)"),
        ({"image": np.zeros((4, 4, 3), np.float32)}, r"\(H, W, 3\)"),
        ({"image": np.zeros((0, 4, 3), np.uint8)}, "no pixels"),
        ({"mpp": 0.0}, "mpp"),
        ({"mpp": float("nan")}, "mpp"),
        ({"magnification": -20}, "magnification"),
        ({"tile_px": 100}, "multiple of 16"),
        ({"downsamples": (1, 4, 4)}, "rise"),
        ({"quality": 0}, "quality"),
        ({"scanner": "a|b"}, "scanner"),
    ],
)
def test_bad_argument_gets_one_line_and_no_file(
    tmp_path: Path, change: dict[str, object], says: str
) -> None:
    arguments: dict[str, object] = {
        "image": np.zeros((20, 20, 3), np.uint8),
        "mpp": 0.5,
        "magnification": 20,
    }
    with pytest.raises(SlideFormatError, match=says) as caught:
        write_svs(tmp_path / "a.svs", **(arguments | change))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_nothing(
    tmp_path: Path, image: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = tifffile.TiffWriter.write

    def fails_at_the_levels(self: tifffile.TiffWriter, data: object, **options: object) -> object:
        if getattr(data, "shape", ()) == (132, 200, 3):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data, **options)

    monkeypatch.setattr(tifffile.TiffWriter, "write", fails_at_the_levels)
    with pytest.raises(OutputWriteError, match="No space"):
        write_svs(tmp_path / "a.svs", image, mpp=0.5, magnification=20)
    assert list(tmp_path.iterdir()) == []
