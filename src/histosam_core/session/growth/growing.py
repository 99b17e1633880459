"""How an object goes on beyond the windows that were clicked in: one window after another.

A window that was clicked in is answered again, with the look of what was clicked in place of what
nobody knows yet. Where the answer reaches the window's edge, a window round that place is answered
next, nearest to the click first. Its prompts are what stands on the canvas, the look beyond, the
user's clicks in it, and a click of our own deep inside the object and one deep outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.clicks import Click
from histosam_core.clicks.simulate import inner_depth
from histosam_core.model.interface import Prediction
from histosam_core.session.growth.islands import without_islands
from histosam_core.session.growth.look import Look, look_of
from histosam_core.session.growth.texture import Texture
from histosam_core.session.windows.windows import shared

if TYPE_CHECKING:
    from histosam_core.session.canvas.canvas import Canvas, CanvasPart
    from histosam_core.session.windows.predictor import Predictor, RegionAnswer
    from histosam_core.session.windows.windows import Window, WindowGrid

WINDOWS_A_CLICK = 64
"""How far an object grows after a click, unless the user says otherwise."""
LOOK_SHARE = 0.1
"""Of an answer, what the look says; the rest is the model's."""
KNOWN_SHARE = 0.5
"""Of the mask input, what stands on the canvas where it is well known; the rest is the look."""
SURE_LOGIT = 1.0
"""Clicks of our own lie where the mask input is at least so sure."""
LEAST_INSIDE_PX, LEAST_OUTSIDE_PX, LEAST_DEPTH_PX = 100, 1500, 8.0
"""And where there is so much of it, and so deep, in a window of 400 px."""
LEAST_AGREEMENT = 0.5
"""IoU of an answer to no click with what is known in its window, below which it is not taken."""
LEAST_LOOK_PX = 200
"""A window with less that looks alike is not asked of the model."""
LEAST_CHANGE_PX = 200
"""A correction goes on into a window that holds more of what it changed at its own window's rim."""
HELD_RADIUS_PX, HELD_LOGIT = 12.0, 2.0
"""So far round a click its sign holds, in a window of 400 px."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Growth:
    """How far an object has grown.

    Parameters
    ----------
    answered
        Windows whose answers make the mask, in order.
    first
        Windows to be answered before any other.
    waiting
        Grid pixels (x, y) where the object reaches the edge of what is known, nearest first.
    seed_xy
        Grid pixel of the click that all this follows.
    clicks, look
        The user's clicks, level-0 pixels, and what they tell apart.
    held
        What was drawn by hand, which growth leaves as it is: known where its depth is above 0.
    n_windows
        Windows that have answered since that click.
    is_finished
        Whether the object has ended by itself.
    """

    answered: tuple[Window, ...]
    first: tuple[Window, ...]
    waiting: tuple[Point, ...]
    seed_xy: Point
    clicks: tuple[Click, ...]
    look: Look = field(compare=False)
    held: Canvas = field(compare=False, repr=False)
    n_windows: int = 0
    is_finished: bool = False


class Grower:
    """Lets objects of one slide grow, with one model."""

    def __init__(self, predictor: Predictor, grid: WindowGrid) -> None:
        self._predictor = predictor
        self._grid = grid
        self._texture = Texture(predictor, grid)
        self._side = grid.window_px
        self._rim = grid.window_px // 10

    def begin(
        self,
        before: Canvas,
        canvas: Canvas,
        held: Canvas,
        *,
        known: Sequence[Window],
        clicked: Sequence[Window],
        window: Window,
        clicks: Sequence[Click],
        waiting: Sequence[Point] = (),
    ) -> tuple[Canvas, Growth]:
        """Make room for what follows from a click.

        Where nothing was known before, the click's window is answered again, with the look. Else
        its answer stands, and the windows are answered again into which its correction goes on.

        Parameters
        ----------
        before, canvas, held
            The mask before the click and after it, and what of it was drawn by hand.
        known, clicked
            The windows that have answered, in order, and those of them that clicks went to.
        window, clicks
            The window of the last click, and all clicks, one of them positive.
        waiting
            What an earlier growth had not come to.
        """
        seed = self._grid.to_grid(clicks[-1].xy)
        is_new = not before.read((int(seed[0]), int(seed[1])), (1, 1)).depth.any()
        if is_new:
            again = [window]
        else:
            again = self._disagreeing(before, canvas, window, known, clicked)
        left = tuple(one for one in known if one not in again)
        canvas = canvas.forgotten(again, left, held)
        look = look_of(clicks, self._texture, self._grid)
        growth = Growth(left, tuple(again), tuple(waiting), seed, tuple(clicks), look, held)
        for one in left:
            if one == window or any(_touch(one, other, self._side) for other in again):
                growth = self._reached(canvas, growth, one)
        return canvas, growth

    def _disagreeing(
        self,
        before: Canvas,
        canvas: Canvas,
        window: Window,
        known: Sequence[Window],
        clicked: Sequence[Window],
    ) -> list[Window]:
        """List the windows, none clicked in, where a correction goes on beyond its window."""
        changed = before.read_window(window).mask != canvas.read_window(window).mask
        changed &= self._grid.tent(window) <= self._grid.margin_px
        least = self._area(LEAST_CHANGE_PX)
        return [
            other
            for other in known
            if other not in clicked
            and (parts := shared(window, other)) is not None
            and np.count_nonzero(changed[parts[0]]) > least
        ]

    def next_window(self, canvas: Canvas, growth: Growth) -> tuple[Window | None, Growth]:
        """Return the window to be answered next, and what waits; None: the object has ended."""
        if growth.first:
            return growth.first[0], replace(growth, first=growth.first[1:])
        waiting = list(growth.waiting)
        while waiting:
            x, y = waiting.pop(0)
            at = canvas.read((int(x), int(y)), (1, 1))
            window = self._grid.window_at(self._grid.frame.to_level0((x, y)))
            is_open = at.mask[0, 0] and at.depth[0, 0] <= self._rim
            if is_open and window not in growth.answered:
                return window, replace(growth, waiting=tuple(waiting))
        return None, replace(growth, waiting=())

    def answer(
        self, canvas: Canvas, growth: Growth, window: Window
    ) -> tuple[Canvas, Growth, RegionAnswer | None]:
        """Let a window answer; its answer is None where too little in it looks alike."""
        (x, y), side = window.location_xy, self._side
        stands, alike = canvas.read_window(window), growth.look.logits(self._texture, window)
        input_ = self._mask_input(stands, alike)
        here = [(c, *self._grid.to_grid(c.xy)) for c in growth.clicks]
        users = [(c, cx - x, cy - y) for c, cx, cy in here if _is_in(cx - x, cy - y, side)]
        said = [c for c, *_ in users]
        own = self._own_clicks(input_, window)
        is_alike = np.count_nonzero(input_ > 0) >= self._area(LEAST_LOOK_PX)
        if not any(c.is_positive for c in (*own, *said)) and is_alike:
            own += self._deepest(input_ > 0, window, is_positive=True)
        answer, logits = None, input_
        if any(c.is_positive for c in (*own, *said)):
            region = self._grid.region(window)
            answer = self._predictor.predict(region, [*own, *said], Prediction(input_))
            logits = (1 - LOOK_SHARE) * answer.prediction.logits + LOOK_SHARE * alike
        growth = replace(
            growth, answered=(*growth.answered, window), n_windows=growth.n_windows + 1
        )
        if not users and not self._agrees(stands, logits):
            return canvas, growth, answer
        logits = _holding(logits.astype(np.float32), users)
        canvas = canvas.grown(window, logits, growth.held.read_window(window).depth > 0)
        return canvas, self._reached(canvas, growth, window), answer

    def finish(self, canvas: Canvas, growth: Growth) -> tuple[Canvas, Growth]:
        """Take away what is connected neither to a positive click nor to what is held."""
        kept = [self._grid.to_grid(one.xy) for one in growth.clicks if one.is_positive]
        canvas = without_islands(canvas, growth.held, kept)
        empty = [w for w in growth.answered if not canvas.read_window(w).mask.any()]
        if empty:
            left = tuple(w for w in growth.answered if w not in empty)
            canvas = canvas.forgotten(empty, left, growth.held)
            growth = replace(growth, answered=left)
        return canvas, replace(growth, is_finished=True)

    def _agrees(self, stands: CanvasPart, logits: NDArray[np.float32]) -> bool:
        """Whether an answer says of what is well known in its window what is known of it."""
        known = stands.depth > self._rim
        was, now = stands.mask & known, (logits > 0) & known
        either, both = np.count_nonzero(was | now), np.count_nonzero(was & now)
        return bool(either < self._area(LEAST_LOOK_PX) or both >= LEAST_AGREEMENT * either)

    def _mask_input(self, stands: CanvasPart, alike: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mix what stands in a window, where it is known, with what looks alike."""
        side = self._side
        depth = stands.depth.astype(np.float32)
        known = KNOWN_SHARE * np.clip((depth - side / 40) / (side / 10), 0, 1)
        mixed: NDArray[np.float32] = known * stands.logits + (1 - known) * alike
        return mixed.astype(np.float32)

    def _own_clicks(self, input_: NDArray[np.float32], window: Window) -> list[Click]:
        """Return a click deep inside the object and one deep outside, where either is sure."""
        clicks = []
        for is_positive, least in ((True, LEAST_INSIDE_PX), (False, LEAST_OUTSIDE_PX)):
            area = input_ > SURE_LOGIT if is_positive else input_ < -SURE_LOGIT
            if np.count_nonzero(area) >= self._area(least):
                clicks += self._deepest(area, window, is_positive=is_positive)
        return clicks

    def _deepest(
        self, area: NDArray[np.bool_], window: Window, *, is_positive: bool
    ) -> list[Click]:
        """Return a click in the middle of an area of a window; none where it is too thin."""
        depth = inner_depth(area)
        row, column = divmod(int(depth.argmax()), area.shape[1])
        if depth[row, column] < LEAST_DEPTH_PX * self._side / 400:
            return []
        x, y = window.location_xy
        return [Click(self._grid.frame.to_level0((x + column, y + row)), is_positive)]

    def _reached(self, canvas: Canvas, growth: Growth, window: Window) -> Growth:
        """Add the places where the object reaches a window's edge, and nothing is known beyond."""
        part, (x, y), rim = canvas.read_window(window), window.location_xy, self._rim
        is_open = part.mask & (part.depth > 0) & (part.depth <= rim)
        found: list[Point] = []
        last = self._side - 1
        for band, at in (
            (is_open[:rim].any(axis=0), lambda i: (i, 0)),
            (is_open[-rim:].any(axis=0), lambda i: (i, last)),
            (is_open[:, :rim].any(axis=1), lambda i: (0, i)),
            (is_open[:, -rim:].any(axis=1), lambda i: (last, i)),
        ):
            for begin, end in _runs(band):
                if end - begin >= rim // 4:
                    i, j = at((begin + end) // 2)
                    found.append(_nearest(is_open, i, j))
        seed = np.array(growth.seed_xy)
        places = {*growth.waiting, *((float(x + i), float(y + j)) for i, j in found)}
        ordered = sorted(places, key=lambda p: (float(np.sum((np.array(p) - seed) ** 2)), p))
        return replace(growth, waiting=tuple(ordered))

    def _area(self, px: int) -> float:
        """Scale an area that was chosen for windows of 400 px."""
        return px * (self._side / 400) ** 2


def _is_in(x: float, y: float, side: int) -> bool:
    return -0.5 <= x < side - 0.5 and -0.5 <= y < side - 0.5


def _touch(one: Window, other: Window, side: int) -> bool:
    offs = zip(one.location_xy, other.location_xy, strict=True)
    return max(abs(a - b) for a, b in offs) <= side


def _holding(
    logits: NDArray[np.float32], users: Sequence[tuple[Click, float, float]]
) -> NDArray[np.float32]:
    """Let the sign of each of the user's clicks hold round it, whatever was answered there."""
    rows, columns = np.ogrid[: logits.shape[0], : logits.shape[1]]
    for click, x, y in users:
        near = np.hypot(columns - x, rows - y) <= HELD_RADIUS_PX * len(logits) / 400
        if click.is_positive:
            logits = np.where(near, np.maximum(logits, HELD_LOGIT), logits)
        else:
            logits = np.where(near, np.minimum(logits, -HELD_LOGIT), logits)
    return logits


def _runs(band: Any) -> list[tuple[int, int]]:
    """List where a row of pixels is set: first and end pixel of each run."""
    steps = np.flatnonzero(np.diff(np.concatenate([[0], band.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in steps.reshape(-1, 2)]


def _nearest(is_open: NDArray[np.bool_], x: int, y: int) -> tuple[int, int]:
    """Return the set pixel (x, y) that is nearest to a place; there is one."""
    rows, columns = np.nonzero(is_open)
    at = int(np.argmin((columns - x) ** 2 + (rows - y) ** 2))
    return int(columns[at]), int(rows[at])
