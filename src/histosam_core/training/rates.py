"""Which parameters of a specialist's network learn at which share of the rate, as published."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histosam_core.training.recipes import RecipeName

__all__ = ["is_backbone", "share_of"]

BACKBONES: dict[RecipeName, tuple[str, ...]] = {
    "ritm": ("feature_extractor.",),
    "focalclick_hrnet": ("feature_extractor.",),
    "focalclick_segformer": ("feature_extractor.backbone.",),
    "simpleclick": ("backbone.",),
}
"""What names of a backbone's parameters start with."""
CONTEXT = (
    "feature_extractor.ocr_distri_head.",
    "feature_extractor.ocr_gather_head.",
    "feature_extractor.conv3x3_ocr.",
)
"""What RITM counts with the head; the class head and the auxiliary one learn as the backbone."""


def is_backbone(name: str, recipe: RecipeName) -> bool:
    """Whether a parameter belongs to what its method calls the backbone.

    Parameters
    ----------
    name
        As in the state dict of a network with the published names.
    recipe
        Not "sam".
    """
    return name.startswith(BACKBONES[recipe]) and not (
        recipe == "ritm" and name.startswith(CONTEXT)
    )


def share_of(
    name: str,
    recipe: RecipeName,
    *,
    encoder_lr_factor: float,
    layer_decay: float | None = None,
    depth: int = 0,
) -> float:
    """Share of the learning rate that a parameter gets.

    Parameters
    ----------
    name, recipe
        As for `is_backbone`.
    encoder_lr_factor
        The backbone's share.
    layer_decay
        d: of SimpleClick's blocks the last gets d times the backbone's share, the one before it
        d^2 times, and so on down to what makes the tokens (Bao et al., "BEiT", ICLR 2022). None: 1.
    depth
        How many blocks there are.
    """
    if not is_backbone(name, recipe):
        return 1.0
    if layer_decay is None or recipe != "simpleclick":
        return encoder_lr_factor
    _, part, *rest = name.split(".")
    steps_down = 0
    if part in ("cls_token", "pos_embed", "patch_embed"):
        steps_down = depth + 1
    elif part == "blocks":
        steps_down = depth - int(rest[0])
    return float(encoder_lr_factor * layer_decay**steps_down)
