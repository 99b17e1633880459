"""The recipe behind the bundled `histosam-tiny`: what a click means, learnt from drawn images.

Run it with ``python -m histosam_core.recipes.pretraining.pretrain --out FOLDER``. Two pools are
drawn once: generic images (generic_images.py) and random tissue (random_tissue.py). Then the whole
network is trained to answer simulated clicks, first on generic images alone, then on tissue with
some generic images among it; each time on small crops first, at the full input size after. Both
decoders share the transformer and are trained at once. BCE + Dice, since NFL says little while
masks are far off; where the answer before was right and the new click is far, errors weigh more, so
that a click changes the mask near it and leaves the rest. What is exported is a running average of
the weights.
docs/models.md has the record.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from histosam_core.clicks.sample import sample_next_click
from histosam_core.model.checkpoint.checkpoint import describe_network, save_checkpoint
from histosam_core.model.sam.interactive import to_image_size
from histosam_core.model.sam.network import SamNetwork
from histosam_core.model.sam.start import EARLY_STEM
from histosam_core.model.sam.tiny import IMAGE_SIZE, build_tiny_modules
from histosam_core.recipes.pretraining.generic_images import generic_image
from histosam_core.recipes.pretraining.random_tissue import GLASS, random_tissue
from histosam_core.training.losses import batch_iou, bce_dice_loss, bce_loss
from histosam_core.training.prompts import first_clicks, pack_clicks

if TYPE_CHECKING:
    from histosam_core.clicks import Click
    from histosam_core.model.checkpoint.checkpoint_info import CheckpointInfo
    from histosam_core.model.sam.refining_decoder import RefiningMaskDecoder

Rng = np.random.Generator
Drawn = tuple[NDArray[np.uint8], NDArray[np.uint8]]
Example = tuple[NDArray[np.uint8], NDArray[np.bool_]]
SAVE_EVERY = 200  # steps


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the curriculum: so many batches of square images of `image_size` px.

    `tissue_share` of the images are tissue, the others generic.
    """

    image_size: int
    steps: int
    batch_size: int
    tissue_share: float = 0.0


@dataclass(frozen=True, slots=True)
class PretrainConfig:
    """Everything that decides the bundled weights."""

    stages: tuple[Stage, ...] = (
        Stage(128, 2600, 16),
        Stage(256, 900, 8),
        Stage(128, 4200, 16, 0.8),
        Stage(256, 3300, 8, 0.8),
    )
    pool_size: int = 6000
    pool_image_px: int = 256
    tissue_pool_size: int = 7000
    tissue_image_px: int = 320
    stability_weight: float = 1.0
    far_share: float = 0.25
    average_decay: float = 0.998
    learning_rate: float = 7e-4
    warmup_steps: int = 100
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    max_random_clicks: int = 12
    max_iterations: int = 3
    single_click_share: float = 0.35
    seed: int = 20


@dataclass(frozen=True, slots=True)
class Pool:
    """Drawn images (N, S, S, 3) and their regions (N, S, S), uint8, mapped from a folder."""

    images: NDArray[np.uint8]
    regions: NDArray[np.uint8]

    @classmethod
    def open(cls, path: Path) -> Pool:
        """Map the pool that `make_pool` drew into `path`."""
        files = (path / "images.npy", path / "regions.npy")
        return cls(*(np.load(file, mmap_mode="r") for file in files))


def make_pool(
    path: Path, count: int, size_px: int, seed: int, *, tissue: bool = False, workers: int = 2
) -> None:
    """Draw a pool into `path`: images.npy (N, S, S, 3) and regions.npy (N, S, S), uint8."""
    path.mkdir(parents=True, exist_ok=True)
    shape, memmap = (count, size_px, size_px), np.lib.format.open_memmap
    images = memmap(path / "images.npy", "w+", np.uint8, (*shape, 3))
    regions = memmap(path / "regions.npy", "w+", np.uint8, shape)
    draw = partial(_draw, random_tissue if tissue else generic_image, size_px, seed)
    # Started afresh: a fork of a process whose threads hold locks can wait for them for ever.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for index, drawn in enumerate(pool.map(draw, range(count), chunksize=32)):
            images[index], regions[index] = drawn


