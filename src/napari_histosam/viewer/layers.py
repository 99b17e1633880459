"""Our layers: how they look, what marks them as ours, and how to find them.

A layer is ours by the `LayerTag` in its metadata, never by its name, so users may rename it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_histosam.viewer.coordinates import ImageFrame, to_row_column

if TYPE_CHECKING:
    from histosam_core.clicks import Box, Click

Role = Literal[
    "clicks", "box", "mask", "heat map", "annotations",
    "patch", "truth", "other mask", "change", "disagreement",
]  # fmt: skip
CLICKS: Role = "clicks"
BOX: Role = "box"
MASK: Role = "mask"
HEAT_MAP: Role = "heat map"
OBJECTS: Role = "annotations"

TAG = "histosam"
"""Where a layer's metadata hold what we say of it."""
POSITIVE, NEGATIVE = "#00FF00", "#FF0000"
MASK_RGB = (255, 214, 10)
BOX_COLOR = "#FFD60A"
SCREEN_PX = (9, 18)
"""Least and greatest diameter of a click on the screen."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerTag:
    """What marks a layer as ours."""

    role: Role  # what it shows
    # The controller it belongs to; two viewers, or two sessions, do not mix their layers.
    owner: object
    # Where a writer finds what the annotations layer shows (`writer.AnnotationSource`).
    source: Any = None


def tag_of(layer: Any) -> LayerTag | None:
    """Return a layer's tag; None for a layer that is not ours."""
    tag = layer.metadata.get(TAG)
    return tag if isinstance(tag, LayerTag) else None


def remove_layers(viewer: Any, layers: Sequence[Any]) -> None:
    """Take layers out of a viewer, those that are still in it.

    All at once: napari 0.9.2 collects Python's garbage each time, which holds the window for half a
    second.
    """
    there = [layer for layer in layers if layer in viewer.layers]
    if there:
        with viewer.layers.batched_update():
            for layer in there:
                viewer.layers.remove(layer)


def remove_in_own_context(viewer: Any) -> None:
    """Make a viewer's canvas current whenever layers are removed, before napari hears of it.

    napari 0.9.2 has vispy delete a removed layer's buffers, textures and programs at once, in
    whichever OpenGL context is current. That is mostly the window's, which Qt puts the picture
    together in: it shares these objects with the canvas's context but knows nothing of what is
    bound there. With Mesa (llvmpipe) the canvas then draws with what is gone, and the process dies
    with a segmentation fault in glDrawArrays.

    Holds as long as the viewer lives, for layers of others too; doing it twice changes nothing.
    """
    viewer = getattr(viewer, "__wrapped__", viewer)  # plugins get one without private names
    canvas = viewer.window._qt_viewer.canvas._scene_canvas
    events = viewer.layers.events
    for event in (events.removed, events.end_batch):
        event.connect(canvas.set_current, position="first")


def make_clicks(owner: object, frame: ImageFrame, units: Any, size_px: float) -> Any:
    """Return the Points layer of clicks, in level-0 pixels; `size_px` is a disc's diameter."""
    return _layer(
        "Points",
        np.empty((0, 2)),
        LayerTag(CLICKS, owner),
        name="Clicks",
        affine=frame.affine(),
        units=units,
        size=size_px,
        symbol="disc",
        face_color="transparent",
        border_color=POSITIVE,
        border_width=0.25,
        canvas_size_limits=SCREEN_PX,
    )


def make_boxes(owner: object, frame: ImageFrame, units: Any, width_px: float) -> Any:
    """Return the Shapes layer of box prompts, in level-0 pixels; `width_px` is a line's width."""
    return _layer(
        "Shapes",
        None,
        LayerTag(BOX, owner),
        ndim=2,
        name="Box",
        affine=frame.affine(),
        units=units,
        face_color="transparent",
        edge_color=BOX_COLOR,
        edge_width=width_px,
    )


def make_mask(
    owner: object, data: NDArray[np.uint8], affine: NDArray[np.float64], units: Any
) -> Any:
    """Return the Labels layer of the current object: 1 on it, 0 elsewhere."""
    colors, tag = label_colormap({1: MASK_RGB}), LayerTag(MASK, owner)
    place = {"name": "Mask", "affine": affine, "units": units}
    return _layer("Labels", data, tag, **place, colormap=colors, opacity=0.45)


def make_heat_map(
    owner: object, data: NDArray[np.uint8], affine: NDArray[np.float64], units: Any
) -> Any:
    """Return the Image layer of the object's probability, 0 to 255."""
    return _layer(
        "Image",
        data,
        LayerTag(HEAT_MAP, owner),
        name="Probability",
        affine=affine,
        units=units,
        colormap=_heat_colormap(),
        contrast_limits=(0, 255),
        opacity=0.7,
        blending="translucent_no_depth",
    )


def make_objects(
    owner: object, levels: Sequence[Any], affine: NDArray[np.float64], units: Any, source: Any
) -> Any:
    """Return the multiscale Labels layer of the accepted objects."""
    colors, tag = label_colormap({}), LayerTag(OBJECTS, owner, source)
    place = {"name": "Annotations", "affine": affine, "units": units, "multiscale": True}
    return _layer("Labels", list(levels), tag, **place, colormap=colors, opacity=0.5)


def _layer(kind: str, data: Any, tag: LayerTag, **look: Any) -> Any:
    """Return a napari layer that is ours; labels are not to be painted on."""
    import napari.layers

    layer = getattr(napari.layers, kind)(data, metadata={TAG: tag}, **look)
    if kind == "Labels":
        layer.editable = False
    return layer


def _heat_colormap() -> Any:
    """Magma, clear where the probability is 0, so that the slide shows."""
    from napari.utils.colormaps import Colormap, ensure_colormap

    colors = np.array(ensure_colormap("magma").map(np.linspace(0, 1, 32)))
    colors[:, 3] = np.linspace(0, 1, len(colors)) ** 0.7
    return Colormap(colors, name="probability")


def label_colormap(colors: Mapping[int, tuple[int, int, int]]) -> Any:
    """Return a colour map of labels, (red, green, blue) of 0 to 255; all else is transparent."""
    from napari.utils.colormaps import DirectLabelColormap

    clear = np.zeros(4, np.float32)
    table: dict[int | None, NDArray[np.float32]] = {None: clear, 0: clear}
    for label, rgb in colors.items():
        table[label] = np.array([*(v / 255 for v in rgb), 1.0], np.float32)
    return DirectLabelColormap(color_dict=table)


def click_colors(clicks: Sequence[Click]) -> list[str]:
    """Return each click's colour, as users of other tools know them."""
    return [POSITIVE if click.is_positive else NEGATIVE for click in clicks]


def box_corners(box: Box) -> NDArray[np.float64]:
    """Return a box's corners (4, 2), rows and columns, as a Shapes layer takes a rectangle."""
    x0, y0, x1, y1 = box.xyxy
    return to_row_column(((x0, y0), (x1, y0), (x1, y1), (x0, y1)))
