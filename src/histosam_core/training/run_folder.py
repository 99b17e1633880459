"""The run folder: settings, log, curves, checkpoints and the state to resume from.

Every file is written beside and renamed, so a crash leaves the last whole one.
"""

from __future__ import annotations

import csv
import pickle
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from histosam_core.atomic import new_file
from histosam_core.errors import CheckpointError, ConfigError, OutputExistsError

if TYPE_CHECKING:
    from histosam_core.training.config import TrainConfig

LOG_COLUMNS = (
    "epoch", "step", "seconds", "learning_rate", "loss", "train_iou", "val_noc80", "val_noc85",
    "val_noc90", "val_iou_1_click", "val_iou_5_clicks", "val_iou_last_click",
)  # fmt: skip
"""Columns of log.csv, a row per epoch; epoch 0 is the model before training. Loss and train_iou
(after the random and error-region clicks) are means over the epoch's steps."""

STATE_FORMAT = 1
SAFETENSORS_HALF = ".tmp??????"
"""What safetensors writes beside a file before it gets its name."""


class RunFolder:
    """Paths of a run's files, and how they are written and read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.log, self.curves = path / "log.csv", path / "curves.png"  # the same as a table, drawn
        self.best, self.last = path / "best.safetensors", path / "last.safetensors"
        self.state = path / "state.pt"  # what an interrupted run goes on from
        self.tensorboard = path / "tensorboard"
        self._files = (self.state, self.best, self.last, self.log, self.curves, self.config)

    def find_state(
        self, config: TrainConfig, *, resume: bool, overwrite: bool
    ) -> dict[str, Any] | None:
        """Return the state to go on from, or None to start; what is in the folder stays as it is.

        OutputExistsError says that the folder is taken and neither was asked for, ConfigError that
        there is no run to resume or that it began with other settings, CheckpointError that its
        state is damaged or of another format.
        """
        if resume and not self.has_begun_only:
            saved = self.load_state()
            anew = f"start a new run from {config.out}/last.safetensors"
            config.check_same(saved["config"], otherwise=anew)
            return saved
        if not (resume or overwrite):
            self.check_free()
        return None

    def check_free(self) -> None:
        """Raise OutputExistsError if the path is taken by anything but an empty folder."""
        taken = self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))
        if not taken:
            return
        if self.state.is_file():
            raise OutputExistsError(
                f"{self.path} holds a run; pass --resume to go on with it, --overwrite to start "
                "anew, or choose another folder"
            )
        raise OutputExistsError(f"{self.path} exists; choose another folder or pass --overwrite")

    @property
    def has_begun_only(self) -> bool:
        """Whether a run was killed here before its first state: there is nothing to go on from."""
        return self.config.is_file() and not self.state.is_file() and not self.log.is_file()

    def clear(self) -> None:
        """Delete a run's files, and nothing else that lies in the folder."""
        if self.path.exists() and not self.path.is_dir():
            raise OutputExistsError(f"{self.path} is a file; choose a folder for the run")
        for file in self._files:
            file.unlink(missing_ok=True)
        for file in self.tensorboard.glob("events.out.tfevents.*"):
            file.unlink()
        with suppress(OSError):  # there is none, or it holds more
            self.tensorboard.rmdir()

    def clear_leftovers(self) -> None:
        """Delete what a killed process had half written."""
        for file in self._files:
            for half in self.path.glob(f".{file.stem}-????????{file.suffix}"):
                half.unlink(missing_ok=True)
        for half in self.path.glob(SAFETENSORS_HALF):
            half.unlink(missing_ok=True)

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Write the state; values are tensors and plain Python values."""
        with new_file(self.state) as temporary:
            try:
                torch.save({"format": STATE_FORMAT, **state}, temporary)
            except RuntimeError as error:  # torch's zip writer hides the system's error
                raise OSError(5, f"{error}".splitlines()[0]) from error

    def load_state(self) -> dict[str, Any]:
        """Read the state; files that hold anything but tensors and plain values are refused."""
        if not self.state.is_file():
            raise ConfigError(
                f"{self.path} holds no run to resume (no {self.state.name}); start it without "
                "--resume"
            )
        try:
            with warnings.catch_warnings():
                # torch warns of some files before it refuses them; the error below says enough.
                warnings.simplefilter("ignore", UserWarning)
                state = torch.load(self.state, map_location="cpu", weights_only=True)
            written = state["format"]
        except (RuntimeError, OSError, EOFError, KeyError, TypeError, ValueError,
                pickle.UnpicklingError) as error:  # fmt: skip
            raise CheckpointError(
                f"{self.state} is damaged ({type(error).__name__}); start anew with --overwrite, "
                f"from {self.last.name} if you like"
            ) from error
        if written != STATE_FORMAT:
            raise CheckpointError(
                f"{self.state} is of format {written}, this program reads {STATE_FORMAT}; "
                "start anew with --overwrite"
            )
        return dict(state)

    def write_log(self, rows: Sequence[Mapping[str, float | int | None]]) -> None:
        """Write log.csv; a value that was not measured is left empty."""
        with new_file(self.log) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(LOG_COLUMNS)
            for row in rows:
                values = (row.get(name) for name in LOG_COLUMNS)
                writer.writerow(f"{v:.6g}" if isinstance(v, float) else v for v in values)

    def write_curves(self, rows: Sequence[Mapping[str, float | int | None]], title: str) -> None:
        """Draw loss, IoU and NoC over the epochs."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(12, 3.8))
        panels = figure.subplots(1, 3)
        # By hand: matplotlib's own layout costs as much as an epoch of a small run.
        figure.subplots_adjust(left=0.05, right=0.985, bottom=0.14, top=0.8, wspace=0.16)
        lines = (
            ("loss (NFL; need not fall)", {"loss": "training"}),
            (
                "mean IoU",
                {
                    "train_iou": "training",
                    "val_iou_1_click": "validation, 1 click",
                    "val_iou_5_clicks": "validation, 5 clicks",
                },
            ),
            (
                "clicks needed (validation)",
                {"val_noc80": "NoC@80", "val_noc85": "NoC@85", "val_noc90": "NoC@90"},
            ),
        )
        for panel, (name, columns) in zip(panels, lines, strict=True):
            for column, label in columns.items():
                points = [(r["epoch"], r[column]) for r in rows if r.get(column) is not None]
                panel.plot(*zip(*points, strict=True) if points else ([], []), ".-", label=label)
            panel.set(xlabel="epoch", title=name)
            panel.grid(alpha=0.3)
            panel.legend(fontsize="small")
        figure.suptitle(title)
        with new_file(self.curves) as temporary:
            figure.savefig(temporary, dpi=110)
