"""Annotated regions, and what an annotation file says of any part of its slide.

In memory pixel centres lie at whole numbers; in annotation files pixel corners do. Readers
therefore subtract `CORNER_TO_CENTRE` from every coordinate and writers add it.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import shapely

from histosam_core.annotation.rasterise import Edges, edges_of, rasterise
from histosam_core.errors import AnnotationError, MissingMppError

if TYPE_CHECKING:
    from histosam_core.geometry import Region

CORNER_TO_CENTRE = 0.5
IGNORE_VALUE = 255
TUMOR = "Tumor"
EXCLUSION = "Exclusion"
IGNORE = "Ignore*"
UNCLASSIFIED = "Unclassified"

_TUMOR_WORDS = ("tumor", "tumour", "metast", "cancer", "carcinoma", "malignant", "lesion")
_NOT_WORDS = ("normal", "non-", "non ", "no ", "benign", "peritumor", "peritumour")
_EXCLUSION_WORDS = ("exclusion", "excluded", "normal", "background", "hole")

Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class AnnotatedRegion:
    """One outlined object.

    Parameters
    ----------
    geometry
        shapely Polygon or MultiPolygon, (x, y) level-0 pixels, pixel centres at whole numbers.
    label
        Class name. `UNCLASSIFIED` where the file gives none.
    color
        (red, green, blue), 0 to 255, or None.
    id
        A UUID; made when not given.
    measurements
        Name to number, e.g. ``"Area mm^2"``.
    metadata
        Name to text: how the region was made (checkpoint, mpp, ...).
    name
        The object's own name, beside its class; None where it has none.
    is_locked
        Whether QuPath guards it against edits.
    object_type
        QuPath's kind of object: ``"annotation"`` or ``"detection"``.

    Raises
    ------
    AnnotationError
        The geometry is empty or has no area.
    """

    geometry: Any
    label: str = TUMOR
    color: Color | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    measurements: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    is_locked: bool = False
    object_type: str = "annotation"

    def __post_init__(self) -> None:
        kind = getattr(self.geometry, "geom_type", type(self.geometry).__name__)
        if kind not in ("Polygon", "MultiPolygon") or self.geometry.is_empty:
            raise AnnotationError(
                f"an annotated region needs a Polygon or MultiPolygon with an area, not {kind}"
                + (" (empty)" if kind.endswith("Polygon") else "")
            )

    def area_mm2(self, slide_mpp: float | None) -> float:
        """Area in square millimetres.

        Raises
        ------
        MissingMppError
            `slide_mpp` (um per level-0 pixel) is None.
        """
        if slide_mpp is None:
            raise MissingMppError("an area in mm^2 needs the slide's um per pixel; pass its mpp")
        return float(self.geometry.area) * (slide_mpp / 1000.0) ** 2

    def measured(self, slide_mpp: float | None) -> AnnotatedRegion:
        """Return a copy that carries ``Area mm^2`` (``Area px^2`` where the mpp is unknown)."""
        if slide_mpp is None:
            area = {"Area px^2": float(self.geometry.area)}
        else:
            area = {"Area mm^2": self.area_mm2(slide_mpp)}
        return replace(self, measurements={**self.measurements, **area})


def is_exclusion(label: str) -> bool:
    """Whether a label marks tissue to cut out of the tumour (CAMELYON16's group ``_2`` too)."""
    text = label.strip().casefold()
    return text == "_2" or text.startswith(_EXCLUSION_WORDS)


def is_ignore(label: str) -> bool:
    """Whether a label marks pixels that neither train nor count (QuPath's ``Ignore*``)."""
    return label.strip().casefold().rstrip("*") in ("ignore", "ignored", "uncertain")


def is_annotated_area(label: str) -> bool:
    """Whether a label marks an area in which all tumour is outlined (QuPath's ``Region*``)."""
    text = label.strip().casefold().rstrip("*")
    return text in ("region", "roi", "region of interest", "annotated area")


def is_tumor(label: str) -> bool:
    """Whether a label means tumour (CAMELYON16's groups ``_0`` and ``_1`` too)."""
    text = label.strip().casefold()
    if text in ("_0", "_1"):
        return True
    return any(w in text for w in _TUMOR_WORDS) and not any(w in text for w in _NOT_WORDS)


def polygonal(geometry: Any) -> tuple[Any | None, str | None]:
    """Return a valid Polygon or MultiPolygon, and a word on what was done to get it.

    Self-crossing outlines are repaired by the even-odd rule (`shapely.make_valid`); what then
    has no area (stray lines and points) is dropped. The geometry is None when nothing with an area
    is left, the note None when it was valid as it stood.
    """
    note: str | None = None
    if not np.isfinite(shapely.get_coordinates(geometry)).all():
        return None, "has a coordinate that is not a number"
    if not geometry.is_valid:
        note = f"was repaired ({shapely.is_valid_reason(geometry).split('[')[0].strip()})"
        geometry = shapely.make_valid(geometry)
    if geometry.geom_type not in ("Polygon", "MultiPolygon"):
        parts = [p for p in shapely.get_parts(geometry) if p.geom_type.endswith("Polygon")]
        flat = [q for p in parts for q in shapely.get_parts(p)]
        geometry = flat[0] if len(flat) == 1 else shapely.MultiPolygon(flat)
    if geometry.is_empty or geometry.area == 0:
        return None, "has no area"
    return geometry, note


class Annotation(ABC):
    """An annotation file, read.

    Attributes
    ----------
    path
        The file; None when made in memory.
    notes
        One line on each thing that was repaired, skipped or assumed while reading.
    """

    path: Path | None
    notes: tuple[str, ...]

    @property
    @abstractmethod
    def regions(self) -> tuple[AnnotatedRegion, ...]:
        """Every outlined object, in the file's order."""

    @abstractmethod
    def mask(self, region: Region, slide_mpp: float | None = None) -> npt.NDArray[np.uint8]:
        """Draw the labels of a part of the slide.

        A pixel takes the label found at its centre; a centre exactly on an outline belongs to
        what lies right of it or below.

        Returns (h, w) uint8: 1 tumour, 0 not, 255 ignore. `slide_mpp` (um per level-0 pixel) is
        needed where the region states an mpp.
        """

    @abstractmethod
    def fitted(self, slide_size_wh: tuple[int, int], slide: object = "the slide") -> Annotation:
        """Return this annotation, fitted to the slide of that level-0 size that it belongs to.

        Raises
        ------
        AnnotationError
            It cannot belong to it; the message names the `slide`.
        """

    def known_within(self, slide_size_wh: tuple[int, int], margin_px: float) -> Annotation:
        """Return this annotation, fitted, with all that it does not cover ignored.

        Three outlined tumours do not say that there is no fourth. Covered are the outlines of
        tumour, holes too, and `margin_px` level-0 pixels around them; exclusions; and areas marked
        as annotated throughout (`is_annotated_area`). A label mask covers every pixel.
        """
        return self


class PolygonAnnotation(Annotation):
    """Regions held as polygons.

    Tumour is every region whose label means it (`is_tumor`). Where a file has none, its regions
    without a class are taken for tumour. Exclusions are cut out; ignored regions win over both.

    `labels` count as tumour, compared without case; None applies the rule above. See `Annotation`
    for the others.
    """

    regions: tuple[AnnotatedRegion, ...] = ()

    def __init__(
        self,
        regions: Iterable[AnnotatedRegion],
        *,
        path: Path | None = None,
        notes: Sequence[str] = (),
        labels: Iterable[str] | None = None,
    ) -> None:
        self.regions = tuple(regions)
        self.path = path
        self.notes = tuple(notes)
        self.labels = None if labels is None else tuple(labels)

    def mask(self, region: Region, slide_mpp: float | None = None) -> npt.NDArray[np.uint8]:
        """Draw the labels of a part of the slide; see `Annotation.mask`.

        Raises
        ------
        AnnotationError
            The file has regions, but none whose label means tumour.
        """
        width, height = region.size_wh
        mask = np.zeros((height, width), dtype=np.uint8)
        frame = region.frame(slide_mpp)
        x0, y0 = frame.to_level0((-0.5, -0.5))
        x1, y1 = frame.to_level0((width - 0.5, height - 0.5))
        for value, bounds, edges in self._drawings:
            if bounds[0] < x1 and bounds[2] > x0 and bounds[1] < y1 and bounds[3] > y0:
                mask[rasterise(edges, region, slide_mpp)] = value
        return mask

    @cached_property
    def _drawings(self) -> list[tuple[int, tuple[float, float, float, float], Edges]]:
        """Value, bounds and edges of what is drawn, in the order in which it is drawn."""
        tumor = self.tumor_regions()
        others = [r for r in self.regions if r not in tumor]
        layers = (
            *((1, r) for r in tumor),
            *((0, r) for r in others if is_exclusion(r.label)),
            *((IGNORE_VALUE, r) for r in others if is_ignore(r.label)),
        )
        return [(value, r.geometry.bounds, edges_of(r.geometry)) for value, r in layers]

    def tumor_regions(self) -> tuple[AnnotatedRegion, ...]:
        """Return the regions that count as tumour.

        Raises
        ------
        AnnotationError
            The file has regions, but none that counts.
        """
        if self.labels is not None:
            wanted = {label.casefold() for label in self.labels}
            chosen = [r for r in self.regions if r.label.casefold() in wanted]
        else:
            chosen = [r for r in self.regions if is_tumor(r.label)] or [
                r for r in self.regions if r.label == UNCLASSIFIED
            ]
        labels = {r.label for r in self.regions}
        others = sorted(repr(n) for n in labels if not (is_exclusion(n) or is_ignore(n)))
        if not chosen and others:
            raise AnnotationError(
                f"{self.path or 'the annotation'} has no region whose class means tumour; "
                f"it has {', '.join(others)}: name those that count as tumour (labels=..., --label)"
            )
        return tuple(chosen)

    def known_within(self, slide_size_wh: tuple[int, int], margin_px: float) -> PolygonAnnotation:
        """Return this annotation with all that it does not cover ignored; see `Annotation`."""
        tumor = self.tumor_regions()
        known = [
            # What lies in a hole that somebody drew is known too.
            shapely.Polygon(part.exterior).buffer(margin_px)
            for region in tumor
            for part in shapely.get_parts(region.geometry)
        ]
        known += [
            r.geometry
            for r in self.regions
            if r not in tumor and (is_exclusion(r.label) or is_annotated_area(r.label))
        ]
        unknown = shapely.get_parts(_extent(slide_size_wh).difference(shapely.union_all(known)))
        parts = [part for part in unknown if part.geom_type == "Polygon" and part.area > 0]
        if not parts:
            return self
        rest = AnnotatedRegion(shapely.MultiPolygon(parts), label=IGNORE)
        return PolygonAnnotation(
            (*self.regions, rest), path=self.path, notes=self.notes, labels=self.labels
        )

    def fitted(
        self, slide_size_wh: tuple[int, int], slide: object = "the slide"
    ) -> PolygonAnnotation:
        """Return this annotation if a part of it lies on the slide; see `Annotation.fitted`."""
        outlines = [r.geometry for r in self.regions]
        if outlines and not shapely.intersects(_extent(slide_size_wh), outlines).any():
            x0, y0, x1, y1 = shapely.total_bounds(outlines)
            width, height = slide_size_wh
            raise AnnotationError(
                f"{self.path or 'the annotation'} matches no part of {slide}: it covers x {x0:.0f} "
                f"to {x1:.0f}, y {y0:.0f} to {y1:.0f}, the slide is {width} x {height} px; give "
                "the annotation made on this slide, in level-0 pixels"
            )
        return self


def _extent(slide_size_wh: tuple[int, int]) -> Any:
    """A slide's outline in level-0 pixels."""
    width, height = slide_size_wh
    return shapely.box(-0.5, -0.5, width - 0.5, height - 0.5)
