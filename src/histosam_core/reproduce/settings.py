"""Settings of a reproduction, each declared once, and what the paper leaves open in words."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal

from histosam_core.clicks.mask import MASK_THRESHOLD
from histosam_core.dataset.settings import ExtractionSettings
from histosam_core.reproduce import kim2023
from histosam_core.reproduce.cohorts import Mask, Part
from histosam_core.settings import JobSettings, Problems, like, setting
from histosam_core.training.config import TrainConfig

MODELS: Mapping[str, str] = {
    "ritm": "ritm_h32",
    "focalclick": "focalclick_h32_s2",
    "simpleclick": "simpleclick_vit_b",
    "sam": "sam_vit_b",
}
"""Published weights that each family starts from. Which the paper used is not known to us: SAM and
SimpleClick have the same ViT-B backbone here, RITM and FocalClick the largest HRNet published."""

FailureCount = Literal["ritm", "true"]
"""Whether IoU reached at the last click is a failure, as in RITM's code, or is not."""

SYNTHETIC_MARK = "synthetic"
"""Folder, in that of the work, with the synthetic slides and weights."""
SETTINGS_FILE = "reproduce.json"
"""In the folder of the work."""
OURS = frozenset({"out", "model", "patches", "scenario", "device"})
"""Settings of a fine-tuning that the study decides."""

CHOICE_PARTS = ("subject", "ours", "reason", "option")


