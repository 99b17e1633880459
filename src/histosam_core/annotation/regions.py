"""An annotated region: a polygon with holes in level-0 pixels, its label, and what files say of it.

In memory pixel centres lie at whole numbers; in annotation files pixel corners do. Readers
therefore subtract `CORNER_TO_CENTRE` from every coordinate and writers add it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import shapely

from histosam_core.errors import AnnotationError, MissingMppError

CORNER_TO_CENTRE = 0.5
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
