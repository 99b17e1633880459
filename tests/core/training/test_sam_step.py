"""The gradient of a step: the same however a batch is divided."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from histosam_core.progress import silent
from histosam_core.training import SCENARIOS, TrainConfig
from histosam_core.training.compute import Compute, MicroBatches, Processes
from histosam_core.training.families.sam import SamLearner
from histosam_core.training.run_log import RunLog
from histosam_core.training.stopping import StopRequest, TimeBudget

if TYPE_CHECKING:
    from histosam_core.training.compute import StepMeans


class Step:
    """One step on six patches, with so many at a time."""

    def __init__(self, small_model: Any, small_patches: Any, scenario: str, size: int) -> None:
        chosen = SCENARIOS[scenario]
        model = small_model(chosen.decoder)
        self.network = model.network
        self.notices: list[str] = []
        config = TrainConfig(
            out="run", scenario=scenario, quality_weight=0.1, batch_size=6, augment_variants=2
        )
        device, alone = self.network.device, Processes(0, 1, "cpu")
        micro_batches = MicroBatches(size, device, self.notices.append)
        time = TimeBudget(None, perf_counter)
        self.learner = SamLearner(
            config,
            model,
            small_patches(6, 0),
            small_patches(1, 1),
            1,
            Compute(alone, micro_batches, device),
            RunLog(silent, None, time, alone, StopRequest(alone)),
        )
        self.examples = self.learner.examples

    def make(self) -> StepMeans:
        (batch,) = self.examples.batches(1)
        prompted = self.learner.prompt(batch, 2)
        return self.learner.take_gradient(prompted, 6, torch.Tensor.backward)

    def gradient(self) -> torch.Tensor:
        """All gradients, end to end."""
        parameters = [self.network.get_parameter(name) for name in self.learner.names]
        return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])


@pytest.fixture
def step(small_model: Any, small_patches: Any) -> Callable[[str, int], Step]:
    return lambda scenario, size: Step(small_model, small_patches, scenario, size)


@pytest.mark.parametrize("scenario", ["refining", "whole"])
@pytest.mark.parametrize("size", [1, 4])
def test_passes_add_up_to_the_gradient_of_the_whole_batch(
    step: Callable[[str, int], Step], scenario: str, size: int
) -> None:
    whole, parts = step(scenario, 6), step(scenario, size)
    expected, means = whole.make(), parts.make()
    assert means.loss == pytest.approx(expected.loss, rel=1e-5)
    assert means.iou == pytest.approx(expected.iou, rel=1e-6)
    reference, gradient = whole.gradient(), parts.gradient()
    assert reference.norm() > 0
    assert (gradient - reference).norm() < 1e-4 * reference.norm()


@pytest.mark.parametrize("scenario", ["refining", "whole"])
def test_a_full_memory_leaves_the_gradient_what_it_would_have_been(
    step: Callable[[str, int], Step], monkeypatch: pytest.MonkeyPatch, scenario: str
) -> None:
    whole, tight = step(scenario, 6), step(scenario, 6)
    expected = whole.make()
    decode = tight.network.decode

    def decode_in_little_memory(embeddings: torch.Tensor, *arguments: Any) -> Any:
        answer = decode(embeddings, *arguments)
        if torch.is_grad_enabled() and len(embeddings) > 2:
            raise RuntimeError("CUDA out of memory")
        return answer

    monkeypatch.setattr(tight.network, "decode", decode_in_little_memory)
    means = tight.make()
    assert means.loss == pytest.approx(expected.loss, rel=1e-5)
    assert len(tight.notices) == 2
    reference = whole.gradient()
    assert (tight.gradient() - reference).norm() < 1e-4 * reference.norm()


def test_samples_draw_their_clicks_whatever_is_in_their_batch(
    step: Callable[[str, int], Step],
) -> None:
    examples = step("refining", 6).examples

    def draws(epoch: int, place: int) -> np.ndarray:
        (batch,) = examples.batches(epoch)
        return batch[place].rng.random(4)

    assert np.array_equal(draws(1, 3), draws(1, 3))
    assert not np.array_equal(draws(1, 3), draws(1, 2))
    assert not np.array_equal(draws(1, 3), draws(2, 3))


def test_clicks_on_errors_follow_each_answer(step: Callable[[str, int], Step]) -> None:
    made = step("refining", 6)
    (batch,) = made.examples.batches(1)
    n_first = [len(example.clicks) for example in batch]
    before = made.learner.prompt(batch, 0)
    assert before.mask_input is None
    assert (before.labels >= 0).sum(1).tolist() == n_first
    prompted = made.learner.prompt(batch, 3)
    assert [len(example.clicks) for example in batch] == n_first  # left as they were
    assert prompted.mask_input is not None
    assert prompted.mask_input.shape == (6, 1, 16, 16)
    assert not prompted.mask_input.requires_grad
    added = (prompted.labels >= 0).sum(1) - torch.tensor(n_first)
    assert added.max() == 3
    for sample, example in enumerate(batch):
        for place in range(n_first[sample], n_first[sample] + int(added[sample])):
            x, y = (round(float(v)) for v in prompted.points_xy[sample, place])
            assert (example.gt_mask[y, x] == 1) == bool(prompted.labels[sample, place])
    (again,) = made.examples.batches(1)
    other = made.learner.prompt(again, 3)
    assert torch.equal(prompted.points_xy, other.points_xy)
    assert torch.equal(prompted.mask_input, other.mask_input)
