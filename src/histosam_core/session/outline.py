"""The object at hand: prompts in, a mask out, everything undoable.

A click goes to a window (windows.py), the model answers for that window, and the answer replaces
what stood there on the object's canvas (canvas.py). A box is answered by every window that it
takes to cover it. The model sees all clicks of the object that lie in the window and, as its
previous answer, what the canvas shows there, with the state of its own last answer there. A
window's first answer, where the object has not reached it, has no previous one: so the clicks of
one window give exactly what `run_clicks` of the evaluation gives on its patch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import shapely

from histosam_core.clicks import Box, Click, Lasso, Prompt
from histosam_core.errors import ClickOutsideSlideError, ConfigError
from histosam_core.model.interface import Prediction
from histosam_core.session.canvas.canvas import Canvas
from histosam_core.session.canvas.drawn_areas import box_of, check_lasso, draw_lasso, hold_lassos
from histosam_core.session.canvas.drawn_tiles import drawn_tiles
from histosam_core.session.click_result import ClickResult
from histosam_core.session.history import Answer, History, Start, State, Step
from histosam_core.session.overlap import without
from histosam_core.session.windows.predictor import Predictor, Timings

if TYPE_CHECKING:
    from histosam_core.session.canvas.canvas import CanvasSnapshot
    from histosam_core.session.canvas.kept_canvases import KeptCanvases
    from histosam_core.session.windows.windows import Window, WindowGrid

__all__ = ["Outline"]


class Outline:
    """One object and its history. Whatever raises leaves it as it was.

    Parameters
    ----------
    predictor
        Answers prompts.
    grid
        The windows.
    mask_threshold
        A pixel belongs to the object where its probability exceeds it.
    """

    def __init__(self, predictor: Predictor, grid: WindowGrid, mask_threshold: float) -> None:
        self.predictor = predictor
        self.grid = grid
        self.canvas = Canvas(grid, mask_threshold)
        self.history = History()

    @property
    def state(self) -> State:
        """The state at hand."""
        return self.history.state

    @property
    def is_blank(self) -> bool:
        """Whether there is neither a prompt nor a mask."""
        return not (self.state.steps or self.state.start.prompts or self.state.start.canvas)

    def begin(self, history: History) -> None:
        """Go on with another object, where its history stands."""
        self.history = history
        self.canvas.restore(history.canvas)

    def start(self, geometry: Any, prompts: Sequence[Prompt] = (), origin: Any = None) -> Start:
        """Draw an outline to begin from; see `Start`. The object at hand is not touched."""
        tiles = {} if geometry is None else drawn_tiles(geometry, self.grid)
        return Start(tiles, tuple(prompts), geometry, origin)

    def geometry(self, *, min_island_px: int = 0) -> Any:
        """Trace the mask; what it began from, exactly, where nothing was done since.

        Parameters
        ----------
        min_island_px
            Islands of fewer grid pixels are left out.

        Returns
        -------
        shapely.MultiPolygon
            Level-0 pixels, pixel centres at whole numbers, cut at the slide's edge.
        """
        begun = self.state.start.geometry
        if self.state.steps or begun is None:
            return self.canvas.to_geometry(min_island_px=min_island_px)
        w, h = self.grid.slide_wh
        slide = shapely.box(-0.5, -0.5, w - 0.5, h - 0.5)
        if not slide.covers(begun):
            begun = begun.intersection(slide)
        return without(begun, (), min_area_px=min_island_px * self.grid.downsample**2)

    def window_for(self, xy: tuple[float, float], state: State | None = None) -> Window:
        """Return the window that would answer a click at a level-0 point."""
        state = state or self.state
        return self.grid.serving(xy, state.current_window, state.windows)

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
        x0, y0, x1, y1 = prompt.xyxy
        if not (x0 < x1 and y0 < y1):
            raise ConfigError("the box has no area; draw it from one corner to the opposite one")
        w, h = self.grid.slide_wh
        box = Box((max(x0, -0.5), max(y0, -0.5), min(x1, w - 0.5), min(y1, h - 0.5)))
        if x0 >= w - 0.5 or y0 >= h - 0.5 or x1 <= -0.5 or y1 <= -0.5:
            raise ClickOutsideSlideError(
                f"the box ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) lies off the slide, which is "
                f"{w} x {h} level-0 pixels; draw it on the slide"
            )
        self.grid.covering(box.xyxy)
        return box

    def add(self, prompt: Prompt) -> ClickResult:
        """Answer one more prompt, checked before."""
        state = self._answered(self.state, (prompt,), self.history.canvas, self.history.kept)
        self.history.add(state, self.canvas.snapshot())
        return self._result(state.steps[-1])

    def places(self, indices: Iterable[int]) -> list[int]:
        """Return places in the prompts, in order, each once; ConfigError for one that is none."""
        return sorted({self._index(index) for index in indices})

    def remove(self, places: Sequence[int]) -> ClickResult | None:
        """Take prompts out, `places` as checked; see `Session.remove_prompts`."""
        gone = set(places)
        if not gone:
            return None
        later = [p for i, p in enumerate(self.state.prompts) if i not in gone and i > min(gone)]
        return self._edited(min(gone), later)

    def check_move(self, index: int, xy: tuple[float, float]) -> tuple[int, Click]:
        """Return a click's place and the click as it would be elsewhere; see `move_click`."""
        old = self.state.prompts[self._index(index)]
        if not isinstance(old, Click):
            kind = type(old).__name__.lower()
            raise ConfigError(
                f"prompt {index} is a {kind}, not a click; take it out and draw another"
            )
        moved = Click(xy, old.is_positive)
        self.check(moved)
        return index, moved

    def move(self, place: int, moved: Click) -> ClickResult:
        """Put a click in another's place, as checked; see `Session.move_click`."""
        answer = self._edited(place, [moved, *self.state.prompts[place + 1 :]])
        if answer is None:
            raise AssertionError("a click that was moved is answered")
        return answer

    def undo(self) -> ClickResult | None:
        """Go back to the state before; None when there is none.

        Raises
        ------
        PredictionError, SlideError
            Its canvas is not kept and cannot be made again.
        """
        left, before = self.state, self.history.before
        if before is None:
            return None
        self.history.undo(self._canvas_of(before))
        return self._shown(left.made)

    def redo(self) -> ClickResult | None:
        """Go on to the state that was undone last; None when there is none.

        Raises
        ------
        PredictionError, SlideError
            As for `undo`.
        """
        after = self.history.after
        if after is None:
            return None
        self.history.redo(self._canvas_of(after))
        return self._shown(after.made)

    def replayed(self, start: Start, prompts: Sequence[Prompt]) -> History:
        """Answer prompts from `start` on, each a step that can be undone; nothing here changes."""
        history = History(State.of(start))
        try:
            for prompt in prompts:
                state = self._answered(
                    history.state, (self.check(prompt),), history.canvas, history.kept
                )
                history.add(state, self.canvas.snapshot())
        finally:
            self.canvas.restore(self.history.canvas)
        return history

    def _edited(self, first: int, later: Sequence[Prompt]) -> ClickResult | None:
        """Answer again what comes from prompt `first` on; what comes before stays as it is."""
        start, steps = self.state.start, self.state.steps
        n_given = len(start.prompts)
        if first < n_given:
            later = [*start.prompts[:first], *later]
            start, steps = self.start(start.origin, (), start.origin), ()
        else:
            steps = steps[: first - n_given]
        begun = State.of(start, steps)
        state = self._answered(begun, later, self._canvas_of(begun), self.history.kept)
        left = self.state.steps[-1] if self.state.steps else None
        made = state.made or left
        self.history.add(
            State(state.start, state.steps, state.latest, made), self.canvas.snapshot()
        )
        return self._result(state.steps[-1]) if state.steps else None

    def _answered(
        self, state: State, prompts: Iterable[Prompt], canvas: CanvasSnapshot, kept: KeptCanvases
    ) -> State:
        """Answer prompts one after another, from a state and its canvas on.

        The canvas is then the last one's; where this raises, it is that of the state at hand.
        """
        self.canvas.restore(canvas)
        try:
            for prompt in prompts:
                answers = self._answers(state, prompt, self._windows_for(prompt, state))
                step = Step(prompt, answers)
                state = state.after(step)
                kept.keep(step, len(state.steps), self.canvas.snapshot())
        except BaseException:
            self.canvas.restore(self.history.canvas)
            raise
        return state

    def _canvas_of(self, state: State) -> CanvasSnapshot:
        """Return a state's canvas; made again, from the nearest before it, where it is not kept."""
        start, steps, kept = state.start, state.steps, self.history.kept
        known = len(steps)
        while known and kept.find(steps[known - 1]) is None:
            known -= 1
        nearest = kept.find(steps[known - 1]) if known else None
        self.canvas.restore(start.canvas if nearest is None else nearest)
        try:
            for number in range(known, len(steps)):
                step = steps[number]
                windows = [answer.window for answer in step.answers]
                self._answers(State.of(start, steps[:number]), step.prompt, windows)
                kept.keep(step, number + 1, self.canvas.snapshot())
            return self.canvas.snapshot()
        finally:
            self.canvas.restore(self.history.canvas)

    def _answers(
        self, state: State, prompt: Prompt, windows: Iterable[Window]
    ) -> tuple[Answer, ...]:
        """Let windows answer a prompt, one after another; the canvas must be the state's."""
        if isinstance(prompt, Lasso):
            draw_lasso(self.canvas, prompt)
            return ()
        return tuple([self._answer(state, prompt, window) for window in windows])

    def _answer(self, state: State, prompt: Click | Box, window: Window) -> Answer:
        stands = self.canvas.read_window(window)
        earlier = state.latest.get(window)
        previous = None
        if earlier is not None:
            previous = Prediction(stands.logits, earlier.quality, earlier.state)
        elif stands.mask.any():
            previous = Prediction(stands.logits)
        clicks, box = self._in_window(window, state.prompts, prompt)
        answer = self.predictor.predict(self.grid.region(window), clicks, previous, box=box)
        prediction = answer.prediction
        self.canvas.write_window(window, prediction.logits)
        hold_lassos(self.canvas, window, (*state.prompts, prompt))
        return Answer(
            window,
            prediction.quality,
            prediction.state,
            answer.timings,
            earlier is None,
            answer.was_ready,
        )

    def _windows_for(self, prompt: Prompt, state: State) -> tuple[Window, ...]:
        if isinstance(prompt, Click):
            return (self.window_for(prompt.xy, state),)
        if isinstance(prompt, Lasso):
            return ()
        return self.grid.covering(prompt.xyxy)

    def _in_window(
        self, window: Window, earlier: Sequence[Prompt], prompt: Click | Box
    ) -> tuple[list[Click], Box | None]:
        """Return the clicks that lie in a window, and the box that holds there.

        The last box that reaches into the window holds, until a later positive click beside it
        says that the object is larger.
        """
        d, side = self.grid.downsample, window.side_px
        x0, y0 = (at * d - 0.5 for at in window.location_xy)
        x1, y1 = x0 + side * d, y0 + side * d
        clicks: list[Click] = []
        box: Box | None = None
        for one in earlier:
            if isinstance(one, Box):
                left, top, right, bottom = one.xyxy
                if left < x1 and right > x0 and top < y1 and bottom > y0:
                    box = one
                continue
            if isinstance(one, Lasso):
                continue
            x, y = one.xy
            if x0 <= x < x1 and y0 <= y < y1:
                clicks.append(one)
                if box is not None and one.is_positive and not _holds(box, one):
                    box = None
        if isinstance(prompt, Box):
            return clicks, prompt
        if box is not None and prompt.is_positive and not _holds(box, prompt):
            box = None
        return [*clicks, prompt], box

    def _index(self, index: int) -> int:
        n = len(self.state.prompts)
        if not 0 <= index < n:
            held = f"0 to {n - 1}" if n else "none"
            raise ConfigError(f"there is no prompt {index}; the object at hand has {held}")
        return index

    def _shown(self, made: Step | None) -> ClickResult | None:
        """Show the state at hand, where the step was answered that led to it or from it."""
        self.canvas.restore(self.history.canvas)
        return None if made is None else self._result(made)

    def _box_of(self, step: Step) -> tuple[int, int, int, int]:
        """Return the grid pixels that a step was answered for."""
        if isinstance(step.prompt, Lasso):
            return box_of(self.canvas, step.prompt)
        windows = [answer.window for answer in step.answers]
        x0, y0 = (min(w.location_xy[i] for w in windows) for i in (0, 1))
        x1, y1 = (max(w.location_xy[i] + w.side_px for w in windows) for i in (0, 1))
        return x0, y0, x1, y1

    def _result(self, step: Step) -> ClickResult:
        """Return what stands now where a step was answered."""
        x0, y0, x1, y1 = self._box_of(step)
        qualities = [a.quality for a in step.answers if a.quality is not None]
        timings = [answer.timings for answer in step.answers]
        return ClickResult(
            self.canvas.read((x0, y0), (x1 - x0, y1 - y0)).mask,
            self.canvas.region((x0, y0, x1, y1)),
            step.prompt,
            sum(qualities) / len(qualities) if qualities else None,
            Timings(
                sum(t.read_s for t in timings),
                sum(t.encode_s for t in timings),
                sum(t.decode_s for t in timings),
            ),
            any(answer.is_new_window for answer in step.answers),
            all(answer.was_ready for answer in step.answers),
        )


def _holds(box: Box, click: Click) -> bool:
    x0, y0, x1, y1 = box.xyxy
    return x0 <= click.xy[0] <= x1 and y0 <= click.xy[1] <= y1
