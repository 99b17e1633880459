"""PNG, JPEG and other plain images, held in memory as a slide of one level."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.errors import SlideError, SlideFormatError
from histosam_core.slide.colour import over_white, to_rgb
from histosam_core.slide.metadata import resolution_metadata
from histosam_core.slide.readers import LevelLayout, SlideMetadata, UnsupportedSlideError

_TILE = 1024
_INCH = 2


class RasterReader:
    """Decodes the whole image when opened.

    Raises
    ------
    UnsupportedSlideError
        Not an image.
    SlideFormatError
        Truncated, damaged, or too large to be held in memory.
    """

    def __init__(self, path: Path) -> None:
        from PIL import Image, UnidentifiedImageError

        self.path = path
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path) as image:
                    self._pixels: NDArray[np.uint8] | None = _rgb(image)
                    self.name = f"{image.format or 'image'} image"
                    compression = (image.format or "").lower()
                    self.metadata = _metadata(image)
        except UnidentifiedImageError as error:
            raise UnsupportedSlideError(
                f"{path} is not an image this program reads; give a slide (SVS, TIFF, NDPI, MRXS, "
                "DICOM, ...), a PNG or a JPEG"
            ) from error
        except Image.DecompressionBombError as error:
            raise SlideFormatError(
                f"{path} is too large to be held in memory; convert it to a pyramidal TIFF"
            ) from error
        except (OSError, SyntaxError, ValueError, TypeError) as error:
            raise SlideFormatError(
                f"{path} is truncated or damaged ({error}); copy or export it again"
            ) from error
        height, width = self._pixels.shape[:2]
        layout = LevelLayout((width, height), (min(width, _TILE), min(height, _TILE)), compression)
        self.layouts: tuple[LevelLayout, ...] = (layout,)

    def __reduce__(self) -> tuple[type[RasterReader], tuple[Path]]:
        return RasterReader, (self.path,)

    def read(self, level: int, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB of a rectangle inside the image; a copy."""
        if self._pixels is None:
            raise SlideError(f"{self.path} has been closed; open the slide again")
        return self._pixels[y : y + h, x : x + w].copy()

    def close(self) -> None:
        """Let the image go."""
        self._pixels = None


def _rgb(image: Any) -> NDArray[np.uint8]:
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N"):
        return to_rgb(np.asarray(image).astype(np.uint16)[..., None])
    if image.mode in ("I", "F"):
        raise TypeError("32-bit grey has no fixed range; export it as 8-bit RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        return over_white(rgba[..., :3], rgba[..., 3])
    return np.array(image.convert("RGB"))


def _metadata(image: Any) -> SlideMetadata:
    properties = {
        str(key): str(value)[:1000]
        for key, value in image.info.items()
        if isinstance(value, str | int | float | tuple)
    }
    dpi = image.info.get("dpi")
    stated = SlideMetadata()
    if isinstance(dpi, tuple) and len(dpi) == 2:
        stated = resolution_metadata((float(dpi[0]), float(dpi[1])), _INCH, "the image's dpi")
    return SlideMetadata(
        mpp_xy=stated.mpp_xy,
        mpp_source=stated.mpp_source,
        scanner=str(image.info.get("Software", "")),
        properties=properties,
    )
