"""A picture of outlined objects: the tissue round them, outline, numbered clicks, scale, place."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from histosam_core.annotation import rasterise
from histosam_core.atomic import new_file
from histosam_core.errors import EmptyMaskError
from histosam_core.geometry import Frame, Region

if TYPE_CHECKING:
    from histosam_core.annotation.regions import Color
    from histosam_core.session.objects import AcceptedObject
    from histosam_core.slide import Slide

PICTURE_PX = 1000
PANEL_PX = 300
PAD_PX = 20
MARGIN = 0.15
SMALLEST_UM = 200.0
FILL_OPACITY = 0.22
OUTLINE = (255, 214, 10)
POSITIVE, NEGATIVE = (0, 200, 60), (235, 30, 30)
INK, QUIET, PAPER = (25, 28, 33), (105, 110, 120), (255, 255, 255)
WHITE_RGB, BLACK_RGB = (255, 255, 255), (0, 0, 0)
ROUND_LENGTHS = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class _View:
    """What the picture shows: a pixel grid over level 0, and its size."""

    frame: Frame
    size_wh: tuple[int, int]
    mpp: float

    def to_picture(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Level-0 (N, 2) to picture pixels."""
        (ox, oy), (d, _) = self.frame.origin_xy, self.frame.downsample
        moved: NDArray[np.float64] = (xy - (ox, oy) - (d - 1) / 2) / d
        return moved


def save_preview(
    slide: Slide,
    objects: AcceptedObject | Sequence[AcceptedObject],
    path: str | os.PathLike[str],
    *,
    overwrite: bool = True,
) -> Path:
    """Write the picture of `draw_preview` as PNG or JPEG, whichever the name ends in.

    Raises
    ------
    EmptyMaskError
        There is no object.
    OutputExistsError, OutputWriteError
        The file exists and may not be replaced, or cannot be written.
    """
    picture = Image.fromarray(draw_preview(slide, objects))
    with new_file(path, overwrite=overwrite) as temporary:
        picture.save(temporary)
    return Path(path)


def draw_preview(
    slide: Slide, objects: AcceptedObject | Sequence[AcceptedObject]
) -> NDArray[np.uint8]:
    """Draw objects on the tissue round them, beside an overview of the slide.

    Parameters
    ----------
    slide
        What the objects were outlined on.
    objects
        One or more.

    Returns
    -------
    (h, w, 3) uint8 RGB.

    Raises
    ------
    EmptyMaskError
        There is no object.
    """
    listed = list(objects) if isinstance(objects, Sequence) else [objects]
    if not listed:
        raise EmptyMaskError("there is no object to draw; accept one first")
    view = _view_of(slide, listed)
    tissue = slide.read_frame(view.frame, view.size_wh)
    picture = Image.fromarray(_filled(tissue, listed, view))
    for one in listed:
        _draw_outline(picture, one.geometry, view)
    draw = ImageDraw.Draw(picture)
    for one in listed:
        for number, click in enumerate(one.clicks, start=1):
            (at,) = view.to_picture(np.array([click.xy])).tolist()
            _draw_click(draw, (at[0], at[1]), number, click.is_positive)
    _draw_scale_bar(picture, view.mpp)
    panel = _panel(slide, listed, view, height=max(picture.height, 520))
    sheet = Image.new("RGB", (picture.width + PANEL_PX, panel.height), PAPER)
    sheet.paste(picture, (0, 0))
    sheet.paste(panel, (picture.width, 0))
    return np.asarray(sheet)