def _draw(draw: Callable[[int, Rng], Drawn], size_px: int, seed: int, index: int) -> Drawn:
    cv2.setNumThreads(1)
    return draw(size_px, np.random.default_rng((seed, index)))


def draw_batch(generic: Pool, tissue: Pool, stage: Stage, rng: Rng) -> Example:
    """Cut a batch from the pools: (B, S, S, 3) uint8 images and (B, S, S) bool objects.

    The object is one region (or two of three) of the crop; in one case of six a connected part.
    Generic images get their colours shuffled, tissue keeps its own.
    """
    pairs: list[Example] = []
    while len(pairs) < stage.batch_size:
        is_tissue = rng.random() < stage.tissue_share
        pool = tissue if is_tissue else generic
        pair = _example(pool, stage.image_size, rng, shuffle_colours=not is_tissue)
        if pair is not None:
            pairs.append(pair)
    images, objects = zip(*pairs, strict=True)
    return np.stack(images), np.stack(objects)


def _example(pool: Pool, size: int, rng: Rng, *, shuffle_colours: bool) -> Example | None:
    images, regions = pool.images, pool.regions
    index = int(rng.integers(len(images)))
    full = images.shape[1]
    side = int(rng.integers(min(size, int(full * 0.6)), full + 1))
    top, left = (int(v) for v in rng.integers(0, full - side + 1, 2))
    window = np.s_[top : top + side, left : left + side]
    labels = np.ascontiguousarray(regions[index][window])
    present = np.unique(labels)
    if len(present) < 2:
        return None
    present = present[present != GLASS]
    take = 2 if len(present) > 2 and rng.random() < 0.25 else 1
    gt = np.isin(labels, rng.choice(present, take, replace=False)).astype(np.uint8)
    if rng.random() < 1 / 6:
        count, parts = cv2.connectedComponents(gt)
        gt = (parts == rng.integers(1, count)).astype(np.uint8)
    gt = cv2.resize(gt, (size, size), interpolation=cv2.INTER_NEAREST)
    if not 0.02 < gt.mean() < 0.9:
        return None
    shrink = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    cut = np.ascontiguousarray(images[index][window])
    image = cv2.resize(cut, (size, size), interpolation=shrink)
    turns = int(rng.integers(4))
    image, gt = np.rot90(image, turns), np.rot90(gt, turns)
    if rng.random() < 0.5:
        image, gt = image[:, ::-1], gt[:, ::-1]
    if shuffle_colours:
        image = image[..., rng.permutation(3)]
    return np.ascontiguousarray(image), gt.astype(bool)


