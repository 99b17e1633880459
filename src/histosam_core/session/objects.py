"""Accepted objects: outline, prompts, how they were made; which of two keeps what both cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import shapely

from histosam_core.annotation import AnnotatedRegion
from histosam_core.annotation.regions import Color, polygonal
from histosam_core.clicks import Click
from histosam_core.session.header import TOOL, Header
from histosam_core.session.prompt_text import prompts_in, texts_of

if TYPE_CHECKING:
    from histosam_core.clicks import Prompt
    from histosam_core.geometry import Region

BEGUN_FROM = "Begun from"
DEFAULT_LABEL = "Tumor"
CLASS_COLORS = {
    "Tumor": (200, 0, 0),
    "Stroma": (150, 200, 150),
    "Necrosis": (50, 50, 50),
    "Normal": (70, 140, 220),
}
"""QuPath's own colours where it has that class."""
OverlapRule = Literal["allow", "keep_earlier", "keep_later"]
"""allow: both keep it. keep_earlier: the new object is cut. keep_later: the accepted ones are."""
ROUNDING = 1e-9
"""Share of an area that may go by rounding where two outlines only touch."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Start:
    """What an object begins from."""

    geometry: Any = None  # the outline, level-0 pixels; None: nothing
    # What has led to it; not undone, but it can be taken out or moved.
    prompts: tuple[Prompt, ...] = ()
    # The outline to go back to when one of `prompts` is taken out or moved; None: nothing.
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


def without(geometry: Any, cutters: Sequence[Any], *, min_area_px: float = 0.0) -> Any:
    """Return an outline, level-0 pixels, without what others cover, as a MultiPolygon.

    Parts of an area below `min_area_px`, in level-0 pixels, are left out; it is empty when nothing
    is left.
    """
    near = [cutter for cutter in cutters if cutter.intersects(geometry)]
    cut = geometry.difference(shapely.union_all(near)) if near else geometry
    if cut.is_empty:
        return shapely.MultiPolygon()
    left, _ = polygonal(cut)
    parts = [] if left is None else shapely.get_parts(left)
    return shapely.MultiPolygon([p for p in parts if p.area >= max(min_area_px - 1e-6, 1e-9)])


def cut_objects(
    objects: Sequence[AcceptedObject], geometry: Any
) -> tuple[list[AcceptedObject], list[AcceptedObject]]:
    """Take away from objects what an outline covers.

    Returns those that became smaller, as they now are, and those of which nothing is left.
    """
    changed, removed = [], []
    for accepted in objects:
        if not accepted.geometry.intersects(geometry):
            continue
        left = without(accepted.geometry, [geometry])
        if left.is_empty:
            removed.append(accepted)
        elif left.area < accepted.geometry.area * (1 - ROUNDING):
            changed.append(accepted.with_geometry(left))
    return changed, removed