def _view_of(slide: Slide, objects: Sequence[AcceptedObject]) -> _View:
    """Choose a rectangle that holds the objects and their clicks with a margin round them."""
    slide_mpp = objects[0].slide_mpp
    bounds = [one.geometry.bounds for one in objects]
    bounds += [(*click.xy, *click.xy) for one in objects for click in one.clicks]
    x0, y0 = np.min(bounds, axis=0)[:2]
    x1, y1 = np.max(bounds, axis=0)[2:]
    centre = (x0 + x1) / 2, (y0 + y1) / 2
    longest = max(x1 - x0, y1 - y0)
    least = SMALLEST_UM / slide_mpp
    # Sides of at least 3 : 5, so that a long thin object still has tissue round it.
    side_wh = [
        max(least, (1 + 2 * MARGIN) * max(side, 0.6 * longest)) for side in (x1 - x0, y1 - y0)
    ]
    side_wh = [min(side, length) for side, length in zip(side_wh, slide.size_wh, strict=True)]
    corner = [
        min(max(middle - side / 2, -0.5), length - 0.5 - side)
        for middle, side, length in zip(centre, side_wh, slide.size_wh, strict=True)
    ]
    downsample = max(side_wh) / PICTURE_PX
    size_wh = tuple(max(1, round(side / downsample)) for side in side_wh)
    frame = Frame((corner[0] + 0.5, corner[1] + 0.5), (downsample, downsample))
    return _View(frame, (size_wh[0], size_wh[1]), downsample * slide_mpp)


def _filled(
    tissue: NDArray[np.uint8], objects: Sequence[AcceptedObject], view: _View
) -> NDArray[np.uint8]:
    shaded = tissue.astype(np.float32)
    # The picture's grid as a region of a slide whose level-0 pixels are `downsample` times finer.
    region = Region(view.frame.origin_xy, view.size_wh, view.frame.downsample[0])
    for one in objects:
        inside = rasterise(one.geometry, region, 1.0)
        shaded[inside] += FILL_OPACITY * (np.array(_color_of(one), np.float32) - shaded[inside])
    return np.rint(shaded).astype(np.uint8)


def _draw_outline(picture: Image.Image, geometry: Any, view: _View) -> None:
    """Draw rings in the outline's colour on a thin dark line; holes are rings too."""
    draw = ImageDraw.Draw(picture)
    rings = shapely.get_rings(shapely.get_parts(geometry))
    lines = [
        [(x, y) for x, y in view.to_picture(shapely.get_coordinates(ring)).tolist()]
        for ring in rings
    ]
    for width, color in ((5, BLACK_RGB), (3, OUTLINE)):
        for line in lines:
            draw.line(line, fill=color, width=width, joint="curve")


def _draw_click(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], number: int, is_positive: bool
) -> None:
    """Draw a ring with a dot exactly at the click, and its number beside it."""
    x, y = at
    color = POSITIVE if is_positive else NEGATIVE
    for radius, width, ink in ((10, 5, WHITE_RGB), (9, 3, color)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=ink, width=width)
    draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=color)
    text = f"{number}+" if is_positive else f"{number}\N{MINUS SIGN}"
    draw.text(
        (x + 14, y - 2),
        text,
        font=_font(17),
        anchor="lm",
        fill=color,
        stroke_width=3,
        stroke_fill=WHITE_RGB,
    )


def _draw_scale_bar(picture: Image.Image, mpp: float) -> None:
    length_um = _round_length(picture.width * mpp / 4)
    length_px = round(length_um / mpp)
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} \N{MICRO SIGN}m"
    draw = ImageDraw.Draw(picture, "RGBA")
    font = _font(17)
    box_w = max(length_px, round(draw.textlength(text, font=font))) + 24
    x0, y1 = 14, picture.height - 14
    draw.rounded_rectangle((x0, y1 - 50, x0 + box_w, y1), radius=6, fill=(255, 255, 255, 225))
    middle = x0 + box_w / 2
    draw.rectangle((middle - length_px / 2, y1 - 15, middle + length_px / 2 - 1, y1 - 10), fill=INK)
    draw.text((middle, y1 - 22), text, font=font, anchor="ms", fill=INK)


