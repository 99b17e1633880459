"""What the paper leaves open and this reproduction had to choose, as data for pages and docs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from histosam_core.reproduce.kim2023 import BATCH_SIZE
from histosam_core.reproduce.settings import MODELS

if TYPE_CHECKING:
    from histosam_core.reproduce.settings import ReproduceSettings

__all__ = ["Choice", "choices"]


class Choice(NamedTuple):
    """Something that the paper does not state, as far as we know: what is chosen here, and why."""

    subject: str
    ours: str
    reason: str
    option: str = ""  # how to choose otherwise, where that is possible


def choices(settings: ReproduceSettings) -> tuple[Choice, ...]:
    """Return every open choice as it was made for a piece of work."""
    models = ", ".join(dict.fromkeys(settings.models.values()))
    usual = dict(settings.models) == dict(MODELS)
    stride = settings.stride_px or settings.patch_size_px
    tuning = settings.tuning
    rate, n_validated = tuning.get("learning_rate"), tuning.get("validation_limit", 100)
    batch = tuning.get("batch_size", BATCH_SIZE) * tuning.get("accumulate_steps", 1)
    return (
        Choice(
            "Published weights",
            models,
            "SAM and SimpleClick with the same ViT-B backbone, RITM and FocalClick with the "
            "largest HRNet that was published."
            if usual
            else "As asked for.",
            "--model FAMILY=NAME",
        ),
        Choice(
            "Tumour in PAIP2019",
            f"the {settings.paip_mask} tumour mask",
            "The challenge's first task is the viable tumour; the whole tumour is one closed area "
            "around all of it.",
            "--paip-mask",
        ),
        Choice(
            "PAIP2019's slides",
            "the fifty with published annotations",
            "The challenge's own validation and test annotations were never published.",
        ),
        Choice(
            "PAIP2019's splits",
            "by slide, drawn with a seed, in the paper's shares of patches"
            if settings.paip_split_file is None
            else f"as {settings.paip_split_file.name} has it",
            "576 of 5766 is a tenth to the patch, so the paper's validation patches were probably "
            "drawn from the training slides. Here no slide is in two splits, which is harder.",
            "--paip-splits, --seed",
        ),
        Choice(
            "CAMELYON16's slides",
            {"testing": "the test part", "training": "the training part", "both": "both parts"}[
                settings.camelyon_part
            ],
            "The paper calls it a test set. The counts that it gives are smaller than those of a "
            "whole part may be, so that it may have taken a selection.",
            "--camelyon-part",
        ),
        Choice(
            "Slides with unfinished annotations",
            "used" if settings.keep_partial else "left out (21, and the duplicate test_049)",
            "Where tumour is not outlined, a right answer counts as an error. The organisers list "
            "these slides.",
            "--keep-partial",
        ),
        Choice(
            "Scale",
            "2 um per pixel for 5x, 1 um for 10x, from each slide's own resolution",
            "A quarter of a 20x scan differs from slide to slide: 2.01 um for PAIP2019's scanner, "
            "1.8 to 1.95 um for CAMELYON16's two.",
        ),
        Choice(
            "Grid",
            f"a step of {stride} px from the slide's corner",
            "The paper says cropped to 400 px; patches that do not overlap are the plain reading.",
            "--stride",
        ),
        Choice(
            "Tissue",
            f"at least {settings.min_tissue:.0%} of a patch"
            if settings.min_tissue
            else "no least share",
            "The paper keeps patches by their share of tumour alone.",
            "--min-tissue",
        ),
        Choice(
            "Mask threshold",
            f"{settings.mask_threshold:g} for every method",
            "RITM's, whose protocol the paper follows; FocalClick's own runs use 0.5.",
            "--mask-threshold",
        ),
        Choice(
            "Zoom-in and flip",
            "each family's published settings",
            "RITM and SimpleClick average with the mirrored image, FocalClick does not; all three "
            "zoom in.",
        ),
        Choice(
            "Failures",
            "as RITM's code counts them: IoU reached at the last click is failed too"
            if settings.failures == "ritm"
            else "patches that never reach the IoU",
            "The paper follows RITM's protocol. summary.json has both.",
            "--failures",
        ),
        Choice(
            "Learning rates",
            "5e-4 for SAM (stated), for the others what they were published with"
            if rate is None
            else f"{rate:g} for every method",
            "RITM's and FocalClick's (HRNet) are 5e-4 too; SimpleClick was trained at a tenth of "
            "that.",
            "--set learning_rate=...",
        ),
        Choice(
            "Batch",
            f"{batch} patches a step for every method",
            "RITM has 32, to which the paper points. A GPU with too little memory takes them in "
            "parts.",
            "--set batch_size=...",
        ),
        Choice(
            "Which epoch",
            "the lowest NoC@85 on "
            + ("all" if n_validated is None else f"at most {n_validated}")
            + f" validation patch{'es' * (n_validated != 1)}",
            "The paper has a validation set and does not say what it decides.",
            "--set validation_limit=...",
        ),
        Choice(
            "Refining decoder",
            "eight attention heads, LayerNorm before them, SAM's positions added to queries and "
            "keys, SAM's quality score kept but not trained",
            "The paper gives the layers, not these details; the published code is a README.",
        ),
        Choice(
            "Seconds per click",
            f"{settings.batch_size} patch{'es' * (settings.batch_size != 1)} at a time, on the "
            "machine named below",
            "The paper's are of an RTX A6000; on other machines only their order says something.",
            "--batch-size",
        ),
    )
