"""Fine-tuning as a whole: it learns, freezes what it should, resumes to the bit, stops cleanly."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from histosam_core.dataset.augment import AugmentSettings
from histosam_core.errors import (
    ConfigError,
    EmptyDatasetError,
    OutputExistsError,
    OutputWriteError,
)
from histosam_core.model.checkpoint.checkpoint import load_checkpoint
from histosam_core.training import SCENARIOS, TrainConfig, finetune
from histosam_core.training.families.sam_parts import part_of
from histosam_core.training.loop import TrainingDivergedError
from histosam_core.training.run_folder import RunFolder

Weights = dict[str, torch.Tensor]
RUN_FILES = {
    "best.safetensors",
    "config.json",
    "curves.png",
    "last.safetensors",
    "log.csv",
    "state.pt",
}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def train(small_model: Callable[..., Any], small_patches: Callable[..., Any]) -> Callable[..., Any]:
    """Run a short fine-tuning on small patches; keyword arguments are settings."""
    training, validation = small_patches(6, 0), small_patches(2, 1)

    def run(out: Path, *, call: dict[str, Any] | None = None, **settings: Any) -> Any:
        config = TrainConfig(
            **{
                "out": out,
                "device": "cpu",
                "epochs": 2,
                "batch_size": 2,
                "validation_clicks": 2,
                "augment_variants": 2,
                **settings,
            }
        )
        given: dict[str, Any] = {
            "model": small_model(SCENARIOS[config.scenario].decoder),
            "train_patches": training,
            "validation_patches": validation,
        }
        return finetune(config, **{**given, **(call or {})})

    return run


def _weights(path: Path) -> Weights:
    return load_checkpoint(path)[0].state_dict()


def _equal(first: Weights, second: Weights) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


class StopAfter:
    """A progress callback that acts as Ctrl-C after so many steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self, done: int, total: int, message: str = "") -> None:
        if done >= self.steps:
            raise KeyboardInterrupt


def test_it_learns_what_the_clicks_mean(
    tmp_path: Path, small_model: Callable[..., Any], small_patches: Callable[..., Any]
) -> None:
    fixed = small_patches(8, 0, size=48)
    config = TrainConfig(
        out=tmp_path / "run",
        device="cpu",
        scenario="histosam",
        epochs=1,
        learning_rate=1e-3,
        warmup_steps=5,
        augment=AugmentSettings.none(),
        validation_clicks=3,
    )
    result = finetune(
        config,
        model=small_model("refining", size=48),
        train_patches=fixed * 24,
        validation_patches=fixed,
    )
    assert result.steps == 24
    assert result.before.miou_after(3) < 0.5
    assert result.last.miou_after(3) > result.before.miou_after(3) + 0.3


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_exactly_the_named_parts_change(
    tmp_path: Path, train: Callable[..., Any], small_model: Callable[..., Any], scenario: str
) -> None:
    before = small_model(SCENARIOS[scenario].decoder).network.state_dict()
    result = train(tmp_path / "run", scenario=scenario, epochs=1, max_steps_per_epoch=2)
    after = _weights(result.last_checkpoint)
    added = after.keys() - before.keys()
    assert before.keys() <= after.keys()
    assert bool(added) == SCENARIOS[scenario].adds_early_features
    assert all(name.startswith("mask_decoder.refine_early.") for name in added)
    changed = {part_of(name) for name in before if not torch.equal(before[name], after[name])}
    assert changed == SCENARIOS[scenario].trained
    frozen = [name for name in before if part_of(name) not in SCENARIOS[scenario].trained]
    assert all(torch.equal(before[name], after[name]) for name in frozen)


