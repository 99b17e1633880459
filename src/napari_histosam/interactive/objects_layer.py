"""The accepted objects on the screen: what the Annotations layer shows and says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_histosam.viewer import layers as ours

if TYPE_CHECKING:
    from napari_histosam.interactive.view import View

__all__ = ["ObjectsOf", "features_of", "show_objects"]


@dataclass(frozen=True, slots=True, eq=False)
class ObjectsOf:
    """The accepted objects of a view, as a writer asks for them (`writer.AnnotationSource`)."""

    view: View

    def regions(self) -> tuple[Any, ...]:
        """Every accepted object, in order."""
        return tuple(accepted.region for accepted in self.view.objects)

    @property
    def slide_wh(self) -> tuple[int, int]:
        """Width and height of level 0."""
        return self.view.slide_wh

    @property
    def slide_mpp(self) -> float:
        """Micrometres per level-0 pixel."""
        return self.view.slide_mpp

    @property
    def slide_name(self) -> str:
        """The slide's file name."""
        return self.view.slide_name


def show_objects(layer: Any, owner: object, view: View) -> None:
    """Bring the Annotations layer in step with a view: pixels, colours, table, what is saved."""
    colors = {
        view.labels[one.id]: one.region.color or ours.MASK_RGB
        for one in view.objects
        if one.id in view.labels
    }
    layer.metadata[ours.TAG] = ours.LayerTag(ours.OBJECTS, owner, ObjectsOf(view))
    layer.colormap = ours.label_colormap(colors)
    layer.features = features_of(view)
    _reread(layer, view.pyramid.levels)


def features_of(view: View) -> Any:
    """Return the table that napari shows for a label under the cursor."""
    import pandas as pd

    rows = [
        {
            "index": view.labels[one.id],
            "class": one.label,
            "area_mm2": round(one.area_mm2, 4),
            "clicks": len(one.clicks),
            "quality": float("nan") if one.quality is None else round(one.quality, 2),
        }
        for one in view.objects
    ]
    return pd.DataFrame(rows, columns=["index", "class", "area_mm2", "clicks", "quality"])


def _reread(layer: Any, levels: Sequence[Any]) -> None:
    """Let a multiscale layer read its levels again; napari keeps the coarsest one otherwise.

    Data that is set is shown at the coarsest level, at the corners of the level shown before: they
    may lie outside it, and an empty picture cannot be drawn.
    """
    layer.corner_pixels = np.array(((0, 0), np.array(levels[-1].shape) - 1))
    layer.data = list(levels)
