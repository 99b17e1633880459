"""What an annotation file holds of a slide: regions, and label masks of any part of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import shapely

from histosam_core.annotation.rasterise import Edges, edges_of, rasterise
from histosam_core.annotation.regions import (
    IGNORE,
    UNCLASSIFIED,
    AnnotatedRegion,
    is_annotated_area,
    is_exclusion,
    is_ignore,
    is_tumor,
)
from histosam_core.errors import AnnotationError

if TYPE_CHECKING:
    from histosam_core.geometry import Region

IGNORE_VALUE = 255


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

    Parameters
    ----------
    regions
        The outlined objects.
    path
        The file they came from.
    notes
        What the reader has to say.
    labels
        Labels that count as tumour, compared without case; None applies the rule above.
    """

    def __init__(
        self,
        regions: Iterable[AnnotatedRegion],
        *,
        path: Path | None = None,
        notes: Sequence[str] = (),
        labels: Iterable[str] | None = None,
    ) -> None:
        self._regions = tuple(regions)
        self.path = path
        self.notes = tuple(notes)
        self.labels = None if labels is None else tuple(labels)

    @property
    def regions(self) -> tuple[AnnotatedRegion, ...]:
        """Every outlined object, in the file's order."""
        return self._regions

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
        excluded = [r for r in self._regions if is_exclusion(r.label) and r not in tumor]
        ignored = [r for r in self._regions if is_ignore(r.label) and r not in tumor]
        layers = ((1, tumor), (0, excluded), (IGNORE_VALUE, ignored))
        return [
            (value, r.geometry.bounds, edges_of(r.geometry)) for value, rs in layers for r in rs
        ]

    def tumor_regions(self) -> tuple[AnnotatedRegion, ...]:
        """Return the regions that count as tumour.

        Raises
        ------
        AnnotationError
            The file has regions, but none that counts.
        """
        if self.labels is not None:
            wanted = {label.casefold() for label in self.labels}
            chosen = [r for r in self._regions if r.label.casefold() in wanted]
        else:
            chosen = [r for r in self._regions if is_tumor(r.label)] or [
                r for r in self._regions if r.label == UNCLASSIFIED
            ]
        others = [r for r in self._regions if not (is_exclusion(r.label) or is_ignore(r.label))]
        if not chosen and others:
            found = ", ".join(sorted({repr(r.label) for r in others}))
            raise AnnotationError(
                f"{self.path or 'the annotation'} has no region whose class means tumour; "
                f"it has {found}: name those that count as tumour (labels=..., --label)"
            )
        return tuple(chosen)

    def known_within(self, slide_size_wh: tuple[int, int], margin_px: float) -> PolygonAnnotation:
        """Return this annotation with all that it does not cover ignored; see `Annotation`."""
        tumor = self.tumor_regions()
        known = [
            # What lies in a hole that somebody drew is known too.
            shapely.union_all(
                [shapely.Polygon(part.exterior) for part in shapely.get_parts(region.geometry)]
            ).buffer(margin_px)
            for region in tumor
        ]
        known += [
            r.geometry
            for r in self._regions
            if r not in tumor and (is_exclusion(r.label) or is_annotated_area(r.label))
        ]
        width, height = slide_size_wh
        slide = shapely.box(-0.5, -0.5, width - 0.5, height - 0.5)
        unknown = shapely.get_parts(slide.difference(shapely.union_all(known)))
        parts = [part for part in unknown if part.geom_type == "Polygon" and part.area > 0]
        if not parts:
            return self
        rest = AnnotatedRegion(shapely.MultiPolygon(parts), label=IGNORE)
        return PolygonAnnotation(
            (*self._regions, rest), path=self.path, notes=self.notes, labels=self.labels
        )

    def fitted(
        self, slide_size_wh: tuple[int, int], slide: object = "the slide"
    ) -> PolygonAnnotation:
        """Return this annotation if a part of it lies on the slide; see `Annotation.fitted`."""
        if not self._regions:
            return self
        bounds = shapely.total_bounds([r.geometry for r in self._regions])
        width, height = slide_size_wh
        extent = shapely.box(-0.5, -0.5, width - 0.5, height - 0.5)
        if not any(shapely.intersects(extent, r.geometry) for r in self._regions):
            spans = f"x {bounds[0]:.0f} to {bounds[2]:.0f}, y {bounds[1]:.0f} to {bounds[3]:.0f}"
            raise AnnotationError(
                f"{self.path or 'the annotation'} matches no part of {slide}: it covers {spans}, "
                f"the slide is {width} x {height} px; give the annotation made on this slide, in "
                "level-0 pixels"
            )
        return self
