"""Settings of a fine-tuning run: checked all at once, saved as JSON beside what they produced."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from histosam_core.atomic import new_file
from histosam_core.dataset.augment import AugmentSettings
from histosam_core.errors import ConfigError
from histosam_core.training.scenarios import SCENARIOS

__all__ = ["TrainConfig", "read_settings"]

PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides a fine-tuning run.

    Defaults are the paper's where it states them, RITM's where it points there.

    Parameters
    ----------
    out
        Run folder.
    model
        Registry name or checkpoint path to start from.
    patches
        Folder that holds ``train.zarr`` and ``validation.zarr``, as `extract_patches` writes it, or
        the training store itself. None only if patches are handed to `finetune`.
    validation_patches
        The validation store, if it is not ``validation.zarr`` beside the training store.
    scenario
        "md", "ie_md", "whole", "refining" or "histosam".
    early_features
        Whether the refining decoder also gets the encoder's early features (fine edges and
        textures). None: in `histosam`, and wherever the base model's decoder gets them already.
    epochs
        Passes over the training patches.
    batch_size
        Patches that are in memory together, over all processes.
    accumulate_steps
        Batches whose gradients make a step: batch_size x accumulate_steps patches a step.
    max_steps_per_epoch
        End an epoch after so many steps; None takes every patch once.
    max_minutes
        Budget of wall time. When it is shorter than the epochs need, the learning rate falls
        by time instead and training ends with the budget; such a run cannot be repeated to the bit.
    learning_rate
        Adam's, after the warm-up.
    encoder_lr_factor
        The image encoder's share of it (RITM: 0.1 for a backbone).
    milestones
        Where the learning rate falls, as shares of the whole (the paper: epochs 20 and 25 of 30).
    milestone_factor
        What it is multiplied by there.
    warmup_steps
        Steps over which it rises from zero; at most a tenth of all steps. Without it the two-way
        transformer can collapse to a constant.
    clip_norm
        Upper bound of the gradient's norm.
    focal_alpha, focal_gamma
        Of the normalized focal loss.
    quality_weight
        Weight of the squared error of the predicted IoU; 0 leaves the quality head alone (paper).
    keep_base
        Share of the starting weights in what is validated and written: weights are averaged,
        parameter by parameter, between the start and what was trained. Above 0 a model tuned on
        few slides keeps more of what it could do elsewhere; 0 is the paper's. Needs a base model
        that has the scenario's decoder already.
    max_random_clicks
        Most positive, and most negative, first clicks.
    max_iterations
        Most clicks drawn from the error region after those; 0 to that many, drawn per batch.
    first_click_centre
        Draw the first positive click from the object's middle, as FocalClick does.
    single_click_share
        Share of samples that start with one central click alone, as an evaluation does (RITM: 0).
    augment
        Which augmentations are on.
    augment_variants
        With a frozen image encoder each patch gets this many augmented variants, drawn once, so
        that embeddings can be cached. 0 draws afresh every time and caches nothing.
    half_embeddings
        With a frozen image encoder, round embeddings to half precision, cached or not.
    cache_mb
        Memory for cached embeddings in MiB.
    cache_dir
        Folder for cached embeddings, which runs on the same patches share. None takes the folder
        ``embeddings`` beside the training store, and no folder for patches in memory.
    cache_disk_mb
        Bound on that folder in MiB; 0 keeps nothing on disk. What fits neither in memory nor on
        disk is encoded again when needed.
    validation_limit
        Validation patches used (spread evenly over the store); None takes all.
    validation_clicks
        Click budget in validation; a patch that fails counts this many.
    validate_every
        Epochs between validations; the last epoch is always validated.
    patience
        End the run after so many validations in a row without a lower NoC@85; None never does.
    save_every_minutes
        Minutes between saved states within an epoch: what a crash loses at most. 0 saves after
        every step.
    tensorboard
        Write the log for TensorBoard too, into the run folder.
    seed
        Of every draw.
    workers
        Threads that read and augment patches ahead of training.
    device
        "auto", "cpu", "cuda", "cuda:1", "mps".
    precision
        "fp32", or automatic mixed precision: "bf16", or "fp16" (CUDA GPUs only).
    channels_last
        Lay images out with their channels last, which some GPUs' convolutions want; on a CPU it
        does not pay.

    Raises
    ------
    ConfigError
        One or more settings are wrong; the message lists all of them.
    """

    out: Path
    model: str = "histosam-tiny"
    patches: Path | None = None
    validation_patches: Path | None = None
    scenario: str = "refining"
    early_features: bool | None = None
    epochs: int = 30
    batch_size: int = 8
    accumulate_steps: int = 1
    max_steps_per_epoch: int | None = None
    max_minutes: float | None = None
    learning_rate: float = 5e-4
    encoder_lr_factor: float = 0.1
    milestones: tuple[float, ...] = (20 / 30, 25 / 30)
    milestone_factor: float = 0.1
    warmup_steps: int = 100
    clip_norm: float = 1.0
    focal_alpha: float = 0.5
    focal_gamma: float = 2.0
    quality_weight: float = 0.0
    keep_base: float = 0.0
    max_random_clicks: int = 24
    max_iterations: int = 3
    first_click_centre: bool = False
    single_click_share: float = 0.0
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    augment_variants: int = 8
    half_embeddings: bool = True
    cache_mb: int = 1024
    cache_dir: Path | None = None
    cache_disk_mb: int = 20480
    validation_limit: int | None = 100
    validation_clicks: int = 20
    validate_every: int = 1
    patience: int | None = None
    save_every_minutes: float = 5.0
    tensorboard: bool = False
    seed: int = 0
    workers: int = 0
    device: str = "auto"
    precision: str = "fp32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        problems = _wrong_types(self)
        if not problems:
            self._normalise()
            problems = self._problems()
        if problems:
            raise ConfigError("fine-tuning settings: " + "; ".join(problems))

    def _normalise(self) -> None:
        for name in ("out", "patches", "validation_patches", "cache_dir"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else Path(value))
        object.__setattr__(self, "milestones", tuple(float(v) for v in self.milestones))

    def _problems(self) -> list[str]:
        problems = []

        def require(name: str, holds: bool, rule: str) -> None:
            if not holds:
                problems.append(f"{name} is {getattr(self, name)!r}; it must be {rule}")

        names = ", ".join(SCENARIOS)
        require("model", bool(self.model), "a registry name or a checkpoint path")
        require("scenario", self.scenario in SCENARIOS, f"one of {names}")
        if self.early_features and self.scenario in SCENARIOS:
            takes = SCENARIOS[self.scenario].decoder == "refining"
            require(
                "early_features",
                takes,
                f"left out: the scenario {self.scenario} trains SAM's decoder, which takes none",
            )
        require("precision", self.precision in PRECISIONS, "fp32, bf16 or fp16")
        for name in ("epochs", "batch_size", "max_random_clicks", "validation_clicks"):
            require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("validate_every", "accumulate_steps"):
            require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("max_steps_per_epoch", "validation_limit", "patience"):
            value = getattr(self, name)
            require(name, value is None or value >= 1, "at least 1, or left out")
        require("max_minutes", self.max_minutes is None or self.max_minutes > 0, "above 0")
        for name in ("learning_rate", "clip_norm"):
            require(name, 0 < getattr(self, name) < float("inf"), "above 0")
        for name in ("encoder_lr_factor", "milestone_factor"):
            require(name, 0 < getattr(self, name) <= 1, "above 0 and at most 1")
        rising = list(self.milestones) == sorted(self.milestones)
        inside = all(0 < share < 1 for share in self.milestones)
        require(
            "milestones", rising and inside, "rising shares between 0 and 1, such as 0.67, 0.83"
        )
        for name in ("warmup_steps", "max_iterations", "augment_variants", "workers"):
            require(name, getattr(self, name) >= 0, "0 or more")
        for name in ("cache_mb", "cache_disk_mb", "seed"):
            require(name, getattr(self, name) >= 0, "0 or more")
        require("focal_alpha", 0 < self.focal_alpha < 1, "between 0 and 1")
        for name in ("focal_gamma", "quality_weight", "save_every_minutes"):
            require(name, 0 <= getattr(self, name) < float("inf"), "0 or more")
        require("single_click_share", 0 <= self.single_click_share <= 1, "0 to 1")
        require("keep_base", 0 <= self.keep_base < 1, "0, or above 0 and below 1")
        return problems

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        values = asdict(self)
        for name, value in values.items():
            if isinstance(value, Path):
                values[name] = str(value)
        values["milestones"] = list(self.milestones)
        return values

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the settings as JSON."""
        with new_file(path) as temporary:
            temporary.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Build from plain values; names that are no setting are an error.

        Raises
        ------
        ConfigError
            One or more settings are unknown, missing or wrong; the message lists all of them.
        """
        known = {f.name for f in fields(cls)}
        augment_names = {f.name for f in fields(AugmentSettings)}
        given = dict(values)
        augment = given.pop("augment", None)
        unknown = sorted(given.keys() - known)
        problems = [f"no setting is called {name!r}" for name in unknown]
        required = [f.name for f in fields(cls) if f.default is MISSING]
        required = [name for name in required if name != "augment" and name not in given]
        problems += [f"{name} is missing" for name in required]
        settings = AugmentSettings()
        if isinstance(augment, AugmentSettings):
            settings = augment
        elif isinstance(augment, Mapping):
            wrong = sorted(set(augment) - augment_names)
            problems += [f"no augmentation is called {name!r}" for name in wrong]
            flags = {name: augment[name] for name in augment_names & set(augment)}
            not_bool = sorted(name for name, flag in flags.items() if not isinstance(flag, bool))
            problems += [f"augment.{name} must be true or false" for name in not_bool]
            if not (wrong or not_bool):
                settings = AugmentSettings(**flags)
        elif augment is not None:
            problems.append("augment must hold true or false by name")
        given = {name: given[name] for name in known & given.keys()}
        if isinstance(given.get("milestones"), list):
            given["milestones"] = tuple(given["milestones"])
        try:
            config = cls(**{"out": "unset", **given}, augment=settings)
        except ConfigError as error:
            raise ConfigError("; ".join([str(error), *problems])) from None
        if problems:
            raise ConfigError("fine-tuning settings: " + "; ".join(problems))
        return config

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TrainConfig:
        """Read settings from a JSON file that `save` wrote, or one written by hand.

        Raises
        ------
        ConfigError
            The file is missing or not JSON, or settings are wrong.
        """
        return cls.from_dict(read_settings(path))


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON file of settings without checking them.

    Raises
    ------
    ConfigError
        The file is missing, or does not hold a JSON object.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no settings file {path}; check the path") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not a JSON file of settings ({error}); fix it") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a JSON object: settings by name")
    return values


def _wrong_types(config: TrainConfig) -> list[str]:
    """Problems with the settings' types; a whole number passes for a float."""
    problems = []
    for name, hint in get_type_hints(TrainConfig).items():
        value = getattr(config, name)
        allowed = get_args(hint) if type(None) in get_args(hint) else (hint,)
        if name == "milestones":
            good = isinstance(value, tuple | list) and all(_is(v, float) for v in value)
        else:
            good = any(_is(value, kind) for kind in allowed)
        if not good:
            kinds = " or ".join(_KIND_NAMES.get(kind, str(kind)) for kind in allowed)
            problems.append(f"{name} is {value!r}; it must be {kinds}")
    return problems


def _is(value: object, kind: Any) -> bool:
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
    AugmentSettings: "AugmentSettings",
}
