"""Mask TIFFs: the same labels as polygons, at any resolution, read lazily."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from histosam_core.annotation import (
    AnnotatedRegion,
    PolygonAnnotation,
    mask_to_geometry,
    read_mask_tiff,
    write_mask_tiff,
)
from histosam_core.errors import AnnotationError
from histosam_core.geometry import Frame, Region


@pytest.fixture(scope="module")
def blobs():
    rng = np.random.default_rng(3)
    noise = rng.random((23, 31)) < 0.5
    return np.kron(noise, np.ones((7, 7), bool))[:150, :200]


@pytest.fixture(scope="module")
def blob_file(tmp_path_factory, blobs):
    return write_mask_tiff(tmp_path_factory.mktemp("mask") / "m.tif", blobs, tile_px=64)


@given(
    x=st.integers(-60, 220),
    y=st.integers(-60, 170),
    mpp=st.sampled_from([0.5, 1.0, 1.5, 2.0, 2.2, 5.0]),
    downsample=st.sampled_from([1, 2, 4]),
)
@settings(max_examples=50, deadline=None)
def test_labels_equal_those_of_the_masks_outline(blob_file, blobs, x, y, mpp, downsample):
    slide_size = (blobs.shape[1] * downsample, blobs.shape[0] * downsample)
    mask = read_mask_tiff(blob_file).fitted(slide_size)
    frame = Frame((0.0, 0.0), (float(downsample), float(downsample)))
    outline = PolygonAnnotation([AnnotatedRegion(mask_to_geometry(blobs, frame))])
    region = Region((float(x), float(y)), (40, 30), mpp)
    np.testing.assert_array_equal(mask.mask(region, 0.5), outline.mask(region, 0.5))


@pytest.mark.parametrize("layout", ["tiles", "strips", "deflate tiles"])
def test_whole_mask_reads_back_from_any_layout(tmp_path, blobs, layout):
    labels = blobs.astype(np.uint8)
    labels[40:60, 10:90] = 255
    options = {
        "tiles": {"tile": (32, 48)},
        "strips": {"rowsperstrip": 7},
        "deflate tiles": {"tile": (64, 64), "compression": "zlib"},
    }[layout]
    tifffile.imwrite(tmp_path / "m.tif", labels, photometric="minisblack", **options)
    read = read_mask_tiff(tmp_path / "m.tif").mask(Region((0.0, 0.0), (200, 150)))
    np.testing.assert_array_equal(read, labels)


def test_empty_tiles_that_hold_no_bytes_read_as_zero(tmp_path):
    tifffile.imwrite(
        tmp_path / "m.tif",
        shape=(128, 128),
        dtype=np.uint8,
        tile=(64, 64),
        photometric="minisblack",
    )
    assert not read_mask_tiff(tmp_path / "m.tif").mask(Region((0.0, 0.0), (128, 128))).any()


def test_only_the_tiles_asked_for_are_decoded(tmp_path, blobs, monkeypatch):
    write_mask_tiff(tmp_path / "m.tif", np.kron(blobs, np.ones((4, 4), bool)), tile_px=64)
    annotation = read_mask_tiff(tmp_path / "m.tif")
    decoded = []
    chunk = type(annotation._file).chunk
    monkeypatch.setattr(
        type(annotation._file), "chunk", lambda s, p, i: decoded.append(i) or chunk(s, p, i)
    )
    annotation.mask(Region((70.0, 70.0), (20, 20)))
    assert len(decoded) == 1


def test_overview_of_a_pyramid_reads_its_small_level(tmp_path):
    base = np.zeros((2048, 2048), np.uint8)
    base[512:1536, 256:1024] = 1
    with tifffile.TiffWriter(tmp_path / "m.tif") as tiff:
        options = {"tile": (128, 128), "photometric": "minisblack"}
        tiff.write(base, subifds=2, **options)
        tiff.write(base[::4, ::4], subfiletype=1, **options)
        # The coarsest level is blank, to tell which one an overview reads.
        tiff.write(base[::8, ::8] * 0, subfiletype=1, **options)
    annotation = read_mask_tiff(tmp_path / "m.tif").fitted((2048, 2048))
    fine = annotation.mask(Region((0.0, 0.0), (256, 256), mpp=8.0), 1.0)
    middle = annotation.mask(Region((0.0, 0.0), (128, 128), mpp=16.0), 1.0)
    coarse = annotation.mask(Region((0.0, 0.0), (64, 64), mpp=32.0), 1.0)
    assert fine.sum() == 128 * 96
    assert middle.sum() == 64 * 48
    assert coarse.sum() == 0


def test_regions_are_the_outline_and_what_is_ignored(tmp_path):
    labels = np.zeros((40, 40), np.uint8)
    labels[5:20, 5:20] = 1
    labels[8:12, 8:12] = 255
    write_mask_tiff(tmp_path / "m.tif", labels)
    tumor, ignored = read_mask_tiff(tmp_path / "m.tif").fitted((80, 80)).regions
    assert (tumor.label, tumor.geometry.area) == ("Tumor", (225 - 16) * 4)
    assert (ignored.label, ignored.geometry.area) == ("Ignore*", 64)
    assert tumor.geometry.bounds == (9.5, 9.5, 39.5, 39.5)


def test_mpp_gives_the_downsample_until_a_slide_does(tmp_path):
    labels = np.zeros((10, 10), bool)
    labels[:, 5:] = True
    write_mask_tiff(tmp_path / "m.tif", labels, mpp=2.0)
    annotation = read_mask_tiff(tmp_path / "m.tif")
    assert annotation.mpp == pytest.approx(2.0)
    mask = annotation.mask(Region((0.0, 0.0), (40, 4)), slide_mpp=0.5)
    assert not mask[:, :20].any()
    assert mask[:, 20:].all()


def test_zero_and_255_of_another_program_means_tumour_and_is_said(tmp_path, blobs):
    tifffile.imwrite(tmp_path / "m.tif", blobs.astype(np.uint8) * 255)
    annotation = read_mask_tiff(tmp_path / "m.tif")
    np.testing.assert_array_equal(annotation.mask(Region((0.0, 0.0), (200, 150))), blobs)
    assert "255 is taken for tumour" in annotation.notes[0]


def test_255_is_ignored_in_a_file_written_here_even_without_tumour(tmp_path):
    write_mask_tiff(tmp_path / "m.tif", np.full((8, 8), 255, np.uint8))
    annotation = read_mask_tiff(tmp_path / "m.tif")
    assert (annotation.mask(Region((0.0, 0.0), (8, 8))) == 255).all()


@pytest.mark.parametrize(
    ("slide_wh", "mask_wh", "expected"),
    [
        ((200, 150), (200, 150), (1.0, 1.0)),
        ((801, 603), (200, 150), (4.0, 4.0)),
        ((801, 603), (201, 151), (4.0, 4.0)),
        ((501, 376), (200, 150), (2.505, 376 / 150)),
    ],
)
def test_downsample_follows_from_the_sizes(tmp_path, slide_wh, mask_wh, expected):
    write_mask_tiff(tmp_path / "m.tif", np.zeros(mask_wh[::-1], bool))
    annotation = read_mask_tiff(tmp_path / "m.tif").fitted(slide_wh)
    assert annotation.downsample_xy() == pytest.approx(expected)


def test_mask_of_another_shape_matches_no_slide(tmp_path):
    write_mask_tiff(tmp_path / "m.tif", np.zeros((150, 200), bool))
    annotation = read_mask_tiff(tmp_path / "m.tif")
    for size in ((150, 200), (100, 75)):
        with pytest.raises(AnnotationError):
            annotation.fitted(size)
    with pytest.raises(AnnotationError, match=r"m\.tif \(200 x 150 px\) does not cover case"):
        annotation.fitted((300, 300), "case")


def test_annotation_pickles_by_path(tmp_path, blobs):
    write_mask_tiff(tmp_path / "m.tif", blobs)
    annotation = pickle.loads(pickle.dumps(read_mask_tiff(tmp_path / "m.tif")))  # noqa: S301
    np.testing.assert_array_equal(annotation.mask(Region((0.0, 0.0), (200, 150))), blobs)


@pytest.mark.parametrize("mask", [np.full((4, 4), 3), np.zeros((4, 4, 3)), np.full((4, 4), 0.5)])
def test_writer_refuses_what_is_not_a_mask_and_leaves_no_file(tmp_path, mask):
    with pytest.raises(AnnotationError, match="mask"):
        write_mask_tiff(tmp_path / "m.tif", mask)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3), np.uint8), "one channel"),
        (np.zeros((8, 8), np.float32), "one channel"),
        (np.arange(64, dtype=np.uint8).reshape(8, 8), "holds the values"),
    ],
)
def test_tiff_that_is_no_mask_raises(tmp_path, image, message):
    tifffile.imwrite(tmp_path / "m.tif", image)
    with pytest.raises(AnnotationError, match=message):
        read_mask_tiff(tmp_path / "m.tif")


def test_truncated_mask_raises(tmp_path, blobs):
    tifffile.imwrite(tmp_path / "m.tif", blobs.astype(np.uint8), tile=(64, 64), compression="zlib")
    whole = (tmp_path / "m.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AnnotationError, match=r"cut\.tif"):
        read_mask_tiff(tmp_path / "cut.tif").mask(Region((0.0, 0.0), (200, 150)))
