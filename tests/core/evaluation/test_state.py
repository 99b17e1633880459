"""What a model must know of its last answer goes back into it, however patches are run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from histosam_core.evaluation import ClickRun, ProtocolSettings, evaluate, run_clicks
from histosam_core.evaluation.protocol.batched import run_patches
from histosam_core.evaluation.walkthrough import walk_through

# The fixtures are classes of conftest.py files, which cannot be imported by name here.

SETTINGS = ProtocolSettings(target_iou=0.4, max_clicks=7)


def n_answers(model: Any) -> list[int]:
    """How often the model was told that it had answered before, call by call."""
    return [0 if a.previous is None else a.previous.state.n_answers for a in model.asked]


def by_hand(model: Any, patch: Any, run: ClickRun) -> list[Any]:
    """The answers to a run's clicks, each given the one before it and nothing else."""
    embedding, answers = model.encode(patch.image), []
    for n in range(1, len(run.clicks) + 1):
        answers.append(model.decode(embedding, run.clicks[:n], answers[-1] if answers else None))
    return answers


def assert_by_hand(model: Any, patch: Any, run: ClickRun) -> None:
    last = by_hand(type(model)(), patch, run)[-1]
    assert np.array_equal(run.mask, expit(last.logits) > np.float32(0.49))


def test_run_clicks_hands_back_the_very_answer(zooming_model, store) -> None:  # type: ignore[no-untyped-def]
    patch, given = store[2], []
    decode = zooming_model.decode

    def kept(*arguments: Any) -> Any:
        given.append(decode(*arguments))
        return given[-1]

    zooming_model.decode = kept
    run = run_clicks(zooming_model, patch.image, patch.gt_mask, target_iou=1.01, max_clicks=6)
    assert n_answers(zooming_model) == [0, 1, 2, 3, 4, 5]
    for asked, answer in zip(zooming_model.asked[1:], given, strict=False):
        assert asked.previous is answer
    assert_by_hand(zooming_model, patch, run)


@pytest.mark.parametrize(
    ("workers", "batch_size"), [(1, 1), (1, 3), (1, 40), (2, 1), (3, 4)], ids=lambda n: str(n)
)
@pytest.mark.parametrize("has_batches", [False, True])
def test_patches_in_batches_and_side_by_side_are_clicked_as_alone(
    zooming_model, batched_zooming_model, store, has_batches: bool, workers: int, batch_size: int
) -> None:  # type: ignore[no-untyped-def]
    model = batched_zooming_model if has_batches else zooming_model
    options = {"workers": workers, "batch_size": batch_size}
    runs = dict(run_patches(model, store, range(len(store)), SETTINGS, **options))
    assert len({len(run.clicks) for run in runs.values()}) > 1, "they must end at unlike times"
    for i, run in runs.items():
        patch = store[i]
        alone = run_clicks(type(model)(), patch.image, patch.gt_mask, target_iou=0.4, max_clicks=7)
        assert run.clicks == alone.clicks
        assert run.ious.tolist() == alone.ious.tolist()
        assert_by_hand(model, patch, run)
    expected = [n for run in runs.values() for n in range(len(run.clicks))]
    assert sorted(n_answers(model)) == sorted(expected)


def test_a_walk_through_recorded_clicks_gives_the_recorded_masks(zooming_model, store) -> None:  # type: ignore[no-untyped-def]
    result = evaluate(zooming_model, store, name="zooming", max_clicks=6, target_iou=0.4)
    zooming_model.asked.clear()
    for record in result.patches:
        patch = store[record.index]
        walk = walk_through(zooming_model, patch.image, patch.gt_mask, record.clicks)
        np.testing.assert_array_equal(walk.ious, record.ious)
    counts = [n for record in result.patches for n in range(len(record.clicks))]
    assert n_answers(zooming_model) == counts


def test_repeats_of_a_patch_share_its_embedding_and_no_state(batched_zooming_model, store) -> None:  # type: ignore[no-untyped-def]
    todo = [(i, repeat) for i in range(3) for repeat in range(3)]
    runs = list(run_patches(batched_zooming_model, store, todo, SETTINGS, batch_size=9))
    for i, run in runs:
        assert_by_hand(batched_zooming_model, store[i], run)
    assert n_answers(batched_zooming_model).count(0) == len(todo)
