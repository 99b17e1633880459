"""What the paper leaves open and this reproduction has to choose, for pages and docs."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from histosam_core.reproduce.kim2023 import BATCH_SIZE
from histosam_core.reproduce.settings import MODELS

if TYPE_CHECKING:
    from histosam_core.reproduce.settings import ReproduceSettings


class Choice(NamedTuple):
    """Something that the paper does not state, as far as we know: what is chosen here, and why."""

    subject: str
    ours: str
    reason: str
    option: str = ""  # how to choose otherwise, where that is possible


def choices(settings: ReproduceSettings) -> tuple[Choice, ...]:
    """Return every open choice as it is made for a piece of work."""
    text = resources.files(__package__) / "kim2023_choices.toml"
    words = _words(settings)
    return tuple(
        Choice(**{name: value.format_map(words) for name, value in row.items()})
        for row in tomllib.loads(text.read_text(encoding="utf-8"))["choice"]
    )


def _words(settings: ReproduceSettings) -> dict[str, str]:
    """What the settings decide, in words, by the names in the file."""
    parts = {"testing": "the test part", "training": "the training part", "both": "both parts"}
    tuning, splits = settings.tuning, settings.paip_split_file
    rate, n_validated = tuning.get("learning_rate"), tuning.get("validation_limit", 100)
    validated = "all validation patches"
    if n_validated is not None:
        validated = f"at most {_count(n_validated, 'validation patch')}"
    return {
        "models": ", ".join(dict.fromkeys(settings.models.values())),
        "why_models": "SAM and SimpleClick with the same ViT-B backbone, RITM and FocalClick with "
        "the largest HRNet that was published."
        if dict(settings.models) == dict(MODELS)
        else "As asked for.",
        "mask": settings.paip_mask,
        "splits": "by slide, drawn with a seed, in the paper's shares of patches"
        if splits is None
        else f"as {splits.name} has it",
        "part": parts[settings.camelyon_part],
        "partial": "used" if settings.keep_partial else "left out (21, and the duplicate test_049)",
        "stride": str(settings.stride_px or settings.patch_size_px),
        "tissue": f"at least {settings.min_tissue:.0%} of a patch"
        if settings.min_tissue
        else "no least share",
        "threshold": f"{settings.mask_threshold:g}",
        "failures": "as RITM's code counts them: IoU reached at the last click is failed too"
        if settings.failures == "ritm"
        else "patches that never reach the IoU",
        "rates": "5e-4 for SAM (stated), for the others what they were published with"
        if rate is None
        else f"{rate:g} for every method",
        "batch": str(tuning.get("batch_size", BATCH_SIZE) * tuning.get("accumulate_steps", 1)),
        "validated": validated,
        "together": _count(settings.batch_size, "patch"),
    }


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'es' * (n != 1)}"
