"""A slide with its annotation, as the evaluation clicks on it and shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from histosam_core.annotation import read_annotations
from histosam_core.annotation.files import slide_stem
from histosam_core.evaluation.slide_regions import (
    RegionTruth,
    TumorRegion,
    draw_truth,
    find_regions,
)
from histosam_core.session import WindowGrid, slide_scale
from histosam_core.slide import open_slide

if TYPE_CHECKING:
    from histosam_core.model import TrainingGeometry

THUMBNAIL_PX = 1024
"""Longest side of an example's image; its truth and masks are kept at full size."""


@dataclass(frozen=True, slots=True)
class SlideSource:
    """A slide and its annotation, by path, and what the user says of them."""

    # The files.
    slide: Path
    annotation: Path
    # Micrometres per level-0 pixel, stated by the user; None: the file's own.
    mpp: float | None = None
    # Classes that count as tumour; None: those whose name says so.
    labels: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """The slide file's name without its suffix."""
        return slide_stem(self.slide)


class AnnotatedSlide:
    """An open slide with its annotation, on the grid of a checkpoint; closes as a context.

    Raises
    ------
    AnnotationError
        The annotation cannot be read, or matches no part of the slide.
    MissingMppError
        Nothing tells the slide's mpp.
    SlideError
        The slide cannot be read.
    """

    def __init__(self, source: SlideSource, geometry: TrainingGeometry) -> None:
        self.source = source
        self.geometry = geometry
        self.slide = open_slide(source.slide)
        try:
            self.scale = slide_scale(self.slide, source.mpp)
            self.grid = WindowGrid(
                self.slide.size_wh, self.scale.mpp, geometry.mpp, geometry.patch_size_px
            )
            annotation = read_annotations(source.annotation, labels=source.labels)
            self.annotation = annotation.fitted(self.slide.size_wh, source.slide)
        except BaseException:
            self.slide.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.slide.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed of the slide, or repaired in its annotation."""
        said = [f"{self.source.annotation.name}: {note}" for note in self.annotation.notes]
        return (*([self.scale.note] if self.scale.note else []), *said)

    def regions(self, min_area_mm2: float) -> tuple[list[TumorRegion], int]:
        """Find the tumour regions of at least an area; see `find_regions`."""
        least_px = int(np.ceil(min_area_mm2 * 1e6 / self.grid.mpp**2))
        return find_regions(self.annotation, self.grid, min_area_px=max(1, least_px))

    def truth(self, region: TumorRegion) -> RegionTruth:
        """Draw a region and one window's width round it; see `draw_truth`.

        No window that answers a click in the region reaches farther.
        """
        return draw_truth(self.annotation, self.grid, region, self.grid.window_px)

    def example(self, region: TumorRegion) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        """Read a region's thumbnail, (h, w, 3) RGB, and draw its truth, (H, W) of 1, 0, -1."""
        truth = self.truth(region)
        place = truth.region(self.grid, max(1.0, max(truth.mask.shape) / THUMBNAIL_PX))
        return self.slide.read_frame(place.frame(self.scale.mpp), place.size_wh), truth.mask
