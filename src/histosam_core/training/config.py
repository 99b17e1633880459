"""Settings of a fine-tuning run, each declared once; see `histosam_core.settings`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

from histosam_core.dataset.augment import AugmentSettings
from histosam_core.settings import JobSettings, Problems, setting
from histosam_core.training.recipes import SCENARIOS, SPECIALIST, Recipe, recipe_of

Precision = Literal["fp32", "bf16", "fp16"]

DEVICES = ("auto", "cpu", "cuda", "mps")
"""Usual devices; "cuda:1" and the like are devices too."""
OF_RECIPE = (
    "scenario", "learning_rate", "encoder_lr_factor", "milestones", "first_click_centre",
    "crop_size",
)  # fmt: skip
"""Settings that the model's family decides where they are left out; see `RECIPES`."""
LEAST_CROP_PX = 32

_SCENARIO_HELP = (
    "What trains of a model of SAM's line. "
    + " ".join(f"{one.name}: {one.explanation}" for one in SCENARIOS.values())
    + " RITM, FocalClick and SimpleClick train as a whole: leave it out."
)


class TrainConfig(JobSettings):
    """Everything that decides a fine-tuning run.

    Defaults are the paper's where it states them, RITM's where it points there. Some depend on the
    model's family, and stand in `RECIPES`: those of RITM, FocalClick and SimpleClick are what
    their authors trained with, for fine-tuning from the published weights.
    """

    title: ClassVar[str] = "fine-tuning settings"
    free_on_resume: ClassVar[frozenset[str]] = frozenset(
        {
            "out", "device", "workers", "cache_mb", "cache_dir", "cache_disk_mb",
            "save_every_minutes", "tensorboard",
        }
    )  # fmt: skip

    out: Path = setting(..., "Run folder", group="Data", path="folder")
    """Run folder; made if missing."""
    patches: Path | None = setting(None, "Patches", path="folder")
    """Folder that `histosam prepare` wrote (train.zarr, validation.zarr), or the training store
    itself."""
    validation_patches: Path | None = setting(
        None, "Validation patches", path="folder", advanced=True
    )
    """The validation store, if it is not validation.zarr beside the training store."""
    model: str = setting("histosam-tiny", "Model", group="Model", path="model")
    """Name or checkpoint to start from, of SAM's line, RITM, FocalClick or SimpleClick; its family
    decides what else applies."""
    scenario: str = setting(
        None,
        "Scenario",
        help=_SCENARIO_HELP,
        suggestions=SCENARIOS,
        default_text="refining",
        only="sam",
    )
    early_features: bool | None = setting(
        None, "Early features", default_text="in histosam, and where the model has them", only="sam"
    )
    """Hand the encoder's early features (fine edges and textures) to the refining decoder."""
    keep_base: float = setting(0.0, "Share of the starting weights", ge=0, lt=1)
    """Share of the starting weights in what is validated and written (WiSE-FT): above 0 a model
    tuned on few slides keeps more of what it could do elsewhere. Of SAM's line, the model must have
    the scenario's decoder already."""
    epochs: int = setting(30, "Epochs", group="Learning", ge=1)
    """Passes over the training patches."""
    batch_size: int = setting(8, "Batch size", unit="patches", ge=1)
    """Patches in memory together, over all processes."""
    accumulate_steps: int = setting(1, "Batches a step", ge=1)
    """Batches whose gradients make a step: so many times the batch size are a step's patches."""
    max_steps_per_epoch: int | None = setting(None, "Steps an epoch", ge=1, advanced=True)
    """End each epoch after so many steps; left out: every patch comes once."""
    max_minutes: float | None = setting(None, "Time limit", unit="min", gt=0)
    """End within this time; the learning rate falls with it, and the run cannot be repeated to the
    bit."""
    learning_rate: float = setting(
        None,
        "Learning rate",
        default_text="5e-4; FocalClick on SegFormer 5e-3, SimpleClick 5e-5",
        gt=0,
    )
    """Adam's learning rate, after the warm-up."""
    encoder_lr_factor: float = setting(
        None,
        "Encoder's share of the rate",
        default_text="0.1; FocalClick on HRNet 2, SimpleClick 1",
        gt=0,
        advanced=True,
    )
    """Share of the learning rate that SAM's image encoder or a specialist's backbone gets."""
    layer_decay: float | None = setting(None, "Layer decay", only="specialist", advanced=True)
    """SimpleClick's backbone: each block learns at this many times the rate of the one behind it
    (0.75 is usual for vision transformers); left out: all alike."""
    milestones: tuple[float, ...] = setting(
        None,
        "Milestones",
        default_text="epochs 20 and 25 of 30 (the paper); specialists as published",
        advanced=True,
    )
    """Where the learning rate falls, as shares of the whole run."""
    milestone_factor: float = setting(0.1, "Factor at a milestone", gt=0, le=1, advanced=True)
    """What the learning rate is multiplied by there."""
    warmup_steps: int = setting(100, "Warm-up", unit="steps", ge=0, advanced=True)
    """Steps over which the rate rises from zero, at most a tenth of all; without it SAM's two-way
    transformer can collapse to a constant."""
    clip_norm: float = setting(1.0, "Gradient norm", gt=0, advanced=True)
    """Upper bound of the gradient's norm."""
    focal_alpha: float = setting(0.5, "Focal alpha", gt=0, lt=1, advanced=True)
    """Weight of the object's pixels in the normalized focal loss."""
    focal_gamma: float = setting(2.0, "Focal gamma", ge=0, advanced=True)
    """Exponent of the normalized focal loss."""
    quality_weight: float = setting(0.0, "Weight of the quality", ge=0, only="sam", advanced=True)
    """Weight of the squared error of the predicted IoU; 0 leaves the quality head alone (the
    paper). Specialists predict none."""
    crop_size: tuple[int, int] | None = setting(
        None,
        "Crop",
        unit="px",
        form="HEIGHTxWIDTH, such as 320x480, or one number",
        default_text="320x480, 256, 448",
        only="specialist",
    )
    """What RITM, FocalClick and SimpleClick train on, cut at random out of a patch: HEIGHTxWIDTH or
    one number. FocalClick and SimpleClick are used at the size that they were trained at."""
    max_random_clicks: int = setting(24, "First clicks", group="Clicks", ge=1, advanced=True)
    """Most positive, and most negative, first clicks."""
    max_iterations: int = setting(3, "Clicks on errors", ge=0, advanced=True)
    """Most clicks drawn from the error region after those; each batch draws how many."""
    first_click_centre: bool = setting(
        None, "First click in the middle", default_text="FocalClick only", advanced=True
    )
    """Draw the first positive click from the object's middle."""
    single_click_share: float = setting(0.0, "Share of single clicks", ge=0, le=1, advanced=True)
    """Share of samples that start with one central click alone, as an evaluation does (RITM: 0)."""
    augment: AugmentSettings = setting(AugmentSettings(), "Augmentation", advanced=True)
    """Which augmentations are on."""
    augment_variants: int = setting(
        8, "Variants of a patch", group="Augmentation", ge=0, only="sam", advanced=True
    )
    """Augmented variants of each patch, drawn once, so that a frozen encoder's embeddings can be
    cached; 0 draws afresh every time and caches nothing."""
    validation_limit: int | None = setting(100, "Validation patches used", group="Validation", ge=1)
    """Patches that are validated on, spread evenly over the store; left out: all."""
    validation_clicks: int = setting(20, "Clicks in validation", ge=1, advanced=True)
    """Click budget in validation; a patch that fails counts this many."""
    validate_every: int = setting(1, "Epochs between validations", ge=1, advanced=True)
    """Epochs between validations; the last one is always validated."""
    patience: int | None = setting(None, "Patience", ge=1)
    """End after so many validations in a row without a lower NoC@85; left out: never."""
    seed: int = setting(0, "Seed", group="Machine", ge=0)
    """Seed of every draw."""
    workers: int = setting(0, "Reader threads", ge=0)
    """Threads that read and augment patches ahead of training."""
    device: str = setting("auto", "Device", suggestions=DEVICES)
    """Where it computes: auto, cpu, cuda, cuda:1, mps."""
    precision: Precision = setting("fp32", "Precision")
    """fp32, or automatic mixed precision: bf16, or fp16 on a CUDA GPU."""
    channels_last: bool = setting(False, "Channels last", advanced=True)
    """Lay images out with their channels last, which some GPUs' convolutions want."""
    half_embeddings: bool = setting(True, "Embeddings in half precision", only="sam", advanced=True)
    """Round a frozen encoder's embeddings to half precision, cached or not."""
    cache_mb: int = setting(
        1024, "Embeddings in memory", unit="MiB", ge=0, only="sam", advanced=True
    )
    """Memory for a frozen encoder's embeddings."""
    cache_dir: Path | None = setting(
        None,
        "Folder of embeddings",
        default_text="embeddings beside the training store",
        path="folder",
        only="sam",
        advanced=True,
    )
    """Folder for a frozen encoder's embeddings, which runs on the same patches share."""
    cache_disk_mb: int = setting(
        20480, "Embeddings on disk", unit="MiB", ge=0, only="sam", advanced=True
    )
    """Bound on that folder; 0 keeps none. What fits nowhere is encoded again when needed."""
    save_every_minutes: float = setting(
        5.0, "Time between saved states", unit="min", ge=0, advanced=True
    )
    """Minutes between saved states within an epoch, what a crash loses at most; 0 saves after every
    step."""
    tensorboard: bool = setting(False, "Log for TensorBoard", advanced=True)
    """Write the log for TensorBoard too, into the run folder."""

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
