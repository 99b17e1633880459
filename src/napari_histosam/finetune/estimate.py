"""About how long a fine-tuning takes, and how much memory, before its start. No Qt, no torch."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.errors import UnknownModelError
from histosam_core.model.baselines import canonical_name
from histosam_core.model.checkpoint.weights_header import checkpoint_facts
from histosam_core.model.registry.own_models import checkpoint_path
from histosam_core.model.registry.registry import MODELS, weights_path
from histosam_core.training.recipes import SCENARIOS, recipe_of

if TYPE_CHECKING:
    from histosam_core.training.config import TrainConfig
    from napari_histosam.finetune.choices import Choices


@dataclass(frozen=True, slots=True)
class Cost:
    """What one patch of 400 px costs an architecture, in seconds of one CPU core; and memory."""

    encode: float
    """Its embedding, forward only."""
    encode_and_learn: float | None
    """The same with its gradient; None where it was not measured."""
    step: Mapping[str, float]
    """The rest of a training step, by decoder."""
    click: Mapping[str, float]
    """One validation click, by decoder."""
    embedding_mb: float
    """Of one that is kept, in full precision."""
    early_mb: float
    """Of the early features that are kept with it where the decoder takes them."""
    base_mb: float
    patch_mb: float
    learning_patch_mb: float | None
    """Memory of the process, and what a patch of the batch adds with the image encoder frozen and
    trained."""


COSTS: Mapping[str, Cost] = {
    "histosam_tiny": Cost(
        encode=0.03,
        encode_and_learn=0.08,
        step={"sam": 0.04, "refining": 0.10},
        click={"sam": 0.017, "refining": 0.02},
        embedding_mb=0.5,
        early_mb=1.0,
        base_mb=890,
        patch_mb=62,
        learning_patch_mb=80,
    ),
    "sam_vit_b": Cost(
        encode=10.8,
        encode_and_learn=None,
        step={"sam": 0.2, "refining": 1.6},
        click={"sam": 0.02, "refining": 0.12},
        embedding_mb=4.0,
        early_mb=12.0,
        base_mb=1650,
        patch_mb=470,
        learning_patch_mb=None,
    ),
}
"""As measured on one core, see docs/napari_finetune.md; other architectures were not."""


@dataclass(frozen=True, slots=True)
class SpecialistCost:
    """What a network of RITM's, FocalClick's or SimpleClick's costs on one CPU core; and memory."""

    step: float
    """Seconds of a training step per crop of its own size; it grows with the area."""
    click: float
    """Seconds of one validation click on a patch of 400 px."""
    base_mb: float
    patch_mb: float
    """Memory of the process, and what a crop of its own size adds."""


SPECIALIST_COSTS: Mapping[str, SpecialistCost] = {
    "ritm_hrnet18s_itm": SpecialistCost(0.7, 0.4, 1050, 290),
    "ritm_hrnet18_itm": SpecialistCost(1.1, 0.6, 1150, 470),
    "ritm_hrnet32_itm": SpecialistCost(1.8, 0.9, 1600, 750),
    "focalclick_segformerB0_S1": SpecialistCost(0.07, 0.03, 920, 75),
    "focalclick_segformerB0_S2": SpecialistCost(0.13, 0.04, 950, 110),
    "focalclick_segformerB3_S2": SpecialistCost(0.8, 0.21, 1800, 320),
    "focalclick_hrnet18s_S1": SpecialistCost(0.14, 0.05, 930, 90),
    "focalclick_hrnet18s_S2": SpecialistCost(0.32, 0.12, 920, 200),
    "focalclick_hrnet32_S2": SpecialistCost(0.83, 0.31, 1450, 400),
    "simpleclick_xtiny448": SpecialistCost(0.27, 0.2, 910, 210),
    "simpleclick_vitb448": SpecialistCost(2.9, 1.7, 2300, 830),
}
"""By the name of the network, as measured on one core; others were not."""
CLICKS_USED = 0.6
"""Of the click budget, that a validation patch takes on average until its mask is good."""
CORE_POWER = 0.8
"""N cores are as fast as N to this power."""
DURING = "the time left is shown after the first steps"


def estimate(choices: Choices) -> str:
    """Return about how long training takes, and how much memory, in a line.

    The choices are without a problem.
    """
    config = choices.config()
    cost = _cost(config)
    parts = []
    if cost is None or _device(config.device) != "cpu":
        what = "this model and scenario" if cost is None else "a GPU"
        parts.append(f"No figure for {what} before the start; {DURING}")
    else:
        cores = os.cpu_count() or 1
        counts = _counts(choices)
        if counts is None:
            parts.append(f"How long depends on the patches that are cut; {DURING}")
        else:
            seconds = training_seconds(config, cost, *counts) / cores**CORE_POWER
            patches = f"{counts[0]:,} patches"
            parts.append(f"About {_duration(seconds)} for {patches} on this CPU ({cores} cores)")
        memory = _memory_mb(config, cost, None if counts is None else counts[0])
        parts.append(f"about {memory / 1000:.1f} GB of memory")
    if config.max_minutes is not None:
        parts.append(f"training ends within {config.max_minutes:g} min")
    return "; ".join(parts)


