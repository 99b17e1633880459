"""What a patch costs in fine-tuning, on one CPU core: where the widget's estimates come from.

    python benchmarks/bench_finetune_cost.py --model histosam_tiny --scenario refining
        [--batch 2] [--patches 8] [--json]
    python benchmarks/bench_finetune_cost.py --model ritm_h18s

Trains two epochs on drawn patches of 400 px with random weights, and prints seconds of one core
per patch (processor time, so that other work on the machine does not count) and the peak of memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_slide_read import peak_mb

from histosam_core.model.baselines import network
from histosam_core.model.checkpoint.checkpoint import describe_network
from histosam_core.model.load import make_interactive
from histosam_core.model.sam.network import build_network
from histosam_core.training import TrainConfig, finetune
from histosam_core.training import loop as loop_module
from histosam_core.training.families.sam import SamLearner
from histosam_core.training.families.sam_embeddings import PatchEncoder
from histosam_core.training.families.specialist import SpecialistLearner
from histosam_core.training.optimiser import Optimiser
from histosam_core.training.recipes import SCENARIOS, recipe_of_architecture

PATCH_PX, CLICKS, VALIDATED = 400, 20, 2


@dataclass(frozen=True)
class Patch:
    """A disc of one colour on another, with noise."""

    image: np.ndarray
    gt_mask: np.ndarray
    mpp: float = 2.0


def draw(count: int) -> list[Patch]:
    """Return patches."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:PATCH_PX, :PATCH_PX]
    drawn = []
    for _ in range(count):
        y, x = rng.uniform(150, 250, 2)
        disc = (rows - y) ** 2 + (columns - x) ** 2 < 110**2
        image = np.where(disc[..., None], 110, 190) + rng.normal(0, 12, (PATCH_PX, PATCH_PX, 3))
        drawn.append(Patch(np.clip(image, 0, 255).astype(np.uint8), disc.astype(np.int8)))
    return drawn


class Spent:
    """Processor seconds of every call of some functions."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def watch(self, owner: Any, name: str) -> None:
        """Time a method of a class, or a function of a module, from now on."""
        inner = getattr(owner, name)
        kept = self.seconds.setdefault(name, [])

        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return inner(*arguments, **named)
            finally:
                kept.append(time.process_time() - began)

        setattr(owner, name, timed)


def measure(architecture: str, scenario: str, batch: int, n_patches: int) -> dict[str, float]:
    """Train two epochs, and return seconds per patch and MB; a specialist has no scenario."""
    built: Any
    own: dict[str, str]
    if recipe_of_architecture(architecture).is_specialist:
        built, own = network(architecture), {"model": architecture}
    else:
        decoder = SCENARIOS[scenario].decoder
        built, own = build_network(architecture, decoder=decoder), {"scenario": scenario}
    model: Any = make_interactive(built, describe_network(built, name=architecture), "cpu")
    spent = Spent()
    learner = SpecialistLearner if "model" in own else SamLearner
    for part in ("prompt", "take_gradient"):
        spent.watch(learner, part)
    for part in ("clip", "step"):
        spent.watch(Optimiser, part)
    spent.watch(loop_module, "validate")
    spent.watch(PatchEncoder, "embed")
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            out=Path(folder) / "run",
            **own,
            epochs=2,
            batch_size=batch,
            augment_variants=1,
            validation_limit=VALIDATED,
            validation_clicks=CLICKS,
            device="cpu",
        )
        patches = draw(n_patches + VALIDATED)
        finetune(
            config,
            model=model,
            train_patches=patches[:n_patches],
            validation_patches=patches[n_patches:],
        )
    parts = [spent.seconds[name] for name in ("prompt", "take_gradient", "clip", "step")]
    steps = [sum(step) for step in zip(*parts, strict=True)]
    embeds = spent.seconds["embed"] or [0.0] * len(steps)  # a specialist has no embeddings
    first = len(steps) // 2  # in the second epoch embeddings are kept, if they may be
    later = [step - embed for step, embed in zip(steps[first:], embeds[first:], strict=True)]
    # SAM's first validation encodes; a specialist's last may have few clicks, having learnt discs.
    validation = spent.seconds["validate"][0 if "model" in own else -1]
    return {
        "encode_s": float(np.median(embeds[:first])) / batch,
        "step_s": float(np.median(later)) / batch,
        "validation_click_s": validation / VALIDATED / CLICKS,
        "peak_mb": peak_mb(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="histosam_tiny")
    parser.add_argument("--scenario", default="refining", choices=SCENARIOS)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--patches", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    figures = measure(asked.model, asked.scenario, asked.batch, asked.patches)
    if asked.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:20} {value:.4g}")


if __name__ == "__main__":
    main()
