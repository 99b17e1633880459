"""`load_model`: every family by its name and from its file, ready for clicks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from histosam_core.clicks import Click
from histosam_core.errors import (
    CheckpointError,
    ConfigError,
    DownloadError,
    LicenceError,
    UnknownModelError,
)
from histosam_core.model import (
    FocalClickModel,
    RitmModel,
    SamModel,
    SimpleClickModel,
    add_own_model,
    describe_network,
    load_model,
    network,
    save_checkpoint,
)
from histosam_core.model.checkpoint.weights_header import file_sha256
from histosam_core.model.interface import is_batched
from histosam_core.model.load import make_interactive
from histosam_core.model.registry.model_choice import load_choice, parse_model
from histosam_core.model.registry.registry import MODELS, weights_path
from histosam_core.model.registry.weights import noted_hash_path

KINDS: dict[str, type] = {
    "ritm_h18s": RitmModel,
    "focalclick_b0_s2": FocalClickModel,
    "focalclick_b0_s1": FocalClickModel,
    "simpleclick_xtiny448": SimpleClickModel,
}
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 70, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HISTOSAM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HISTOSAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HISTOSAM_ACCEPT_LICENCE", raising=False)
    monkeypatch.delenv("HISTOSAM_MIRROR", raising=False)


def seeded(name: str) -> nn.Module:
    torch.manual_seed(0)
    return network(name)


def put_by_hand(name: str, content: Any = None) -> Path:
    """A named model's file, as a person puts it in its place."""
    path = weights_path(MODELS[name])
    path.parent.mkdir(parents=True, exist_ok=True)
    made = seeded(name).state_dict() if content is None else content
    torch.save({"state_dict": made, "config": {}}, path)
    return path


@pytest.mark.parametrize("name", ["ritm_h18s", "focalclick_h18s_s1", "focalclick_b0_s1"])
def test_a_file_put_by_hand_serves_by_its_models_name_from_then_on_the_same(name: str) -> None:
    path, spec = put_by_hand(name), MODELS[name]
    model = load_model(name, "cpu", accept_licence=True)
    assert type(model) is KINDS.get(name, FocalClickModel)
    info: Any = model.info
    assert (info.name, info.architecture, info.licence) == (name, spec.architecture, spec.licence)
    assert (info.sha256, info.path, info.geometry) == (file_sha256(path), "", spec.geometry)
    assert info.provenance["url"] == (spec.url or spec.page)
    assert noted_hash_path(path).is_file()
    answer = model.decode(model.encode(IMAGE), [Click((30, 20))])
    assert answer.logits.shape == IMAGE.shape[:2]

    put_by_hand(name, {key: v + 1 for key, v in seeded(name).state_dict().items()})
    with pytest.raises(DownloadError, match="has changed"):
        load_model(name, "cpu")


def test_a_file_that_cannot_serve_is_not_noted() -> None:
    path = put_by_hand("focalclick_h18s_s2", seeded("ritm_h18s").state_dict())
    with pytest.raises(
        CheckpointError, match="holds ritm_hrnet18s_itm, but focalclick_hrnet18s_S2 was asked for"
    ):
        load_model("focalclick_h18s_s2", "cpu")
    assert not noted_hash_path(path).exists()
    put_by_hand("focalclick_h18s_s2")
    assert load_model("focalclick_h18s_s2", "cpu").info.name == "focalclick_h18s_s2"


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("ours", [False, True])
def test_a_file_says_what_it_is_whatever_its_name(tmp_path: Path, name: str, ours: bool) -> None:
    made = seeded(name)
    path = tmp_path / "sam_vit_b_01ec64.pth"
    if ours:
        save_checkpoint(path, made, describe_network(made, name="mine"))  # type: ignore[arg-type]
    else:
        torch.save(made.state_dict(), path)
    model = load_model(path, "cpu", architecture=name)
    assert type(model) is KINDS[name]
    assert model.info.path == str(path)
    assert model.info.name == ("mine" if ours else "sam_vit_b_01ec64")
    reference: Any = KINDS[name](made, device="cpu")
    clicks = [Click((30, 20)), Click((50, 50), is_positive=False)]
    expected = answer = None
    for n in (1, 2):
        expected = reference.decode(reference.encode(IMAGE), clicks[:n], expected)
        answer = model.decode(model.encode(IMAGE), clicks[:n], answer)
    assert expected is not None
    assert answer is not None
    np.testing.assert_array_equal(answer.logits, expected.logits)


