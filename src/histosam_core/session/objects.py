"""An object that was outlined and accepted: its geometry, its prompts, and how it was made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from histosam_core.annotation import AnnotatedRegion
from histosam_core.annotation.regions import Color
from histosam_core.clicks import Click
from histosam_core.session.header import TOOL, Header
from histosam_core.session.prompt_text import prompts_in, texts_of

if TYPE_CHECKING:
    from histosam_core.clicks import Prompt
    from histosam_core.geometry import Region

__all__ = ["CLASS_COLORS", "AcceptedObject", "Color", "Start"]

BEGUN_FROM = "Begun from"
DEFAULT_LABEL = "Tumor"
CLASS_COLORS = {
    "Tumor": (200, 0, 0),
    "Stroma": (150, 200, 150),
    "Necrosis": (50, 50, 50),
    "Normal": (70, 140, 220),
}
"""QuPath's own colours where it has that class."""


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
        header: Header,
        *,
        label: str | None,
        color: Color | None,
        prompts: tuple[Prompt, ...],
        windows: tuple[Region, ...],
        quality: float | None,
        origin: Any,
        replaces: AcceptedObject | None,
    ) -> AcceptedObject:
        """Measure an outline and put everything together.

        What it replaces, the object as it was before it was corrected, lends its id and name, its
        windows, and whatever is not given: class, that class's colour, quality.
        """
        old, slide_mpp = replaces, header.slide["mpp"]
        if old is not None:
            label = old.label if label is None else label
            color = color or (old.region.color if label == old.label else None)
            windows = tuple(dict.fromkeys((*old.windows, *windows)))
            quality = old.quality if quality is None else quality
        label = DEFAULT_LABEL if label is None else label
        measurements = {"Clicks": float(sum(isinstance(prompt, Click) for prompt in prompts))}
        if quality is not None:
            measurements["Quality"] = quality
        metadata = {k: v for k, v in (header.metadata() | texts_of(prompts)).items() if v}
        if origin is not None:
            metadata[BEGUN_FROM] = "an outline"
        region = AnnotatedRegion(
            _simple(geometry),
            label=label,
            color=color or CLASS_COLORS.get(label),
            measurements=measurements,
            metadata=metadata,
        ).measured(slide_mpp)
        if old is not None:
            region = replace(region, id=old.id, name=old.region.name)
        area_mm2 = region.area_mm2(slide_mpp)
        return cls(region, prompts, windows, area_mm2, quality, slide_mpp, origin)

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
