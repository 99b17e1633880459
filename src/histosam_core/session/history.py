"""What was done to one object: states one after another, and a place among them.

A state never changes. A click, a box, and taking prompts out or moving them each make a new one,
so that all are undone alike: by going back to the state before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from histosam_core.session.canvas.kept_canvases import KeptCanvases

if TYPE_CHECKING:
    from histosam_core.clicks import Prompt
    from histosam_core.session.canvas.canvas import CanvasSnapshot
    from histosam_core.session.windows.predictor import Timings
    from histosam_core.session.windows.windows import Window

__all__ = ["Answer", "History", "Start", "State", "Step"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one window answered.

    Parameters
    ----------
    window
        Which window.
    quality, state
        Of the model's `Prediction`.
    timings
        Seconds the answer took.
    is_new_window
        Whether the object had not used the window before.
    was_ready
        Whether the window's embedding was at hand.
    """

    window: Window
    quality: float | None
    state: Any
    timings: Timings
    is_new_window: bool
    was_ready: bool


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One prompt and what answered it.

    Parameters
    ----------
    prompt
        In level-0 pixels.
    answers
        One for a click; for a box as many as it takes windows; none for a lasso, which no model
        answers.
    """

    prompt: Prompt
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What an object begins from.

    Parameters
    ----------
    canvas
        The canvas before the first step.
    prompts
        What has led to that canvas; not undone, but it can be taken out or moved.
    geometry
        The outline that the canvas was drawn from, level-0 pixels; None: from nothing.
    origin
        The outline to go back to when one of `prompts` is taken out or moved; None: nothing.
    """

    canvas: CanvasSnapshot = field(default_factory=dict)
    prompts: tuple[Prompt, ...] = ()
    geometry: Any = None
    origin: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """One object as it is at one moment.

    Parameters
    ----------
    start
        What it began from.
    steps
        What has been done since.
    latest
        The windows used, in order of first use, with the latest answer of each.
    made
        The step to look at when this state is reached or left; None for a first state.
    """

    start: Start = field(default_factory=Start)
    steps: tuple[Step, ...] = ()
    latest: Mapping[Window, Answer] = field(default_factory=dict)
    made: Step | None = None

    @classmethod
    def of(cls, start: Start, steps: Sequence[Step] = ()) -> State:
        """Put a state together from its steps."""
        latest = {a.window: a for step in steps for a in step.answers}
        return cls(start, tuple(steps), latest, steps[-1] if steps else None)

    def after(self, step: Step) -> State:
        """Return the state that one more step leads to."""
        new = {answer.window: answer for answer in step.answers}
        return State(self.start, (*self.steps, step), {**self.latest, **new}, step)

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """All prompts in order."""
        return (*self.start.prompts, *(step.prompt for step in self.steps))

    @property
    def current_window(self) -> Window | None:
        """The window that answered last."""
        answered = (step.answers[-1].window for step in reversed(self.steps) if step.answers)
        return next(answered, None)

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows used, in order of first use."""
        return tuple(self.latest)

    @property
    def quality(self) -> float | None:
        """Mean of the model's own estimates, the latest of each window; None without any."""
        known = [a.quality for a in self.latest.values() if a.quality is not None]
        return sum(known) / len(known) if known else None


class History:
    """The states of one object, with undo and redo; a new state forgets what was undone.

    Parameters
    ----------
    first
        The state that cannot be undone; without steps.

    Attributes
    ----------
    canvas
        The canvas of the state at hand.
    kept
        Canvases of other states.
    """

    def __init__(self, first: State | None = None) -> None:
        self._states = [first or State()]
        self._at = 0
        self.canvas: CanvasSnapshot = self.state.start.canvas
        self.kept = KeptCanvases()

    @property
    def state(self) -> State:
        """The state at hand."""
        return self._states[self._at]

    @property
    def before(self) -> State | None:
        """The state that `undo` goes to; None when there is none."""
        return self._states[self._at - 1] if self._at else None

    @property
    def after(self) -> State | None:
        """The state that `redo` goes to; None when there is none."""
        return self._states[self._at + 1] if self._at + 1 < len(self._states) else None

    def add(self, state: State, canvas: CanvasSnapshot) -> None:
        """Go on to a new state, and its canvas."""
        del self._states[self._at + 1 :]
        self._states.append(state)
        self._at += 1
        self.canvas = canvas

    def undo(self, canvas: CanvasSnapshot) -> None:
        """Go back to `before`, whose canvas this is."""
        self._at -= 1
        self.canvas = canvas

    def redo(self, canvas: CanvasSnapshot) -> None:
        """Go on to `after`, whose canvas this is."""
        self._at += 1
        self.canvas = canvas