def test_settings_in_a_file_are_the_models(tmp_path: Path) -> None:
    made = network("focalclick_b0_s2")
    settings = {"infer_size": 128, "flip": True, "zoom_in": {"expansion_ratio": 1.6}}
    info = describe_network(made, name="x", settings=settings)  # type: ignore[arg-type]
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, made, info)  # type: ignore[arg-type]
    model: Any = load_model(path, "cpu")
    assert (model.infer_size, model.flip, model.zoom_in.expansion_ratio) == (128, True, 1.6)
    assert model.zoom_in.min_crop_size == 10

    made = network("simpleclick_xtiny448")
    zoom = {"target_size": [224, 224]}
    info = describe_network(made, name="x", settings={"zoom_in": zoom})  # type: ignore[arg-type]
    save_checkpoint(path, made, info)  # type: ignore[arg-type]
    model = load_model(path, "cpu")
    assert (model.zoom_in.target_size, model.zoom_in.skip_clicks) == ((224, 224), -1)
    wrong = describe_network(made, name="x", settings={"speed": 3})  # type: ignore[arg-type]
    save_checkpoint(path, made, wrong)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="settings that SimpleClickModel does not know"):
        load_model(path, "cpu")


def test_an_own_name_stands_for_a_file_of_any_family(tmp_path: Path) -> None:
    made = network("ritm_h18s")
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, made, describe_network(made, name="x"))  # type: ignore[arg-type]
    add_own_model(path, name="liver")
    assert isinstance(load_model("liver", "cpu"), RitmModel)
    assert isinstance(load_choice("liver", "cpu"), RitmModel)
    for text in ("liver@sam", "liver@decoder", f"{path}@refining", "ritm_h18s@sam"):
        with pytest.raises(CheckpointError, match="no decoders to choose from; write"):
            parse_model(text)


def test_what_sam_alone_has_is_refused_before_anything_is_fetched() -> None:
    for option in ({"decoder": "sam"}, {"dense_prompts": True}, {"early_features": True}):
        with pytest.raises(ConfigError, match="none of SAM's decoders"):
            load_model("ritm_h18s", "cpu", **option)  # type: ignore[arg-type]


def test_a_licence_is_accepted_before_the_first_use() -> None:
    put_by_hand("focalclick_b0_s2")
    with pytest.raises(LicenceError, match="no commercial use"):
        load_model("focalclick_b0_s2", "cpu")
    load_model("focalclick_b0_s2", "cpu", accept_licence=True)
    load_model("focalclick_b0_s2", "cpu")


def test_a_licence_that_comes_with_the_network_holds_by_path_too(tmp_path: Path) -> None:
    for architecture, licence in (
        ("focalclick_segformerB0_S2", MODELS["focalclick_b0_s2"].licence),
        ("ritm_hrnet18s_itm", "not stated"),
    ):
        file = tmp_path / f"{architecture}.pth"
        torch.save({"state_dict": network(architecture).state_dict()}, file)
        assert load_model(file, "cpu").info.licence == licence


def test_the_mirror_of_a_call_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DownloadError, match=r"cannot reach http://127.0.0.1:9/m/coco_lvis_h18_it"):
        load_model("ritm_h18", "cpu", mirror="http://127.0.0.1:9/m")


def test_the_bundled_model_says_its_licence() -> None:
    model = load_model("histosam-tiny", "cpu")
    assert isinstance(model, SamModel)
    assert (model.info.licence, model.info.encodes_ahead) == ("BSD-3-Clause", True)


def test_a_network_can_stay_in_use_itself() -> None:
    made = network("ritm_h18s")
    info = describe_network(made, name="x")  # type: ignore[arg-type]
    model: Any = make_interactive(made, info, "cpu", fold=False)  # type: ignore[arg-type]
    assert model.network is made
    assert not is_batched(model)


def test_names_that_come_close_are_of_every_family() -> None:
    with pytest.raises(UnknownModelError, match=r"did you mean .*focalclick_b0_s2"):
        load_model("focalclick-b0")
