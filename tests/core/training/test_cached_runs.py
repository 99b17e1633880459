"""Runs from kept embeddings, in passes, with patience, with TensorBoard: what stays the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from histosam_core.errors import ConfigError
from histosam_core.model.checkpoint.checkpoint import load_checkpoint
from histosam_core.training import SCENARIOS, TrainConfig, finetune
from histosam_core.training.run_folder import RunFolder


class Run:
    """A short run, its events and messages."""

    def __init__(self, small_model: Any, small_patches: Any, out: Path, **settings: Any) -> None:
        self.events: list[Any] = []
        self.messages: list[str] = []
        config = TrainConfig(
            **{
                "out": out, "device": "cpu", "epochs": 2, "batch_size": 2, "augment_variants": 1,
                "validation_clicks": 2, **settings,
            }
        )  # fmt: skip
        self.result = finetune(
            config,
            model=small_model(SCENARIOS[config.scenario].decoder),
            train_patches=small_patches(4, 0),
            validation_patches=small_patches(2, 1),
            progress=lambda done, total, message="": self.messages.append(message),
            on_event=self.events.append,
        )
        self.weights = load_checkpoint(self.result.last_checkpoint)[0].state_dict()
        self.losses = [e["loss"] for e in self.events if e["event"] == "step"]
        self.notices = [e["text"] for e in self.events if e["event"] == "notice"]

    @property
    def n_encoded(self) -> int:
        """Patches that went through the image encoder."""
        return sum("encoded" in message for message in self.messages)

    def equals(self, other: Run) -> bool:
        """Whether the weights are the same, bit for bit."""
        return all(torch.equal(self.weights[name], other.weights[name]) for name in self.weights)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(
    tmp_path: Path, small_model: Callable[..., Any], small_patches: Callable[..., Any]
) -> Callable[..., Run]:
    return lambda name, **settings: Run(small_model, small_patches, tmp_path / name, **settings)


def test_runs_share_what_was_encoded_and_kept_or_not_makes_no_difference(
    tmp_path: Path, run: Callable[..., Run]
) -> None:
    cache = tmp_path / "cache"
    first = run("first", cache_dir=cache)
    assert first.n_encoded == 4 + 2  # training and validation patches, each once
    from_disk = run("second", cache_dir=cache, cache_mb=0)
    assert from_disk.n_encoded == 0
    never_kept = run("third", cache_mb=0)
    assert never_kept.n_encoded == 2 * 4 + 3 * 2
    assert from_disk.equals(first)
    assert never_kept.equals(first)
    # Another scenario has another decoder, and the same image encoder.
    other = run("histosam", scenario="histosam", early_features=False, cache_dir=cache, epochs=1)
    assert other.n_encoded == 0


def test_early_features_are_trained_kept_on_disk_and_written(
    tmp_path: Path, run: Callable[..., Run]
) -> None:
    cache = tmp_path / "cache"
    plain = run("plain", cache_dir=cache)
    early = run("early", scenario="histosam", cache_dir=cache)
    # Embeddings without them, on disk already, are not taken for embeddings with them.
    assert early.n_encoded == 4 + 2
    again = run("again", scenario="histosam", cache_dir=cache, cache_mb=0)
    assert again.n_encoded == 0
    assert again.equals(early)
    network, info = load_checkpoint(early.result.last_checkpoint)
    assert (network.early_features, info.early_features) == (True, True)
    way_in = [value for name, value in early.weights.items() if "refine_early.layers.3" in name]
    assert all(value.abs().max() > 0 for value in way_in)
    assert not any("refine_early" in name for name in plain.weights)
    assert not load_checkpoint(plain.result.last_checkpoint)[1].early_features


def test_half_precision_embeddings_change_the_loss_within_their_noise(
    run: Callable[..., Run],
) -> None:
    half, full = run("half"), run("full", half_embeddings=False)
    assert not half.equals(full)
    assert half.losses == pytest.approx(full.losses, rel=5e-3)


def test_a_disk_that_refuses_is_told_once_and_the_run_goes_on(
    tmp_path: Path, run: Callable[..., Run]
) -> None:
    (tmp_path / "cache").write_text("a file")
    refused = run("run", cache_dir=tmp_path / "cache")
    assert ["no longer kept" in text for text in refused.notices] == [True]
    assert refused.result.steps == 4


def test_patience_ends_the_run_and_says_so(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    from histosam_core.training import ValidationScores, loop

    nocs = iter([9.0, 5.0, 6.0, 7.0, 1.0])

    def scores(*arguments: object, **named: object) -> ValidationScores:
        noc85 = next(nocs)
        return ValidationScores(noc85, noc85, noc85, (0.5, 0.5), 2)

    monkeypatch.setattr(loop, "validate", scores)
    ended = run("run", epochs=9, patience=2, max_steps_per_epoch=1)
    assert (ended.result.epochs, ended.result.best_epoch) == (3, 1)
    assert len(ended.notices) == 1
    assert "since epoch 1" in ended.notices[0]
    assert RunFolder(ended.result.run_folder).load_state()["finished"]


def test_tensorboard_gets_what_the_events_tell(tmp_path: Path, run: Callable[..., Run]) -> None:
    pytest.importorskip("tensorboard", reason="install tensorboard to run this")
    short = run("run", epochs=1, tensorboard=True)
    (file,) = (tmp_path / "run" / "tensorboard").iterdir()
    content = file.read_bytes()
    for tag in (b"training/loss", b"validation/noc85"):
        assert tag in content
    assert short.result.steps == 2
    RunFolder(tmp_path / "run").clear()
    assert list((tmp_path / "run").iterdir()) == []


def test_tensorboard_that_is_not_installed_is_said_before_anything_is_deleted(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from histosam_core.training import run_log

    monkeypatch.setattr(run_log, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install tensorboard"):
        run("run", tensorboard=True)
    assert not (tmp_path / "run").exists()


def test_the_layout_in_memory_changes_no_more_than_rounding(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    formats: list[Any] = []
    to = torch.nn.Module.to

    def watched(self: torch.nn.Module, *arguments: Any, **named: Any) -> torch.nn.Module:
        formats.append(named.get("memory_format"))
        return to(self, *arguments, **named)

    monkeypatch.setattr(torch.nn.Module, "to", watched)
    usual, channels_last = run("usual", epochs=1), run("last", epochs=1, channels_last=True)
    assert formats.count(torch.channels_last) == 1
    assert channels_last.losses == pytest.approx(usual.losses, rel=1e-3)


def test_half_precision_on_a_cpu_is_refused(run: Callable[..., Run]) -> None:
    with pytest.raises(ConfigError, match="choose bf16"):
        run("run", precision="fp16")
