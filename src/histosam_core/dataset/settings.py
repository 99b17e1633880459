"""How patches are cut: every setting, checked together."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from histosam_core.errors import ConfigError

__all__ = ["ExtractionSettings", "mpp_of_magnification"]


def mpp_of_magnification(magnification: float) -> float:
    """Micrometres per pixel of an objective's magnification: 40x is 0.25, 5x is 2.0."""
    if not (math.isfinite(magnification) and magnification > 0):
        raise ConfigError(f"magnification {magnification} must be above 0, e.g. 5")
    return 10.0 / magnification


@dataclass(frozen=True, slots=True)
class ExtractionSettings:
    """Settings of `extract_patches`; see there.

    Raises
    ------
    ConfigError
        One or more are wrong; the message lists all of them.
    """

    mpp: float = 2.0
    patch_size_px: int = 400
    stride_px: int = 400
    tumor_fraction: tuple[float, float] = (0.2, 0.8)
    min_tissue: float = 0.5
    slide_mpp: float | None = None
    labels: tuple[str, ...] | None = None
    seed: int = 0
    known_within_um: float | None = None
    min_known: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.tumor_fraction
        problems = []
        if not (math.isfinite(self.mpp) and self.mpp > 0):
            problems.append(f"mpp {self.mpp} must be above 0")
        if self.slide_mpp is not None and not (
            math.isfinite(self.slide_mpp) and self.slide_mpp > 0
        ):
            problems.append(f"slide mpp {self.slide_mpp} must be above 0")
        if self.patch_size_px < 16:
            problems.append(f"patch size {self.patch_size_px} must be at least 16 px")
        if self.stride_px < 1:
            problems.append(f"stride {self.stride_px} must be at least 1 px")
        if not 0 <= low <= high <= 1:
            problems.append(f"tumour fractions {low} to {high} must rise within 0 to 1")
        if not 0 <= self.min_tissue <= 1:
            problems.append(f"least tissue {self.min_tissue} must be within 0 to 1")
        if self.known_within_um is not None and not (
            math.isfinite(self.known_within_um) and self.known_within_um >= 0
        ):
            problems.append(f"known within {self.known_within_um} um must be 0 or more")
        if not 0 <= self.min_known <= 1:
            problems.append(f"least known {self.min_known} must be within 0 to 1")
        if self.seed < 0:
            problems.append(f"seed {self.seed} must be 0 or more")
        if problems:
            raise ConfigError("; ".join(problems))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
