"""Settings of a fine-tuning run, each declared once; see `histosam_core.settings`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

from histosam_core.dataset.augment import AugmentSettings
from histosam_core.settings import JobSettings, Problems, setting
from histosam_core.training.recipes import SPECIALIST, Recipe, recipe_of
from histosam_core.training.scenarios import SCENARIOS

__all__ = ["DEVICES", "OF_RECIPE", "TrainConfig"]

Precision = Literal["fp32", "bf16", "fp16"]

DEVICES = ("auto", "cpu", "cuda", "mps")
"""Usual devices; "cuda:1" and the like are devices too."""
OF_RECIPE = (
    "scenario", "learning_rate", "encoder_lr_factor", "milestones", "first_click_centre",
    "crop_size",
)  # fmt: skip
"""Settings that the model's family decides where they are left out; see `RECIPES`."""
LEAST_CROP_PX = 32

DATA, MODEL, LEARNING = "Data", "Model", "Learning"
CLICKS, VALIDATION, MACHINE = "Clicks", "Validation", "Machine"


class TrainConfig(JobSettings):
    """Everything that decides a fine-tuning run.

    Defaults are the paper's where it states them, RITM's where it points there. Some depend on the
    model's family, and stand in `RECIPES`: those of RITM, FocalClick and SimpleClick are what
    their authors trained with, for fine-tuning from the published weights.
    """

    title: ClassVar[str] = "fine-tuning settings"

    out: Path = setting(
        caption="Run folder", help="Run folder; made if missing.", group=DATA, path="folder"
    )
    patches: Path | None = setting(
        None,
        caption="Patches",
        help="Folder that `histosam prepare` wrote (train.zarr, validation.zarr), or the training "
        "store itself.",
        group=DATA,
        path="folder",
    )
    validation_patches: Path | None = setting(
        None,
        caption="Validation patches",
        help="The validation store, if it is not validation.zarr beside the training store.",
        group=DATA,
        path="folder",
        advanced=True,
    )
    model: str = setting(
        "histosam-tiny",
        caption="Model",
        help="Name or checkpoint to start from, of SAM's line, RITM, FocalClick or SimpleClick; "
        "its family decides what else applies.",
        group=MODEL,
        path="model",
    )
    scenario: str = setting(
        None,
        caption="Scenario",
        help="What trains of a model of SAM's line. "
        + " ".join(f"{one.name}: {one.explanation}" for one in SCENARIOS.values())
        + " RITM, FocalClick and SimpleClick train as a whole: leave it out.",
        suggestions=SCENARIOS,
        default_text="refining",
        group=MODEL,
        only="sam",
    )
    early_features: bool | None = setting(
        None,
        caption="Early features",
        help="Hand the encoder's early features (fine edges and textures) to the refining decoder.",
        default_text="in histosam, and where the model has them",
        group=MODEL,
        only="sam",
    )
    keep_base: float = setting(
        0.0,
        caption="Weight kept of the start",
        help="Share of the starting weights in what is validated and written (WiSE-FT): above 0 a "
        "model tuned on few slides keeps more of what it could do elsewhere. Of SAM's line, the "
        "model must have the scenario's decoder already.",
        group=MODEL,
        ge=0,
        lt=1,
    )
    epochs: int = setting(
        30, caption="Epochs", help="Passes over the training patches.", group=LEARNING, ge=1
    )
    batch_size: int = setting(
        8,
        caption="Batch size",
        help="Patches in memory together, over all processes.",
        unit="patches",
        group=LEARNING,
        ge=1,
    )
    accumulate_steps: int = setting(
        1,
        caption="Batches a step",
        help="Batches whose gradients make a step: so many times the batch size are a step's "
        "patches.",
        group=LEARNING,
        ge=1,
    )
    max_steps_per_epoch: int | None = setting(
        None,
        caption="Steps an epoch",
        help="End each epoch after so many steps; left out: every patch comes once.",
        group=LEARNING,
        ge=1,
        advanced=True,
    )
    max_minutes: float | None = setting(
        None,
        caption="Time limit",
        help="End within this time; the learning rate falls with it, and the run cannot be "
        "repeated to the bit.",
        unit="min",
        group=LEARNING,
        gt=0,
    )
    learning_rate: float = setting(
        None,
        caption="Learning rate",
        help="Adam's, after the warm-up.",
        default_text="5e-4; FocalClick on SegFormer 5e-3, SimpleClick 5e-5",
        group=LEARNING,
        gt=0,
    )
    encoder_lr_factor: float = setting(
        None,
        caption="Encoder's share of the rate",
        help="Share of the learning rate that SAM's image encoder or a specialist's backbone gets.",
        default_text="0.1; FocalClick on HRNet 2, SimpleClick 1",
        group=LEARNING,
        gt=0,
        advanced=True,
    )
    layer_decay: float | None = setting(
        None,
        caption="Layer decay",
        help="SimpleClick's backbone: each block learns at this many times the rate of the one "
        "behind it (0.75 is usual for vision transformers); left out: all alike.",
        group=LEARNING,
        only="specialist",
        advanced=True,
    )
    milestones: tuple[float, ...] = setting(
        None,
        caption="Milestones",
        help="Where the learning rate falls, as shares of the whole run.",
        default_text="epochs 20 and 25 of 30 (the paper); RITM 200 and 220, FocalClick 190 and 210 "
        "of 230; SimpleClick 50 of 55",
        group=LEARNING,
        advanced=True,
    )
    milestone_factor: float = setting(
        0.1,
        caption="Factor at a milestone",
        help="What the learning rate is multiplied by there.",
        group=LEARNING,
        gt=0,
        le=1,
        advanced=True,
    )
    warmup_steps: int = setting(
        100,
        caption="Warm-up",
        help="Steps over which the rate rises from zero, at most a tenth of all; without it SAM's "
        "two-way transformer can collapse to a constant.",
        unit="steps",
        group=LEARNING,
        ge=0,
        advanced=True,
    )
    clip_norm: float = setting(
        1.0,
        caption="Gradient norm",
        help="Upper bound of the gradient's norm.",
        group=LEARNING,
        gt=0,
        advanced=True,
    )
    focal_alpha: float = setting(
        0.5,
        caption="Focal alpha",
        help="Of the normalized focal loss.",
        group=LEARNING,
        gt=0,
        lt=1,
        advanced=True,
    )
    focal_gamma: float = setting(
        2.0,
        caption="Focal gamma",
        help="Of the normalized focal loss.",
        group=LEARNING,
        ge=0,
        advanced=True,
    )
    quality_weight: float = setting(
        0.0,
        caption="Weight of the quality",
        help="Weight of the squared error of the predicted IoU; 0 leaves the quality head alone "
        "(the paper). Specialists predict none.",
        group=LEARNING,
        ge=0,
        only="sam",
        advanced=True,
    )
    crop_size: tuple[int, int] | None = setting(
        None,
        caption="Crop",
        help="What RITM, FocalClick and SimpleClick train on, cut at random out of a patch: "
        "HEIGHTxWIDTH or one number. FocalClick and SimpleClick are used at the size that they "
        "were trained at.",
        unit="px",
        form="HEIGHTxWIDTH, such as 320x480, or one number",
        default_text="320x480, 256, 448",
        group=LEARNING,
        only="specialist",
    )
    max_random_clicks: int = setting(
        24,
        caption="First clicks",
        help="Most positive, and most negative, first clicks.",
        group=CLICKS,
        ge=1,
        advanced=True,
    )
    max_iterations: int = setting(
        3,
        caption="Clicks on errors",
        help="Most clicks drawn from the error region after those; each batch draws how many.",
        group=CLICKS,
        ge=0,
        advanced=True,
    )
    first_click_centre: bool = setting(
        None,
        caption="First click in the middle",
        help="Draw the first positive click from the object's middle.",
        default_text="FocalClick only",
        group=CLICKS,
        advanced=True,
    )
    single_click_share: float = setting(
        0.0,
        caption="Share of single clicks",
        help="Share of samples that start with one central click alone, as an evaluation does "
        "(RITM: 0).",
        group=CLICKS,
        ge=0,
        le=1,
        advanced=True,
    )
    augment: AugmentSettings = setting(
        AugmentSettings(),
        caption="Augmentation",
        help="Which augmentations are on.",
        advanced=True,
    )
    augment_variants: int = setting(
        8,
        caption="Variants of a patch",
        help="Augmented variants of each patch, drawn once, so that a frozen encoder's embeddings "
        "can be cached; 0 draws afresh every time and caches nothing.",
        group="Augmentation",
        ge=0,
        only="sam",
        advanced=True,
    )
    validation_limit: int | None = setting(
        100,
        caption="Validation patches used",
        help="Spread evenly over the store; left out: all.",
        group=VALIDATION,
        ge=1,
    )
    validation_clicks: int = setting(
        20,
        caption="Clicks in validation",
        help="Click budget; a patch that fails counts this many.",
        group=VALIDATION,
        ge=1,
        advanced=True,
    )
    validate_every: int = setting(
        1,
        caption="Epochs between validations",
        help="The last epoch is always validated.",
        group=VALIDATION,
        ge=1,
        advanced=True,
    )
    patience: int | None = setting(
        None,
        caption="Patience",
        help="End after so many validations in a row without a lower NoC@85; left out: never.",
        group=VALIDATION,
        ge=1,
    )
    seed: int = setting(0, caption="Seed", help="Of every draw.", group=MACHINE, ge=0)
    workers: int = setting(
        0,
        caption="Reader threads",
        help="Threads that read and augment patches ahead of training.",
        group=MACHINE,
        ge=0,
    )
    device: str = setting(
        "auto",
        caption="Device",
        help="auto, cpu, cuda, cuda:1, mps.",
        suggestions=DEVICES,
        group=MACHINE,
    )
    precision: Precision = setting(
        "fp32",
        caption="Precision",
        help="fp32, or automatic mixed precision: bf16, or fp16 on a CUDA GPU.",
        group=MACHINE,
    )
    channels_last: bool = setting(
        False,
        caption="Channels last",
        help="Lay images out with their channels last, which some GPUs' convolutions want.",
        group=MACHINE,
        advanced=True,
    )
    half_embeddings: bool = setting(
        True,
        caption="Embeddings in half precision",
        help="Round a frozen encoder's embeddings to half precision, cached or not.",
        group=MACHINE,
        only="sam",
        advanced=True,
    )
    cache_mb: int = setting(
        1024,
        caption="Embeddings in memory",
        help="Memory for a frozen encoder's embeddings.",
        unit="MiB",
        group=MACHINE,
        ge=0,
        only="sam",
        advanced=True,
    )
    cache_dir: Path | None = setting(
        None,
        caption="Folder of embeddings",
        help="Folder for a frozen encoder's embeddings, which runs on the same patches share.",
        default_text="embeddings beside the training store",
        group=MACHINE,
        path="folder",
        only="sam",
        advanced=True,
    )
    cache_disk_mb: int = setting(
        20480,
        caption="Embeddings on disk",
        help="Bound on that folder; 0 keeps none. What fits nowhere is encoded again when needed.",
        unit="MiB",
        group=MACHINE,
        ge=0,
        only="sam",
        advanced=True,
    )
    save_every_minutes: float = setting(
        5.0,
        caption="Time between saved states",
        help="Within an epoch: what a crash loses at most; 0 saves after every step.",
        unit="min",
        group=MACHINE,
        ge=0,
        advanced=True,
    )
    tensorboard: bool = setting(
        False,
        caption="Log for TensorBoard",
        help="Write the log for TensorBoard too, into the run folder.",
        group=MACHINE,
        advanced=True,
    )

    @property
    def recipe(self) -> Recipe:
        """How models of this one's family are trained."""
        return recipe_of(self.model)

    @classmethod
    def tidy(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Take a crop as "HEIGHTxWIDTH" or the side of a square too."""
        size = values.get("crop_size")
        sides = size.lower().split("x") if isinstance(size, str) else []
        if sides and len(sides) <= 2 and all(side.strip().isdecimal() for side in sides):
            size = (int(sides[0]), int(sides[-1]))
        if isinstance(size, int) and not isinstance(size, bool):
            size = (size, size)
        return {**values, "crop_size": size} if "crop_size" in values else values

    def complete(self) -> None:
        """Take from the family's recipe what was left out."""
        recipe = self.recipe
        for name in OF_RECIPE:
            if getattr(self, name) is None:
                self.decide(name, getattr(recipe, name))

    def check(self, wrong: Problems) -> None:
        """Check what depends on the model's family."""
        recipe = self.recipe
        wrong.require("model", bool(self.model), "a registry name or a checkpoint path")
        if recipe.is_specialist:
            self._check_specialist(recipe, wrong.require)
        else:
            self._check_sam(wrong.require)
        most = max(1.0, recipe.encoder_lr_factor)
        rule = f"above 0 and at most {most:g}"
        wrong.require("encoder_lr_factor", self.encoder_lr_factor <= most, rule)
        rising = list(self.milestones) == sorted(self.milestones)
        inside = all(0 < share < 1 for share in self.milestones)
        rule = "rising shares between 0 and 1, such as 0.67, 0.83"
        wrong.require("milestones", rising and inside, rule)

    def _check_sam(self, require: Callable[[str, bool, str], None]) -> None:
        names, model = ", ".join(SCENARIOS), self.model
        rule = f"one of {names}" + (f": {model} is of SAM's line" * (self.scenario == SPECIALIST))
        require("scenario", self.scenario in SCENARIOS, rule)
        scenario = SCENARIOS.get(self.scenario)
        if self.early_features and scenario is not None:
            require(
                "early_features",
                scenario.decoder == "refining",
                f"left out: the scenario {self.scenario} trains SAM's decoder, which takes none",
            )
        require("crop_size", self.crop_size is None, f"left out: {model} takes whole patches")
        require("layer_decay", self.layer_decay is None, "left out: it is for SimpleClick")

    def _check_specialist(self, recipe: Recipe, require: Callable[[str, bool, str], None]) -> None:
        left_out = f"left out: {self.model} is a {recipe.title} model"
        require("scenario", self.scenario == SPECIALIST, f"{left_out}, which trains as a whole")
        require("early_features", self.early_features is None, f"{left_out}, which has none")
        require("quality_weight", not self.quality_weight, f"{left_out}, which predicts no quality")
        decay = self.layer_decay
        if recipe.name == "simpleclick":
            require("layer_decay", decay is None or 0 < decay <= 1, "above 0 and at most 1")
        else:
            require("layer_decay", decay is None, "left out: it is for SimpleClick")
        least = recipe.least_at_a_time
        if self.batch_size >= 1:
            rule = f"at least {least}: a batch norm of {recipe.title}'s needs them"
            require("batch_size", self.batch_size >= least, rule)
        height, width = self.crop_size or (0, 0)
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
