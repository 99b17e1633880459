"""How RITM and SimpleClick learn, and what FocalClick shares: all of the network, on crops.

The network answers without gradient and in evaluation mode, and is clicked on where it errs; then
it answers once more in training mode. Losses are summed over processes and passes and divided by
the whole batch. Batch norms see what goes through together: more passes, or more processes,
normalise by fewer patches each.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from histosam_core.model.load import load_model
from histosam_core.model.specialists.click_points import disk_maps
from histosam_core.training.families.learner import check_family, click_on_errors
from histosam_core.training.losses import batch_iou, bce_loss, normalized_focal_loss
from histosam_core.training.prompts import point_table
from histosam_core.training.samples import Examples, Way, draw_crop

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from histosam_core.clicks import Click
    from histosam_core.model.interface import InteractiveModel
    from histosam_core.model.specialists.click_image import ClickImage
    from histosam_core.training.compute import Compute, StepMeans
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.recipes import RecipeName
    from histosam_core.training.samples import DrawFocus, Example, TrainingPatch

BACKBONES: dict[RecipeName, tuple[str, ...]] = {
    "ritm": ("feature_extractor.",),
    "focalclick_hrnet": ("feature_extractor.",),
    "focalclick_segformer": ("feature_extractor.backbone.",),
    "simpleclick": ("backbone.",),
}
"""What names of a backbone's parameters start with, as published."""
CONTEXT = (
    "feature_extractor.ocr_distri_head.",
    "feature_extractor.ocr_gather_head.",
    "feature_extractor.conv3x3_ocr.",
)
"""What RITM counts with the head; the class head and the auxiliary one learn as the backbone."""

MoreLosses = Callable[[Mapping[str, Tensor], slice], Sequence[Tensor]]
"""Takes the answer on a part of a batch; returns scalars to add to the loss."""


@dataclass(frozen=True, slots=True)
class Prompted:
    """A batch with its prompts, on the device."""

    batch: Sequence[Example]  # this process's share
    # (B, 4, H, W) float32: RGB in 0..1, and the probability that the network answered last.
    inputs: Tensor
    points: Tensor  # (B, 2N, 3) clicks, as `point_table` gives them
    target: Tensor  # (B, 1, H, W) int8: 1 object, 0 background, -1 ignored


