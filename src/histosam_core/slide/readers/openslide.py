"""Slides that OpenSlide reads and the TIFF reader does not: MRXS, NDPI, DICOM, BIF, VMS, ..."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histosam_core.errors import SlideError, SlideFormatError
from histosam_core.slide.colour import over_white
from histosam_core.slide.metadata import openslide_metadata
from histosam_core.slide.readers import LevelLayout, UnsupportedSlideError

_PLAIN_TILE = 1024


def openslide_format(path: Path) -> str | None:
    """Return OpenSlide's name for the file's format, e.g. "mirax"; None when unknown."""
    import openslide

    return openslide.OpenSlide.detect_format(str(path))  # type: ignore[no-any-return]


class OpenSlideReader:
    """Reads the levels of one slide through OpenSlide, with OpenSlide's own tile cache.

    Raises
    ------
    UnsupportedSlideError
        OpenSlide does not know the format.
    SlideFormatError
        OpenSlide knows the format and cannot open the file.
    """

    def __init__(self, path: Path, cache_bytes: int) -> None:
        import openslide

        self.path = path
        self.cache_bytes = cache_bytes
        try:
            self._slide = openslide.OpenSlide(str(path))
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise UnsupportedSlideError(f"{path} is not a slide that OpenSlide knows") from error
        except openslide.OpenSlideError as error:
            raise SlideFormatError(
                f"{path} cannot be opened ({error}); copy or export the slide again"
            ) from error
        self._error = openslide.OpenSlideError
        self._slide.set_cache(openslide.OpenSlideCache(cache_bytes))
        self._closed = False
        properties = dict(self._slide.properties)
        self.name = f"OpenSlide ({properties.get('openslide.vendor', 'unknown')})"
        self.metadata = openslide_metadata(properties)
        self._downsamples = tuple(self._slide.level_downsamples)

        def tile(level: int, side: str) -> int:
            return int(properties.get(f"openslide.level[{level}].tile-{side}", _PLAIN_TILE))

        self.layouts = tuple(
            LevelLayout((int(w), int(h)), (tile(level, "width"), tile(level, "height")), "")
            for level, (w, h) in enumerate(self._slide.level_dimensions)
        )

    def __reduce__(self) -> tuple[type[OpenSlideReader], tuple[Path, int]]:
        return OpenSlideReader, (self.path, self.cache_bytes)

    def read(self, level: int, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB of a rectangle inside the level, in the level's pixels.

        OpenSlide takes whole level-0 pixels, so at a downsample that is not whole the rectangle
        may start up to half a level-0 pixel off; transparent pixels show white.
        """
        if self._closed:
            raise SlideError(f"{self.path} has been closed; open the slide again")
        downsample = self._downsamples[level]
        location = round(x * downsample), round(y * downsample)
        try:
            rgba = np.asarray(self._slide.read_region(location, level, (w, h)))
        except self._error as error:
            raise SlideFormatError(
                f"{self.path} is damaged ({error}); copy or export the slide again"
            ) from error
        return over_white(rgba[..., :3], rgba[..., 3])

    def close(self) -> None:
        """Release the file."""
        self._closed = True
        self._slide.close()
