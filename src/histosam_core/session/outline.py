"""From a draft to its mask: windows answer its prompts, and their answers lie on a canvas.

A click goes to a window, the model answers for that window, and the answer replaces what stood
there on the canvas. A box is answered by every window that it takes to cover it. The model sees
all clicks of the object that lie in the window and, as its previous answer, what the canvas shows
there, with the state of its own last answer there. A window's first answer, where the object has
not reached it, has no previous one: so the clicks of one window give exactly what `run_clicks` of
the evaluation gives on its patch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import shapely
from numpy.typing import NDArray

from histosam_core.clicks import Box, Click, Lasso, Prompt
from histosam_core.errors import ConfigError
from histosam_core.model.interface import Prediction
from histosam_core.session.apply import Draft
from histosam_core.session.canvas.canvas import Canvas
from histosam_core.session.canvas.drawn import (
    box_of,
    check_lasso,
    draw_lasso,
    drawn_tiles,
    hold_lassos,
    is_contradicted,
)
from histosam_core.session.canvas.kept_canvases import KeptCanvases
from histosam_core.session.growth.growing import Grower, Growth
from histosam_core.session.objects import without
from histosam_core.session.windows.predictor import Predictor, Timings

if TYPE_CHECKING:
    from histosam_core.geometry import Region
    from histosam_core.session.objects import Start
    from histosam_core.session.windows.windows import Window, WindowGrid


@dataclass(frozen=True, slots=True)
class Answer:
    """What one window answered: the model's `Prediction` but for its logits; see `ClickResult`."""

    window: Window
    quality: float | None
    state: Any
    timings: Timings
    is_new_window: bool
    was_ready: bool


@dataclass(frozen=True, slots=True, eq=False)
class ClickResult:
    """The mask after a click, an undo or a redo, where it changed; unpacks as mask, region.

    Parameters
    ----------
    mask
        (h, w) bool, the object's mask in the window.
    region
        The window: level-0 corner, size, mpp. Its frame: ``region.frame(session.slide_mpp)``. For
        a box of several windows the rectangle round them, for a lasso the one round it.
    prompt
        The click, box or lasso that was made, undone or redone; level-0 pixels. Of an edit the
        last one that was answered again.
    quality
        The model's own estimate of the window's IoU; None where it gives none.
    timings
        Seconds the answer took when it was made.
    is_new_window
        Whether the object had not used the window before.
    was_ready
        Whether the window's embedding was in the store.
    """

    mask: NDArray[np.bool_]
    region: Region
    prompt: Prompt
    quality: float | None
    timings: Timings
    is_new_window: bool
    was_ready: bool

    @property
    def click(self) -> Click:
        """The prompt, where it is a click; ConfigError where it is a box or a lasso."""
        if not isinstance(self.prompt, Click):
            kind = type(self.prompt).__name__.lower()
            raise ConfigError(f"the answer is to a {kind}, not to a click; take its prompt")
        return self.prompt

    def __iter__(self) -> Iterator[Any]:
        """Yield the mask and its region."""
        yield self.mask
        yield self.region


