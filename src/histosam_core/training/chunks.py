"""As many patches at a time as fit into memory: halved when they do not, and said so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from histosam_core.errors import OutOfMemoryError
from histosam_core.model.device import naming_a_full_memory

__all__ = ["Chunks"]

Result = TypeVar("Result")

ADVICE = (
    "choose a scenario with a frozen image encoder, a smaller model, precision bf16, or another "
    "device"
)
EFFECT = "steps stay what they were"


class Chunks:
    """Calls a function with parts of a batch.

    Parameters
    ----------
    size
        Patches at a time, until the memory is found too small for them.
    device
        Where the work is done.
    tell
        Called with a line for the user when the size is halved.
    advice
        What to do where not even the fewest fit.
    effect
        What more passes change.

    Attributes
    ----------
    size : int
        Patches at a time from now on.
    """

    def __init__(
        self,
        size: int,
        device: torch.device,
        tell: Callable[[str], None],
        *,
        advice: str = ADVICE,
        effect: str = EFFECT,
    ) -> None:
        self.size = size
        self._device = device
        self._tell = tell
        self._advice, self._effect = advice, effect

    def run(
        self,
        count: int,
        work: Callable[[slice], Result],
        *,
        at_most: int | None = None,
        at_least: int = 1,
        restart: Callable[[], None] | None = None,
    ) -> list[Result]:
        """Call `work` with slices that cover range(count), and return its answers.

        Parameters
        ----------
        count
            Patches in all.
        work
            Its part fits into memory, or it is called again with half of it.
        at_most
            Bound on the parts of this call.
        at_least
            No part of this call has fewer, unless `count` is less.
        restart
            Called when the memory was full, to undo what was done: all begins again. None goes on
            with the part that failed.

        Raises
        ------
        OutOfMemoryError
            The memory does not suffice for the fewest patches.
        """
        done, answers = 0, []
        while done < count:
            size = self.size if at_most is None else min(self.size, at_most)
            part = slice(done, done + _next_size(count - done, size, at_least))
            try:
                with naming_a_full_memory(self._device):
                    answers.append(work(part))
                done = part.stop
                continue
            except OutOfMemoryError as error:
                n = part.stop - part.start
                if n < 2 * at_least:
                    what = "a single patch" if n == 1 else f"{n} patches"
                    raise OutOfMemoryError(
                        f"the memory of {self._device} is too small for {what}; {self._advice}"
                    ) from error
            # Here the error, and with it all that its frames held, is gone.
            self.halve(part.stop - part.start)
            if restart is not None:
                restart()
                done, answers = 0, []
        return answers

    def halve(self, tried: int) -> None:
        """Go on with half of `tried`, which was too many."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self.size = max(1, tried // 2)
        self._tell(
            f"the memory of {self._device} is too small for {tried} patches at a time; going on "
            f"with {self.size} at a time, in more passes: {self._effect}"
        )


def _next_size(left: int, size: int, at_least: int) -> int:
    """How many of those left to take, so that what is left then is none or enough."""
    size = min(max(size, at_least), left)
    if 0 < left - size < at_least:
        return left - at_least if left >= 2 * at_least else left
    return size
