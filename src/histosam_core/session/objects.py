"""An object that was outlined and accepted: its geometry, its prompts, and how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from histosam_core.annotation import AnnotatedRegion
from histosam_core.annotation.regions import Color
from histosam_core.clicks import Click
from histosam_core.session.prompt_text import prompts_in, texts_of
from histosam_core.version import __version__

if TYPE_CHECKING:
    from histosam_core.clicks import Prompt
    from histosam_core.geometry import Region
    from histosam_core.session.windows.scale import SlideScale

__all__ = ["CLASS_COLORS", "AcceptedObject", "Color", "Provenance", "Start"]

TOOL = "HistoSAM"
BEGUN_FROM = "Begun from"
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

    def metadata(self, prompts: Sequence[Prompt]) -> dict[str, str]:
        """Return it, and the prompts, as text for an annotation file; see `texts_of`."""
        entries = {
            "Tool": f"{TOOL} {__version__}",
            "Slide": self.slide,
            "Checkpoint": self.model,
            "Checkpoint sha256": self.sha256,
            "Decoder": self.decoder,
            "Window mpp": f"{self.window_mpp:g}",
            "Window px": str(self.window_px),
            "Slide mpp": f"{self.scale.mpp:.6g}",
            "Slide mpp source": self.scale.source,
            "Mask threshold": f"{self.mask_threshold:g}",
            **texts_of(prompts),
        }
        return {name: text for name, text in entries.items() if text}


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Start:
    """What an object begins from.

    Parameters
    ----------
    geometry
        The outline, level-0 pixels; None: nothing.
    prompts
        What has led to it; not undone, but it can be taken out or moved.
    origin
        The outline to go back to when one of `prompts` is taken out or moved; None: nothing.
    """

    geometry: Any = None
    prompts: tuple[Prompt, ...] = ()
    origin: Any = None


@dataclass(frozen=True, slots=True)
class AcceptedObject:
    """One accepted object.

    Parameters
    ----------
    region
        Geometry, class, colour, measurements and metadata, as files take them.
    prompts
        Its clicks and boxes in order, level-0 pixels.
    windows
        The windows that answered them.
    area_mm2
        Area in square millimetres.
    quality
        The model's own estimate of the IoU, the mean over windows; None where it gives none.
    slide_mpp
        Micrometres per level-0 pixel that areas were measured with.
    origin
        The outline that its prompts went on from, level-0 pixels; None: from nothing.
    """

    region: AnnotatedRegion
    prompts: tuple[Prompt, ...]
    windows: tuple[Region, ...]
    area_mm2: float
    quality: float | None
    slide_mpp: float
    origin: Any = None

    @classmethod
    def make(
        cls,
        geometry: Any,
        *,
        label: str,
        prompts: Sequence[Prompt],
        windows: Sequence[Region],
        quality: float | None,
        provenance: Provenance,
        color: Color | None = None,
        origin: Any = None,
        replaces: AcceptedObject | None = None,
    ) -> AcceptedObject:
        """Measure a geometry and put everything together; the id is that of what it replaces."""
        clicks = [prompt for prompt in prompts if isinstance(prompt, Click)]
        measurements = {"Clicks": float(len(clicks))}
        if quality is not None:
            measurements["Quality"] = quality
        metadata = provenance.metadata(prompts)
        if origin is not None:
            metadata[BEGUN_FROM] = "an outline"
        region = AnnotatedRegion(
            _simple(geometry),
            label=label,
            color=color or CLASS_COLORS.get(label),
            measurements=measurements,
            metadata=metadata,
        ).measured(provenance.scale.mpp)
        if replaces is not None:
            region = replace(region, id=replaces.id, name=replaces.region.name)
        slide_mpp = provenance.scale.mpp
        area_mm2 = region.area_mm2(slide_mpp)
        return cls(region, tuple(prompts), tuple(windows), area_mm2, quality, slide_mpp, origin)

    @classmethod
    def imported(cls, region: AnnotatedRegion, slide_mpp: float) -> AcceptedObject:
        """Take an outline from a file, with its prompts where this tool wrote them.

        Without prompts, or where it was itself begun from an outline, it is its own origin.

        Parameters
        ----------
        region
            As read; measured anew.
        slide_mpp
            Micrometres per level-0 pixel.
        """
        is_ours = region.metadata.get("Tool", "").startswith(TOOL)
        prompts = prompts_in(region.metadata) if is_ours else ()
        begun = not prompts or BEGUN_FROM in region.metadata
        region = region.measured(slide_mpp)
        return cls(
            region,
            prompts,
            (),
            region.area_mm2(slide_mpp),
            region.measurements.get("Quality") if is_ours else None,
            slide_mpp,
            region.geometry if begun else None,
        )

    def with_geometry(self, geometry: Any) -> AcceptedObject:
        """Return a copy of another outline, measured anew; everything else stays."""
        region = replace(self.region, geometry=_simple(geometry)).measured(self.slide_mpp)
        return replace(self, region=region, area_mm2=region.area_mm2(self.slide_mpp))

    def with_class(self, label: str, color: Color | None = None) -> AcceptedObject:
        """Return a copy of another class; without a colour it takes the class's usual one."""
        return replace(
            self, region=replace(self.region, label=label, color=color or CLASS_COLORS.get(label))
        )

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks among its prompts."""
        return tuple(prompt for prompt in self.prompts if isinstance(prompt, Click))

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


def _simple(geometry: Any) -> Any:
    """A MultiPolygon of one part -> that part."""
    parts = getattr(geometry, "geoms", (geometry,))
    return parts[0] if len(parts) == 1 else geometry