def _panel(
    slide: Slide, objects: Sequence[AcceptedObject], view: _View, height: int
) -> Image.Image:
    """Draw the overview with the place marked, and what the objects are."""
    panel = Image.new("RGB", (PANEL_PX, height), PAPER)
    draw = ImageDraw.Draw(panel)
    room = PANEL_PX - 2 * PAD_PX
    thumbnail = Image.fromarray(slide.thumbnail(room))
    left = PAD_PX + (room - thumbnail.width) // 2
    panel.paste(thumbnail, (left, PAD_PX))
    draw.rectangle(
        (left - 1, PAD_PX - 1, left + thumbnail.width, PAD_PX + thumbnail.height), outline=QUIET
    )
    _mark_place(draw, (left, PAD_PX), thumbnail.width / slide.size_wh[0], view)
    y = PAD_PX + thumbnail.height + 22
    draw.text((PAD_PX, y), _fitted(draw, slide.path.name, room), font=_font(16), fill=INK)
    y += 34
    for one in objects:
        draw.rectangle(
            (PAD_PX, y + 1, PAD_PX + 16, y + 19), fill=_color_of(one), outline=OUTLINE, width=2
        )
        draw.text((PAD_PX + 24, y), one.label, font=_font(16), fill=INK)
        y += 28
        for line in _facts(one):
            draw.text((PAD_PX + 24, y), _fitted(draw, line, room - 24), font=_font(14), fill=QUIET)
            y += 24
        y += 10
        if y > height - 110:
            break
    y = height - 78
    for is_positive, meaning in ((True, "belongs to it"), (False, "does not")):
        number = 1 if is_positive else 2
        _draw_click(draw, (PAD_PX + 11, y), number, is_positive)
        draw.text((PAD_PX + 62, y), meaning, font=_font(14), anchor="lm", fill=QUIET)
        y += 38
    return panel


def _mark_place(
    draw: ImageDraw.ImageDraw, corner_xy: tuple[int, int], scale: float, view: _View
) -> None:
    (ox, oy), (d, _) = view.frame.origin_xy, view.frame.downsample
    x0, y0 = corner_xy[0] + ox * scale, corner_xy[1] + oy * scale
    x1, y1 = x0 + view.size_wh[0] * d * scale, y0 + view.size_wh[1] * d * scale
    # A place too small to be seen as a rectangle gets one of 8 px.
    grow_x, grow_y = max(0.0, 8 - (x1 - x0)) / 2, max(0.0, 8 - (y1 - y0)) / 2
    box = x0 - grow_x, y0 - grow_y, x1 + grow_x, y1 + grow_y
    draw.rectangle((box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1), outline=WHITE_RGB, width=4)
    draw.rectangle(box, outline=NEGATIVE, width=2)


def _facts(one: AcceptedObject) -> list[str]:
    parts = shapely.get_parts(one.geometry)
    holes = int(shapely.get_num_interior_rings(parts).sum())
    facts = [
        f"{one.area_mm2:.4g} mm\N{SUPERSCRIPT TWO}",
        f"{_count(len(parts), 'part')}, {_count(holes, 'hole')}",
        f"{_count(len(one.clicks), 'click')}, {_count(len(one.windows), 'window')}",
    ]
    if one.quality is not None:
        facts.append(f"estimated IoU {one.quality:.2f}")
    checkpoint = one.region.metadata.get("Checkpoint")
    return [*facts, checkpoint] if checkpoint else facts


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _color_of(one: AcceptedObject) -> Color:
    return one.region.color or OUTLINE


def _round_length(um: float) -> float:
    """Return the largest of 1, 2, 5, 10, ... not above `um`."""
    power = 10.0 ** math.floor(math.log10(um))
    return max(step * power for step in ROUND_LENGTHS if step * power <= um * (1 + 1e-9))


def _fitted(draw: ImageDraw.ImageDraw, text: str, width: float) -> str:
    font = _font(16)
    while draw.textlength(text, font=font) > width and len(text) > 4:
        text = text[:-2].rstrip("\N{HORIZONTAL ELLIPSIS}") + "\N{HORIZONTAL ELLIPSIS}"
    return text


@cache
def _font(size: int) -> Any:
    # Pillow's own font lacks the micro sign; matplotlib brings one that has everything.
    import matplotlib

    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), size
    )
