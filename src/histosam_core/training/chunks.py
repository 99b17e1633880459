"""As many patches at a time as fit into memory: halved when they do not, and said so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from histosam_core.errors import OutOfMemoryError
from histosam_core.model.device import naming_a_full_memory

__all__ = ["Chunks"]

Result = TypeVar("Result")


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

    Attributes
    ----------
    size : int
        Patches at a time from now on.
    """

    def __init__(self, size: int, device: torch.device, tell: Callable[[str], None]) -> None:
        self.size = size
        self._device = device
        self._tell = tell

    def run(
        self,
        count: int,
        work: Callable[[slice], Result],
        *,
        at_most: int | None = None,
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
        restart
            Called when the memory was full, to undo what was done: all begins again. None goes on
            with the part that failed.

        Raises
        ------
        OutOfMemoryError
            The memory does not suffice for a single patch.
        """
        done, answers = 0, []
        while done < count:
            size = self.size if at_most is None else min(self.size, at_most)
            part = slice(done, min(done + size, count))
            try:
                with naming_a_full_memory(self._device):
                    answers.append(work(part))
                done = part.stop
                continue
            except OutOfMemoryError as error:
                if part.stop - part.start == 1:
                    raise OutOfMemoryError(
                        f"the memory of {self._device} is too small for a single patch; choose a "
                        "scenario with a frozen image encoder, a smaller model, precision bf16, "
                        "or another device"
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
            f"with {self.size} at a time, in more passes: steps stay what they were"
        )