class ReproduceSettings(JobSettings):
    """Everything that decides the numbers of a reproduction.

    Defaults are the paper's; `choices` lists what it leaves open.
    """

    free_on_resume: ClassVar[frozenset[str]] = frozenset(
        {"out", "paip", "camelyon", "weights", "device", "workers"}
    )
    has_absolute_paths: ClassVar[bool] = True

    out: Path = setting(..., "Folder", group="Data", path="folder")
    """Folder for patches, runs and tables."""
    paip: Path | None = setting(None, "PAIP2019", path="folder")
    """PAIP2019: the unpacked Training_phase_* folders; without them its cells are not run, unless
    its patches were cut before."""
    camelyon: Path | None = setting(None, "CAMELYON16", path="folder")
    """CAMELYON16: slides and annotations, in any layout; as with PAIP2019."""
    weights: Path | None = setting(None, "Weights", path="folder")
    """Folder of published weights, by their official file names; those that can be loaded by name
    need not be there."""
    models: dict[str, str] = setting(dict(MODELS), "Models", option="model")
    """Other weights to start from, FAMILY=NAME or FAMILY=FILE; the families are ritm, focalclick,
    simpleclick and sam. May be repeated."""
    paip_mask: Mask = setting("viable", "Mask of PAIP2019")
    """viable or whole: which of PAIP2019's masks is the tumour."""
    paip_split_file: Path | None = setting(
        None, "Split of PAIP2019", option="paip-splits", path="file"
    )
    """CSV with the columns slide,split (train, validation, test), instead of a draw by slide in the
    paper's shares of patches."""
    camelyon_part: Part = setting("testing", "Part of CAMELYON16")
    """Which slides are used: testing, training or both."""
    keep_partial: bool = setting(False, "Unfinished annotations")
    """Use CAMELYON16's slides with unfinished annotations too."""
    patch_size_px: int = like(ExtractionSettings, "patch_size_px", kim2023.PATCH_SIZE_PX)
    stride_px: int | None = like(
        ExtractionSettings, "stride_px", None, default_text="the patch size"
    )
    tumor_fraction: tuple[float, float] = like(
        ExtractionSettings, "tumor_fraction", kim2023.TUMOR_FRACTION
    )
    min_tissue: float = like(ExtractionSettings, "min_tissue", 0.0)
    limit: int | None = setting(None, "Patches", group="Clicks", ge=1)
    """Patches of each test set at most, spread evenly over it, for a quick look."""
    max_clicks: int = setting(kim2023.MAX_CLICKS, "Clicks", ge=1)
    """Clicks per patch at most."""
    target_iou: float = setting(kim2023.TARGET_IOU, "Target IoU", ge=kim2023.TARGET_IOU)
    """Stop clicking at this IoU; NoC@90 needs 0.9 or more."""
    mask_threshold: float = setting(MASK_THRESHOLD, "Mask threshold", gt=0, lt=1)
    """A mask is where the probability exceeds it."""
    failures: FailureCount = setting("ritm", "Failures")
    """ritm or true: whether IoU reached at the last click is failed too."""
    batch_size: int = setting(1, "Patches together", ge=1)
    """Patches clicked on together; 1, as in the paper: seconds per click depend on it."""
    epochs: int = setting(kim2023.EPOCHS, "Epochs", group="Fine-tuning", ge=1)
    """Epochs of each fine-tuning."""
    max_minutes: float | None = setting(None, "Time limit", unit="min", gt=0)
    """End each fine-tuning within this time."""
    tuning: dict[str, Any] = setting({}, "Other settings", option="set")
    """Settings of every fine-tuning, NAME=VALUE; may be repeated. See docs/finetuning.md."""
    seed: int = setting(0, "Seed", group="Machine", ge=0)
    """Seed of the split and of every draw."""
    device: str = like(TrainConfig, "device")
    workers: int | None = setting(None, "Threads", default_text="one per core, 8 at most", ge=1)
    """Threads that read slides."""

    def complete(self) -> None:
        """Add the families that were not named."""
        self.decide("models", {**MODELS, **self.models})

    def check(self, wrong: Problems) -> None:
        """Check that there is something to work on, and the names of families and settings."""
        # Patches that were cut before need no slides.
        goes_on = (self.out / SETTINGS_FILE).is_file()
        if self.paip is None and self.camelyon is None and not goes_on:
            text = "give PAIP2019's folder (--paip), CAMELYON16's (--camelyon), or both"
            wrong.add(text, "paip", "camelyon")
        unknown = sorted(self.models.keys() - MODELS.keys())
        if unknown:
            families = ", ".join(MODELS)
            wrong.add(f"no family is called {', '.join(unknown)}; there are {families}", "models")
        taken = sorted(self.tuning.keys() & OURS)
        if taken:
            wrong.add(
                f"{', '.join(taken)} cannot be set; the paper or another option decides it",
                "tuning",
            )

    def choices(self) -> list[dict[str, str]]:
        """Return what the paper does not state, as far as we know, and how it is chosen here.

        Each has the parts `CHOICE_PARTS`; the option, how to choose otherwise, is empty where that
        is not possible. The texts stand in kim2023_choices.toml.
        """
        text = resources.files(__package__) / "kim2023_choices.toml"
        words = self._words()
        return [
            {part: row.get(part, "").format_map(words) for part in CHOICE_PARTS}
            for row in tomllib.loads(text.read_text(encoding="utf-8"))["choice"]
        ]

    def _words(self) -> dict[str, str]:
        """What the settings decide, in words, by the names in the file of choices."""
        parts = {"testing": "the test part", "training": "the training part", "both": "both parts"}
        rate = self.tuning.get("learning_rate")
        n_validated = self.tuning.get("validation_limit", 100)
        return {
            "models": ", ".join(dict.fromkeys(self.models.values())),
            "why_models": "SAM and SimpleClick with the same ViT-B backbone, RITM and FocalClick "
            "with the largest HRNet that was published."
            if self.models == MODELS
            else "As asked for.",
            "mask": self.paip_mask,
            "splits": "by slide, drawn with a seed, in the paper's shares of patches"
            if self.paip_split_file is None
            else f"as {self.paip_split_file.name} has it",
            "part": parts[self.camelyon_part],
            "partial": "used" if self.keep_partial else "left out (21, and the duplicate test_049)",
            "stride": str(self.stride_px or self.patch_size_px),
            "tissue": f"at least {self.min_tissue:.0%} of a patch"
            if self.min_tissue
            else "no least share",
            "threshold": f"{self.mask_threshold:g}",
            "failures": "as RITM's code counts them: IoU reached at the last click is failed too"
            if self.failures == "ritm"
            else "patches that never reach the IoU",
            "rates": "5e-4 for SAM (stated), for the others what they were published with"
            if rate is None
            else f"{rate:g} for every method",
            "batch": str(
                self.tuning.get("batch_size", kim2023.BATCH_SIZE)
                * self.tuning.get("accumulate_steps", 1)
            ),
            "validated": "all validation patches"
            if n_validated is None
            else f"at most {_count(n_validated, 'validation patch')}",
            "together": _count(self.batch_size, "patch"),
        }


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'es' * (n != 1)}"