def training_seconds(
    config: TrainConfig, cost: Cost | SpecialistCost, n_training: int, n_validation: int
) -> float:
    """Return what training on so many patches costs one CPU core, in seconds."""
    epochs, limit = config.epochs, config.validation_limit
    used = n_validation if limit is None else min(n_validation, limit)
    validations = epochs // config.validate_every + 1
    clicks = validations * used * config.validation_clicks * CLICKS_USED
    if isinstance(cost, SpecialistCost):
        learning = n_training * epochs * cost.step * _crop_share(config)
        return float(learning + clicks * cost.click)
    scenario = SCENARIOS[config.scenario]
    if scenario.freezes_encoder:
        # Each variant of a patch is encoded once.
        variants = min(epochs, config.augment_variants or epochs)
        encoding = (n_training * variants + used) * cost.encode
    else:
        learning = n_training * epochs * (cost.encode_and_learn or 0.0)
        encoding = learning + validations * used * cost.encode
    steps = n_training * epochs * cost.step[scenario.decoder]
    return float(encoding + steps + clicks * cost.click[scenario.decoder])


def count_patches(store: Path) -> int | None:
    """Return how many patches a store holds; None where it cannot be read."""
    try:
        header: dict[str, Any] = json.loads((store / "images" / "zarr.json").read_bytes())
        return int(header["shape"][0])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _counts(choices: Choices) -> tuple[int, int] | None:
    folder = choices.data.get("patches")
    if folder is None:
        return None
    training, validation = (count_patches(folder / f"{p}.zarr") for p in ("train", "validation"))
    return None if training is None or validation is None else (training, validation)


def _memory_mb(config: TrainConfig, cost: Cost | SpecialistCost, n_training: int | None) -> float:
    """The process, its batch, and the embeddings that it keeps."""
    if isinstance(cost, SpecialistCost):
        return cost.base_mb + config.batch_size * cost.patch_mb * _crop_share(config)
    if not SCENARIOS[config.scenario].freezes_encoder:
        return cost.base_mb + config.batch_size * (cost.learning_patch_mb or 0.0)
    room: float = config.cache_mb
    if n_training is not None:
        size = cost.embedding_mb + (cost.early_mb if _takes_early_features(config) else 0)
        size /= 2 if config.half_embeddings else 1
        room = min(room, n_training * min(config.epochs, config.augment_variants) * size)
    return cost.base_mb + config.batch_size * cost.patch_mb + room


def _cost(config: TrainConfig) -> Cost | SpecialistCost | None:
    """What the model costs; None where it was not measured."""
    architecture = _architecture(config.model)
    if recipe_of(config.model).is_specialist:
        return SPECIALIST_COSTS.get(architecture)
    cost = COSTS.get(architecture)
    if cost is not None and cost.encode_and_learn is None:
        return cost if SCENARIOS[config.scenario].freezes_encoder else None
    return cost


def _crop_share(config: TrainConfig) -> float:
    """Area of the crops over that of the model's own."""
    own = recipe_of(config.model).crop_size or (1, 1)
    height, width = config.crop_size or own
    return height * width / (own[0] * own[1])


def _architecture(model: str) -> str:
    """A model's architecture, by its name or by its file's header."""
    if model in MODELS:
        return MODELS[model].architecture
    stated = str(_facts(model).get("architecture", ""))
    with suppress(UnknownModelError):
        return canonical_name(stated or model)
    return stated


def _takes_early_features(config: TrainConfig) -> bool:
    scenario = SCENARIOS[config.scenario]
    wanted = scenario.early_features(config.early_features)
    if scenario.decoder == "sam" or wanted is not None:
        return bool(wanted)
    return bool(_facts(config.model).get("early_features"))


def _facts(model: str) -> Mapping[str, Any]:
    """What a model's file says of itself."""
    return checkpoint_facts(
        weights_path(MODELS[model]) if model in MODELS else checkpoint_path(model)
    )


def _device(device: str) -> str:
    """What "auto" will be: a guess that needs no torch."""
    if device != "auto":
        return device.partition(":")[0]
    return "cpu" if sys.platform == "darwin" or shutil.which("nvidia-smi") is None else "cuda"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds / 10)) * 10} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"
