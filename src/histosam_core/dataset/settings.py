"""How patches are cut: settings that `histosam prepare` and `histosam improve` share."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from histosam_core.errors import ConfigError
from histosam_core.settings import JobSettings, Problems, setting

__all__ = ["SPLITS", "ExtractionSettings", "PrepareSettings", "mpp_of_magnification"]

SPLITS = ("train", "validation", "test")
WHOLE_SLIDE = "slide"
"""What stands for None in `known_within_um`: all tumour of the slide is outlined."""
PATCHES, DATA = "Patches", "Data"


def mpp_of_magnification(magnification: float) -> float:
    """Micrometres per pixel of an objective's magnification: 40x is 0.25, 5x is 2.0."""
    if not (math.isfinite(magnification) and magnification > 0):
        raise ConfigError(f"magnification {magnification} must be above 0, e.g. 5")
    return 10.0 / magnification


class ExtractionSettings(JobSettings):
    """Settings of `extract_patches`; see there."""

    title: ClassVar[str] = "settings of the patches"

    mpp: float = setting(
        2.0,
        caption="Resolution",
        help="Micrometres per patch pixel; 2.0 is 5x.",
        unit="um/px",
        group=PATCHES,
        gt=0,
    )
    patch_size_px: int = setting(
        400,
        caption="Patch size",
        help="Edge of a patch in pixels.",
        unit="px",
        group=PATCHES,
        option="patch-size",
        ge=16,
    )
    stride_px: int = setting(
        None,
        caption="Stride",
        help="Step of the grid in patch pixels.",
        default_text="patch size",
        unit="px",
        group=PATCHES,
        option="stride",
        ge=1,
    )
    tumor_fraction: tuple[float, float] = setting(
        (0.2, 0.8),
        caption="Tumour",
        help="Least and greatest share of tumour in a patch.",
        group=PATCHES,
        option="tumor",
    )
    min_tissue: float = setting(
        0.5,
        caption="Tissue",
        help="Least share of tissue in a patch; 0 keeps everything.",
        group=PATCHES,
        ge=0,
        le=1,
    )
    slide_mpp: float | None = setting(
        None,
        caption="Resolution of the slides",
        help="Micrometres per level-0 pixel, where slides state none.",
        unit="um/px",
        group=PATCHES,
        gt=0,
    )
    labels: tuple[str, ...] | None = setting(
        None,
        caption="Classes",
        help="A class that counts as tumour; may be repeated.",
        default_text="those whose name says so",
        group=PATCHES,
        option="label",
    )
    seed: int = setting(
        0, caption="Seed", help="Of every draw, the split by shares included.", group=PATCHES, ge=0
    )
    known_within_um: float | None = setting(
        None,
        caption="Known round an outline",
        help="Micrometres round an outline that are known not to be tumour; what is further away "
        "is ignored. `slide`: all tumour is outlined.",
        default_text="slide",
        unit="um",
        group=PATCHES,
        option="known-within",
        form="micrometres, such as 100, or slide",
        ge=0,
    )
    min_known: float = setting(
        0.0,
        caption="Known share",
        help="Least share of a patch that is known.",
        group=PATCHES,
        ge=0,
        le=1,
        advanced=True,
    )

    @classmethod
    def tidy(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Take what is known as the text "slide" or a number in a text too."""
        known = values.get("known_within_um")
        if known == WHOLE_SLIDE:
            return {**values, "known_within_um": None}
        if isinstance(known, str):
            with suppress(ValueError):
                return {**values, "known_within_um": float(known)}
        return values

    def complete(self) -> None:
        """Lay patches side by side unless a stride is given."""
        if "stride_px" not in self.model_fields_set:
            self.decide("stride_px", self.patch_size_px)

    def check(self, wrong: Problems) -> None:
        """The shares of tumour rise."""
        low, high = self.tumor_fraction
        wrong.require("tumor_fraction", 0 <= low <= high <= 1, "two shares that rise within 0 to 1")


class PrepareSettings(ExtractionSettings):
    """Everything that `histosam prepare` is told; names are those of `extract_patches`."""

    slides: Path = setting(
        caption="Slides", help="Folder of slides, or one slide.", path="slides", group=DATA
    )
    out: Path = setting(
        caption="Folder", help="Folder to make the patch stores in.", path="folder", group=DATA
    )
    annotations: Path | None = setting(
        None,
        caption="Annotations",
        help="Folder of annotations (XML, GeoJSON, mask TIFF).",
        default_text="by the slides",
        path="folder",
        group=DATA,
    )
    splits: tuple[float, float, float] = setting(
        (0.7, 0.15, 0.15),
        caption="Splits",
        help="Shares of slides for train, validation and test; 0 leaves one out.",
        group=DATA,
    )
    split_file: Path | None = setting(
        None,
        caption="Split file",
        help="CSV with the columns slide,split; instead of shares.",
        path="file",
        group=DATA,
    )
    skip_unannotated: bool = setting(
        False, caption="Skip slides", help="Leave slides without annotation out.", group=DATA
    )
    workers: int | None = setting(
        None,
        caption="Threads",
        help="Threads that read.",
        default_text="one per core, at most 8",
        group=DATA,
        ge=1,
    )

    def call(self) -> dict[str, Any]:
        """Return the arguments of `extract_patches`.

        Raises
        ------
        ConfigError
            The split file cannot be read.
        """
        from histosam_core.dataset.splits import read_split_file

        values = {name: getattr(self, name) for name in type(self).model_fields}
        file = values.pop("split_file")
        shares = dict(zip(SPLITS, self.splits, strict=True))
        return {**values, "splits": shares if file is None else read_split_file(file)}
