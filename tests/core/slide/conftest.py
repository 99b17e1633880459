"""Small TIFF slides with known content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

DOTS_XY = ((150.0, 130.0), (401.25, 262.5), (612.7, 437.1), (90.5, 420.0))
"""Level-0 centres of the dots in `dots_image`."""
DOT_SIGMA_PX = 16.0


def halved(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Mean over factor x factor pixels; an incomplete last row or column is cut, as scanners do."""
    h, w = image.shape[0] // factor, image.shape[1] // factor
    blocks = image[: h * factor, : w * factor].reshape(h, factor, w, factor, -1)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)


@pytest.fixture(scope="session")
def dots_image() -> NDArray[np.uint8]:
    """(563, 701, 3): bright Gaussian dots on black, far from the border and from each other."""
    y, x = np.mgrid[0:563, 0:701]
    total = sum(
        np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * DOT_SIGMA_PX**2)) for cx, cy in DOTS_XY
    )
    return np.repeat(np.rint(250 * np.asarray(total))[..., None], 3, axis=2).astype(np.uint8)


@pytest.fixture(scope="session")
def noise_image() -> NDArray[np.uint8]:
    """(301, 403, 3) random colours: any misplaced pixel shows."""
    return np.random.default_rng(7).integers(0, 256, (301, 403, 3), dtype=np.uint8)


@pytest.fixture
def write_tiff(tmp_path: Path) -> Callable[..., Path]:
    """Write an image as a TIFF pyramid of 0.5 um per pixel; keywords go to tifffile."""

    def write(
        image: NDArray[Any],
        *,
        name: str = "slide.tif",
        downsamples: tuple[int, ...] = (1,),
        **options: Any,
    ) -> Path:
        settings: dict[str, Any] = {
            "photometric": "rgb",
            "tile": (64, 64),
            "compression": "deflate",
            "resolution": (20000, 20000),
            "resolutionunit": "CENTIMETER",
        }
        settings.update(options)
        settings = {k: v for k, v in settings.items() if v is not None}
        path = tmp_path / name
        with tifffile.TiffWriter(path) as tiff:
            for factor in downsamples:
                level = image if factor == 1 else halved(image, factor)
                tiff.write(level, subfiletype=int(factor > 1), metadata=None, **settings)
        return path

    return write
