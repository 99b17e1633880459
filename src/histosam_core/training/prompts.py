"""The training's clicks: first ones, ones on the model's errors, and prompts made of them.

Clicks are patch pixels (x, y); SAM's networks see model-input pixels. Masks come back at the
patch's size, where errors are judged and the loss is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histosam_core.clicks import Click
from histosam_core.clicks.sample import sample_next_click, sample_random_clicks
from histosam_core.model.sam.interactive import to_image_size, to_mask_input
from histosam_core.model.specialists.click_points import NO_POINT

if TYPE_CHECKING:
    from histosam_core.model.sam.network import SamNetwork

__all__ = [
    "add_error_clicks",
    "click_on_errors",
    "first_clicks",
    "pack_clicks",
    "point_table",
]

Clicks = Sequence[Sequence[Click]]


def first_clicks(
    gt_mask: NDArray[np.int8],
    rng: np.random.Generator,
    *,
    max_clicks: int = 24,
    first_at_centre: bool = False,
    single_click_share: float = 0.0,
) -> list[Click]:
    """Draw the clicks a sample starts with: RITM's random ones, or one central click alone.

    Parameters
    ----------
    gt_mask
        (H, W) int8: 1 object, 0 background, -1 ignored.
    rng
        Source of the draws.
    max_clicks, first_at_centre, single_click_share
        `max_random_clicks`, `first_click_centre` and `single_click_share` of `TrainConfig`.
    """
    if rng.random() < single_click_share:
        return sample_random_clicks(gt_mask, rng, max_clicks=1, first_at_centre=True)[:1]
    return sample_random_clicks(
        gt_mask, rng, max_clicks=max_clicks, first_at_centre=first_at_centre
    )


def pack_clicks(
    clicks: Clicks, patch_hw: tuple[int, int], network: SamNetwork, width: int = 1
) -> tuple[Tensor, Tensor]:
    """Turn ragged clicks into what `SamNetwork.decode` takes.

    Parameters
    ----------
    clicks
        B lists of clicks in patch pixels.
    patch_hw
        Size of the patches.
    network
        Says how large a patch is in the model input.
    width
        Pad to so many points at least: those of a batch of which these are a part, since padding
        takes part in the attention.

    Returns
    -------
    points_xy
        (B, N, 2) float32 in model-input pixels, N the longest list (at least `width`).
    labels
        (B, N) int64: 1 positive, 0 negative, -1 padding.
    """
    longest = max([width, *(len(sample) for sample in clicks)])
    points = np.zeros((len(clicks), longest, 2), np.float32)
    labels = np.full((len(clicks), longest), -1, np.int64)
    input_hw = network.input_size_hw(*patch_hw)
    scale_xy = np.array([input_hw[1] / patch_hw[1], input_hw[0] / patch_hw[0]])
    for row, sample in enumerate(clicks):
        for column, click in enumerate(sample):
            points[row, column] = (np.array(click.xy) + 0.5) * scale_xy - 0.5
            labels[row, column] = int(click.is_positive)
    device = network.device
    return torch.from_numpy(points).to(device), torch.from_numpy(labels).to(device)


def point_table(clicks: Clicks) -> Tensor:
    """B lists of clicks, pixels (x, y) -> (B, 2N, 3) float32 points, as `disk_maps` takes them."""
    counts = [sum(c.is_positive is sign for c in one) for one in clicks for sign in (True, False)]
    n = max([1, *counts])
    points = np.full((len(clicks), 2 * n, 3), NO_POINT, np.float32)
    for rows, one in zip(points, clicks, strict=True):
        free = {True: 0, False: n}
        for number, click in enumerate(one):
            rows[free[click.is_positive]] = (click.xy[1], click.xy[0], number)
            free[click.is_positive] += 1
    return torch.from_numpy(points)


@torch.no_grad()
def add_error_clicks(
    network: SamNetwork,
    embeddings: Tensor,
    gt_masks: Sequence[NDArray[np.int8]],
    clicks: Clicks,
    iterations: int,
    sources: Sequence[np.random.Generator],
    *,
    in_parts: Callable[[int, Callable[[slice], Tensor]], list[Tensor]] | None = None,
    agree: Callable[[int], int] = int,
) -> tuple[list[list[Click]], Tensor | None]:
    """Let the network answer and click on its errors, `iterations` times.

    As RITM trains: each answer goes back in as the mask prompt (by way of the patch's size, as in
    use), with one more click drawn from the error region of each sample that has one. The network
    should be in evaluation mode; no gradient is kept.

    Parameters
    ----------
    network
        Answers the clicks.
    embeddings
        (B, C, h, w); only their values are used.
    gt_masks
        B masks of one size, (H, W) int8.
    clicks
        B lists of first clicks, left as they are.
    iterations
        How often; drawn per batch from 0 to the setting's maximum, both included.
    sources
        What each sample's clicks are drawn from.
    in_parts
        Calls a function with parts of range(B) that fit into memory and returns what it gives;
        None answers all at once.
    agree
        Returns the longest of the click lists in all processes from that in this one.

    Returns
    -------
    clicks
        B lists, each up to `iterations` longer.
    previous_logits
        (B, 1, 4h, 4w) mask prompt made of the last answer, or None after no iteration.
    """
    patch_hw = (gt_masks[0].shape[0], gt_masks[0].shape[1])
    grown = [list(sample) for sample in clicks]
    previous: Tensor | None = None

    def answer(part: slice) -> Tensor:
        before = None if previous is None else previous[part]
        seen = embeddings[part].detach()
        low_res, _quality = network.decode(seen, points_xy[part], labels[part], before)
        return to_image_size(network, low_res.float(), patch_hw)

    for _ in range(iterations):
        width = agree(max([1, *(len(sample) for sample in grown)]))
        points_xy, labels = pack_clicks(grown, patch_hw, network, width)
        answers = in_parts(len(grown), answer) if in_parts else [answer(slice(None))]
        logits = torch.cat(answers)
        previous = to_mask_input(network, logits)
        click_on_errors(grown, gt_masks, torch.sigmoid(logits), sources)
    return grown, previous


def click_on_errors(
    clicks: Sequence[list[Click]],
    gt_masks: Sequence[NDArray[np.int8]],
    probability: Tensor,
    sources: Sequence[np.random.Generator],
) -> None:
    """Add a click to each sample, drawn from the error region; none where there is no error.

    Parameters
    ----------
    clicks
        B lists of clicks, which grow.
    gt_masks
        B masks, (H, W) int8.
    probability
        (B, 1, H, W): the answers.
    sources
        B sources of the draws.
    """
    predicted = probability[:, 0].float().cpu().numpy()
    for sample, gt, answer, source in zip(clicks, gt_masks, predicted, sources, strict=True):
        click = sample_next_click(gt, answer, source)
        if click is not None:
            sample.append(click)
