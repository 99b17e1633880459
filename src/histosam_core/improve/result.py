"""What an improvement comes to, in numbers and in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from histosam_core.dataset.place_split import SplitBy
    from histosam_core.improve.proof import Proof

TRUST: Mapping[str, str] = {
    "slides": (
        "The parts come from different slides, so the proof speaks for slides like these that the "
        "model has not seen."
    ),
    "slide and place": (
        "The held-out part is a slide of its own, so the proof speaks for a slide like it that the "
        "model has not seen; training and validation share slides and are split by place."
    ),
    "place": (
        "There were too few slides to hold one out, so the parts are split by place within a slide "
        "and share no pixel. Tissue and stain are the same in all of them: the proof speaks for "
        "the rest of this slide, and says little of others. Annotate three slides or more for one "
        "that does."
    ),
}


@dataclass(frozen=True, slots=True)
class Improvement:
    """What `improve` made.

    Parameters
    ----------
    out
        The work's folder: report.html, improvement.json, patches, runs, and the tuning's run.
    base, scenario
        The model that it began with, and what was trained.
    checkpoint
        The tuned model, whether or not it was promoted.
    proof
        What the held-out patches say.
    n_patches, n_slides
        Part to number of patches, and of slides.
    split_by
        How far the parts are apart: "slides", "slide and place", or "place".
    own_model
        The name under which the tuned model was added to the user's own; None: it was not.
    notes
        What was assumed, repaired or left out.
    seconds
        Wall time of the tuning.
    """

    out: Path
    base: str
    scenario: str
    checkpoint: Path
    proof: Proof
    n_patches: Mapping[str, int]
    n_slides: Mapping[str, int]
    split_by: SplitBy
    own_model: str | None
    notes: tuple[str, ...]
    seconds: float

    @property
    def is_promoted(self) -> bool:
        """Whether the tuned model is one of the user's own now."""
        return self.own_model is not None

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return self.out / "report.html"

    def headline(self) -> str:
        """Return the outcome in a sentence."""
        return f"The model tuned from {self.base} {self.proof.sentence()}; {self._fate()}."

    def text(self) -> str:
        """Return the outcome in a paragraph: the headline, the split, and what it is worth."""
        parts = ", ".join(
            f"{n} patches of {self.n_slides[part]} slide{'s' * (self.n_slides[part] != 1)} "
            f"for {'the proof' if part == 'test' else 'training' if part == 'train' else part}"
            for part, n in self.n_patches.items()
        )
        text = f"{self.headline()} It was tuned by {self.scenario} with {parts}. {self.trust()}"
        if self.proof.resampled in ("blocks", "slides or blocks"):
            # The table of differences knows slides only.
            text += " The differences listed below ignore blocks: go by this paragraph."
        return text

    def trust(self) -> str:
        """Return what the proof is worth, given how the patches were split and resampled."""
        resampled = {
            "slides": "The interval resamples slides.",
            "slides or blocks": "With so few held-out slides the interval is the wider one of "
            "resampling slides and resampling blocks of them.",
            "blocks": "The interval resamples blocks of the held-out slide.",
            "patches": "The held-out part is one small place, and the interval resamples its "
            "patches, so it is narrower than it should be.",
        }[self.proof.resampled]
        return f"{TRUST[self.split_by]} {resampled}"

    def next_step(self) -> str:
        """Return how to use the model, in one line."""
        if self.own_model is not None:
            return f"use it: --model {self.own_model}, or choose it in napari's list of models"
        return f"use it all the same: histosam models --add {self.checkpoint} --name NAME"

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON types."""
        return {
            "out": str(self.out),
            "base": self.base,
            "scenario": self.scenario,
            "checkpoint": str(self.checkpoint),
            "is_promoted": self.is_promoted,
            "own_model": self.own_model,
            "headline": self.headline(),
            "trust": self.trust(),
            "proof": self.proof.to_dict(),
            "split_by": self.split_by,
            "n_patches": dict(self.n_patches),
            "n_slides": dict(self.n_slides),
            "tuning_seconds": self.seconds,
            "report": str(self.report),
            "notes": list(self.notes),
        }

    def _fate(self) -> str:
        if self.own_model is None:
            return "not promoted"
        if self.proof.is_better:
            return f"promoted as {self.own_model}"
        return f"promoted as {self.own_model} because that was asked for"
