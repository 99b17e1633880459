"""An object that was outlined and accepted: its geometry, its clicks, and how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from histosam_core import __version__
from histosam_core.annotation import AnnotatedRegion
from histosam_core.annotation.regions import CORNER_TO_CENTRE

if TYPE_CHECKING:
    from histosam_core.clicks import Click
    from histosam_core.geometry import Region
    from histosam_core.inference.scale import SlideScale

__all__ = ["CLASS_COLORS", "AcceptedObject", "Provenance"]

CLASS_COLORS = {
    "Tumor": (200, 0, 0),
    "Stroma": (150, 200, 150),
    "Necrosis": (50, 50, 50),
    "Normal": (70, 140, 220),
}
"""QuPath's own colours where it has that class."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made a mask.

    Parameters
    ----------
    model, sha256, decoder
        The checkpoint's name, the hash of its file (empty: in no file), the decoder in use.
    window_mpp, window_px
        Scale and side of the windows.
    scale
        The slide's resolution and where it is known from.
    mask_threshold
        Probability above which a pixel belongs to the object.
    slide
        The slide's file name.
    """

    model: str
    sha256: str
    decoder: str
    window_mpp: float
    window_px: int
    scale: SlideScale
    mask_threshold: float
    slide: str

    def metadata(self, clicks: Sequence[Click]) -> dict[str, str]:
        """Return it, and the clicks, as text for an annotation file.

        Clicks are written as ``x,y,+`` and ``x,y,-``, separated by spaces, in the file's own
        coordinates (level-0 pixels, pixel corners at whole numbers).
        """
        entries = {
            "Tool": f"HistoSAM {__version__}",
            "Slide": self.slide,
            "Checkpoint": self.model,
            "Checkpoint sha256": self.sha256,
            "Decoder": self.decoder,
            "Window mpp": f"{self.window_mpp:g}",
            "Window px": str(self.window_px),
            "Slide mpp": f"{self.scale.mpp:.6g}",
            "Slide mpp source": self.scale.source,
            "Mask threshold": f"{self.mask_threshold:g}",
            "Click list": " ".join(map(_click_text, clicks)),
        }
        return {name: text for name, text in entries.items() if text}


@dataclass(frozen=True, slots=True)
class AcceptedObject:
    """One accepted object.

    Parameters
    ----------
    region
        Geometry, class, colour, measurements and metadata, as files take them.
    clicks
        Its clicks in order, level-0 pixels.
    windows
        The windows that answered them.
    area_mm2
        Area in square millimetres.
    quality
        The model's own estimate of the IoU, the mean over windows; None where it gives none.
    slide_mpp
        Micrometres per level-0 pixel that areas were measured with.
    """

    region: AnnotatedRegion
    clicks: tuple[Click, ...]
    windows: tuple[Region, ...]
    area_mm2: float
    quality: float | None
    slide_mpp: float

    @classmethod
    def make(
        cls,
        geometry: Any,
        *,
        label: str,
        clicks: Sequence[Click],
        windows: Sequence[Region],
        quality: float | None,
        provenance: Provenance,
    ) -> AcceptedObject:
        """Measure a geometry and put everything together."""
        if len(geometry.geoms) == 1:
            geometry = geometry.geoms[0]
        measurements = {"Clicks": float(len(clicks))}
        if quality is not None:
            measurements["Quality"] = quality
        region = AnnotatedRegion(
            geometry,
            label=label,
            color=CLASS_COLORS.get(label),
            measurements=measurements,
            metadata=provenance.metadata(clicks),
        ).measured(provenance.scale.mpp)
        slide_mpp = provenance.scale.mpp
        area_mm2 = region.area_mm2(slide_mpp)
        return cls(region, tuple(clicks), tuple(windows), area_mm2, quality, slide_mpp)

    @property
    def geometry(self) -> Any:
        """Shapely Polygon or MultiPolygon, level-0 pixels, pixel centres at whole numbers."""
        return self.region.geometry

    @property
    def label(self) -> str:
        """Its class."""
        return self.region.label

    @property
    def id(self) -> str:
        """Its UUID."""
        return self.region.id


def _click_text(click: Click) -> str:
    x, y = (value + CORNER_TO_CENTRE for value in click.xy)
    return f"{x:.12g},{y:.12g},{'+' if click.is_positive else '-'}"
