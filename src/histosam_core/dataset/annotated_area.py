"""The part of a slide that its annotation covers.

Three outlined tumours do not say that there is no fourth. Known are the inside of the outlines, the
tissue just outside them, and areas marked as annotated throughout. The rest is ignored: it neither
trains nor counts.
"""

from __future__ import annotations

from typing import Any

import shapely

from histosam_core.annotation.annotation import Annotation, PolygonAnnotation
from histosam_core.annotation.regions import (
    IGNORE,
    AnnotatedRegion,
    is_annotated_area,
    is_exclusion,
)

__all__ = ["within_annotated_area"]


def within_annotated_area(
    annotation: Annotation, slide_size_wh: tuple[int, int], margin_px: float
) -> Annotation:
    """Return an annotation that ignores what it does not cover.

    Parameters
    ----------
    annotation
        Fitted to its slide. Outlines of tumour are known inside, holes too, and `margin_px` around;
        exclusions and annotated areas (`is_annotated_area`) inside. A label mask covers every pixel
        and is returned as it is.
    slide_size_wh
        Level-0 width and height.
    margin_px
        Level-0 pixels.
    """
    if not isinstance(annotation, PolygonAnnotation):
        return annotation
    tumor = annotation.tumor_regions()
    others = [r for r in annotation.regions if r not in tumor]
    known = [_filled(r.geometry).buffer(margin_px) for r in tumor]
    known += [r.geometry for r in others if is_exclusion(r.label) or is_annotated_area(r.label)]
    slide = shapely.box(-0.5, -0.5, slide_size_wh[0] - 0.5, slide_size_wh[1] - 0.5)
    unknown = slide.difference(shapely.union_all(known))
    parts = [p for p in shapely.get_parts(unknown) if p.geom_type == "Polygon" and p.area > 0]
    if not parts:
        return annotation
    rest = AnnotatedRegion(shapely.MultiPolygon(parts), label=IGNORE)
    return PolygonAnnotation(
        (*annotation.regions, rest),
        path=annotation.path,
        notes=annotation.notes,
        labels=annotation.labels,
    )


def _filled(geometry: Any) -> Any:
    """The geometry without its holes: whoever drew a hole has said what is in it."""
    return shapely.union_all([shapely.Polygon(p.exterior) for p in shapely.get_parts(geometry)])