def pretrain(config: PretrainConfig, out: Path, pool: Path, *, resume_stage: int = 0) -> SamNetwork:
    """Train a `histosam-tiny` with both decoders; write log.csv and each stage's weights to `out`.

    The images come from the folder `pool` (see `make_pool`; drawn when missing). `resume_stage` is
    the stage to begin at, from the weights of the one before; the number of stages trains nothing.
    """
    out.mkdir(parents=True, exist_ok=True)
    generic, tissue = _pools(config, pool)
    (out / "config.json").write_text(json.dumps(asdict(config), indent=2))
    torch.manual_seed(config.seed)
    rng = np.random.default_rng((config.seed, resume_stage))
    weights: dict[str, Tensor] | None = None
    if resume_stage:
        weights = torch.load(out / f"stage{resume_stage - 1}.pt", weights_only=True)
    total = sum(stage.steps for stage in config.stages)
    done = sum(stage.steps for stage in config.stages[:resume_stage])
    with (out / "log.csv").open("a", newline="") as file:
        log = csv.writer(file)
        log.writerow(["step", "image_size", "loss", "iou_refining", "iou_sam", "lr", "seconds"])
        started = time.perf_counter()
        for number, stage in list(enumerate(config.stages))[resume_stage:]:
            network = _two_headed(stage.image_size, weights)
            average = _Average(network, config.average_decay)
            optimiser = torch.optim.AdamW(
                network.parameters(), config.learning_rate, weight_decay=config.weight_decay
            )
            recent: list[tuple[float, float, float]] = []
            for step in range(stage.steps):
                rate = _rate(config, step, done, total)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                batch, gt = draw_batch(generic, tissue, stage, rng)
                recent.append(_train_step(network, optimiser, batch, gt, config, rng))
                average.update(network)
                done += 1
                if done % 20 == 0:
                    means = (f"{mean:.4f}" for mean in np.mean(recent, axis=0))
                    seconds = f"{time.perf_counter() - started:.0f}"
                    log.writerow([done, stage.image_size, *means, f"{rate:.2e}", seconds])
                    file.flush()
                    recent.clear()
                if done % SAVE_EVERY == 0:
                    torch.save(average.weights, out / f"stage{number}.pt")
            weights = average.weights
            torch.save(weights, out / f"stage{number}.pt")
    return _two_headed(IMAGE_SIZE, weights).eval()


class _Average:
    """Running average of a network's weights; shorter while there are few steps to average."""

    def __init__(self, network: SamNetwork, decay: float) -> None:
        self._decay = decay
        self._steps = 0
        self.weights = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: SamNetwork) -> None:
        self._steps += 1
        decay = min(self._decay, self._steps / (self._steps + 10))
        for key, value in network.state_dict().items():
            self.weights[key].lerp_(value, 1 - decay)


def _pools(config: PretrainConfig, folder: Path) -> tuple[Pool, Pool]:
    """Open both pools, generic images and tissue, drawing what is missing."""
    tissue = folder / "tissue"
    if not (folder / "regions.npy").exists():
        make_pool(folder, config.pool_size, config.pool_image_px, config.seed)
    if not any(stage.tissue_share for stage in config.stages):
        tissue = folder  # never drawn from
    if not (tissue / "regions.npy").exists():
        size = config.tissue_image_px
        make_pool(tissue, config.tissue_pool_size, size, config.seed, tissue=True)
    return Pool.open(folder), Pool.open(tissue)


def export(network: SamNetwork, config: PretrainConfig, path: Path) -> CheckpointInfo:
    """Write the trained network as the bundled checkpoint: float16, both decoders."""
    provenance = {
        "recipe": "histosam_core.recipes.pretraining.pretrain",
        "config": asdict(config),
        "training_data": "drawn images (shapes, textures, random tissue); no real image",
    }
    info = describe_network(network, name="histosam-tiny", provenance=provenance)
    return save_checkpoint(path, network, info, half=True)


