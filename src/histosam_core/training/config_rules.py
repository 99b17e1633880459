"""What settings of a fine-tuning run must be, for a model of SAM's line and for a specialist."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from histosam_core.dataset.augment import AugmentSettings
from histosam_core.training.recipes import SPECIALIST, Recipe
from histosam_core.training.scenarios import SCENARIOS

if TYPE_CHECKING:
    from histosam_core.training.config import TrainConfig

__all__ = ["wrong_types", "wrong_values"]

PRECISIONS = ("fp32", "bf16", "fp16")
LEAST_CROP_PX = 32

Require = Callable[[str, bool, str], None]
"""Takes a setting's name, whether it is right, and what it must be."""


def wrong_values(config: TrainConfig) -> list[str]:
    """Say what is wrong with settings of the right types, a text for each."""
    problems = []

    def require(name: str, holds: bool, rule: str) -> None:
        if not holds:
            problems.append(f"{name} is {getattr(config, name)!r}; it must be {rule}")

    require("model", bool(config.model), "a registry name or a checkpoint path")
    recipe = config.recipe
    if recipe.is_specialist:
        _check_specialist(config, recipe, require)
    else:
        _check_sam(config, require)
    require("precision", config.precision in PRECISIONS, "fp32, bf16 or fp16")
    for name in ("epochs", "batch_size", "max_random_clicks", "validation_clicks"):
        require(name, getattr(config, name) >= 1, "at least 1")
    for name in ("validate_every", "accumulate_steps"):
        require(name, getattr(config, name) >= 1, "at least 1")
    for name in ("max_steps_per_epoch", "validation_limit", "patience"):
        value = getattr(config, name)
        require(name, value is None or value >= 1, "at least 1, or left out")
    require("max_minutes", config.max_minutes is None or config.max_minutes > 0, "above 0")
    for name in ("learning_rate", "clip_norm"):
        require(name, 0 < getattr(config, name) < float("inf"), "above 0")
    most = max(1.0, recipe.encoder_lr_factor)
    fits = 0 < config.encoder_lr_factor <= most
    require("encoder_lr_factor", fits, f"above 0 and at most {most:g}")
    require("milestone_factor", 0 < config.milestone_factor <= 1, "above 0 and at most 1")
    rising = list(config.milestones) == sorted(config.milestones)
    inside = all(0 < share < 1 for share in config.milestones)
    require("milestones", rising and inside, "rising shares between 0 and 1, such as 0.67, 0.83")
    for name in ("warmup_steps", "max_iterations", "augment_variants", "workers"):
        require(name, getattr(config, name) >= 0, "0 or more")
    for name in ("cache_mb", "cache_disk_mb", "seed"):
        require(name, getattr(config, name) >= 0, "0 or more")
    require("focal_alpha", 0 < config.focal_alpha < 1, "between 0 and 1")
    for name in ("focal_gamma", "quality_weight", "save_every_minutes"):
        require(name, 0 <= getattr(config, name) < float("inf"), "0 or more")
    require("single_click_share", 0 <= config.single_click_share <= 1, "0 to 1")
    require("keep_base", 0 <= config.keep_base < 1, "0, or above 0 and below 1")
    return problems


def _check_sam(config: TrainConfig, require: Require) -> None:
    names, model = ", ".join(SCENARIOS), config.model
    rule = f"one of {names}" + (f": {model} is of SAM's line" * (config.scenario == SPECIALIST))
    require("scenario", config.scenario in SCENARIOS, rule)
    scenario = SCENARIOS.get(config.scenario)
    if config.early_features and scenario is not None:
        require(
            "early_features",
            scenario.decoder == "refining",
            f"left out: the scenario {config.scenario} trains SAM's decoder, which takes none",
        )
    require("crop_size", config.crop_size is None, f"left out: {model} takes whole patches")
    require("layer_decay", config.layer_decay is None, "left out: it is for SimpleClick")


def _check_specialist(config: TrainConfig, recipe: Recipe, require: Require) -> None:
    left_out = f"left out: {config.model} is a {recipe.title} model"
    require("scenario", config.scenario == SPECIALIST, f"{left_out}, which trains as a whole")
    require("early_features", config.early_features is None, f"{left_out}, which has none")
    require("quality_weight", not config.quality_weight, f"{left_out}, which predicts no quality")
    decay = config.layer_decay
    if recipe.name == "simpleclick":
        require("layer_decay", decay is None or 0 < decay <= 1, "above 0 and at most 1")
    else:
        require("layer_decay", decay is None, "left out: it is for SimpleClick")
    least = recipe.least_at_a_time
    if config.batch_size >= 1:
        rule = f"at least {least}: a batch norm of {recipe.title}'s needs them"
        require("batch_size", config.batch_size >= least, rule)
    height, width = config.crop_size or (0, 0)
    rules = [f"height and width of {LEAST_CROP_PX} px or more"]
    fits = min(height, width) >= LEAST_CROP_PX
    if recipe.is_square:
        rules.append("a square")
        fits = fits and height == width
    large, small = recipe.crop_multiple, recipe.small_crop_multiple
    if large > 1:
        rules.append(f"multiples of {large}, or below that of {small}")
        fits = fits and not any(px % (small if px < large else large) for px in (height, width))
    require("crop_size", fits, ", ".join(rules))


def wrong_types(config: TrainConfig) -> list[str]:
    """Say which settings are of a wrong type; a whole number passes for a float."""
    problems = []
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        allowed = get_args(hint) if type(None) in get_args(hint) else (hint,)
        if not any(_is(value, kind) for kind in allowed):
            kinds = " or ".join(_KIND_NAMES.get(kind, str(kind)) for kind in allowed)
            problems.append(f"{name} is {value!r}; it must be {kinds}")
    return problems


def _is(value: object, kind: Any) -> bool:
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        if not isinstance(value, tuple | list):
            return False
        if kinds[-1] is Ellipsis:
            kinds = (kinds[0],) * len(value)
        return len(kinds) == len(value) and all(map(_is, value, kinds))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is Path:
        return isinstance(value, str | os.PathLike)
    return isinstance(value, kind)


_KIND_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
    type(None): "left out",
    tuple[float, ...]: "a list of numbers",
    tuple[int, int]: "two whole numbers",
    AugmentSettings: "AugmentSettings",
}
