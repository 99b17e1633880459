"""Kill a training process at random moments, resume, and compare with the uninterrupted run.

    python tests/core/training/killed_run.py FOLDER [--model ritm_h18s] [--kills 20] [--seed 0]

Prints a JSON object: the steps that were done at each kill, as the state on disk has them, and
in what both runs differ at the end, of weights, log and files. A process is forked for each
attempt, before torch has started a thread, so that killing is all that it costs.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conftest import make_model, make_patches
from histosam_core.errors import HistoSamError
from histosam_core.model import FocalClickModel, RitmModel, SimpleClickModel
from histosam_core.model.baselines import network
from histosam_core.model.checkpoint.checkpoint import describe_network, load_checkpoint
from histosam_core.training import TrainConfig, finetune
from histosam_core.training.run_folder import RunFolder

SAM = "histosam-tiny"


def config(out: Path, cache: Path, model: str) -> TrainConfig:
    """Settings of both runs; every step is saved."""
    own: dict[str, Any] = {"scenario": "refining", "augment_variants": 3, "cache_dir": cache}
    if model != SAM:
        own = {"crop_size": 64}
    return TrainConfig(
        out=out,
        model=model,
        device="cpu",
        epochs=6,
        batch_size=2,
        validation_clicks=3,
        save_every_minutes=0.0,
        **own,
    )


def small_model(name: str) -> Any:
    """A model with random weights, always the same."""
    if name == SAM:
        return make_model("refining")
    kinds: dict[str, Any] = {
        "ritm": partial(RitmModel, zoom_in=None),
        "focalclick": FocalClickModel,
        "simpleclick": SimpleClickModel,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built: Any = network(name)
    info = describe_network(built, name="small")
    return kinds[name.split("_")[0]](built, info=info, device="cpu", flip=False)


def train(out: Path, cache: Path, model: str, *, resume: bool) -> None:
    """Train to the end, in this process."""
    finetune(
        config(out, cache, model),
        resume=resume,
        model=small_model(model),
        train_patches=make_patches(8, 0),
        validation_patches=make_patches(3, 1),
    )


def start(out: Path, cache: Path, model: str) -> int:
    """Train in a process of its own; return its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        train(out, cache, model, resume=(out / "config.json").is_file())
        code = 0
    finally:
        os._exit(code)


def steps_done(out: Path) -> int:
    """Steps in the state on disk."""
    try:
        return int(RunFolder(out).load_state()["position"]["step"])
    except HistoSamError:
        return 0


def ended(child: int) -> bool:
    """Whether a process is over; it can still be waited for."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, child, flags) is not None


def outcome(out: Path) -> dict[str, object]:
    """What may not differ: weights, log but for its times, files."""
    weights = {
        name: {key: value.numpy().tobytes() for key, value in network.state_dict().items()}
        for name in ("best", "last")
        for network in [load_checkpoint(out / f"{name}.safetensors")[0]]
    }
    with (out / "log.csv").open(newline="") as file:
        rows = [{**row, "seconds": ""} for row in csv.DictReader(file)]
    return {"weights": weights, "rows": rows, "files": sorted(f.name for f in out.iterdir())}


def main() -> None:
    """Run as the module says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default=SAM)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    whole, killed = options.folder / "whole", options.folder / "killed"

    began = time.monotonic()
    _, status = os.waitpid(start(whole, options.folder / "cache-whole", options.model), 0)
    if status:
        raise SystemExit("the uninterrupted run failed")
    seconds = time.monotonic() - began

    rng = np.random.default_rng(options.seed)
    steps: list[int] = []
    step_seconds = seconds / steps_done(whole)
    while len(steps) < options.kills:
        before = steps_done(killed)
        child = start(killed, options.folder / "cache-killed", options.model)
        # Every other attempt comes at least one step on; then any moment may be the last.
        must_move = len(steps) % 2 == 1
        while must_move and steps_done(killed) == before and not ended(child):
            time.sleep(0.02)
        time.sleep(rng.uniform(0.0, 1.5 * step_seconds))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break  # the run came to its end, or failed, before it could be killed
        steps.append(steps_done(killed))
    _, status = os.waitpid(start(killed, options.folder / "cache-killed", options.model), 0)
    if status:
        raise SystemExit("the last attempt failed")
    first, second = outcome(whole), outcome(killed)
    differing = [name for name in first if first[name] != second[name]]
    total = steps_done(whole)
    print(json.dumps({"steps_at_kills": steps, "steps": total, "differing": differing}))


if __name__ == "__main__":
    main()
