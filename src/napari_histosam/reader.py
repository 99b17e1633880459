"""Open a slide as an image layer: what napari calls for a file that is dropped or named."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.errors import HistoSamError
from napari_histosam.viewer.layers import TAG

if TYPE_CHECKING:
    from histosam_core.slide import Slide
    from napari_histosam.viewer.progressive import ProgressiveLevels

LayerData = tuple[Any, ...]

_NO_LAYERS: list[LayerData] = [(None,)]  # napari's way to say: read, and nothing to show
_PLAIN_IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}
_COLOUR_MODES = {"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr"}


@dataclass(frozen=True, slots=True, eq=False)
class SlideTag:
    """What marks an image layer as a slide that we opened."""

    slide: Slide  # the open slide
    # The levels that the layer shows; None where it shows the whole image.
    shown: ProgressiveLevels | None = None


def tag_of_slide(layer: Any) -> SlideTag | None:
    """Return a layer's tag; None for a layer that our reader did not make."""
    tag = layer.metadata.get(TAG)
    return tag if isinstance(tag, SlideTag) else None


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return `read_slide` for a file that is a slide or a colour image, else None.

    None leaves the file to napari's other readers: several files at once, stacks, channels that
    are no colours, grey images and label masks. Only headers are read. A file that should be ours
    and is damaged is ours: reading it says what is wrong.
    """
    if not isinstance(path, str | os.PathLike):
        return None
    return read_slide if _is_ours(Path(path)) else None


def read_slide(path: Any) -> list[LayerData]:
    """Open a slide; return its one layer, or none and a notification that says what is wrong."""
    from histosam_core.slide import open_slide

    try:
        return [slide_layer(open_slide(path))]
    except HistoSamError as error:
        from napari.utils.notifications import show_error

        show_error(str(error))
        return _NO_LAYERS


def slide_layer(slide: Slide) -> LayerData:
    """Return napari's (data, attributes, "image") of an open slide.

    Scaled in micrometres where the slide's mpp is known, in pixels where it is not.

    Raises
    ------
    SlideError
        It cannot be read.
    """
    from napari_histosam.viewer.display_levels import OVERVIEW_PX
    from napari_histosam.viewer.progressive import ProgressiveLevels

    attributes: dict[str, Any] = {"name": slide.name, "rgb": True}
    if slide.mpp_xy is not None:
        x, y = slide.mpp_xy
        attributes |= {"scale": (y, x), "units": ("um", "um")}
    if max(slide.size_wh) <= OVERVIEW_PX:
        data: Any = slide.levels[0][:]
        attributes |= {"multiscale": False, "metadata": {TAG: SlideTag(slide)}}
    else:
        shown = ProgressiveLevels(slide)
        data = shown.levels
        attributes |= {"multiscale": True, "metadata": {TAG: SlideTag(slide, shown)}}
    return data, attributes, "image"


def _is_ours(path: Path) -> bool:
    from histosam_core.slide.readers.tiff_levels import is_tiff

    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:  # a folder, or no file: napari's own readers say so
        return False
    if is_tiff(head):
        return _is_colour_tiff(path)
    if path.suffix.lower() in _PLAIN_IMAGES:
        return _is_colour_image(path)
    from histosam_core.slide.readers.openslide import openslide_format

    return openslide_format(path) is not None


def _is_colour_tiff(path: Path) -> bool:
    import tifffile

    try:
        with tifffile.TiffFile(path, _multifile=False) as tiff:
            if tiff.is_svs or tiff.is_ndpi or tiff.is_scn or tiff.is_bif or tiff.is_philips:
                return True
            if tiff.is_ome or tiff.is_imagej:
                return _is_colour_plane(max(tiff.series, key=lambda s: s.size), tiff.is_ome)
            page = tiff.pages[0]
            samples, photometric = int(page.samplesperpixel), int(page.photometric)
            is_colour = samples in (3, 4) or photometric == tifffile.PHOTOMETRIC.PALETTE
            is_stack = len(tiff.series) == 1 and len(tiff.series[0].pages) > 1
            return is_colour and not is_stack and page.dtype is not None and page.dtype.kind == "u"
    except Exception:  # tifffile lets many kinds out of a damaged file: reading it says more
        return True


def _is_colour_plane(series: Any, is_ome: bool) -> bool:
    """Whether a series is one plane of colours, not of channels: three 8-bit ones may be either."""
    sizes = dict(zip(series.axes, series.shape, strict=True))
    samples, channels = sizes.pop("S", 1), sizes.pop("C", 1)
    if any(n > 1 for axis, n in sizes.items() if axis not in "YX") or series.dtype.kind != "u":
        return False
    if channels == 1:
        return samples in (3, 4)
    return is_ome and (samples, channels) == (1, 3) and series.dtype.itemsize == 1


def _is_colour_image(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.mode in _COLOUR_MODES
    except Exception:  # damaged, or too large: reading it says more
        return True
