"""The gradient of a step: the same however a batch is divided."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from histosam_core.dataset.augment import AugmentSettings
from histosam_core.embeddings.memory import MemoryStore
from histosam_core.training import SCENARIOS, TrainConfig
from histosam_core.training.chunks import Chunks
from histosam_core.training.embeddings import PatchEncoder
from histosam_core.training.examples import Examples
from histosam_core.training.parts import prepare_for_training
from histosam_core.training.patch_embeddings import PatchEmbeddings
from histosam_core.training.processes import Processes
from histosam_core.training.prompts import PromptSettings
from histosam_core.training.step import StepGradients, StepMeans


class Step:
    """One step on six patches, with so many at a time."""

    def __init__(self, small_model: Any, small_patches: Any, scenario: str, size: int) -> None:
        chosen = SCENARIOS[scenario]
        self.network = small_model(chosen.decoder).network
        self.names = prepare_for_training(self.network, chosen)
        self.notices: list[str] = []
        config = TrainConfig(out=Path("run"), scenario=scenario, quality_weight=0.1)
        chunks = Chunks(size, self.network.device, self.notices.append)
        encoder = PatchEncoder(
            self.network,
            half=True,
            cache=PatchEmbeddings(MemoryStore(0), {}, "") if chosen.freezes_encoder else None,
            validation_cache=None,
            precision=nullcontext,
            chunks=chunks,
            on_encode=lambda: None,
            notice=self.notices.append,
        )
        self.gradients = StepGradients(
            config,
            chosen,
            self.network,
            encoder,
            [self.network.get_parameter(name) for name in self.names],
            processes=Processes(0, 1, "cpu"),
            chunks=chunks,
            precision=nullcontext,
            scaled=lambda loss: loss,
        )
        self.examples = Examples(
            small_patches(6, 0),
            batch_size=6,
            max_steps_per_epoch=None,
            augmentation=AugmentSettings(),
            variants=2,
            prompts=PromptSettings(),
            seed=0,
            cache=None,
        )

    def make(self) -> StepMeans:
        (batch,) = self.examples.batches(1)
        sources = [self.examples.error_rng(1, example) for example in batch]
        return self.gradients.make(batch, n_in_all=6, iterations=2, sources=sources)

    def gradient(self) -> torch.Tensor:
        """All gradients, end to end."""
        parameters = [self.network.get_parameter(name) for name in self.names]
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
    (batch,) = examples.batches(1)
    first = examples.error_rng(1, batch[3]).random(4)
    assert np.array_equal(first, examples.error_rng(1, batch[3]).random(4))
    assert not np.array_equal(first, examples.error_rng(1, batch[2]).random(4))
    assert not np.array_equal(first, examples.error_rng(2, batch[3]).random(4))
