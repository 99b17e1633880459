"""Small synthetic data sets laid out as the real ones, a small model, a stand-in for tuning."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from histosam_core.model import (
    build_network,
    describe_network,
    load_checkpoint,
    save_checkpoint,
)
from histosam_core.model.interface import TrainingGeometry
from histosam_core.recipes.stand_in_study import (
    SyntheticPlan,
    make_synthetic_folders,
    synthetic_values,
)
from histosam_core.reproduce import ReproduceSettings
from histosam_core.training import TrainConfig, TrainResult, ValidationScores
from histosam_core.training.recipes import SCENARIOS

PLAN = SyntheticPlan(
    paip_slides=3,
    camelyon_slides=2,
    slide_um=640.0,
    patch_size_px=64,
    stride_px=64,
    limit=2,
    epochs=1,
    tuning={"batch_size": 2, "max_steps_per_epoch": 1, "validation_limit": 1},
)

SettingsFor = Callable[..., ReproduceSettings]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own folders: a test's own."""
    monkeypatch.setenv("HISTOSAM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HISTOSAM_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """PAIP2019 and CAMELYON16, as synthetic slides in their layouts."""
    return make_synthetic_folders(tmp_path_factory.mktemp("synthetic"), PLAN)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with SAM's decoder, which stands in for every family's weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network("histosam_tiny", decoder="sam", image_size=32)
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    info = describe_network(network, name="base", geometry=TrainingGeometry(2.0, 64))
    save_checkpoint(path, network, info)
    return path


@pytest.fixture
def settings_for(
    tmp_path: Path, folders: tuple[Path, Path], base: Path, monkeypatch: pytest.MonkeyPatch
) -> SettingsFor:
    """Return a function that makes settings of a second's work."""
    # `base` stands in for every family.
    monkeypatch.setattr("histosam_core.reproduce.method_models.check_family", lambda *call: None)

    def make(**changes: Any) -> ReproduceSettings:
        usual = {
            "paip": folders[0],
            "camelyon": folders[1],
            "weights": None,
            "models": dict.fromkeys(("ritm", "focalclick", "simpleclick", "sam"), str(base)),
            "max_clicks": 2,
            "device": "cpu",
            "workers": 1,
        }
        out = tmp_path / "work"
        return ReproduceSettings(**{"out": out, **synthetic_values(out, PLAN), **usual, **changes})

    return make


class Tuning:
    """Stands in for `finetune`: writes what a run leaves behind, and remembers its calls.

    Attributes
    ----------
    stops
        How many calls end as if Ctrl-C had been pressed.
    """

    def __init__(self) -> None:
        self.stops = 0
        self.calls: list[tuple[TrainConfig, bool]] = []

    def __call__(self, config: TrainConfig, *, resume: bool = False, **call: Any) -> TrainResult:
        self.calls.append((config, resume))
        out = Path(config.out)
        out.mkdir(parents=True, exist_ok=True)
        config.save(out / "config.json")
        (out / "state.pt").write_bytes(b"")
        (out / "log.csv").write_text("epoch,step,seconds\n0,0,1.0\n1,2,3.0\n")
        call["progress"](1, 2, "epoch 1/1")
        if self.stops:
            self.stops -= 1
            raise KeyboardInterrupt
        scenario = SCENARIOS.get(config.scenario)
        decoder = "sam" if scenario is None else scenario.decoder
        with torch.random.fork_rng():
            torch.manual_seed(len(self.calls))
            network, info = load_checkpoint(config.model, decoder=decoder)
        best = out / "best.safetensors"
        save_checkpoint(best, network, info)
        scores = ValidationScores(2.0, 3.0, 4.0, (0.5, 0.6), 1)
        return TrainResult(out, best, best, scores, scores, scores, 1, 1, 2, 3.0)


@pytest.fixture
def tuning(monkeypatch: pytest.MonkeyPatch) -> Tuning:
    stand_in = Tuning()
    monkeypatch.setattr("histosam_core.training.finetune", stand_in, raising=False)
    return stand_in


@pytest.fixture
def copied(folders: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Both data sets as a test's own, to be changed."""
    copies = tmp_path / "PAIP2019", tmp_path / "CAMELYON16"
    for folder, copy in zip(folders, copies, strict=True):
        shutil.copytree(folder, copy)
    return copies
