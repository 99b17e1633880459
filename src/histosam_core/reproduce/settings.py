"""Settings of a reproduction: checked all at once, saved as JSON beside what they produced."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from histosam_core.atomic import new_file
from histosam_core.clicks import MASK_THRESHOLD
from histosam_core.errors import ConfigError
from histosam_core.reproduce import kim2023
from histosam_core.reproduce.camelyon16 import Part
from histosam_core.reproduce.paip2019 import Mask

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
FREE = frozenset({"out", "paip", "camelyon", "weights", "device", "workers"})
"""Settings that may differ when work goes on: they decide where and how fast, not what."""


@dataclass(frozen=True, slots=True)
class ReproduceSettings:
    """Everything that decides the numbers of a reproduction.

    Defaults are the paper's; where it is silent, `histosam_core.reproduce.choices` says what was
    chosen and why.

    Parameters
    ----------
    out
        Folder of this work.
    paip, camelyon
        Folders of PAIP2019 and of CAMELYON16. Without one, its cells are not run, unless its
        patches were cut before.
    weights
        Folder of published weights, by their official file names. Weights that `load_model` has at
        hand need not be there.
    models
        Family ("ritm", "focalclick", "simpleclick", "sam") to a model's name or a weights file,
        where it is not that of `MODELS`.
    paip_mask
        "viable" or "whole": which of PAIP2019's masks is the tumour.
    paip_split_file
        CSV with the columns slide,split (train, validation, test); None: by slide, in the paper's
        shares of patches.
    camelyon_part
        "testing", "training" or "both".
    keep_partial
        Take CAMELYON16's slides with unfinished annotations too.
    patch_size_px, stride_px, tumor_fraction, min_tissue
        How patches are cut; see `extract_patches`. The stride None is the patch size.
    limit
        At most so many patches of each test set, spread evenly over it.
    max_clicks, target_iou, mask_threshold
        The click protocol; see `ProtocolSettings`.
    failures
        How failures are counted: "ritm" (reached at the last click is failed too) or "true".
    batch_size
        Patches that are clicked on together. 1, as in the paper: seconds per click depend on it.
    epochs, max_minutes
        Of each fine-tuning; a time budget may end it earlier.
    tuning
        Other settings of `TrainConfig` by name, for every fine-tuning.
    seed
        Of the split and of every draw.
    device
        "auto", "cpu", "cuda", "cuda:1", "mps".
    workers
        Threads that read slides; None: one per core, 8 at most.

    Raises
    ------
    ConfigError
        One or more settings are wrong; the message lists all of them.
    """

    out: Path
    paip: Path | None = None
    camelyon: Path | None = None
    weights: Path | None = None
    models: Mapping[str, str] = field(default_factory=lambda: MODELS)
    paip_mask: Mask = "viable"
    paip_split_file: Path | None = None
    camelyon_part: Part = "testing"
    keep_partial: bool = False
    patch_size_px: int = kim2023.PATCH_SIZE_PX
    stride_px: int | None = None
    tumor_fraction: tuple[float, float] = kim2023.TUMOR_FRACTION
    min_tissue: float = 0.0
    limit: int | None = None
    max_clicks: int = kim2023.MAX_CLICKS
    target_iou: float = kim2023.TARGET_IOU
    mask_threshold: float = MASK_THRESHOLD
    failures: FailureCount = "ritm"
    batch_size: int = 1
    epochs: int = kim2023.EPOCHS
    max_minutes: float | None = None
    tuning: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    seed: int = 0
    device: str = "auto"
    workers: int | None = None

    def __post_init__(self) -> None:
        for name in ("out", "paip", "camelyon", "weights", "paip_split_file"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else Path(value))
        object.__setattr__(self, "models", MappingProxyType({**MODELS, **self.models}))
        object.__setattr__(self, "tuning", MappingProxyType(dict(self.tuning)))
        low, high = self.tumor_fraction
        object.__setattr__(self, "tumor_fraction", (float(low), float(high)))
        problems = self._problems()
        if problems:
            raise ConfigError("settings: " + "; ".join(problems))

    def _problems(self) -> list[str]:
        problems = []
        # Patches that were cut before need no slides.
        goes_on = (self.out / SETTINGS_FILE).is_file()
        if self.paip is None and self.camelyon is None and not goes_on:
            problems.append("give PAIP2019's folder (--paip), CAMELYON16's (--camelyon), or both")
        unknown = sorted(self.models.keys() - MODELS.keys())
        if unknown:
            families = ", ".join(MODELS)
            problems.append(f"no family is called {', '.join(unknown)}; there are {families}")
        choices = (
            ("paip_mask", get_args(Mask)),
            ("camelyon_part", get_args(Part)),
            ("failures", get_args(FailureCount)),
        )
        for name, allowed in choices:
            if getattr(self, name) not in allowed:
                problems.append(f"{name} {getattr(self, name)!r} must be {' or '.join(allowed)}")
        for name in ("limit", "max_minutes", "stride_px", "workers"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                problems.append(f"{name} {value} must be above 0, or left out")
        for name in ("max_clicks", "batch_size", "epochs"):
            if getattr(self, name) < 1:
                problems.append(f"{name} {getattr(self, name)} must be at least 1")
        if self.target_iou < kim2023.TARGET_IOU:
            problems.append(f"target_iou {self.target_iou} must be at least 0.9, for NoC@90")
        if not 0 < self.mask_threshold < 1:
            problems.append(f"mask_threshold {self.mask_threshold} must lie between 0 and 1")
        if self.seed < 0:
            problems.append(f"seed {self.seed} must be 0 or more")
        taken = sorted(self.tuning.keys() & {"out", "model", "patches", "scenario", "device"})
        if taken:
            problems.append(f"{', '.join(taken)} of a fine-tuning cannot be set")
        return problems

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON holds them; paths are absolute."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        for name, value in values.items():
            if isinstance(value, Path):
                values[name] = str(value.absolute())
            elif isinstance(value, tuple):
                values[name] = list(value)
            elif isinstance(value, Mapping):
                values[name] = json.loads(json.dumps(dict(value), default=os.fspath))
        return values

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the settings as JSON."""
        with new_file(path) as temporary:
            temporary.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")

    def check_same(self, path: str | os.PathLike[str]) -> None:
        """Make sure that the settings at `path` are these, but for those that are free.

        Raises
        ------
        ConfigError
            They differ, or the file cannot be read.
        """
        try:
            then = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path} cannot be read ({type(error).__name__}); choose another --out"
            ) from None
        now = self.as_dict()
        changed = [name for name in now if name not in FREE and now[name] != then.get(name)]
        if changed:
            listed = "; ".join(f"{n} was {then.get(n)!r}, now {now[n]!r}" for n in changed)
            raise ConfigError(
                f"{self.out} holds work with other settings ({listed}); leave them as they were, "
                "or choose another --out"
            )
