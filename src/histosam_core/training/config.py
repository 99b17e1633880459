"""Settings of a fine-tuning run: checked all at once, saved as JSON beside what they produced."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from histosam_core.atomic import new_file
from histosam_core.dataset.augment import AugmentSettings
from histosam_core.errors import ConfigError
from histosam_core.training.config_rules import wrong_types, wrong_values
from histosam_core.training.recipes import Recipe, recipe_of

__all__ = ["OF_RECIPE", "TrainConfig", "read_settings"]

BY_RECIPE: Any = None
"""Default of what depends on the model's family; a setting made is never None. See RECIPES."""

OF_RECIPE = (
    "scenario", "learning_rate", "encoder_lr_factor", "milestones", "first_click_centre",
    "crop_size",
)  # fmt: skip
"""Settings that the model's family decides where they are left out."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides a fine-tuning run.

    Defaults are the paper's where it states them, RITM's where it points there. Some depend on the
    model's family, and stand in `RECIPES`: those of RITM, FocalClick and SimpleClick are what
    their authors trained with, for fine-tuning from the published weights.

    Parameters
    ----------
    out
        Run folder.
    model
        Registry name or checkpoint path to start from. Its family decides what else applies.
    patches
        Folder that holds ``train.zarr`` and ``validation.zarr``, as `extract_patches` writes it, or
        the training store itself. None only if patches are handed to `finetune`.
    validation_patches
        The validation store, if it is not ``validation.zarr`` beside the training store.
    scenario
        "md", "ie_md", "whole", "refining" or "histosam" for models of SAM's line, "refining" where
        left out. RITM, FocalClick and SimpleClick train as a whole: "specialist", which need not
        be said.
    early_features
        Whether the refining decoder also gets the encoder's early features (fine edges and
        textures). None: in `histosam`, and wherever the base model's decoder gets them already.
        A specialist has no such decoder.
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
        Adam's, after the warm-up. Left out, the family's: SAM and RITM 5e-4, FocalClick 5e-3 on
        SegFormer and 5e-4 on HRNet, SimpleClick 5e-5.
    encoder_lr_factor
        The share of it that SAM's image encoder or a specialist's backbone gets. Left out, the
        family's: 0.1, and 2 for FocalClick on HRNet, 1 for SimpleClick.
    layer_decay
        SimpleClick's backbone only: each block's rate is this many times that of the one behind
        it (0.75 is usual for vision transformers). None: all learn alike.
    milestones
        Where the learning rate falls, as shares of the whole. Left out, the family's: SAM epochs 20
        and 25 of 30 (the paper), RITM 200 and 220 of 230, FocalClick 190 and 210 of 230,
        SimpleClick 50 of 55.
    milestone_factor
        What it is multiplied by there.
    warmup_steps
        Steps over which it rises from zero; at most a tenth of all steps. Without it SAM's two-way
        transformer can collapse to a constant.
    clip_norm
        Upper bound of the gradient's norm.
    focal_alpha, focal_gamma
        Of the normalized focal loss.
    quality_weight
        Weight of the squared error of the predicted IoU; 0 leaves the quality head alone (paper).
        A specialist predicts none.
    keep_base
        Share of the starting weights in what is validated and written: weights are averaged,
        parameter by parameter, between the start and what was trained. Above 0 a model tuned on
        few slides keeps more of what it could do elsewhere; 0 is the paper's. Of SAM's line, it
        needs a base model that has the scenario's decoder already.
    crop_size
        Specialists only: (H, W) in pixels of what the network is trained on, cut at random out of
        a patch; one number is a square. Left out, the family's: RITM 320 x 480, FocalClick
        256 x 256, SimpleClick 448 x 448. For SimpleClick H and W must be multiples of 224, or below
        that of 16. FocalClick and SimpleClick are used at the size that they were trained at.
    max_random_clicks
        Most positive, and most negative, first clicks.
    max_iterations
        Most clicks drawn from the error region after those; 0 to that many, drawn per batch.
    first_click_centre
        Draw the first positive click from the object's middle. Left out, the family's: only
        FocalClick does.
    single_click_share
        Share of samples that start with one central click alone, as an evaluation does (RITM: 0).
    augment
        Which augmentations are on.
    augment_variants
        With a frozen image encoder each patch gets this many augmented variants, drawn once, so
        that embeddings can be cached. 0 draws afresh every time and caches nothing, as is always
        so where the encoder learns, specialists among them.
    half_embeddings
        With a frozen image encoder, round embeddings to half precision, cached or not. This, and
        the caches below, have no effect elsewhere.
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
    scenario: str = BY_RECIPE
    early_features: bool | None = None
    epochs: int = 30
    batch_size: int = 8
    accumulate_steps: int = 1
    max_steps_per_epoch: int | None = None
    max_minutes: float | None = None
    learning_rate: float = BY_RECIPE
    encoder_lr_factor: float = BY_RECIPE
    layer_decay: float | None = None
    milestones: tuple[float, ...] = BY_RECIPE
    milestone_factor: float = 0.1
    warmup_steps: int = 100
    clip_norm: float = 1.0
    focal_alpha: float = 0.5
    focal_gamma: float = 2.0
    quality_weight: float = 0.0
    keep_base: float = 0.0
    crop_size: tuple[int, int] | None = None
    max_random_clicks: int = 24
    max_iterations: int = 3
    first_click_centre: bool = BY_RECIPE
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
        if isinstance(self.model, str):
            self._take_from_recipe()
        problems = wrong_types(self)
        if not problems:
            self._normalise()
            problems = wrong_values(self)
        if problems:
            raise ConfigError("fine-tuning settings: " + "; ".join(problems))

    @property
    def recipe(self) -> Recipe:
        """How models of this one's family are trained."""
        return recipe_of(self.model)

    def _take_from_recipe(self) -> None:
        """Set what was left out."""
        recipe = self.recipe
        for name in OF_RECIPE:
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(recipe, name))
        size: Any = self.crop_size
        if isinstance(size, int) and not isinstance(size, bool):
            size = (size, size)
        object.__setattr__(self, "crop_size", tuple(size) if isinstance(size, list) else size)

    def _normalise(self) -> None:
        for name in ("out", "patches", "validation_patches", "cache_dir"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else Path(value))
        object.__setattr__(self, "milestones", tuple(float(v) for v in self.milestones))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        values = asdict(self)
        for name, value in values.items():
            if isinstance(value, Path):
                values[name] = str(value)
        values["milestones"] = list(self.milestones)
        values["crop_size"] = None if self.crop_size is None else list(self.crop_size)
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
