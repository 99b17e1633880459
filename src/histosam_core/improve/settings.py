"""Settings of an improvement, each declared once; see `histosam_core.settings`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from histosam_core.dataset.settings import ExtractionSettings
from histosam_core.errors import ConfigError
from histosam_core.model.interface import TrainingGeometry
from histosam_core.settings import JobSettings, Problems, like, setting
from histosam_core.training.config import TrainConfig

Promote = Literal["better", "always", "never"]

PARTS = ("train", "validation", "test")
TUNING: Mapping[str, Any] = {
    "learning_rate": 2e-4,
    "warmup_steps": 10,
    "single_click_share": 0.3,
    "quality_weight": 0.2,
    "keep_base": 0.5,
    "augment": {"stain": True},
    "validation_limit": 40,
}
"""What a tuning has where nothing is said, for short runs of networks that are trained already: a
lower rate and a short warm-up, stains varied since slides are few, first clicks as the proof makes
them, the quality score kept in step, and half of the weights interpolated from the start, so that
little is forgotten."""
OURS = ("out", "model", "patches", "validation_patches", "scenario", "max_minutes", "device")
"""Settings of `TrainConfig` that an improvement decides itself."""

_LEAST_STEPS, _LEAST_EPOCHS, _VALIDATIONS = 600, 30, 15
_LEAST_STEPS_PER_EPOCH, _VARIANTS = 20, 4
_MOST_REPEATS = _VARIANTS


class ImproveSettings(JobSettings):
    """Everything that decides what `improve` does."""

    free_on_resume: ClassVar[frozenset[str]] = frozenset({"out", "device", "promote", "name"})
    has_absolute_paths: ClassVar[bool] = True

    out: Path = setting(..., "Folder", group="Data", path="folder")
    """Folder of this work; made if missing."""
    slides: tuple[Path, ...] = setting(..., "Slides", path="slides")
    """Folder of slides, or a slide; a slide may be repeated. Slides without an annotation are left
    out."""
    annotations: tuple[Path, ...] = setting(
        (), "Annotations", default_text="by the slides", path="slides"
    )
    """Folder of annotations (GeoJSON, XML, mask TIFF), or one for each slide in the same order."""
    model: str = like(TrainConfig, "model")
    scenario: str = like(TrainConfig, "scenario", "refining", default_text="")
    minutes: float | None = setting(20.0, "Time limit", unit="min", group="Model")
    """The tuning's time, 0 for no limit; cutting patches and counting clicks come on top."""
    mpp: float | None = like(ExtractionSettings, "mpp", None, default_text="the model's")
    patch_size_px: int | None = like(
        ExtractionSettings, "patch_size_px", None, default_text="the model's"
    )
    stride_px: int | None = like(ExtractionSettings, "stride_px", None, default_text="half a patch")
    tumor_fraction: tuple[float, float] = like(ExtractionSettings, "tumor_fraction")
    min_tissue: float = like(ExtractionSettings, "min_tissue")
    slide_mpp: float | None = like(ExtractionSettings, "slide_mpp")
    labels: tuple[str, ...] | None = like(ExtractionSettings, "labels")
    known_within_um: float | None = like(
        ExtractionSettings, "known_within_um", 100.0, default_text=""
    )
    min_known: float = like(ExtractionSettings, "min_known", 0.2)
    splits: tuple[float, float, float] = setting((0.6, 0.15, 0.25), "Splits", group="Data")
    """Shares for training, validation and the held-out test."""
    split_file: Path | None = setting(None, "Split file", path="file")
    """CSV with the columns slide,split (train, validation, test); instead of shares."""
    least_patches: tuple[int, int, int] = setting((8, 4, 8), "Least patches", advanced=True)
    """Least number of patches for training, validation and test."""
    max_clicks: int = setting(20, "Clicks", group="Proof", ge=1)
    """Clicks per patch at most."""
    test_limit: int | None = setting(100, "Held-out patches", ge=1)
    """Held-out patches clicked on at most, spread evenly over them; left out: all."""
    tuning: dict[str, Any] = setting({}, "Training", group="Learning", option="set", advanced=True)
    """Any other setting of `histosam finetune`, NAME=VALUE; may be repeated."""
    promote: Promote = setting("better", "Add to my models", group="Proof")
    """When the new model joins your own: if it is proven better, always, never."""
    name: str | None = setting(None, "Name", default_text="made from the folder's")
    """Name of the new model among your own."""
    device: str = like(TrainConfig, "device")
    seed: int = setting(0, "Seed", group="Machine", ge=0)
    """Seed of the tuning and the bootstrap."""

    @classmethod
    def tidy(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Take 0 minutes for no limit, a checkpoint's path from here, and what the patches take."""
        values = ExtractionSettings.tidy(values)
        if values.get("minutes") == 0:
            values = {**values, "minutes": None}
        model = values.get("model")
        if isinstance(model, str) and Path(model).suffix and Path(model).is_file():
            values = {**values, "model": str(Path(model).absolute())}
        return values

    def check(self, wrong: Problems) -> None:
        """Check what the parts need, and the settings of the patches and of the tuning."""
        if not self.slides:
            wrong.add("no slide is named; give a folder of slides, or slides", "slides")
        if len(self.annotations) > 1 and len(self.annotations) != len(self.slides):
            wrong.add(
                f"{len(self.annotations)} annotations for {len(self.slides)} slides; give one "
                "folder, or one for each slide in the same order",
                "annotations",
                "slides",
            )
        shares = all(share > 0 for share in self.splits)
        wrong.require("splits", shares, "three shares above 0, e.g. 0.6 0.15 0.25")
        enough = all(n >= 1 for n in self.least_patches)
        wrong.require("least_patches", enough, "three numbers, 1 or more")
        ours = sorted(set(OURS) & set(self.tuning))
        if ours:
            wrong.add(f"{', '.join(ours)} cannot be set for the tuning; set it for the whole job")
        for check in (lambda: self.extraction(TrainingGeometry()), lambda: self.train_config(64)):
            try:
                check()
            except ConfigError as error:
                wrong.add(str(error))

    def shares(self) -> dict[str, float]:
        """Return part to its share; they sum to 1."""
        total = sum(self.splits)
        return {part: share / total for part, share in zip(PARTS, self.splits, strict=True)}

    def least(self) -> dict[str, int]:
        """Return part to its least number of patches."""
        return dict(zip(PARTS, self.least_patches, strict=True))

    def extraction(self, geometry: TrainingGeometry) -> ExtractionSettings:
        """Return how patches are cut for a model of that geometry."""
        given = {
            name: getattr(self, name)
            for name in ExtractionSettings.model_fields
            if getattr(self, name) is not None
        }
        size = given.get("patch_size_px", geometry.patch_size_px)
        usual = {"mpp": geometry.mpp, "patch_size_px": size, "stride_px": max(1, size // 2)}
        return ExtractionSettings(**{**usual, **given})

    def repeats(self, n_patches: int) -> int:
        """Return how often each of so many training patches comes in an epoch.

        A few patches make epochs of a step or two, most of whose time goes into saving the state.
        """
        return min(_MOST_REPEATS, math.ceil(_LEAST_STEPS_PER_EPOCH / self._steps(n_patches)))

    def train_config(self, n_patches: int, *, starts_fresh: bool = False) -> TrainConfig:
        """Return the tuning's settings for so many training patches, each repeated.

        A model that lacks the scenario's decoder `starts_fresh`: there is no half of it to keep.
        """
        repeats = self.repeats(n_patches)
        epochs = max(_LEAST_EPOCHS, math.ceil(_LEAST_STEPS / self._steps(repeats * n_patches)))
        epochs = self.tuning.get("epochs", epochs)
        every = epochs // _VALIDATIONS if isinstance(epochs, int) else 1
        augment = self.tuning.get("augment", {})
        if isinstance(augment, Mapping):
            augment = {**TUNING["augment"], **augment}
        return TrainConfig.from_dict(
            {
                **TUNING,
                "keep_base": 0.0 if starts_fresh else TUNING["keep_base"],
                "validate_every": max(1, every),
                "validation_clicks": self.max_clicks,
                # Every repeat of a patch has variants of its own.
                "augment_variants": _VARIANTS // repeats,
                "seed": self.seed,
                **self.tuning,
                "augment": augment,
                "epochs": epochs,
                # Absolute, so that work resumed from another folder finds the same settings.
                "out": self.out.absolute() / "tuning",
                "patches": self.out.absolute() / "patches",
                "model": self.model,
                "scenario": self.scenario,
                "max_minutes": self.minutes,
                "device": self.device,
            }
        )

    def _steps(self, n_patches: int) -> int:
        """Steps of an epoch."""
        batch = self.tuning.get("batch_size", 8)
        return max(1, n_patches // batch) if isinstance(batch, int) and batch > 0 else 1
