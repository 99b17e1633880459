"""Two processes that train together, as a launcher starts them: the result is one process's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from histosam_core.model.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from histosam_core.training import TrainConfig, finetune
from histosam_core.training.run_folder import RunFolder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def data(
    tmp_path: Path,
    small_model: Callable[..., Any],
    small_patches: Callable[..., Any],
    write_store: Callable[..., None],
) -> Path:
    """A folder with a model and patches."""
    write_store(tmp_path / "data" / "train.zarr", small_patches(5, 0))
    write_store(tmp_path / "data" / "validation.zarr", small_patches(3, 1))
    model = small_model("refining")
    save_checkpoint(tmp_path / "small.safetensors", model.network, model.info)
    return tmp_path


@pytest.mark.slow
def test_two_processes_train_what_one_does_and_one_of_them_writes(data: Path) -> None:
    # Shares of a step differ in size (3 and 2 patches), and one has an uneven last pass.
    config = TrainConfig(
        out=data / "one",
        patches=data / "data",
        model=str(data / "small.safetensors"),
        device="cpu",
        epochs=2,
        batch_size=3,
        accumulate_steps=2,
        learning_rate=1e-3,
        validation_clicks=3,
        cache_disk_mb=0,
    )
    config.save(data / "config.json")
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "--main_process_port", str(_free_port()), "-m", "histosam_core", "finetune",
        "--config", str(data / "config.json"), "--out", str(data / "two"),
    ]  # fmt: skip
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Next: histosam evaluate") == 1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = finetune(config)
    torch.set_num_threads(threads)

    before, one, two = (
        load_checkpoint(path)[0].state_dict()
        for path in (
            data / "small.safetensors", alone.last_checkpoint, data / "two" / "last.safetensors",
        )
    )  # fmt: skip
    changed = torch.cat([(one[name] - before[name]).flatten() for name in one])
    apart = torch.cat([(one[name] - two[name]).flatten() for name in one])
    assert changed.norm() > 0.1
    assert apart.norm() < 1e-3 * changed.norm()
    first, second = (RunFolder(data / name).load_state() for name in ("one", "two"))
    for row, other in zip(first["rows"], second["rows"], strict=True):
        assert row.keys() == other.keys()
        for name in ("step", "loss", "train_iou", "val_noc85", "val_iou_1_click"):
            assert other[name] == (row[name] and pytest.approx(row[name], rel=1e-3))
