"""Evaluation by simulated clicks: patches in batches against one after the other.

    python benchmarks/bench_evaluation.py [--patches 12] [--rounds 3] [--threads 2]
    python benchmarks/bench_evaluation.py --device cuda --patches 200 --batch-size 64 --threads 16

One after the other is `run_clicks` in a plain loop, with as many threads of torch's as there are
cores; batched is what `evaluate` does. Both click on the same synthetic patches of 400 px with
`histosam-tiny` up to an IoU of 0.90 or 20 clicks. They take turns in short rounds, so that other
load on the machine meets both; the ratio is that of the medians. The CPU time a click is printed
too: on a loaded machine it says more than the wall time. Last comes what the model's answer alone
costs in batches of several sizes: what no way of calling it can save.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from histosam_core import Click, load_model
from histosam_core.evaluation import ClickRun, ProtocolSettings, run_clicks
from histosam_core.evaluation.protocol.batched import default_workers, run_patches
from histosam_core.recipes.synthetic import render_slide

if TYPE_CHECKING:
    from histosam_core.model import SamModel

SIDE = 400
MIN_TUMOR, MAX_TUMOR = 0.2, 0.8

Runs = dict[int, ClickRun]


@dataclass(frozen=True)
class SyntheticPatch:
    """A patch of a synthetic slide."""

    image: NDArray[np.uint8]
    gt_mask: NDArray[np.int8]
    id: str
    slide: str


def make_patches(n: int) -> list[SyntheticPatch]:
    """Cut patches out of synthetic liver slides at 5x, tumour 20 to 80 % of each."""
    patches: list[SyntheticPatch] = []
    seed = 0
    while len(patches) < n:
        slide = render_slide("liver", (4 * SIDE, 4 * SIDE), mpp=1.0, rng=seed)
        image = cv2.resize(slide.image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        truth = slide.tumor_mask[::2, ::2].astype(np.int8)
        for top, left in ((0, 0), (0, SIDE), (SIDE, 0), (SIDE, SIDE)):
            where = slice(top, top + SIDE), slice(left, left + SIDE)
            if MIN_TUMOR <= truth[where].mean() <= MAX_TUMOR and len(patches) < n:
                name = f"{seed}-{left}-{top}"
                patches.append(SyntheticPatch(image[where], truth[where], name, f"{seed}"))
        seed += 1
    return patches


def timed(run: Callable[[], Runs]) -> tuple[Runs, float, float]:
    """Results, wall seconds, CPU seconds over all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    runs = run()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return runs, time.perf_counter() - wall, time.process_time() - cpu


def compare(one: Runs, other: Runs) -> tuple[int, float]:
    """Sessions with the same clicks, and the greatest difference of an IoU after equal clicks."""
    same = [i for i in one if one[i].clicks == other[i].clicks]
    differences = [float(np.abs(one[i].ious - other[i].ious).max()) for i in same]
    return len(same), max(differences, default=float("nan"))


def decoder_alone(
    model: SamModel, patches: Sequence[SyntheticPatch], rounds: int
) -> dict[int, float]:
    """Seconds of CPU that an answer to three clicks costs, by batch size, with one thread."""
    clicks = [Click((200, 200)), Click((60, 90), False), Click((300, 150))]
    embeddings = [model.encode(patch.image) for patch in patches]
    before = [model.decode(embedding, clicks[:1]) for embedding in embeddings]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    costs: dict[int, float] = {}
    for size in (1, 2, 4, 8):
        if size <= len(patches):
            batch = embeddings[:size], [clicks] * size, before[:size]
            model.decode_batch(*batch)
            seconds = [
                timed(lambda batch=batch: dict(enumerate(model.decode_batch(*batch))))[2]
                for _ in range(4 * rounds)
            ]
            costs[size] = statistics.median(seconds) / size
    torch.set_num_threads(threads)
    return costs


def main(arguments: Sequence[str] | None = None) -> int:
    """Print patches a second, CPU time a click, the ratio, and whether the clicks are the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", default="histosam-tiny")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    model = load_model(options.model, device=options.device)
    patches = make_patches(options.patches)
    settings = ProtocolSettings()
    workers = default_workers(model)

    def one_by_one() -> Runs:
        return {i: run_clicks(model, p.image, p.gt_mask) for i, p in enumerate(patches)}

    def batched() -> Runs:
        indices = range(len(patches))
        return dict(run_patches(model, patches, indices, settings, batch_size=options.batch_size))

    where = torch.cuda.get_device_name() if options.device.startswith("cuda") else "CPU"
    print(
        f"{options.model} on {where}: {len(patches)} patches of {SIDE} px, {options.threads} "
        f"threads; batched {workers} workers of {options.batch_size}"
    )
    run_clicks(model, patches[0].image, patches[0].gt_mask, max_clicks=2)  # load kernels
    ways = {"one by one": one_by_one, "batched": batched}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    results: dict[str, Runs] = {}
    for _ in range(options.rounds):
        for name, way in ways.items():
            results[name], wall, cpu = timed(way)
            times[name].append((wall, cpu))
            n = sum(len(run.clicks) for run in results[name].values())
            print(
                f"  {name:13}{len(patches) / wall:8.2f} patches/s {1e3 * wall / n:8.1f} ms "
                f"and {1e3 * cpu / n:6.1f} ms of CPU a click",
                flush=True,
            )
    wall_ratio, cpu_ratio = (
        statistics.median(t[kind] for t in times["one by one"])
        / statistics.median(t[kind] for t in times["batched"])
        for kind in (0, 1)
    )
    n_same, difference = compare(*(results[name] for name in ways))
    print(f"ratio of medians: {wall_ratio:.2f} x wall, {cpu_ratio:.2f} x CPU")
    print(f"same clicks: {n_same} of {len(patches)}; their IoUs differ by {difference:.1e} at most")
    costs = decoder_alone(model, patches, options.rounds)
    answers = ", ".join(f"{1e3 * cost:.0f} ms in batches of {n}" for n, cost in costs.items())
    print(f"CPU of an answer alone, one thread: {answers}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
