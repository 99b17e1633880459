"""What a run reports while it goes on: progress, events, the log for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.errors import ConfigError

if TYPE_CHECKING:
    from histosam_core.progress import ProgressCallback
    from histosam_core.training.compute import Processes
    from histosam_core.training.stopping import StopRequest, TimeBudget

OnEvent = Callable[[Mapping[str, object]], None]
"""Called with ``{"event": "step" | "validation" | "notice", ...}``; may raise to stop the run."""

SCALARS = {
    "step": ("training", ("loss", "iou", "learning_rate")),
    "validation": (
        "validation",
        ("noc80", "noc85", "noc90", "iou_1_click", "iou_5_clicks", "iou_last_click"),
    ),
}
"""Group and figures of each event that TensorBoard gets."""


def check_tensorboard() -> None:
    """Raise ConfigError where TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        raise ConfigError(
            "tensorboard is on but not installed; pip install tensorboard, or leave it off"
        )


class RunLog:
    """Reports one run, from its first process alone.

    `progress` is called with steps done and in all, or with seconds where the run has a time
    budget; `on_event` with every event. Both may raise KeyboardInterrupt to stop the run; where
    there are several processes, that becomes a request to stop which they all honour.

    Attributes
    ----------
    step, steps : int
        Steps done and in all.
    """

    def __init__(
        self,
        progress: ProgressCallback,
        on_event: OnEvent | None,
        time: TimeBudget,
        processes: Processes,
        stop: StopRequest,
    ) -> None:
        self._progress, self._on_event = progress, on_event
        self.time, self.processes, self.stop = time, processes, stop
        self.step = self.steps = 0
        self._doing, self._n_encoded = "", 0
        self._tensorboard: Any = None

    def open_tensorboard(self, folder: Path) -> None:
        """Write events as scalars, too; what an earlier attempt wrote from here on is hidden."""
        from torch.utils.tensorboard import SummaryWriter

        writer: Any = SummaryWriter
        self._tensorboard = writer(str(folder), purge_step=self.step or None)

    def event(self, kind: str, **figures: object) -> None:
        """Hand on an event; docs/finetuning.md lists kinds and figures."""
        if self._tensorboard is not None and kind in SCALARS:
            group, names = SCALARS[kind]
            for name in names:
                self._tensorboard.add_scalar(f"{group}/{name}", figures[name], self.step)
        if self._on_event is not None:
            self._call(self._on_event, {"event": kind, **figures})

    def notice(self, text: str) -> None:
        """Hand on what the user should know and what does not end the run."""
        self.event("notice", text=text)

    def begin(self, doing: str) -> None:
        """Remember what the run is at, for reports before it is done."""
        self._doing = doing

    def say(self, message: str, *, is_over: bool = False) -> None:
        """Report progress, and remember what the run is at."""
        self._doing = message
        self._report(message, is_over=is_over)

    def repeat(self) -> None:
        """Report the same again, so that the listener can pause or stop a validation."""
        if self.processes.count == 1:
            self.stop.check()
            self._report(self._doing)

    def encoded(self) -> None:
        """Report one more patch that goes through the image encoder, which may take long."""
        self.stop.check()
        self._n_encoded += 1
        self._report(f"{self._doing}, {self._n_encoded} patches encoded")

    def close(self) -> None:
        """Close files."""
        if self._tensorboard is not None:
            self._tensorboard.close()

    def _report(self, message: str, *, is_over: bool = False) -> None:
        done, total = self.step, self.steps
        if self.time.max_seconds is not None:
            total = round(self.time.max_seconds)
            done = total if is_over else min(int(self.time.seconds), total)
        self._call(self._progress, done, total, message)

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        if self.processes.count == 1:
            callback(*arguments)
        elif self.processes.is_main:
            try:
                callback(*arguments)
            except KeyboardInterrupt:
                self.stop.requested = True
