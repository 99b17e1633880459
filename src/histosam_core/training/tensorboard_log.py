"""The log for TensorBoard, beside the CSV: scalars by step."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from histosam_core.errors import ConfigError

__all__ = ["TensorBoardLog", "check_installed"]

GROUPS = {
    "step": ("loss", "iou", "learning_rate"),
    "validation": ("noc80", "noc85", "noc90", "iou_1_click", "iou_5_clicks", "iou_last_click"),
}


def check_installed() -> None:
    """Raise ConfigError where TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        raise ConfigError(
            "tensorboard is on and not installed; pip install tensorboard, or leave it off"
        )


class TensorBoardLog:
    """Writes a run's events as scalars.

    Parameters
    ----------
    folder
        Where TensorBoard is pointed to.
    first_step
        Where this sitting begins; what an earlier one wrote from there on is no longer shown.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        writer: Any = SummaryWriter
        self._writer: Any = writer(str(folder), purge_step=first_step or None)

    def write(self, event: Mapping[str, object], step: int) -> None:
        """Write what an event of the run tells; see `histosam_core.training.events`."""
        kind = str(event["event"])
        for name in GROUPS.get(kind, ()):
            group = "training" if kind == "step" else kind
            self._writer.add_scalar(f"{group}/{name}", event[name], step)

    def close(self) -> None:
        """Write what is pending."""
        self._writer.close()
