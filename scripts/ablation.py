"""What each part of the decoder brings: one encoder, the same training for all, one table.

    python scripts/ablation.py --patches demo/patches/liver --shifted demo/patches/lymph_node \
        --out runs/ablation

Each variant is fine-tuned on the same patches from the same checkpoint, then evaluated on the test
patches in-domain and on a shifted domain, by the ideal user and by a jittered one. Beside the
clicks needed stand the seconds per click and how much of the mask far from a click changes. The
local second pass is tried here and is not part of the library: docs/ablation.md says why.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

import histosam_core as hs
from histosam_core.clicks import Click
from histosam_core.clicks.users import IDEAL, User
from histosam_core.dataset.augment import AugmentSettings
from histosam_core.evaluation import compare, summarise
from histosam_core.evaluation.run import spread_indices
from histosam_core.evaluation.walkthrough import walk_through
from histosam_core.metrics import far_change
from histosam_core.model import Prediction
from histosam_core.training import TrainConfig, finetune

if TYPE_CHECKING:
    from histosam_core.evaluation import EvaluationResult
    from histosam_core.model.sam.interactive import SamModel
    from histosam_core.model.sam.network import SamNetwork

FAR_PX = 100.0
WALKED = 16  # patches on which the change far from a click is measured


@dataclass(frozen=True)
class Variant:
    """A line of the table: how the network is changed, how it is trained, how it is used."""

    name: str
    decoder: str = "refining"
    scenario: str | None = None
    change: Callable[[SamNetwork], None] | None = None
    wrap: Callable[[SamModel], Any] | None = None
    settings: tuple[tuple[str, Any], ...] = ()


def without_dense_prompts(network: SamNetwork) -> None:
    """Let clicks reach the decoder as SAM's tokens alone."""
    fusion: Any = network.prompt_encoder.click_fusion  # type: ignore[union-attr]
    for parameter in fusion[-1].parameters():
        nn.init.zeros_(parameter)


def without_early_features(network: SamNetwork) -> None:
    """Take the encoder's early features away from the refining decoder."""
    decoder: Any = network.mask_decoder
    if decoder.early_channels:
        decoder.early_channels = 0
        del decoder.refine_early


class LocalSecondPass:
    """After each click but the first, look again at a crop round it and paste the answer in.

    Parameters
    ----------
    model
        Answers both times.
    share
        Side of the crop, as a share of the image's.
    """

    def __init__(self, model: SamModel, share: float = 0.6) -> None:
        self.model, self.share = model, share
        self.info, self.device = model.info, model.device

    def encode(self, image: Any) -> Any:
        """The embedding, and the image for the second pass."""
        return self.model.encode(image), image

    def decode(
        self, embedding: Any, clicks: Sequence[Click], previous: Prediction | None = None
    ) -> Prediction:
        """The model's answer, with (H, W) float32 logits of both looks."""
        features, image = embedding
        first = self.model.decode(features, clicks, previous)
        if len(clicks) < 2:
            return first
        logits = first.logits
        height, width = logits.shape
        side = round(self.share * max(height, width))
        x0, y0 = (
            int(np.clip(round(v - side / 2), 0, whole - side))
            for v, whole in zip(clicks[-1].xy, (width, height), strict=True)
        )
        crop = np.s_[y0 : y0 + side, x0 : x0 + side]
        inside = [
            Click((c.xy[0] - x0, c.xy[1] - y0), c.is_positive)
            for c in clicks
            if x0 <= c.xy[0] < x0 + side and y0 <= c.xy[1] < y0 + side
        ]
        local = self.model.decode(
            self.model.encode(np.ascontiguousarray(image[crop])),
            inside,
            Prediction(np.ascontiguousarray(logits[crop])),
        )
        # Fades out towards the crop's border, where it lies inside the image.
        reach = np.minimum((np.arange(side) + 0.5) / (0.15 * side), 1)
        fade = [np.ones(side), np.ones(side)]
        for axis, (start, whole) in enumerate(((y0, height), (x0, width))):
            fade[axis] *= reach if start > 0 else 1
            fade[axis] *= reach[::-1] if start + side < whole else 1
        weight = (fade[0][:, None] * fade[1][None]).astype(np.float32)
        merged = logits.copy()
        merged[crop] = (1 - weight) * logits[crop] + weight * local.logits
        return replace(first, logits=merged)


HALF_KEPT = (("keep_base", 0.5),)
NONE, FRESH = ((("early_features", choice),) for choice in (False, True))
REFERENCE = "refining"
VARIANTS = (
    Variant("SAM head, as shipped", decoder="sam"),
    Variant("refining, as shipped"),
    Variant("md", decoder="sam", scenario="md"),
    Variant(REFERENCE, scenario="refining"),
    Variant("refining without dense clicks", scenario="refining", change=without_dense_prompts),
    Variant("histosam", scenario="histosam"),
    Variant(
        "histosam without early features",
        scenario="histosam",
        change=without_early_features,
        settings=NONE,
    ),
    Variant(
        "histosam, early features from scratch",
        scenario="histosam",
        change=without_early_features,
        settings=FRESH,
    ),
    Variant("histosam, half kept", scenario="histosam", settings=HALF_KEPT),
    Variant("histosam, local second pass", scenario="histosam", wrap=LocalSecondPass),
)
USERS = {"": IDEAL, ", jitter": User("jitter", sigma_px=8.0, repeats=2)}


