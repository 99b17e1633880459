"""A model and its decoder in one text: what wins, what is refused, what is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from histosam_core.errors import CheckpointError, ConfigError, HistoSamError, UnknownModelError
from histosam_core.model import load_model, save_checkpoint
from histosam_core.model.registry.model_choice import (
    DECODERS,
    ModelChoice,
    held_decoders,
    load_choice,
    parse_model,
)
from histosam_core.model.registry.own_models import add_own_model
from histosam_core.model.registry.registry import MODELS, weights_path

TINY = "histosam-tiny"


@pytest.fixture(autouse=True)
def _own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HISTOSAM_DATA", str(tmp_path / "data"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The bundled model's file under another name."""
    path = tmp_path / "mine.safetensors"
    path.symlink_to(weights_path(MODELS[TINY]))
    return path


@pytest.fixture
def sam_alone(tmp_path: Path) -> Path:
    """A checkpoint with SAM's decoder alone, as fine-tuning md leaves it."""
    model = load_model(TINY, "cpu", decoder="sam")
    save_checkpoint(tmp_path / "md.safetensors", model.network, model.info)
    return tmp_path / "md.safetensors"


def test_every_decoder_that_networks_have_can_be_asked_for() -> None:
    from histosam_core.model.sam.network import Decoder

    assert set(DECODERS) == set(get_args(Decoder))


def test_a_name_stands_with_its_decoder_or_alone(weights: Path) -> None:
    own = add_own_model(weights, name="mine")
    for source in (TINY, own.name, str(weights)):
        assert parse_model(source) == ModelChoice(source)
        for decoder in DECODERS:
            choice = parse_model(f"{source}@{decoder}")
            assert choice == ModelChoice(source, decoder)
            assert parse_model(str(choice)) == choice
        assert held_decoders(source) == MODELS[TINY].decoders
        loaded = load_choice(f"{source}@sam", "cpu")
        assert (loaded.info.decoder, loaded.info.decoders) == ("sam", MODELS[TINY].decoders)
    assert load_choice(TINY, "cpu").info.decoder == MODELS[TINY].decoders[0]


def test_a_file_that_really_has_the_name_wins(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.rename(weights, f"{TINY}@sam")
    assert parse_model(f"{TINY}@sam") == ModelChoice(f"{TINY}@sam")
    assert load_choice(f"{TINY}@sam", "cpu").info.decoder == "refining"
    assert parse_model(f"{TINY}@sam@sam") == ModelChoice(f"{TINY}@sam", "sam")
    assert parse_model("runs/a@b/best.pt") == ModelChoice("runs/a@b/best.pt")


def test_what_there_is_not_is_refused_with_the_fix(sam_alone: Path, weights: Path) -> None:
    def refused(text: str, kind: type[HistoSamError] = CheckpointError) -> str:
        with pytest.raises(kind) as error:
            load_choice(text, "cpu")
        assert "\n" not in str(error.value)
        return str(error.value)

    assert f"write {sam_alone}@sam, or" in refused(f"{sam_alone}@refining")
    assert "write sam_vit_b@sam, or" in refused("sam_vit_b@refining")  # before any download
    told = refused(f"{TINY}@decoder", ConfigError)
    assert "no decoder 'decoder'" in told
    assert f"write {TINY}@refining or {TINY}@sam" in told
    assert f"{weights}@refining" in refused(f"{weights}@", ConfigError)
    assert "NAME@sam" in refused("@sam", ConfigError)
    assert f"did you mean {TINY}" in refused("histosam-tny@sam", UnknownModelError)


@dataclass
class Foreign:
    """A model of weights that say nothing of themselves before they are loaded."""

    info: Any


def test_weights_of_others_are_never_given_a_fresh_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sam.pth"
    path.touch()

    def load(name: str, device: str, *, decoder: str | None, progress: Any) -> Foreign:
        return Foreign(SimpleNamespace(decoder=decoder or "sam", decoders=("sam",)))

    monkeypatch.setattr("histosam_core.model.load_model", load)
    assert held_decoders(str(path)) == ()
    assert load_choice(f"{path}@sam", "cpu").info.decoder == "sam"
    with pytest.raises(CheckpointError, match="holds no refining decoder"):
        load_choice(f"{path}@refining", "cpu")


def test_titles_are_short_and_show_the_decoder_that_was_asked_for(weights: Path) -> None:
    assert ModelChoice("ours/v1.2", "sam").title == "v1@sam"
    add_own_model(weights, name="v1.2")
    assert ModelChoice("v1.2", "sam").title == "v1.2@sam"
    plain, best = ModelChoice(TINY), ModelChoice("runs/md/best.safetensors", "sam")
    assert (plain.title, plain.long_title, plain.is_plain) == (TINY, TINY, False)
    assert (best.title, best.long_title, best.is_plain) == ("best@sam", "md best@sam", True)


def test_elsewhere_a_choice_means_the_same_file(weights: Path, tmp_path: Path) -> None:
    add_own_model(weights, name="mine")
    assert parse_model("mine@sam").anywhere == ModelChoice(str(weights), "sam")
    assert parse_model(f"{TINY}@sam").anywhere == ModelChoice(TINY, "sam")