class Outline:
    """The mask of one draft at a time; to show another, the model answers what it has not yet.

    A mask follows from the draft alone: one that is not kept is made again bit for bit.

    Attributes
    ----------
    draft, canvas
        The draft that is shown, and its mask.
    kept
        Masks of other drafts.
    """

    def __init__(self, predictor: Predictor, grid: WindowGrid, mask_threshold: float) -> None:
        self.predictor = predictor
        self.grid = grid
        self.canvas = self._blank = Canvas(grid, mask_threshold)
        self.kept = KeptCanvases()
        self.draft = Draft()
        self._answers: WeakKeyDictionary[Draft, tuple[Answer, ...]] = WeakKeyDictionary()
        self._latest: WeakKeyDictionary[Draft, dict[Window, Answer]] = WeakKeyDictionary()
        self._begun: WeakKeyDictionary[Start, Canvas] = WeakKeyDictionary()
        self._growths: WeakKeyDictionary[Draft, Growth] = WeakKeyDictionary()
        self._grower = Grower(predictor, grid)

    def show(self, draft: Draft) -> None:
        """Make the mask that of a draft. Where the model cannot answer, it stays what it was."""
        if draft is not self.draft:
            self.canvas, self.draft = self.canvas_of(draft), draft

    def canvas_of(self, draft: Draft) -> Canvas:
        """Return the mask of a draft; the model is asked for what it has not answered, or again."""
        missing, nearest = [], draft
        while nearest.before is not None and self.kept.find(nearest) is None:
            missing.append(nearest)
            nearest = nearest.before
        canvas = self.kept.find(nearest) or self._begun_with(nearest.start)
        for step in reversed(missing):
            canvas, answers = self._answer(canvas, step)
            self._answers.setdefault(step, answers)
            latest = {answer.window: answer for answer in self._answers[step]}
            self._latest[step] = {**self.latest(step.before), **latest}
            self.kept.keep(step, canvas)
            if step.before is not None and step.before.windows:
                self.kept.forget(step.before)  # undo does not go back to it
        return canvas

    def check(self, prompt: Prompt) -> Prompt:
        """Refuse a prompt that no window can answer; return it, a box cut at the slide's edge.

        Raises
        ------
        ClickOutsideSlideError
            It lies off the slide.
        ConfigError
            A box or lasso has no area, or a box is too large to be answered while someone waits.
        """
        if isinstance(prompt, Click):
            self.grid.to_grid(prompt.xy)
            return prompt
        if isinstance(prompt, Lasso):
            return check_lasso(prompt, self.grid.slide_wh)
        self.grid.covering(prompt.xyxy)
        (x0, y0, x1, y1), (w, h) = prompt.xyxy, self.grid.slide_wh
        x0, y0, x1, y1 = max(x0, -0.5), max(y0, -0.5), min(x1, w - 0.5), min(y1, h - 0.5)
        if not (x0 < x1 and y0 < y1):
            raise ConfigError("the box has no area; draw it from one corner to the opposite one")
        return Box((x0, y0, x1, y1))

    def geometry(self, *, min_island_px: int = 0) -> Any:
        """Trace the mask; an outline that it began from, if unchanged, is returned exactly."""
        begun = self.draft.start.geometry
        if self.draft.n or begun is None:
            return self.canvas.to_geometry(min_island_px=min_island_px)
        w, h = self.grid.slide_wh
        slide = shapely.box(-0.5, -0.5, w - 0.5, h - 0.5)
        if not slide.covers(begun):
            begun = begun.intersection(slide)
        return without(begun, (), min_area_px=min_island_px * self.grid.downsample**2)

    def window_for(self, xy: tuple[float, float], draft: Draft | None = None) -> Window:
        """Return the window that would answer a click at a level-0 point."""
        step = draft = draft or self.draft
        while step.before is not None and (step.windows or not self._answers.get(step)):
            step = step.before
        answers = self._answers.get(step)
        current = answers[-1].window if answers else None
        return self.grid.serving(xy, current, self.latest(draft))

    def latest(self, draft: Draft | None = None) -> dict[Window, Answer]:
        """Return the windows used, in order of first use, with the latest answer of each."""
        return self._latest.get(draft or self.draft, {})

    def result(self, step: Draft) -> ClickResult:
        """Return what the mask shows now where the last prompt of a draft was answered."""
        while step.windows and step.before is not None:
            step = step.before
        answers, prompt = self._answers[step], step.prompt
        if prompt is None:
            raise AssertionError("a step has a prompt")
        if isinstance(prompt, Lasso):
            x0, y0, x1, y1 = box_of(self.canvas, prompt)
        else:
            windows = [answer.window for answer in answers]
            x0, y0 = (min(w.location_xy[i] for w in windows) for i in (0, 1))
            x1, y1 = (max(w.location_xy[i] + w.side_px for w in windows) for i in (0, 1))
        timings = [answer.timings for answer in answers]
        return ClickResult(
            self.canvas.read((x0, y0), (x1 - x0, y1 - y0)).mask,
            self.canvas.region((x0, y0, x1, y1)),
            prompt,
            mean_quality(answers),
            Timings(
                sum(t.read_s for t in timings),
                sum(t.encode_s for t in timings),
                sum(t.decode_s for t in timings),
            ),
            any(answer.is_new_window for answer in answers),
            all(answer.was_ready for answer in answers),
        )

    def _begun_with(self, start: Start) -> Canvas:
        if start not in self._begun:
            tiles = {} if start.geometry is None else drawn_tiles(start.geometry, self.grid)
            self._begun[start] = replace(self._blank, tiles=tiles)
        return self._begun[start]

    def _answer(self, canvas: Canvas, step: Draft) -> tuple[Canvas, tuple[Answer, ...]]:
        """Let windows answer the last prompt of a draft, on the canvas of the one before."""
        prompt, before = step.prompt, step.before
        if before is not None and step.windows:
            return self._grow(canvas, step, before)
        if prompt is None or before is None:
            raise AssertionError("a step has a prompt")
        if isinstance(prompt, Lasso):
            return draw_lasso(canvas, prompt), ()
        if isinstance(prompt, Box):
            windows = self.grid.covering(prompt.xyxy)
        else:
            windows = (self.window_for(prompt.xy, before),)
        prompts, latest, answers = step.prompts, self.latest(before), []
        for window in windows:
            canvas, answer = self._answer_in(window, canvas, prompts, latest.get(window))
            answers.append(answer)
        return canvas, tuple(answers)

    def growth(self, draft: Draft | None = None) -> Growth | None:
        """Return how far a draft has grown since its last prompt; None: it has not begun to."""
        return self._growths.get(draft or self.draft)

    def _grow(
        self, canvas: Canvas, step: Draft, before: Draft
    ) -> tuple[Canvas, tuple[Answer, ...]]:
        """Let the object grow into some windows more, or until it ends."""
        growth, answers = self._growths.get(before), list[Answer]()
        if growth is None:
            canvas, growth = self._begin_growth(canvas, before)
        latest = self.latest(before)
        for _ in range(step.windows):
            window, growth = self._grower.next_window(canvas, growth)
            if window is None:
                canvas, growth = self._grower.finish(canvas, growth)
                break
            canvas, growth, said = self._grower.answer(canvas, growth, window)
            if said is not None:
                is_new, now = window not in latest, said.prediction
                answers.append(
                    Answer(window, now.quality, None, said.timings, is_new, said.was_ready)
                )
        self._growths[step] = growth
        return canvas, tuple(answers)

    def _begin_growth(self, canvas: Canvas, before: Draft) -> tuple[Canvas, Growth]:
        """Begin to grow after the last prompt of a draft, a click."""
        clicked: dict[Window, None] = {}
        known: dict[Window, None] = {}
        waiting: tuple[tuple[float, float], ...] = ()
        for draft in before.line():
            answers = [answer.window for answer in self._answers.get(draft, ())]
            if draft.windows:
                grown = self._growths[draft]
                known, waiting = dict.fromkeys(grown.answered), grown.waiting
            else:
                clicked |= dict.fromkeys(answers)
                known |= dict.fromkeys(answers)
        if before.before is None:
            raise AssertionError("growth follows a click")
        return self._grower.begin(
            self.canvas_of(before.before),
            canvas,
            self._held(before),
            known=tuple(known),
            clicked=tuple(clicked),
            window=self._answers[before][-1].window,
            clicks=[one for one in before.prompts if isinstance(one, Click)],
            waiting=waiting,
        )

    def _held(self, draft: Draft) -> Canvas:
        """Return what growth leaves as it is: the outline that was begun from, and the lassos."""
        canvas, prompts = self._begun_with(draft.start), draft.prompts
        for number, prompt in enumerate(prompts):
            if isinstance(prompt, Lasso) and not is_contradicted(prompt, prompts[number + 1 :]):
                canvas = draw_lasso(canvas, prompt)
        return canvas

    def _answer_in(
        self, window: Window, canvas: Canvas, prompts: Sequence[Prompt], earlier: Answer | None
    ) -> tuple[Canvas, Answer]:
        """Let a window answer the last of the prompts."""
        stands = canvas.read_window(window)
        previous = None
        if earlier is not None:
            previous = Prediction(stands.logits, earlier.quality, earlier.state)
        elif stands.mask.any():
            previous = Prediction(stands.logits)
        clicks, box = self._seen_in(window, prompts)
        answer = self.predictor.predict(self.grid.region(window), clicks, previous, box=box)
        now, is_new, was_ready = answer.prediction, earlier is None, answer.was_ready
        canvas = hold_lassos(canvas.answered(window, now.logits), window, prompts)
        return canvas, Answer(window, now.quality, now.state, answer.timings, is_new, was_ready)

    def _seen_in(self, window: Window, prompts: Sequence[Prompt]) -> tuple[list[Click], Box | None]:
        """Return the clicks that lie in a window, and the box that holds there.

        The last box that reaches into the window holds, until a later positive click beside it
        says that the object is larger. The last prompt always counts.
        """
        d, side = self.grid.downsample, window.side_px
        x0, y0 = (at * d - 0.5 for at in window.location_xy)
        x1, y1 = x0 + side * d, y0 + side * d
        clicks: list[Click] = []
        box: Box | None = None
        for number, one in enumerate(prompts, start=1):
            is_last = number == len(prompts)
            if isinstance(one, Box):
                left, top, right, bottom = one.xyxy
                if is_last or (left < x1 and right > x0 and top < y1 and bottom > y0):
                    box = one
            elif isinstance(one, Click):
                x, y = one.xy
                if is_last or (x0 <= x < x1 and y0 <= y < y1):
                    clicks.append(one)
                    if box is not None and one.is_positive and not _holds(box, one):
                        box = None
        return clicks, box


def mean_quality(answers: Sequence[Answer]) -> float | None:
    """Return the mean of the model's own estimates; None without any."""
    known = [answer.quality for answer in answers if answer.quality is not None]
    return sum(known) / len(known) if known else None


def _holds(box: Box, click: Click) -> bool:
    x0, y0, x1, y1 = box.xyxy
    return x0 <= click.xy[0] <= x1 and y0 <= click.xy[1] <= y1
