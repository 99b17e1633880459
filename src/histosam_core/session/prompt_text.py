"""Prompts as text: in an annotation file's metadata, on the command line, and in lists of clicks.

Metadata has the file's own coordinates: level-0 pixels, pixel corners at whole numbers. What a user
writes has pixel centres at whole numbers, as everywhere else.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from histosam_core.annotation.regions import CORNER_TO_CENTRE
from histosam_core.clicks import Box, Click, Lasso, Prompt
from histosam_core.errors import ConfigError

CLICKS, PROMPTS = "Click list", "Prompt list"
EXAMPLE = "1200,800,+ (it belongs to the object) or 1350,900,- (it does not)"
SIGNS = {
    **dict.fromkeys(("+", "1", "pos", "positive", "true"), True),
    **dict.fromkeys(("-", "\N{MINUS SIGN}", "0", "neg", "negative", "false"), False),
}


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


def parse_click(text: str) -> Click:
    """Read one click, ``X,Y,+`` or ``X,Y,-``; without a sign it is positive.

    Raises
    ------
    ConfigError
        The text is no click; the message shows one.
    """
    return _click([part.strip() for part in text.split(",")], f"click {text!r}")


def read_click_list(path: str | os.PathLike[str]) -> list[Click]:
    """Read the clicks of one object from a file, in order.

    CSV (.csv, .txt): a line ``x,y,sign`` each, a header and lines that begin with ``#`` are
    skipped. JSON: a list, or ``{"clicks": [...]}``, of ``[x, y, "+"]`` or of
    ``{"xy": [x, y], "is_positive": true}``.

    Raises
    ------
    ConfigError
        The file cannot be read, or a line of it is no click.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        entries = _json_entries(text) if path.suffix.lower() == ".json" else _csv_entries(text)
    except OSError as error:
        raise ConfigError(f"cannot read the clicks in {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not a list of clicks ({error})") from error
    if not entries:
        raise ConfigError(f"{path} holds no click; write one a line, e.g. {EXAMPLE}")
    return [_click(entry, f"{path}, {where}") for where, entry in entries]


def _click(parts: Any, where: str) -> Click:
    try:
        x, y = float(parts[0]), float(parts[1])
        is_positive = SIGNS[str(parts[2]).strip().lower()] if len(parts) > 2 else True
        if len(parts) > 3 or not (math.isfinite(x) and math.isfinite(y)):
            raise ValueError
    except (LookupError, TypeError, ValueError) as error:
        raise ConfigError(f"{where} is not X,Y,+ or X,Y,-; write e.g. {EXAMPLE}") from error
    return Click((x, y), is_positive)


def _json_entries(text: str) -> list[tuple[str, Any]]:
    listed = json.loads(text)
    if isinstance(listed, dict):
        listed = listed.get("clicks")
    if not isinstance(listed, list):
        raise ValueError('it needs a list, or {"clicks": [...]}')
    entries = []
    for number, entry in enumerate(listed, start=1):
        if isinstance(entry, dict):
            xy = entry.get("xy", [entry.get("x"), entry.get("y")])
            entry = [*xy, entry.get("is_positive", True)] if isinstance(xy, list) else None
        entries.append((f"click {number}", entry))
    return entries


def _csv_entries(text: str) -> list[tuple[str, Any]]:
    entries = []
    for number, row in enumerate(csv.reader(text.splitlines()), start=1):
        cells = [cell.strip() for cell in row]
        is_header = number == 1 and cells[:1] and cells[0].lower() == "x"
        if any(cells) and not is_header and not cells[0].startswith("#"):
            entries.append((f"line {number}", cells))
    return entries
