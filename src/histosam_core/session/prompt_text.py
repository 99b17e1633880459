"""Prompts as text in an annotation file's metadata, and back.

Coordinates are the file's own: level-0 pixels, pixel corners at whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from histosam_core.annotation.regions import CORNER_TO_CENTRE
from histosam_core.clicks import Box, Click, Lasso, Prompt

__all__ = ["prompts_in", "texts_of"]

CLICKS, PROMPTS = "Click list", "Prompt list"


def texts_of(prompts: Sequence[Prompt]) -> dict[str, str]:
    """Return the entries that carry prompts.

    ``Click list`` holds the clicks, ``x,y,+`` or ``x,y,-``, separated by spaces. Where there are
    boxes or lassos, ``Prompt list`` holds everything in order, a box as ``x0,y0,x1,y1``, a lasso as
    its corners joined by ``;`` and its sign: ``x,y;x,y;x,y;+``.
    """
    clicks = [prompt for prompt in prompts if isinstance(prompt, Click)]
    entries = {CLICKS: " ".join(map(_text, clicks))}
    if len(clicks) < len(prompts):
        entries[PROMPTS] = " ".join(map(_text, prompts))
    return entries


def prompts_in(metadata: Mapping[str, str]) -> tuple[Prompt, ...]:
    """Read what `texts_of` wrote; nothing where a prompt cannot be read."""
    words = metadata.get(PROMPTS, metadata.get(CLICKS, "")).split()
    try:
        return tuple(map(_prompt, words))
    except ValueError:
        return ()


def _text(prompt: Prompt) -> str:
    if isinstance(prompt, Lasso):
        corners = (",".join(map(_number_text, xy)) for xy in prompt.points_xy)
        return ";".join((*corners, "+" if prompt.is_positive else "-"))
    at = prompt.xy if isinstance(prompt, Click) else prompt.xyxy
    words = [_number_text(value) for value in at]
    if isinstance(prompt, Click):
        words.append("+" if prompt.is_positive else "-")
    return ",".join(words)


def _number_text(value: float) -> str:
    return f"{value + CORNER_TO_CENTRE:.12g}"


def _prompt(word: str) -> Prompt:
    if ";" in word:
        *corners, sign = word.split(";")
        points = [tuple(map(_number, corner.split(","))) for corner in corners]
        if sign not in ("+", "-"):
            raise ValueError(word)
        return Lasso(tuple((x, y) for x, y in points), sign == "+")
    *numbers, last = word.split(",")
    if last in ("+", "-"):
        x, y = map(_number, numbers)
        return Click((x, y), last == "+")
    x0, y0, x1, y1 = map(_number, (*numbers, last))
    return Box((x0, y0, x1, y1))


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value - CORNER_TO_CENTRE
