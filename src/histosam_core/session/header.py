"""What a session says of itself: which slide, which model, which settings.

It begins a journal, and goes as metadata with every object that the session accepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.errors import ConfigError
from histosam_core.version import __version__

if TYPE_CHECKING:
    from histosam_core.model import ModelInfo
    from histosam_core.session.windows.scale import SlideScale
    from histosam_core.session.windows.windows import WindowGrid
    from histosam_core.slide import Slide

TOOL = "HistoSAM"

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Header:
    """The facts of a ``begin``, as JSON values."""

    # ``path``, ``name``, ``fingerprint``, ``content``, ``size_wh``, ``mpp``, ``mpp_source``.
    slide: Facts
    model: Facts  # ``name``, ``sha256``, ``decoder``, ``path``
    geometry: Facts  # ``mpp`` and ``patch_size_px`` of the windows
    threshold: float  # probability above which a pixel belongs to the object

    @classmethod
    def of(
        cls,
        slide: Slide,
        info: ModelInfo,
        scale: SlideScale,
        grid: WindowGrid,
        mask_threshold: float,
    ) -> Header:
        """Describe a session by its parts."""
        return cls(
            slide={
                "path": str(slide.path.absolute()),
                "name": slide.path.name,
                "fingerprint": slide.fingerprint,
                "content": slide.content_fingerprint,
                "size_wh": list(slide.size_wh),
                "mpp": scale.mpp,
                "mpp_source": scale.source,
            },
            model={
                "name": info.name,
                "sha256": info.sha256,
                "decoder": info.decoder,
                "path": info.path,
            },
            geometry={"mpp": grid.mpp, "patch_size_px": grid.window_px},
            threshold=mask_threshold,
        )

    @classmethod
    def read(cls, facts: Facts) -> Header:
        """Read the facts of a ``begin``; LookupError where one is missing."""
        return cls(facts["slide"], facts["model"], facts["geometry"], facts["threshold"])

    def to_json(self) -> dict[str, Any]:
        """Return what `read` takes, and which version wrote it."""
        return {
            "version": __version__,
            "slide": self.slide,
            "model": self.model,
            "geometry": self.geometry,
            "threshold": self.threshold,
        }

    def metadata(self) -> dict[str, str]:
        """Return what made a mask, as text for an annotation file."""
        return {
            "Tool": f"{TOOL} {__version__}",
            "Slide": self.slide["name"],
            "Checkpoint": self.model["name"],
            "Checkpoint sha256": self.model["sha256"],
            "Decoder": self.model["decoder"],
            "Window mpp": f"{self.geometry['mpp']:g}",
            "Window px": str(self.geometry["patch_size_px"]),
            "Slide mpp": f"{self.slide['mpp']:.6g}",
            "Slide mpp source": self.slide["mpp_source"],
            "Mask threshold": f"{self.threshold:g}",
        }

    def is_of(self, slide: Slide) -> bool:
        """Whether its slide is this file, or one that this is a copy of."""
        return (
            self.slide["fingerprint"] == slide.fingerprint
            or self.slide.get("content") == slide.content_fingerprint
        )

    def gives_masks_of(self, other: Header) -> bool:
        """Whether model, windows and threshold are those of another session."""
        return (
            all(self.model[key] == other.model[key] for key in ("name", "sha256", "decoder"))
            and (self.geometry, self.threshold) == (other.geometry, other.threshold)
            and self.slide["mpp"] == other.slide["mpp"]
        )

    def check_size(self, slide: Slide, journal: Path) -> None:
        """Refuse a slide on which the journal's prompts would lie elsewhere.

        Raises
        ------
        ConfigError
            It has another size than the one that the journal was recorded on.
        """
        if list(slide.size_wh) != self.slide["size_wh"]:
            w, h = self.slide["size_wh"]
            raise ConfigError(
                f"the journal {journal.name} was recorded on {self.slide['name']}, {w} x {h} px, "
                f"and {slide.path.name} is {slide.size_wh[0]} x {slide.size_wh[1]}; open the slide "
                "that it was recorded on"
            )
