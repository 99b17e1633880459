"""Settings of a reproduction, each declared once; see `histosam_core.settings`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from histosam_core.dataset.settings import ExtractionSettings
from histosam_core.reproduce import kim2023
from histosam_core.reproduce.camelyon16 import Part
from histosam_core.reproduce.paip2019 import Mask
from histosam_core.settings import JobSettings, Problems, like, setting
from histosam_core.training.config import MACHINE, TrainConfig

__all__ = ["MODELS", "SETTINGS_FILE", "FailureCount", "ReproduceSettings"]

MODELS: Mapping[str, str] = MappingProxyType(
    {
        "ritm": "ritm_h32",
        "focalclick": "focalclick_h32_s2",
        "simpleclick": "simpleclick_vit_b",
        "sam": "sam_vit_b",
    }
)
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

DATA, PATCHES, CLICKS, TUNING = "Data", "Patches", "Clicks", "Fine-tuning"


class ReproduceSettings(JobSettings):
    """Everything that decides the numbers of a reproduction.

    Defaults are the paper's; where it is silent, `histosam_core.reproduce.choices` says what was
    chosen and why.
    """

    free_on_resume: ClassVar[frozenset[str]] = frozenset(
        {"out", "paip", "camelyon", "weights", "device", "workers"}
    )
    has_absolute_paths: ClassVar[bool] = True

    out: Path = setting(
        caption="Folder", help="Folder for patches, runs and tables.", group=DATA, path="folder"
    )
    paip: Path | None = setting(
        None,
        caption="PAIP2019",
        help="PAIP2019: the unpacked Training_phase_* folders; without them its cells are not run, "
        "unless its patches were cut before.",
        group=DATA,
        path="folder",
    )
    camelyon: Path | None = setting(
        None,
        caption="CAMELYON16",
        help="CAMELYON16: slides and annotations, in any layout; as with PAIP2019.",
        group=DATA,
        path="folder",
    )
    weights: Path | None = setting(
        None,
        caption="Weights",
        help="Folder of published weights, by their official file names; those that can be loaded "
        "by name need not be there.",
        group=DATA,
        path="folder",
    )
    models: dict[str, str] = setting(
        dict(MODELS),
        caption="Models",
        help="Other weights to start from, FAMILY=NAME or FAMILY=FILE; the families are ritm, "
        "focalclick, simpleclick and sam. May be repeated.",
        group=DATA,
        option="model",
    )
    paip_mask: Mask = setting(
        "viable",
        caption="Mask of PAIP2019",
        help="viable or whole: which of PAIP2019's masks is the tumour.",
        group=DATA,
    )
    paip_split_file: Path | None = setting(
        None,
        caption="Split of PAIP2019",
        help="CSV with the columns slide,split (train, validation, test), instead of a draw by "
        "slide in the paper's shares of patches.",
        group=DATA,
        option="paip-splits",
        path="file",
    )
    camelyon_part: Part = setting(
        "testing",
        caption="Part of CAMELYON16",
        help="testing, training or both.",
        group=DATA,
    )
    keep_partial: bool = setting(
        False,
        caption="Unfinished annotations",
        help="Use CAMELYON16's slides with unfinished annotations too.",
        group=DATA,
    )
    patch_size_px: int = like(ExtractionSettings, "patch_size_px", kim2023.PATCH_SIZE_PX)
    stride_px: int | None = like(
        ExtractionSettings, "stride_px", None, default_text="the patch size"
    )
    tumor_fraction: tuple[float, float] = like(
        ExtractionSettings, "tumor_fraction", kim2023.TUMOR_FRACTION
    )
    min_tissue: float = like(ExtractionSettings, "min_tissue", 0.0)
    limit: int | None = setting(
        None,
        caption="Patches",
        help="Patches of each test set at most, spread evenly over it, for a quick look.",
        group=CLICKS,
        ge=1,
    )
    max_clicks: int = setting(
        kim2023.MAX_CLICKS, caption="Clicks", help="Clicks per patch at most.", group=CLICKS, ge=1
    )
    target_iou: float = setting(
        kim2023.TARGET_IOU,
        caption="Target IoU",
        help="Stop clicking at this IoU; NoC@90 needs 0.9 or more.",
        group=CLICKS,
        ge=kim2023.TARGET_IOU,
    )
    mask_threshold: float = setting(
        0.49,
        caption="Mask threshold",
        help="A mask is where the probability exceeds it.",
        group=CLICKS,
        gt=0,
        lt=1,
    )
    failures: FailureCount = setting(
        "ritm",
        caption="Failures",
        help="ritm or true: whether IoU reached at the last click is failed too.",
        group=CLICKS,
    )
    batch_size: int = setting(
        1,
        caption="Patches together",
        help="Patches clicked on together; 1, as in the paper: seconds per click depend on it.",
        group=CLICKS,
        ge=1,
    )
    epochs: int = setting(
        kim2023.EPOCHS, caption="Epochs", help="Of each fine-tuning.", group=TUNING, ge=1
    )
    max_minutes: float | None = setting(
        None,
        caption="Time limit",
        help="End each fine-tuning within this time.",
        unit="min",
        group=TUNING,
        gt=0,
    )
    tuning: dict[str, Any] = setting(
        {},
        caption="Other settings",
        help="Of every fine-tuning, NAME=VALUE; may be repeated. See docs/finetuning.md.",
        group=TUNING,
        option="set",
    )
    seed: int = setting(
        0, caption="Seed", help="Of the split and of every draw.", group=MACHINE, ge=0
    )
    device: str = like(TrainConfig, "device", "auto")
    workers: int | None = setting(
        None,
        caption="Threads",
        help="Threads that read slides.",
        default_text="one per core, 8 at most",
        group=MACHINE,
        ge=1,
    )

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
            wrong.add(f"{', '.join(taken)} of a fine-tuning cannot be set", "tuning")
