"""An epoch of `md` on SAM's ViT-B geometry, from kept embeddings against encoding each time.

    python benchmarks/bench_training_cache.py [--patches 4] [--threads 1]

Random weights, 400 px patches at the full 1024 px. The epoch without a cache encodes every patch
in full precision, as training does that keeps nothing; the one with a cache reads half-precision
embeddings from disk alone, which a run before has filled. Both draw the same patches and clicks.
Times are of the epoch's steps, validation left out, in seconds of the process's CPU time beside the
wall's, since other work may share the machine. Exits with 1 if the ratio of the CPU times is below
8 or a step's loss differs by more than 1 %.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from histosam_core.model.checkpoint.checkpoint import describe_network
from histosam_core.model.sam.interactive import SamModel
from histosam_core.model.sam.network import build_network
from histosam_core.training import TrainConfig, finetune

LEAST_RATIO, MOST_DIFFERENCE = 8.0, 0.01


@dataclass(frozen=True)
class Patch:
    """A blob on a ground of another colour."""

    image: np.ndarray
    gt_mask: np.ndarray
    mpp: float = 2.0


@dataclass
class Steps:
    """Takes down the steps of a run."""

    losses: list[float] = field(default_factory=list)
    moments: list[tuple[float, float]] = field(default_factory=list)

    def __call__(self, event: Mapping[str, object]) -> None:
        now = time.perf_counter(), time.process_time()
        if event["event"] == "step":
            self.losses.append(float(event["loss"]))  # type: ignore[arg-type]
        if event["event"] in ("step", "validation"):
            self.moments.append(now)

    def seconds(self, kind: int) -> float:
        """Seconds from the first validation to the last step; 0: wall, 1: CPU."""
        return self.moments[-2][kind] - self.moments[0][kind]


def make_patches(count: int, seed: int) -> list[Patch]:
    """Draw patches of 400 px."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[:400, :400] / 400
    patches = []
    for _ in range(count):
        inside = (xs - rng.uniform(0.3, 0.7)) ** 2 + (ys - rng.uniform(0.3, 0.7)) ** 2 < 0.06
        image = np.where(inside[..., None], (110, 60, 150), (200, 130, 190))
        noisy = np.clip(image + rng.normal(0, 15, image.shape), 0, 255)
        patches.append(Patch(noisy.astype(np.uint8), inside.astype(np.int8)))
    return patches


def main() -> int:
    """Print the times, their ratios and the greatest difference of a loss."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = build_network("sam_vit_b")
    model = SamModel(network, describe_network(network, name="vit_b"), "cpu")
    patches, validation = make_patches(options.patches, 0), make_patches(1, 1)

    with tempfile.TemporaryDirectory() as folder:

        def run(name: str, **settings: object) -> Steps:
            steps = Steps()
            config = TrainConfig(
                out=Path(folder) / name,
                scenario="md",
                device="cpu",
                epochs=1,
                batch_size=2,
                augment_variants=1,
                validation_clicks=1,
                cache_mb=0,
                **settings,  # type: ignore[arg-type]
            )
            finetune(
                config,
                model=model,
                train_patches=patches,
                validation_patches=validation,
                on_event=steps,
            )
            return steps

        print(
            f"md on ViT-B, 1024 px, {options.patches} patches, {options.threads} threads; "
            f"seconds an epoch: CPU (wall)"
        )
        cache = Path(folder) / "cache"
        runs = {
            "no cache": run("none", half_embeddings=False),
            "filling": run("filling", cache_dir=cache),
            "from disk": run("filled", cache_dir=cache),
        }
    for name, steps in runs.items():
        wall, cpu = (steps.seconds(kind) for kind in (0, 1))
        print(f"  {name:10}{cpu:8.2f} ({wall:.2f})")
    ratios = [runs["no cache"].seconds(k) / runs["from disk"].seconds(k) for k in (1, 0)]
    losses = [np.array(runs[name].losses) for name in ("no cache", "from disk")]
    difference = float((np.abs(losses[0] - losses[1]) / losses[0]).max())
    print(f"ratio: {ratios[0]:.1f} x CPU, {ratios[1]:.1f} x wall")
    print(f"greatest relative difference of a step's loss: {difference:.1e}")
    return 0 if ratios[0] >= LEAST_RATIO and difference < MOST_DIFFERENCE else 1


if __name__ == "__main__":
    sys.exit(main())
