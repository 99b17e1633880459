"""What one window answers to a prompt, and what the session answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.clicks import Click, Prompt
from histosam_core.errors import ConfigError

if TYPE_CHECKING:
    from histosam_core.geometry import Region
    from histosam_core.session.windows.predictor import Timings
    from histosam_core.session.windows.windows import Window

__all__ = ["Answer", "ClickResult"]


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