def build(variant: Variant, arguments: argparse.Namespace) -> Any:
    """Change, fine-tune and wrap the base model as the variant has it."""
    model = hs.load_model(arguments.model, arguments.device, decoder=variant.decoder)
    torch.manual_seed(0)
    if variant.change is not None:
        variant.change(model.network)
        model.network.to(model.device)
    if variant.scenario is not None:
        run = arguments.out / "training" / file_name(variant.name)
        if not (run / "done").is_file():
            config = TrainConfig(
                out=run,
                patches=arguments.patches,
                cache_dir=arguments.out / "embeddings",
                scenario=variant.scenario,
                epochs=arguments.epochs,
                max_steps_per_epoch=arguments.steps // arguments.epochs,
                learning_rate=arguments.learning_rate,
                augment_variants=2,
                milestones=(0.6, 0.85),
                warmup_steps=20,
                augment=AugmentSettings(stain=True),
                single_click_share=0.3,
                quality_weight=0.2,
                validation_limit=24,
                validation_clicks=10,
                device=arguments.device,
                **dict(variant.settings),
            )
            finetune(config, model=model, overwrite=True)
            (run / "done").touch()
        model = hs.load_model(run / "best.safetensors", arguments.device)
    return variant.wrap(model) if variant.wrap is not None else model


def far_changes(model: Any, patches: Any, run: Any) -> float:
    """Mean share of pixels farther than 100 px from a click that it changes, first click left out.

    Replays the recorded clicks.
    """
    shares: list[float] = []
    chosen = [run.patches[i] for i in spread_indices(len(run.patches), WALKED)]
    for record in chosen:
        patch = patches[record.index]
        walk = walk_through(model, patch.image, patch.gt_mask, record.clicks)
        places = [click.xy for click in record.clicks]
        shares += far_change(walk.masks, places, radius_px=FAR_PX).tolist()
    return float(np.mean(shares)) if shares else float("nan")


def file_name(name: str) -> str:
    """A variant's name as a folder's."""
    return name.replace(", ", "-").replace(" ", "-")


def line(name: str, runs: dict[str, EvaluationResult], far: dict[str, float]) -> str:
    """One line of the table, in Markdown."""
    cells = [name]
    for domain in ("in-domain", "shifted"):
        summary = summarise(runs[domain])
        cells += [f"{summary.noc[t].value:.2f}" for t in (0.80, 0.85, 0.90)]
        cells.append(f"{summary.failures[0.90].value:.2f}")
        cells.append(f"{summarise(runs[domain + ', jitter']).noc[0.85].value:.2f}")
        cells.append(f"{100 * far[domain]:.1f}")
    cells.append(f"{1000 * summarise(runs['in-domain']).spc_s:.0f}")
    return "| " + " | ".join(cells) + " |"


def table(done: dict[str, dict[str, EvaluationResult]], far: dict[str, dict[str, float]]) -> str:
    """The table, and how each variant differs from the reference."""
    measures = ["NoC@80", "85", "90", "NoF@90", "85 jitter", "far %"]
    head = ["variant", *measures, *(f"{m} shifted" for m in measures), "SPC ms"]
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    rows += [line(name, runs, far[name]) for name, runs in done.items()]
    if REFERENCE in done:
        rows += ["", f"NoC@85 beside {REFERENCE}, patch by patch:", ""]
        for name, runs in done.items():
            for domain in ("in-domain", "shifted") if name != REFERENCE else ():
                pair = [done[REFERENCE][domain], runs[domain]]
                difference = compare(pair, thresholds=[0.85])[0]
                noc = difference.noc
                rows.append(
                    f"- {name}, {domain}: {noc.value:+.2f} [{noc.low:+.2f}, {noc.high:+.2f}], "
                    f"p = {difference.p:.3g}"
                )
    return "\n".join(rows) + "\n"


def main() -> None:
    """Run every variant, or those named; write the table and the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", type=Path, required=True, help="in-domain patch folder")
    parser.add_argument("--shifted", type=Path, required=True, help="patches of another domain")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="histosam-tiny")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=480)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--limit", type=int, default=48, help="test patches of each domain")
    parser.add_argument("--only", nargs="*", help="names of variants")
    arguments = parser.parse_args()
    stores = {
        "in-domain": hs.open_patches(arguments.patches, "test"),
        "shifted": hs.open_patches(arguments.shifted, "test"),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    far_path = arguments.out / "far.json"
    far = json.loads(far_path.read_text()) if far_path.is_file() else {}
    done: dict[str, dict[str, EvaluationResult]] = {}
    for variant in VARIANTS:
        if arguments.only and variant.name not in arguments.only:
            continue
        model = build(variant, arguments)
        runs: dict[str, EvaluationResult] = {}
        for domain, store in stores.items():
            for suffix, user in USERS.items():
                key = domain + suffix
                runs[key] = hs.evaluate(
                    model,
                    store,
                    name=variant.name,
                    out=arguments.out / "runs" / f"{file_name(variant.name)}@{file_name(key)}",
                    limit=arguments.limit,
                    user=user,
                    keep_finished=True,
                )
            if domain not in far.setdefault(variant.name, {}):
                far[variant.name][domain] = far_changes(model, store, runs[domain])
        far_path.write_text(json.dumps(far, indent=2))
        done[variant.name] = runs
        print(line(variant.name, runs, far[variant.name]), file=sys.stderr, flush=True)
        (arguments.out / "ablation.md").write_text(table(done, far))
    print((arguments.out / "ablation.md").read_text())


if __name__ == "__main__":
    main()