class SpecialistLearner:
    """Trains all of a specialist's network, on crops of patches; a `Learner`.

    `model` is clicked on in validation; it answers with `network` itself, which learns.
    """

    crop_way: Way = "scaled"
    draw_focus: DrawFocus | None = None

    def __init__(
        self,
        config: TrainConfig,
        model: Any,
        network: Any,
        train_patches: Sequence[TrainingPatch],
        compute: Compute,
    ) -> None:
        self.model, self.network = model, network
        self._config, self._recipe, self._compute = config, config.recipe, compute
        self._device = next(network.parameters()).device
        self.settings: Mapping[str, Any] = input_settings(config)
        network.requires_grad_(True)
        self.names = [name for name, _ in network.named_parameters()]
        self.buffers = sorted(network.state_dict().keys() - set(self.names))
        blocks = [n.split(".")[2] for n in self.names if n.startswith("backbone.blocks.")]
        self._depth = 1 + max(map(int, blocks), default=-1)
        self.examples = Examples(
            train_patches,
            config,
            draw_crop=partial(
                draw_crop,
                size_hw=config.crop_size or (0, 0),
                augmentation=config.augment,
                way=self.crop_way,
            ),
            draw_focus=self.draw_focus,
            share=compute.processes.share,
        )

    @classmethod
    def start(
        cls,
        config: TrainConfig,
        model: InteractiveModel | None,
        train_patches: Sequence[TrainingPatch],
        compute: Compute,
    ) -> SpecialistLearner:
        """Load the model that a run starts from, or copy the one that is given."""
        base: Any = load_model(config.model, str(compute.device)) if model is None else model
        check_family(base, config)
        network = base.network if model is None else copy.deepcopy(base.network)
        answering, own = base.over(network, compute.device), input_settings(config)
        if "infer_size" in own:
            answering.infer_size = own["infer_size"]
        if "zoom_in" in own and answering.zoom_in is not None:
            target_size = tuple(own["zoom_in"]["target_size"])
            answering.zoom_in = replace(answering.zoom_in, target_size=target_size)
        return cls(config, answering, network, train_patches, compute)

    def share_of(self, name: str) -> float:
        """Share of the learning rate that a parameter gets."""
        return share_of(
            name,
            self._recipe.name,
            encoder_lr_factor=self._config.encoder_lr_factor,
            layer_decay=self._config.layer_decay,
            depth=self._depth,
        )

    def prompt(self, batch: Sequence[Example], n_clicks: int) -> Prompted:
        """Let the network answer crops of one size and click on its errors; see `Learner`."""
        images = image_planes([e.image for e in batch if e.image is not None]).to(self._device)
        clicks = [list(example.clicks) for example in batch]
        self.network.eval()
        previous = self._click_on_errors(images, batch, clicks, n_clicks)
        return Prompted(
            batch,
            torch.cat((images, previous), 1),
            point_table(clicks).to(self._device),
            mask_planes([example.gt_mask for example in batch]).to(self._device),
        )

    def take_gradient(
        self, prompted: Prompted, n_in_all: int, backward: Callable[[Tensor], None]
    ) -> StepMeans:
        """Let the network answer once more and take the gradient; see `Learner.take_gradient`."""
        network, compute, config = self.network, self._compute, self._config
        weight = self._recipe.auxiliary_weight
        network.train()
        more_losses = self.more_losses(prompted, n_in_all)
        norms = {name: value.clone() for name, value in network.named_buffers()}

        def pass_through(part: slice) -> Tensor:
            target = prompted.target[part]
            with compute.autocast():
                answer = network(prompted.inputs[part], prompted.points[part])
                losses = normalized_focal_loss(
                    answer["instances"],
                    target,
                    alpha=config.focal_alpha,
                    gamma=config.focal_gamma,
                    reduction="none",
                )
                if weight:
                    auxiliary = answer["instances_aux"]
                    losses = losses + weight * bce_loss(
                        auxiliary, target, over="all", reduction="none"
                    )
                loss = losses.sum() / n_in_all
                for more in more_losses(answer, part):
                    loss = loss + more
            backward(loss)
            overlap = batch_iou(answer["instances"].float(), target)
            return torch.stack((loss.detach(), overlap.sum() / n_in_all))

        def restore_norms() -> None:
            for name, value in network.named_buffers():
                value.copy_(norms[name])

        means = compute.take_gradient(
            network.parameters(),
            len(prompted.batch),
            pass_through,
            at_least=self._recipe.least_at_a_time,
            restart=restore_norms,
        )
        if compute.processes.count > 1:  # all of them go on with the mean of their running means
            running = [one for one in network.buffers() if one.is_floating_point()]
            compute.processes.sum_in_place(running)
            for one in running:
                one /= compute.processes.count
        return means

    def more_losses(self, prompted: Prompted, n_in_all: int) -> MoreLosses:
        """Return what adds losses to those of the answer on the whole crop; here nothing does."""
        return lambda answer, part: ()

    def embed_whole(
        self, patches: Sequence[TrainingPatch], index: int
    ) -> tuple[ClickImage, NDArray[np.int8]]:
        """Pixels and (H, W) int8 mask of one validation patch, not augmented."""
        patch = patches[index]
        return self.model.encode(patch.image), np.asarray(patch.gt_mask).astype(np.int8)

    @torch.no_grad()
    def _click_on_errors(
        self,
        images: Tensor,
        batch: Sequence[Example],
        clicks: list[list[Click]],
        n_clicks: int,
    ) -> Tensor:
        """Let the network answer and click on its errors; return (B, 1, H, W) probabilities.

        The lists of clicks grow. Without clicks there is no answer, and all is zero.
        """
        network, compute = self.network, self._compute
        size = images.shape[-2:]
        previous = images.new_zeros((len(batch), 1, *size))
        if not n_clicks:
            return previous

        def answer(part: slice) -> Tensor:
            maps = torch.cat((previous[part], disks[part]), 1)
            logits: Tensor = network.answer(prepared[part], maps)["instances"].float()
            return logits

        with compute.autocast():
            parts = compute.micro_batches.run(
                len(batch), lambda part: network.prepare(images[part])
            )
            prepared = torch.cat(parts)
            for _ in range(n_clicks):
                points = point_table(clicks).to(self._device)
                disks = disk_maps(points, (size[0], size[1]), network.click_radius)
                previous = torch.sigmoid(click_on_errors(compute, batch, clicks, answer))
        return previous


def input_settings(config: TrainConfig) -> dict[str, Any]:
    """Settings of a model that fit what its network was trained on, as JSON has them.

    Empty where crops are of the family's own size, and for RITM, which takes any.
    """
    size, recipe = config.crop_size, config.recipe
    if size is None or size == recipe.crop_size or recipe.name == "ritm":
        return {}
    if recipe.name == "simpleclick":
        return {"zoom_in": {"target_size": list(size)}}
    return {"infer_size": size[0]}


def share_of(
    name: str,
    recipe: RecipeName,
    *,
    encoder_lr_factor: float,
    layer_decay: float | None = None,
    depth: int = 0,
) -> float:
    """Share of the learning rate that a parameter gets.

    A backbone's gets `encoder_lr_factor`. With a `layer_decay` d, of SimpleClick's `depth` blocks
    the last one gets d times that, the one before it d^2 times, and so on down to what makes the
    tokens (Bao et al., "BEiT", ICLR 2022).
    """
    is_context = recipe == "ritm" and name.startswith(CONTEXT)
    if is_context or not name.startswith(BACKBONES[recipe]):
        return 1.0
    if layer_decay is None or recipe != "simpleclick":
        return encoder_lr_factor
    _, part, *rest = name.split(".")
    first = dict.fromkeys(("cls_token", "pos_embed", "patch_embed"), depth + 1)
    steps_down = depth - int(rest[0]) if part == "blocks" else first.get(part, 0)
    return float(encoder_lr_factor * layer_decay**steps_down)


def image_planes(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """B images (H, W, 3) uint8 -> (B, 3, H, W) float32 in 0..1."""
    planes = np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
    return torch.from_numpy(planes).float().div(255)


def mask_planes(masks: Sequence[NDArray[np.int8]]) -> Tensor:
    """B masks (H, W) -> (B, 1, H, W) int8."""
    return torch.from_numpy(np.stack(masks)[:, None])
