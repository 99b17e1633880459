"""One step of RITM, FocalClick and SimpleClick: clicks on errors, losses, parts of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from histosam_core.clicks import Click
from histosam_core.model.baselines import network
from histosam_core.training import TrainConfig
from histosam_core.training.compute import Compute, MicroBatches, Processes
from histosam_core.training.families.focalclick import FocalClickLearner, points_in_focus
from histosam_core.training.families.specialist import SpecialistLearner
from histosam_core.training.losses import (
    bce_loss,
    normalized_focal_loss,
    weighted_normalized_focal_loss,
)
from histosam_core.training.prompts import point_table

if TYPE_CHECKING:
    from histosam_core.training.compute import StepMeans

RITM, FOCAL, SIMPLE = "ritm_h18s", "focalclick_b0_s2", "simpleclick_xtiny448"


class Step:
    """One step on four patches, with so many at a time; nothing in the network is random."""

    def __init__(self, small_patches: Any, model: str, size: int = 4, **settings: Any) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.network: Any = network(model)
        for module in self.network.modules():
            if "Drop" in type(module).__name__ or "Depth" in type(module).__name__:
                module.p = 0.0
        self.notices: list[str] = []
        self.config = TrainConfig(
            out="run", model=model, crop_size=64, batch_size=4, max_iterations=2, **settings
        )
        device = torch.device("cpu")
        self.micro_batches = MicroBatches(size, device, self.notices.append)
        compute = Compute(Processes(0, 1, "cpu"), self.micro_batches, device)
        kind = FocalClickLearner if model == FOCAL else SpecialistLearner
        no_model = None  # for validation alone
        self.learner = kind(self.config, no_model, self.network, small_patches(4, 0), compute)
        (self.batch,) = self.learner.examples.batches(1)

    def make(self, iterations: int = 2) -> StepMeans:
        prompted = self.learner.prompt(self.batch, iterations)
        return self.learner.take_gradient(prompted, 4, torch.Tensor.backward)

    def gradient(self) -> torch.Tensor:
        """All gradients, end to end."""
        given = [p.grad for p in self.network.parameters() if p.grad is not None]
        return torch.cat([one.flatten() for one in given])


@pytest.fixture
def step(small_patches: Any) -> Callable[..., Step]:
    return lambda model, size=4, **settings: Step(small_patches, model, size, **settings)


def _expected_loss(step: Step) -> float:
    """The losses of a step without iterations, by what the paper's training says."""
    images = np.stack([e.image for e in step.batch]).transpose(0, 3, 1, 2)
    x = torch.from_numpy(np.ascontiguousarray(images)).float() / 255
    target = torch.from_numpy(np.stack([e.gt_mask for e in step.batch])[:, None])
    points = point_table([e.clicks for e in step.batch])
    step.network.train()
    answer = step.network(torch.cat((x, torch.zeros_like(x[:, :1])), 1), points)
    loss = normalized_focal_loss(answer["instances"], target)
    if step.config.model == RITM:
        loss = loss + 0.4 * bce_loss(answer["instances_aux"], target, over="all")
    if step.config.model == FOCAL:
        looks: list[Any] = [e.focus for e in step.batch]
        focus = np.stack([look.image for look in looks]).transpose(0, 3, 1, 2)
        boxes = np.array([look.box for look in looks], np.float32)
        trimap = torch.from_numpy(np.stack([look.trimap for look in looks])[:, None]).float()
        indexed = np.column_stack((np.arange(4), boxes[:, [2, 0, 3, 1]])).astype(np.float32)
        refined = step.network.refine(
            torch.from_numpy(np.ascontiguousarray(focus)).float() / 255,
            points_in_focus(points, boxes, (64, 64)),
            answer["feature"],
            answer["instances"],
            torch.from_numpy(indexed),
        )
        loss = loss + weighted_normalized_focal_loss(
            refined["instances_refined"],
            torch.from_numpy(np.stack([look.gt_mask for look in looks])[:, None]),
            trimap.clamp(min=0) * 0.5 + 0.5,
        )
        loss = loss + bce_loss(refined["trimap"], trimap, over="all")
    return loss.item()


@pytest.mark.parametrize("model", [RITM, FOCAL, SIMPLE])
def test_a_step_takes_the_losses_of_its_family(step: Callable[..., Step], model: str) -> None:
    made, other = step(model), step(model)
    means = made.make(iterations=0)
    assert means.loss == pytest.approx(_expected_loss(other), rel=1e-5)
    assert 0 <= means.iou <= 1
    assert made.gradient().norm() > 0


