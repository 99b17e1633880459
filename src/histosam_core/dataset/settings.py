"""How patches are cut: settings that `histosam prepare` and `histosam improve` share."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from histosam_core.errors import ConfigError
from histosam_core.settings import JobSettings, Problems, setting

SPLITS = ("train", "validation", "test")
WHOLE_SLIDE = "slide"
"""What stands for None in `known_within_um`: all tumour of the slide is outlined."""


def mpp_of_magnification(magnification: float) -> float:
    """Micrometres per pixel of an objective's magnification: 40x is 0.25, 5x is 2.0."""
    if not (math.isfinite(magnification) and magnification > 0):
        raise ConfigError(f"magnification {magnification} must be above 0, e.g. 5")
    return 10.0 / magnification


class ExtractionSettings(JobSettings):
    """Settings of `extract_patches`; see there."""

    title: ClassVar[str] = "settings of the patches"

    mpp: float = setting(2.0, "Resolution", unit="um/px", group="Patches", gt=0)
    """Micrometres per patch pixel; 2.0 is 5x."""
    patch_size_px: int = setting(400, "Patch size", unit="px", option="patch-size", ge=16)
    """Edge of a patch in pixels."""
    stride_px: int = setting(
        None, "Stride", default_text="patch size", unit="px", option="stride", ge=1
    )
    """Step of the grid in patch pixels."""
    tumor_fraction: tuple[float, float] = setting((0.2, 0.8), "Tumour", option="tumor")
    """Least and greatest share of tumour in a patch."""
    min_tissue: float = setting(0.5, "Tissue", ge=0, le=1)
    """Least share of tissue in a patch; 0 keeps everything."""
    slide_mpp: float | None = setting(None, "Resolution of the slides", unit="um/px", gt=0)
    """Micrometres per level-0 pixel, where slides state none."""
    labels: tuple[str, ...] | None = setting(
        None, "Classes", default_text="those whose name says so", option="label"
    )
    """A class that counts as tumour; may be repeated."""
    seed: int = setting(0, "Seed", ge=0)
    """Of every draw, the split by shares included."""
    known_within_um: float | None = setting(
        None,
        "Known round an outline",
        default_text="slide",
        unit="um",
        option="known-within",
        form="micrometres, such as 100, or slide",
        ge=0,
    )
    """Micrometres round an outline that are known not to be tumour; what is further away is
    ignored. `slide`: all tumour is outlined."""
    min_known: float = setting(0.0, "Known share", ge=0, le=1, advanced=True)
    """Least share of a patch that is known."""

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
    """Everything that decides what `histosam prepare` cuts; named as in `extract_patches`."""

    slides: Path = setting(..., "Slides", path="slides", group="Data")
    """Folder of slides, or one slide."""
    out: Path = setting(..., "Folder", path="folder")
    """Folder to make the patch stores in."""
    annotations: Path | None = setting(
        None, "Annotations", default_text="by the slides", path="folder"
    )
    """Folder of annotations (XML, GeoJSON, mask TIFF)."""
    splits: tuple[float, float, float] = setting((0.7, 0.15, 0.15), "Splits")
    """Shares of slides for train, validation and test; 0 leaves one out."""
    split_file: Path | None = setting(None, "Split file", path="file")
    """CSV with the columns slide,split; instead of shares."""
    skip_unannotated: bool = setting(False, "Skip slides")
    """Leave slides without annotation out."""
    workers: int | None = setting(None, "Threads", default_text="one per core, at most 8", ge=1)
    """Threads that read."""

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
