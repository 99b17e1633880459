"""Fine-tuning of RITM, FocalClick and SimpleClick: it learns, resumes, leaves a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from histosam_core.dataset.augment import AugmentSettings
from histosam_core.errors import ConfigError
from histosam_core.model import FocalClickModel, RitmModel, SimpleClickModel, load_model
from histosam_core.model.baselines import network
from histosam_core.model.checkpoint.checkpoint import describe_network, load_checkpoint
from histosam_core.training import TrainConfig, finetune
from histosam_core.training.run_folder import RunFolder

KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ritm_h18s": (RitmModel, {"zoom_in": None, "flip": False}),
    "focalclick_b0_s2": (FocalClickModel, {}),
    "simpleclick_xtiny448": (SimpleClickModel, {"flip": False}),
}
RITM, FOCAL, SIMPLE = KINDS


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_model(name: str, seed: int = 0) -> Any:
    kind, settings = KINDS[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = network(name)
    info = describe_network(built, name="small", licence="MIT")
    return kind(built, device="cpu", info=info, **settings)


@pytest.fixture
def train(small_patches: Callable[..., Any]) -> Callable[..., Any]:
    """Run a short fine-tuning on small patches; keyword arguments are settings."""
    training, validation = small_patches(6, 0), small_patches(2, 1)

    def run(out: Path, model: str, *, call: dict[str, Any] | None = None, **settings: Any) -> Any:
        config = TrainConfig(
            **{
                "out": out,
                "model": model,
                "crop_size": 64,
                "device": "cpu",
                "epochs": 2,
                "batch_size": 2,
                "validation_clicks": 2,
                **settings,
            }
        )
        given: dict[str, Any] = {
            "model": make_model(model) if model in KINDS else None,
            "train_patches": training,
            "validation_patches": validation,
        }
        return finetune(config, **{**given, **(call or {})})

    return run


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path)[0].state_dict()


def _equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
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


@pytest.mark.slow
def test_it_learns_what_the_clicks_mean(
    tmp_path: Path, train: Callable[..., Any], small_patches: Callable[..., Any]
) -> None:
    fixed = small_patches(8, 0, size=64)
    result = train(
        tmp_path / "run",
        FOCAL,
        epochs=1,
        batch_size=8,
        learning_rate=1e-3,
        encoder_lr_factor=1.0,
        warmup_steps=0,
        augment=AugmentSettings.none(),
        max_steps_per_epoch=40,
        validation_clicks=3,
        call={"train_patches": fixed * 40, "validation_patches": fixed},
    )
    assert result.steps == 40
    assert result.last.miou_after(3) > result.before.miou_after(3) + 0.2
    assert result.last.miou_after(3) > 0.6


@pytest.mark.parametrize("model", KINDS)
def test_the_run_folder_holds_a_model_that_answers_clicks(
    tmp_path: Path, train: Callable[..., Any], model: str, small_patches: Callable[..., Any]
) -> None:
    from histosam_core.clicks import Click

    events: list[Any] = []
    given = make_model(model)
    before = {name: value.clone() for name, value in given.network.state_dict().items()}
    result = train(
        tmp_path / "run",
        model,
        epochs=1,
        max_steps_per_epoch=2,
        call={"model": given, "on_event": events.append},
    )
    assert {file.name for file in (tmp_path / "run").iterdir()} == {
        "best.safetensors", "config.json", "curves.png", "last.safetensors", "log.csv", "state.pt",
    }  # fmt: skip
    assert [e["event"] for e in events] == ["validation", "step", "step", "validation"]
    assert _equal(before, given.network.state_dict())  # the model given is copied
    trained = load_model(result.best_checkpoint, "cpu")
    assert type(trained) is KINDS[model][0]
    info: Any = trained.info
    assert (info.name, info.scenario, info.licence) == ("small-specialist", "specialist", "MIT")
    assert info.provenance["settings"]["crop_size"] == [64, 64]
    assert (info.geometry.mpp, info.geometry.patch_size_px) == (2.0, 32)
    assert not _equal(before, trained.network.state_dict())
    (patch,) = small_patches(1, 3)
    answer = trained.decode(trained.encode(patch.image), [Click((16, 16), True)])
    assert answer.logits.shape == (32, 32)


def test_a_network_trained_on_other_crops_is_used_at_their_size(
    tmp_path: Path, train: Callable[..., Any]
) -> None:
    expected = {FOCAL: {"infer_size": 96}, SIMPLE: {"zoom_in": {"target_size": [96, 96]}}}
    for model, wanted in expected.items():
        result = train(
            tmp_path / model, model, crop_size=96, epochs=1, max_steps_per_epoch=1,
            validation_clicks=1,
        )  # fmt: skip
        loaded: Any = load_model(result.best_checkpoint, "cpu")
        assert loaded.info.settings == wanted
    assert loaded.zoom_in.target_size == (96, 96)


@pytest.mark.parametrize(("model", "stop_after"), [(RITM, 2), (FOCAL, 4), (SIMPLE, 3)])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(
    tmp_path: Path, train: Callable[..., Any], model: str, stop_after: int
) -> None:
    whole = train(tmp_path / "whole", model)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "two", model, call={"progress": StopAfter(stop_after)})
    assert RunFolder(tmp_path / "two").load_state()["position"]["step"] == stop_after
    resumed = train(tmp_path / "two", model, workers=2, call={"resume": True})
    assert _equal(_weights(whole.last_checkpoint), _weights(resumed.last_checkpoint))
    assert _equal(_weights(whole.best_checkpoint), _weights(resumed.best_checkpoint))
    assert (whole.before, whole.best, whole.last) == (resumed.before, resumed.best, resumed.last)
    first, second = (RunFolder(tmp_path / name).load_state() for name in ("whole", "two"))
    assert torch.equal(first["torch_random"], second["torch_random"])
    assert first["position"]["loss_sum"] == second["position"]["loss_sum"]
    rows = [[{**row, "seconds": 0} for row in state["rows"]] for state in (first, second)]
    assert rows[0] == rows[1]


def test_running_means_are_kept_and_a_share_of_the_start_too(
    tmp_path: Path, train: Callable[..., Any]
) -> None:
    start = make_model(FOCAL).network.state_dict()
    result = train(tmp_path / "run", FOCAL, epochs=1, keep_base=0.5)
    state, saved = RunFolder(tmp_path / "run").load_state(), _weights(result.last_checkpoint)
    name = "refiner.image_conv1.norm.running_mean"
    trained = state["weights"][name]
    assert not torch.equal(trained, start[name])
    torch.testing.assert_close(saved[name], (trained + start[name]) / 2)
    counted = "refiner.image_conv1.norm.num_batches_tracked"
    assert saved[counted] == state["weights"][counted] == 3


def test_a_model_of_another_family_than_the_settings_name_is_refused(
    tmp_path: Path, train: Callable[..., Any], small_model: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigError, match="of SAM's line, but the settings are for ritm_h18s"):
        train(tmp_path / "run", RITM, call={"model": small_model()})
    with pytest.raises(ConfigError, match="of RITM's line, but the settings are for focalclick"):
        train(tmp_path / "run", FOCAL, call={"model": make_model(RITM)})
    assert not (tmp_path / "run").exists()


def test_one_patch_is_too_few_for_ritms_batch_norms(
    tmp_path: Path, train: Callable[..., Any], small_patches: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigError, match="a step needs 2 patches"):
        train(tmp_path / "run", RITM, call={"train_patches": small_patches(1, 0)})


def test_patches_of_two_sizes_are_cropped_alike(
    tmp_path: Path, train: Callable[..., Any], small_patches: Callable[..., Any]
) -> None:
    mixed = [*small_patches(1, 0), *small_patches(1, 0, size=48)]
    result = train(
        tmp_path / "run", SIMPLE, epochs=1, validation_clicks=1, call={"train_patches": mixed}
    )
    assert result.steps == 1


def test_a_tuned_model_can_be_tuned_again(tmp_path: Path, train: Callable[..., Any]) -> None:
    short = {"epochs": 1, "max_steps_per_epoch": 1, "validation_clicks": 1}
    first = train(tmp_path / "one", SIMPLE, **short)
    tuned = str(first.last_checkpoint)
    again = train(tmp_path / "two", tuned, **short, call={"model": None})
    assert again.before.miou_after(1) == pytest.approx(first.last.miou_after(1), abs=0.05)
    config = json.loads((tmp_path / "two" / "config.json").read_text())
    assert (config["scenario"], config["learning_rate"]) == ("specialist", 5e-5)
    assert load_checkpoint(again.last_checkpoint)[1].name == "small-specialist-specialist"