@pytest.mark.parametrize("model", [FOCAL, SIMPLE])
def test_clicks_on_errors_come_from_answers_in_evaluation_mode(
    step: Callable[..., Step], monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    made = step(model)
    seen: list[tuple[bool, bool, float, int]] = []
    answer = made.network.answer

    def watched(prepared: torch.Tensor, maps: torch.Tensor) -> Any:
        disks = int((maps[:, 1:] > 0).sum())
        seen.append(
            (made.network.training, torch.is_grad_enabled(), float(maps[:, 0].max()), disks)
        )
        return answer(prepared, maps)

    monkeypatch.setattr(made.network, "answer", watched)
    clicks = [list(example.clicks) for example in made.batch]
    made.make(iterations=2)
    assert [(training, grad) for training, grad, *_ in seen] == [
        (False, False), (False, False), (True, True),
    ]  # fmt: skip
    assert [previous > 0 for _, _, previous, _ in seen] == [False, True, True]
    assert seen[0][3] < seen[1][3] < seen[2][3]
    assert [list(example.clicks) for example in made.batch] == clicks  # left as they were
    seen.clear()
    made.make(iterations=0)
    assert [entry[:3] for entry in seen] == [(True, True, 0.0)]


@pytest.mark.parametrize("size", [1, 3])
def test_parts_add_up_to_the_gradient_of_the_whole_batch(
    step: Callable[..., Step], size: int
) -> None:
    whole, parts = step(SIMPLE), step(SIMPLE, size)
    expected, means = whole.make(), parts.make()
    assert means.loss == pytest.approx(expected.loss, rel=1e-5)
    assert means.iou == pytest.approx(expected.iou, rel=1e-6)
    reference = whole.gradient()
    assert (parts.gradient() - reference).norm() < 1e-4 * reference.norm()


def test_losses_of_the_refined_part_add_up_too(step: Callable[..., Step]) -> None:
    # In evaluation mode the batch norms do not tell how a batch is divided.
    whole, parts = step(FOCAL), step(FOCAL, 3)
    for one in (whole, parts):
        one.network.train = lambda mode=True, one=one: one.network
        one.network.eval()
        for module in one.network.modules():
            module.training = False
    expected, means = whole.make(0), parts.make(0)
    assert means.loss == pytest.approx(expected.loss, rel=1e-5)
    reference = whole.gradient()
    assert (parts.gradient() - reference).norm() < 1e-4 * reference.norm()


def test_a_full_memory_leaves_no_trace_of_the_passes_that_were_begun(
    step: Callable[..., Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    tight, roomy = step(RITM), step(RITM, 2)
    forward = tight.network.forward

    def in_little_memory(x: torch.Tensor, points: torch.Tensor) -> Any:
        answer = forward(x, points)
        if len(x) > 2:
            raise RuntimeError("CUDA out of memory")
        return answer

    monkeypatch.setattr(tight.network, "forward", in_little_memory)
    means, expected = tight.make(0), roomy.make(0)
    assert tight.micro_batches.size == 2
    assert len(tight.notices) == 1
    assert means == expected
    assert torch.equal(tight.gradient(), roomy.gradient())
    left, wanted = tight.network.state_dict(), roomy.network.state_dict()
    assert all(torch.equal(left[name], wanted[name]) for name in wanted)


def test_no_pass_has_fewer_patches_than_the_batch_norms_need() -> None:
    micro_batches = MicroBatches(2, torch.device("cpu"), lambda text: None)
    sizes = micro_batches.run(5, lambda part: part.stop - part.start, at_least=2)
    assert sizes == [2, 3]
    micro_batches.size = 4
    assert micro_batches.run(5, lambda part: part.stop - part.start, at_least=2) == [3, 2]
    micro_batches.size = 1
    assert micro_batches.run(4, lambda part: part.stop - part.start, at_least=2) == [2, 2]
    assert micro_batches.run(1, lambda part: part.stop - part.start, at_least=2) == [1]


def test_points_stand_in_a_table_of_two_halves() -> None:
    clicks = [
        [Click((3, 4), True), Click((5, 6), False), Click((7, 8), True)],
        [Click((1, 2), False)],
    ]
    table = point_table(clicks)
    assert table.shape == (2, 4, 3)
    assert table[0].tolist() == [[4, 3, 0], [8, 7, 2], [6, 5, 1], [-1, -1, -1]]
    assert table[1].tolist() == [[-1, -1, -1], [-1, -1, -1], [2, 1, 0], [-1, -1, -1]]
    assert point_table([[]]).tolist() == [[[-1, -1, -1], [-1, -1, -1]]]


def test_clicks_move_with_the_part_that_is_enlarged() -> None:
    points = point_table([[Click((30, 20), True), Click((2, 3), True), Click((2, 30), False)]])
    moved = points_in_focus(points, np.array([[10, 26, 20, 52]]), (64, 64))
    assert moved[0, 0].tolist() == [40, 20, 0]
    # Above and left of the part: none, as the network reads it.
    assert (moved[0, 1, :2] < 0).all()
    assert moved[0, 2].tolist() == [80, -36, 2]
    assert moved[0, 3].tolist() == [-1, -1, -1]


def test_everything_learns_at_its_share_of_the_rate(step: Callable[..., Step]) -> None:
    made = step(SIMPLE, layer_decay=0.5)
    held = made.network.state_dict()
    assert set(made.learner.names) | set(made.learner.buffers) == set(held)
    assert made.learner.share_of("backbone.blocks.7.attn.qkv.weight") == 0.5
    assert made.learner.share_of("backbone.pos_embed") == 0.5**9
    assert made.learner.share_of("head.conv_seg.weight") == 1.0
