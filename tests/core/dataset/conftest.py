"""Tiny annotated slides: tumour is dark, so that image and truth can be compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from histosam_core.annotation import (
    AnnotatedRegion,
    mask_to_geometry,
    write_asap_xml,
    write_geojson,
    write_imagescope_xml,
    write_mask_tiff,
)

DARK, PALE, BARE = (120, 60, 140), (235, 170, 200), (255, 255, 255)


def write_slide(path: Path, tumor, tissue, *, mpp=0.5):
    """Write a two-level tiled TIFF of a tumour mask on a tissue mask."""
    image = np.where(tumor[..., None], DARK, PALE).astype(np.uint8)
    image[~tissue] = BARE
    resolution = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp)}
    with tifffile.TiffWriter(path) as tiff:
        options = {"tile": (64, 64), "photometric": "rgb", "resolutionunit": "CENTIMETER"}
        tiff.write(image, subifds=1, **options, **resolution)
        tiff.write(image[::4, ::4], subfiletype=1, **options)
    return path


def make_masks(size, seed):
    """A slide's tumour (a wavy half of it) and tissue (all but a margin on the right)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    phase = rng.uniform(0, 2 * np.pi)
    tumor = y + 0.15 * np.sin(5 * x + phase) > 0.5
    tissue = x < 0.75
    return tumor & tissue, tissue


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """Five slides of 768 px at 0.5 um, each with an annotation of another format."""
    folder = tmp_path_factory.mktemp("cohort") / "slides"
    folder.mkdir()
    for number in range(5):
        tumor, tissue = make_masks(768, number)
        name = f"case{number}"
        write_slide(folder / f"{name}.tif", tumor, tissue)
        regions = [AnnotatedRegion(mask_to_geometry(tumor))]
        if number == 0:
            write_asap_xml(folder / f"{name}.xml", regions)
        elif number == 1:
            write_imagescope_xml(folder / f"{name}.xml", regions)
        elif number == 2:
            write_geojson(folder / f"{name}.geojson", regions)
        elif number == 3:
            write_mask_tiff(folder / f"{name}_mask.tif", tumor, mpp=0.5)
        else:
            write_mask_tiff(folder / f"{name}_mask.tif", tumor[::2, ::2], mpp=1.0)
    return folder


@pytest.fixture
def new_slide(tmp_path):
    """Return a function that writes a slide and its annotation, and returns their paths."""

    def make(name="case", *, size=512, mpp=0.5, tumor=None, tissue=None, label="Tumor"):
        if tumor is None:
            tumor, tissue = make_masks(size, 0)
        if tissue is None:
            tissue = np.ones_like(tumor)
        slide = write_slide(tmp_path / f"{name}.tif", tumor, tissue, mpp=mpp)
        regions = [AnnotatedRegion(mask_to_geometry(tumor), label)] if tumor.any() else []
        return slide, write_geojson(tmp_path / f"{name}.geojson", regions)

    return make