def test_the_run_folder_tells_all(tmp_path: Path, train: Callable[..., Any]) -> None:
    result = train(tmp_path / "run", scenario="refining")
    assert {file.name for file in (tmp_path / "run").iterdir()} == RUN_FILES
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [row["step"] for row in rows] == ["0", "3", "6"]
    assert all(row["val_noc85"] for row in rows)
    assert all(float(row["loss"]) > 0 and 0 <= float(row["train_iou"]) <= 1 for row in rows[1:])
    assert json.loads((tmp_path / "run" / "config.json").read_text())["scenario"] == "refining"
    _, info = load_checkpoint(result.best_checkpoint)
    assert (info.scenario, info.decoder, info.name) == ("refining", "refining", "small-refining")
    assert (info.geometry.mpp, info.geometry.patch_size_px) == (2.0, 32)
    assert info.provenance["epoch"] == result.best_epoch
    assert info.provenance["validation"]["noc85"] == result.best.noc85
    assert result.best.noc85 <= result.last.noc85
    assert (result.epochs, result.steps) == (2, 6)


@pytest.mark.parametrize(
    ("scenario", "stop_after"), [("refining", 3), ("refining", 4), ("whole", 4)]
)
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(
    tmp_path: Path, train: Callable[..., Any], scenario: str, stop_after: int
) -> None:
    whole = train(tmp_path / "whole", scenario=scenario)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "two", scenario=scenario, call={"progress": StopAfter(stop_after)})
    assert RunFolder(tmp_path / "two").load_state()["position"]["step"] == stop_after
    # What may differ on resume: workers, cache.
    resumed = train(
        tmp_path / "two", scenario=scenario, workers=2, cache_mb=0, call={"resume": True}
    )
    assert _equal(_weights(whole.last_checkpoint), _weights(resumed.last_checkpoint))
    assert _equal(_weights(whole.best_checkpoint), _weights(resumed.best_checkpoint))
    assert (whole.before, whole.best, whole.last) == (resumed.before, resumed.best, resumed.last)
    first, second = (RunFolder(tmp_path / name).load_state() for name in ("whole", "two"))
    for one, other in zip(first["rows"], second["rows"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    for index, moments in first["optimiser"]["state"].items():
        assert torch.equal(moments["exp_avg"], second["optimiser"]["state"][index]["exp_avg"])


def test_stopping_in_the_first_validation_can_be_resumed(
    tmp_path: Path, train: Callable[..., Any]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", call={"progress": StopAfter(0)})
    assert train(tmp_path / "run", call={"resume": True}).steps == 6


def test_a_validation_is_told_of_often_enough_to_be_stopped_within(
    tmp_path: Path, train: Callable[..., Any]
) -> None:
    messages: list[str] = []
    train(
        tmp_path / "run",
        epochs=1,
        validation_clicks=6,
        call={"progress": lambda done, total, message="": messages.append(message)},
    )
    # Once at its beginning, then before every click.
    assert sum(message == "epoch 1/1, validating" for message in messages) > 4


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path, train: Callable[..., Any]) -> None:
    result = train(tmp_path / "run", epochs=1)
    stamp = result.last_checkpoint.stat().st_mtime_ns
    again = train(tmp_path / "run", epochs=1, call={"resume": True})
    assert again.last_checkpoint.stat().st_mtime_ns == stamp
    assert (again.best, again.last, again.steps) == (result.best, result.last, result.steps)


def test_resuming_with_other_settings_is_refused_and_names_them(
    tmp_path: Path, train: Callable[..., Any]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", call={"progress": StopAfter(1)})
    with pytest.raises(ConfigError, match=r"learning_rate was 0\.0005, now 0\.01"):
        train(tmp_path / "run", learning_rate=0.01, call={"resume": True})


def test_resuming_with_other_patches_is_refused(
    tmp_path: Path, train: Callable[..., Any], small_patches: Callable[..., Any]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", call={"progress": StopAfter(1)})
    with pytest.raises(ConfigError, match="6 training patches"):
        train(tmp_path / "run", call={"resume": True, "train_patches": small_patches(5, 0)})


def test_an_existing_run_is_kept_unless_overwriting_is_asked_for(
    tmp_path: Path, train: Callable[..., Any]
) -> None:
    train(tmp_path / "run", epochs=1, max_steps_per_epoch=1)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="--resume"):
        train(tmp_path / "run", epochs=1)
    result = train(tmp_path / "run", epochs=1, max_steps_per_epoch=2, call={"overwrite": True})
    assert result.steps == 2
    assert {f.name for f in (tmp_path / "run").iterdir()} == RUN_FILES | {"notes.txt"}


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(
    tmp_path: Path, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from histosam_core.training.families import sam

    loss, calls = sam.normalized_focal_loss, []

    def breaks_in_the_second_epoch(*args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(1)
        return loss(*args, **kwargs) * (float("nan") if len(calls) > 4 else 1.0)

    monkeypatch.setattr(sam, "normalized_focal_loss", breaks_in_the_second_epoch)
    with pytest.raises(TrainingDivergedError, match=r"epoch 2, step 2.*learning rate"):
        train(tmp_path / "run")
    state = RunFolder(tmp_path / "run").load_state()
    assert state["position"]["step"] == 3
    assert all(torch.isfinite(value).all() for value in state["weights"].values())
    assert (tmp_path / "run" / "best.safetensors").is_file()


def test_the_model_given_and_the_callers_random_state_stay_as_they_were(
    tmp_path: Path, train: Callable[..., Any], small_model: Callable[..., Any]
) -> None:
    model = small_model("refining")
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    random_state = torch.get_rng_state()
    train(tmp_path / "run", epochs=1, call={"model": model})
    assert _equal(before, model.network.state_dict())
    assert all(parameter.requires_grad for parameter in model.network.parameters())
    assert torch.equal(random_state, torch.get_rng_state())


def test_a_time_budget_ends_the_run_and_lowers_the_learning_rate(
    tmp_path: Path, train: Callable[..., Any]
) -> None:
    now, reports = [0.0], []

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    def progress(done: int, total: int, message: str = "") -> None:
        reports.append((done, total))

    result = train(
        tmp_path / "run",
        epochs=500,
        warmup_steps=0,
        max_minutes=1,
        call={"clock": clock, "progress": progress},
    )
    assert result.steps < 50
    rates = [row["learning_rate"] for row in RunFolder(tmp_path / "run").load_state()["rows"]]
    assert rates[1] == pytest.approx(5e-4)
    assert rates[-1] == pytest.approx(5e-6)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert reports[-1] == (60, 60)


def test_progress_counts_steps_to_the_end(tmp_path: Path, train: Callable[..., Any]) -> None:
    reports = []

    def progress(done: int, total: int, message: str = "") -> None:
        reports.append((done, total, message))

    train(tmp_path / "run", call={"progress": progress})
    assert [done for done, *_ in reports] == sorted(done for done, *_ in reports)
    assert {total for _, total, _ in reports} == {6}
    assert reports[-1][0] == 6
    assert any("IoU" in message and "loss" in message for *_, message in reports)


def test_mixed_precision_and_the_quality_head_train_too(
    tmp_path: Path, train: Callable[..., Any], small_model: Callable[..., Any]
) -> None:
    result = train(tmp_path / "run", epochs=1, precision="bf16", quality_weight=0.5)
    head = "mask_decoder.iou_prediction_head.layers.0.weight"
    after = _weights(result.last_checkpoint)[head]
    assert after.dtype == torch.float32
    assert not torch.equal(small_model("refining").network.state_dict()[head], after)


def test_validation_may_be_left_out_of_all_but_the_last_epoch(
    tmp_path: Path, train: Callable[..., Any]
) -> None:
    train(tmp_path / "run", epochs=3, max_steps_per_epoch=1, validate_every=2)
    rows = RunFolder(tmp_path / "run").load_state()["rows"]
    assert [row.get("val_noc85") is not None for row in rows] == [True, False, True, True]


def test_without_patches_nothing_is_made(tmp_path: Path, train: Callable[..., Any]) -> None:
    with pytest.raises(EmptyDatasetError, match="no validation patches"):
        train(tmp_path / "run", call={"validation_patches": []})
    with pytest.raises(ConfigError, match="no patches are given"):
        train(tmp_path / "run", call={"train_patches": None})
    assert not (tmp_path / "run").exists()


def test_stores_are_found_in_the_folder_or_by_their_own_paths(
    tmp_path: Path,
    train: Callable[..., Any],
    small_patches: Callable[..., Any],
    write_store: Callable[..., None],
) -> None:
    write_store(tmp_path / "liver" / "train.zarr", small_patches(4, 0))
    write_store(tmp_path / "liver" / "validation.zarr", small_patches(2, 1))
    write_store(tmp_path / "other.zarr", small_patches(1, 2))
    call = {"train_patches": None, "validation_patches": None}
    for number, (patches, validation, n_validated) in enumerate(
        (
            ("liver", None, 2),
            ("liver/train.zarr", None, 2),
            ("liver/train.zarr", "other.zarr", 1),
        )
    ):
        result = train(
            tmp_path / f"run{number}",
            epochs=1,
            max_steps_per_epoch=1,
            patches=tmp_path / patches,
            validation_patches=tmp_path / validation if validation else None,
            call=call,
        )
        assert result.before.n_patches == n_validated
    _, info = load_checkpoint(result.last_checkpoint)
    assert (info.geometry.mpp, info.geometry.patch_size_px) == (1.5, 32)
    assert info.provenance["data"] == "liver/train"


def test_patches_of_two_sizes_are_refused(
    tmp_path: Path, train: Callable[..., Any], small_patches: Callable[..., Any]
) -> None:
    mixed = [*small_patches(1, 0), *small_patches(1, 0, size=48)]
    with pytest.raises(ConfigError, match="one size"):
        train(tmp_path / "run", call={"train_patches": mixed})


def test_a_full_disk_is_told_and_leaves_the_state_before_whole(
    tmp_path: Path, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from histosam_core.training import run_folder

    save, saved = torch.save, []

    def full_after_the_first_epoch(content: Any, path: Path) -> None:
        save(content, path)
        saved.append(path)
        if len(saved) > 2:  # at the start, after an epoch
            path.write_bytes(path.read_bytes()[:1000])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_folder.torch, "save", full_after_the_first_epoch)
    with pytest.raises(OutputWriteError, match="free space"):
        train(tmp_path / "run", max_steps_per_epoch=1)
    assert {f.name for f in (tmp_path / "run").iterdir()} == RUN_FILES
    assert RunFolder(tmp_path / "run").load_state()["position"]["epochs_done"] == 1
    monkeypatch.setattr(run_folder.torch, "save", save)
    assert train(tmp_path / "run", max_steps_per_epoch=1, call={"resume": True}).steps == 2


def test_ignored_pixels_do_not_count_in_the_training_iou() -> None:
    from histosam_core.training.losses import batch_iou

    logits = torch.tensor(np.array([[[[1.0, 1.0, -1.0, 1.0]]], [[[-1.0, -1.0, -1.0, -1.0]]]]))
    target = torch.tensor([[[[1, 0, 1, -1]]], [[[0, 0, -1, 0]]]])
    assert batch_iou(logits, target).tolist() == [pytest.approx(1 / 3), 1.0]


def test_events_tell_steps_and_validations_in_order(
    tmp_path: Path, train: Callable[..., Any]
) -> None:
    now, events = [0.0], []

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    result = train(tmp_path / "run", call={"on_event": events.append, "clock": clock})
    assert [(e["event"], e["epoch"]) for e in events] == [
        ("validation", 0), *3 * [("step", 1)], ("validation", 1), *3 * [("step", 2)],
        ("validation", 2),
    ]  # fmt: skip
    steps = [e for e in events if e["event"] == "step"]
    assert [(e["step"], e["steps"], e["epochs"]) for e in steps] == [(n, 6, 2) for n in range(1, 7)]
    left = [e["seconds_left"] for e in steps]
    assert left == sorted(left, reverse=True)
    assert left[-1] > 0  # the last validation is to come
    validations = [e for e in events if e["event"] == "validation"]
    assert [e["noc85"] for e in validations] == [
        row["val_noc85"] for row in RunFolder(tmp_path / "run").load_state()["rows"]
    ]
    assert [e["epoch"] for e in validations if e["is_best"]][-1] == result.best_epoch
    json.dumps(events)
