"""Losses: normalized focal loss and BCE for fine-tuning, BCE and Dice for pre-training.

Targets are 1 (object), 0 (background) or the ignore label; values between are soft labels.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

IGNORE_LABEL = -1
FOCAL_EPS = 1e-12
"""RITM's guard against division by zero and log(0)."""


def normalized_focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.5,
    gamma: float = 2.0,
    ignore_label: float = IGNORE_LABEL,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    r"""Focal loss whose weights are rescaled to average one over a sample's labelled pixels.

    With p = sigmoid(logit), p_t = 1 - \|y - p\| and b = (1 - p_t)^gamma, a sample's loss is
    ``-(N / sum b) sum alpha_t b log p_t / N`` over its N labelled pixels. The normaliser
    N / sum b is a constant for the gradient, so that gradients do not fade as the mask gets
    better; the price is that the loss itself need not fall while it does. Watch the IoU.

    Computed in float32 whatever the inputs' precision.

    Parameters
    ----------
    logits
        (B, 1, H, W) or (B, H, W).
    target
        Same shape: 0 to 1, or `ignore_label`.
    alpha
        Weight of object pixels (target > 0.5); the others weigh 1 - alpha.
    gamma
        Focusing exponent.
    ignore_label
        Pixels of this value do not count.
    reduction
        "mean" over the batch, or "none" for one value per sample.

    Returns
    -------
    Tensor
        float32, scalar or (B,). A sample without a labelled pixel gives 0.

    References
    ----------
    K. Sofiiuk et al., "AdaptIS: Adaptive instance selection network", ICCV 2019; constants as in
    "Reviving iterative training with mask guidance for interactive segmentation", ICIP 2022.
    """
    _check_shapes(logits, target)
    with torch.autocast(logits.device.type, enabled=False):
        loss, labelled = _focal_terms(logits, target, alpha, gamma, ignore_label)
        per_sample = loss.flatten(1).sum(1) / (labelled.flatten(1).sum(1) + FOCAL_EPS)
    return per_sample if reduction == "none" else per_sample.mean()


def weighted_normalized_focal_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    alpha: float = 0.5,
    gamma: float = 2.0,
    total_weight: Tensor | float | None = None,
) -> Tensor:
    """`normalized_focal_loss` whose pixels weigh differently: ``sum w l / sum w`` over the batch.

    FocalClick's loss of the refined crop, with ``w = trimap / 2 + 1 / 2``. Computed in float32.

    Parameters
    ----------
    logits, target, alpha, gamma
        As in `normalized_focal_loss`. Its normaliser is each sample's, and knows of no weights.
    weight
        Of each pixel, 0 or more; the shape of `logits`. Ignored pixels add no loss, yet their
        weights count in the sum, as in FocalClick.
    total_weight
        What the sum is divided by; None: the sum of `weight`. The parts of a batch, each with the
        whole batch's total, add up to its loss.

    References
    ----------
    X. Chen et al., "FocalClick: Towards practical interactive image segmentation", CVPR 2022.
    """
    _check_shapes(logits, target)
    _check_shapes(logits, weight)
    with torch.autocast(logits.device.type, enabled=False):
        loss, _ = _focal_terms(logits, target, alpha, gamma, IGNORE_LABEL)
        weight = weight.float()
        total = weight.sum() if total_weight is None else total_weight
        return (loss * weight).sum() / (total + FOCAL_EPS)


def bce_loss(
    logits: Tensor,
    target: Tensor,
    *,
    over: Literal["labelled", "all"] = "labelled",
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Binary cross-entropy averaged over each sample's pixels, as in `normalized_focal_loss`.

    It is averaged over the "labelled" pixels, or over "all" of them, as RITM does. Ignored ones add
    nothing either way.
    """
    _check_shapes(logits, target)
    with torch.autocast(logits.device.type, enabled=False):
        target = target.float()
        labelled = target != IGNORE_LABEL
        truth = torch.where(labelled, target, torch.zeros_like(target))
        logits = logits.float()
        # Without the difference of two large numbers that rounds small losses.
        loss = truth * functional.softplus(-logits) + (1 - truth) * functional.softplus(logits)
        loss = (loss * labelled).flatten(1)
        per_sample = (
            loss.mean(1) if over == "all" else loss.sum(1) / labelled.flatten(1).sum(1).clamp(min=1)
        )
    return per_sample if reduction == "none" else per_sample.mean()


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the soft Dice coefficient (2 sum p y + 1) / (sum p + sum y + 1), mean over samples.

    The 1 makes an empty prediction of an empty object a perfect one. Shapes as in
    `normalized_focal_loss`.
    """
    _check_shapes(logits, target)
    with torch.autocast(logits.device.type, enabled=False):
        target = target.float()
        labelled = (target != IGNORE_LABEL).flatten(1)
        truth = target.flatten(1) * labelled
        probability = torch.sigmoid(logits.float()).flatten(1) * labelled
        overlap = (probability * truth).sum(1)
        per_sample = 1.0 - (2.0 * overlap + 1.0) / (probability.sum(1) + truth.sum(1) + 1.0)
    return per_sample.mean()


def bce_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """`bce_loss` plus `dice_loss`: the loss of pre-training."""
    return bce_loss(logits, target) + dice_loss(logits, target)


def batch_iou(logits: Tensor, target: Tensor) -> Tensor:
    """(B,) float32 IoU, which says how training goes where the losses do not; no gradient.

    `logits` are (B, 1, H, W), above 0 is the mask; `target` the same shape: 1 object, 0 background,
    -1 ignored. Two empty masks give 1.
    """
    mask, truth = (logits.detach() > 0) & (target != IGNORE_LABEL), target == 1
    both = (mask & truth).sum((1, 2, 3)).float()
    either = (mask | truth).sum((1, 2, 3)).float()
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(both))


def _focal_terms(
    logits: Tensor, target: Tensor, alpha: float, gamma: float, ignore_label: float
) -> tuple[Tensor, Tensor]:
    """Normalized focal loss of each pixel, 0 on ignored ones; and which pixels are labelled."""
    target = target.float()
    labelled = target != ignore_label
    agreement = 1.0 - (target - torch.sigmoid(logits.float())).abs()
    agreement = torch.where(labelled, agreement, torch.ones_like(agreement))
    focus = (1.0 - agreement) ** gamma
    count = labelled.sum(dim=(-2, -1), keepdim=True)
    normaliser = (count / (focus.sum(dim=(-2, -1), keepdim=True) + FOCAL_EPS)).detach()
    weight = torch.where(target > 0.5, alpha, 1.0 - alpha) * labelled
    log_agreement = torch.log(torch.clamp(agreement + FOCAL_EPS, max=1.0))
    return -weight * (focus * normaliser) * log_agreement, labelled


def _check_shapes(logits: Tensor, target: Tensor) -> None:
    if logits.shape != target.shape or logits.ndim < 3:
        raise ValueError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} must both be "
            "(B, 1, H, W) or (B, H, W)"
        )
