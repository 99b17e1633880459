"""Is the tuned model better? Clicks before and after, paired, and what they come to in words."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from histosam_core.errors import EvaluationRecordsError
from histosam_core.evaluation.report.summary import Estimate
from histosam_core.metrics import bootstrap_interval, clicks_to_reach, miou_per_click

if TYPE_CHECKING:
    from histosam_core.dataset.place_split import SplitBy
    from histosam_core.evaluation import EvaluationResult, PatchRecord

THRESHOLD = 0.85
BLOCK_PATCHES = 2.0
"""Edge of the blocks that are resampled where there are few slides, in patches."""
LEAST_IOU = 0.001
"""A difference of the mean IoU below this is none, however sure."""
SLIDES_ALONE = 5
"""Slides from which on they alone are resampled: fewer promise too narrow an interval."""

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

Resampled = Literal["slides", "slides or blocks", "blocks", "patches"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Proof:
    """What the held-out patches say."""

    # "noc85": clicks to an IoU of 0.85, fewer are better. "mean_iou": mean of the IoUs after click
    # 1 to `max_clicks`, more is better; taken where NoC@85 is the same for every patch, above all
    # because none gets there.
    measure: Literal["noc85", "mean_iou"]
    before: float  # its mean
    after: float
    difference: Estimate  # mean of after - before, patch by patch, with its 95 % interval
    n_patches: int  # clicked on
    n_slides: int
    # What the interval resamples: "slides", from `SLIDES_ALONE` of them on; below that "slides or
    # blocks", the wider of the two intervals; "blocks" of `BLOCK_PATCHES` patches across, where
    # there is one slide; "patches", where there is one block.
    resampled: Resampled
    max_clicks: int  # the budget

    @property
    def is_better(self) -> bool:
        """Whether the whole interval lies on the better side of no difference."""
        if self.measure == "noc85":
            return self.difference.high < 0
        return self.difference.low > 0 and self.difference.value >= LEAST_IOU

    @property
    def is_worse(self) -> bool:
        """Whether the whole interval lies on the worse side of no difference."""
        if self.measure == "noc85":
            return self.difference.low > 0
        return self.difference.high < 0 and self.difference.value <= -LEAST_IOU

    def to_dict(self) -> dict[str, Any]:
        """Return the proof as JSON types."""
        return {**asdict(self), "is_better": self.is_better, "is_worse": self.is_worse}

    def sentence(self) -> str:
        """Return it in plain words, without a full stop, to go on after "the new model"."""
        d = self.difference
        where = (
            f"on {self.n_patches} held-out patches of {self.n_slides} "
            f"slide{'s' * (self.n_slides != 1)}"
        )
        if self.measure == "noc85":
            means = f"{self.before:.2f} before, {self.after:.2f} after"
            if self.is_better or self.is_worse:
                word, low, high = (
                    ("fewer", -d.high, -d.low) if self.is_better else ("more", d.low, d.high)
                )
                return (
                    f"needs {abs(d.value):.2f} clicks {word} (95 % CI {low:.2f} to {high:.2f}) to "
                    f"reach an IoU of 85 % {where} ({means})"
                )
            return (
                f"differs by {d.value:+.2f} clicks (95 % CI {d.low:+.2f} to {d.high:+.2f}) to an "
                f"IoU of 85 % {where} ({means}), which may be chance"
            )
        sentence = (
            f"has a mean IoU over {self.max_clicks} clicks of {self.after:.3f} instead of "
            f"{self.before:.3f} {where}: {d.value:+.3f} (95 % CI {d.low:+.3f} to {d.high:+.3f}); "
            "the clicks to an IoU of 85 % are the same for every patch"
        )
        return sentence + ("" if self.is_better or self.is_worse else ", and this may be chance")


@dataclass(frozen=True, slots=True)
class Improvement:
    """What `improve` made."""

    out: Path  # folder: report.html, improvement.json, patches, runs, and the tuning's run
    base: str  # the model that it began with
    scenario: str  # what was trained
    checkpoint: Path  # the tuned model, whether or not it was promoted
    proof: Proof
    n_patches: Mapping[str, int]  # part to number of patches
    n_slides: Mapping[str, int]  # part to number of slides
    split_by: SplitBy  # how far the parts are apart: "slides", "slide and place", or "place"
    own_model: str | None  # the tuned model's name among the user's own; None: it is none of them
    notes: tuple[str, ...]  # what was assumed, repaired or left out
    seconds: float  # wall time of the tuning

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


def prove(
    before: EvaluationResult,
    after: EvaluationResult,
    *,
    patch_px: Mapping[str, float],
    seed: int = 0,
) -> Proof:
    """Compare two models on the patches that both were given.

    Parameters
    ----------
    before, after
        Runs of one protocol on one set of held-out patches.
    patch_px
        Slide to the edge of a patch in its level-0 pixels, which blocks are made from.
    seed
        Of the bootstrap.

    Raises
    ------
    EvaluationRecordsError
        The runs have no patch in common.
    """
    by_id = {patch.patch_id: patch for patch in before.patches}
    pairs = [(by_id[p.patch_id], p) for p in after.patches if p.patch_id in by_id]
    if not pairs:
        raise EvaluationRecordsError(
            "the two runs have no patch in common; evaluate both on the same patches"
        )
    budget = min(before.settings.max_clicks, after.settings.max_clicks)
    measure: Literal["noc85", "mean_iou"] = "noc85"
    values = np.array([[_clicks(one, budget) for one in pair] for pair in pairs])
    if (values[:, 0] == values[:, 1]).all():
        measure = "mean_iou"
        values = np.array([[_mean_iou(one, budget) for one in pair] for pair in pairs])
    patches = [patch for _, patch in pairs]
    difference = values[:, 1] - values[:, 0]
    resampled, interval = _interval(difference, patches, patch_px, seed)
    return Proof(
        measure=measure,
        before=float(values[:, 0].mean()),
        after=float(values[:, 1].mean()),
        difference=Estimate(float(difference.mean()), *interval),
        n_patches=len(pairs),
        n_slides=len({patch.slide for patch in patches}),
        resampled=resampled,
        max_clicks=budget,
    )


def _clicks(patch: PatchRecord, budget: int) -> float:
    return float(min(clicks_to_reach([patch.ious], THRESHOLD, budget)[0], budget))


def _mean_iou(patch: PatchRecord, budget: int) -> float:
    return float(miou_per_click([patch.ious], budget).mean())


def _interval(
    difference: Floats, patches: Sequence[PatchRecord], patch_px: Mapping[str, float], seed: int
) -> tuple[Resampled, tuple[float, float]]:
    """What was resampled, and the interval of the mean difference."""

    def of(groups: Sequence[Hashable]) -> tuple[float, float]:
        return bootstrap_interval(difference, groups, rng=np.random.default_rng(seed))

    slides = [patch.slide for patch in patches]
    blocks = [_block(patch, patch_px) for patch in patches]
    n_slides, n_blocks = len(set(slides)), len(set(blocks))
    if n_slides == 1:
        return ("blocks" if n_blocks > 1 else "patches"), of(blocks)
    if n_slides >= SLIDES_ALONE or n_blocks == n_slides:
        return "slides", of(slides)
    by_slide, by_block = of(slides), of(blocks)
    wider = min(by_slide[0], by_block[0]), max(by_slide[1], by_block[1])
    return "slides or blocks", wider


def _block(patch: PatchRecord, patch_px: Mapping[str, float]) -> Hashable:
    """The block of its slide that a patch lies in; the whole slide where places are not known."""
    edge = BLOCK_PATCHES * patch_px.get(patch.slide, math.nan)
    if patch.location_xy is None or not math.isfinite(edge):
        return patch.slide
    x, y = patch.location_xy
    return patch.slide, int(x // edge), int(y // edge)