def _rate(config: PretrainConfig, step: int, done: int, total: int) -> float:
    """Warm up at the start of every stage (Adam's state is new), cosine over the whole run."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    fall = 0.5 * (1 + math.cos(math.pi * done / total))
    return config.learning_rate * warm * (0.02 + 0.98 * fall)


def _two_headed(image_size: int, weights: Mapping[str, Tensor] | None) -> SamNetwork:
    """Build the network; weights of before there were early features leave their stem as it is."""
    encoder, prompts, decoder = build_tiny_modules(
        "refining", image_size=image_size, keep_sam_head=True, early_features=True
    )
    network = SamNetwork(
        encoder, prompts, decoder, architecture="histosam_tiny", decoder="refining"
    )
    if weights is not None:
        own = network.state_dict().items()
        stem = {name: value for name, value in own if name.startswith(EARLY_STEM)}
        network.load_state_dict({**stem, **weights})
    return network


def _train_step(
    network: SamNetwork,
    optimiser: torch.optim.Optimizer,
    images: NDArray[np.uint8],
    gt: NDArray[np.bool_],
    config: PretrainConfig,
    rng: Rng,
) -> tuple[float, float, float]:
    """One optimiser step; return loss and both heads' mean IoU."""
    network.train()
    most, single = config.max_random_clicks, config.single_click_share
    clicks = [
        first_clicks(gt_mask, rng, max_clicks=most, single_click_share=single) for gt_mask in gt
    ]
    image_hw = (gt.shape[1], gt.shape[2])
    target = torch.from_numpy(gt)[:, None].float()
    previous: Tensor | None = None
    kept = torch.zeros_like(target)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = network.encode(network.preprocess(torch.from_numpy(images)))
        fixed = embeddings.detach()
        for _ in range(int(rng.integers(0, config.max_iterations + 1))):
            with torch.no_grad():
                refined, plain, _ = _decode_both(network, fixed, clicks, previous)
            previous = refined if rng.random() < 0.5 else plain
            probability = torch.sigmoid(to_image_size(network, previous, image_hw))[:, 0].numpy()
            for i, (sample, truth, prob) in enumerate(zip(clicks, gt, probability, strict=True)):
                click = sample_next_click(truth, prob, rng)
                if click is not None:
                    sample.append(click)
                    far = far_from(click, image_hw, config.far_share)
                    kept[i, 0] = torch.from_numpy(far & ((prob > 0.5) == truth))
        refined, plain, quality = _decode_both(network, embeddings, clicks, previous)
    refined, plain = (to_image_size(network, logits, image_hw) for logits in (refined, plain))
    iou_refined, iou_plain = batch_iou(refined, target), batch_iou(plain, target)
    loss = bce_dice_loss(refined, target) + bce_dice_loss(plain, target)
    unsettled = torch.where(kept > 0, target, torch.full_like(target, -1.0))
    stability = bce_loss(refined, unsettled) + bce_loss(plain, unsettled)
    loss = loss + config.stability_weight * stability
    loss = loss + 0.2 * functional.mse_loss(quality[:, 0].float(), iou_refined)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
    optimiser.step()
    return loss.item(), iou_refined.mean().item(), iou_plain.mean().item()


def far_from(click: Click, image_hw: tuple[int, int], share: float) -> NDArray[np.bool_]:
    """Pixels farther from the click than `share` of the image's longer side, (H, W) bool."""
    ys, xs = np.ogrid[: image_hw[0], : image_hw[1]]
    distance2 = (xs - click.xy[0]) ** 2 + (ys - click.xy[1]) ** 2
    far: NDArray[np.bool_] = distance2 > (share * max(image_hw)) ** 2
    return far


def _decode_both(
    network: SamNetwork,
    embeddings: Tensor,
    clicks: Sequence[Sequence[Click]],
    previous: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    decoder = cast("RefiningMaskDecoder", network.mask_decoder)
    size = network.image_size
    points_xy, labels = pack_clicks(clicks, (size, size), network)
    sparse, dense = network.prompts(embeddings, points_xy, labels, previous)
    image, early = network.split(embeddings)
    refined, plain, quality = decoder.forward_both(
        image, network.prompt_encoder.get_dense_pe(), sparse, dense, early
    )
    return refined.float(), plain.float(), quality


def _stages(text: str) -> Iterator[Stage]:
    for part in text.split(","):
        size, steps, batch, *tissue = part.split(":")
        yield Stage(int(size), int(steps), int(batch), float(tissue[0]) if tissue else 0.0)


def main() -> None:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--pool", type=Path, help="folder of the image pool (default: OUT/pool)")
    parser.add_argument("--stages", help="size:steps:batch:tissue share, comma-separated")
    parser.add_argument("--resume-stage", type=int, default=0)
    arguments = parser.parse_args()
    config = PretrainConfig()
    if arguments.stages:
        config = PretrainConfig(stages=tuple(_stages(arguments.stages)))
    pool = arguments.pool or arguments.out / "pool"
    network = pretrain(config, arguments.out, pool, resume_stage=arguments.resume_stage)
    export(network, config, arguments.out / "histosam-tiny.safetensors")


if __name__ == "__main__":
    main()
