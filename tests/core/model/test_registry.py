from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from histosam_core.clicks import Click
from histosam_core.errors import CheckpointError, ConfigError, DownloadError, UnknownModelError
from histosam_core.model import (
    build_network,
    describe_network,
    list_models,
    load_model,
    registry,
    save_checkpoint,
)
from histosam_core.model.checkpoint import file_sha256
from histosam_core.model.download import Digest
from histosam_core.model.interface import TrainingGeometry
from histosam_core.model.registry import cache_folder, fetch_weights, weights_path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = build_network("histosam_tiny", decoder="refining", image_size=64)
    path = tmp_path / "mine.safetensors"
    save_checkpoint(path, network, describe_network(network, name="mine"))
    return path


def test_checkpoint_path_loads_as_a_model_that_answers(checkpoint: Path) -> None:
    model = load_model(checkpoint, device="cpu")
    assert model.info.name == "mine"
    embedding = model.encode(np.zeros((30, 40, 3), np.uint8))
    assert model.decode(embedding, [Click((3, 4))]).logits.shape == (30, 40)


def test_unknown_name_lists_close_names() -> None:
    with pytest.raises(UnknownModelError, match=r"did you mean sam_vit_b or .*\?"):
        load_model("sam-vit-b2")
    with pytest.raises(UnknownModelError, match="did you mean histosam-tiny"):
        load_model("histosam_tiny")
    with pytest.raises(UnknownModelError, match="no checkpoint file at that path"):
        load_model("runs/best.safetensors")


def test_device_is_checked_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(registry, "download", lambda *_, **__: pytest.fail("downloaded"))
    with pytest.raises(ConfigError, match="'cpu' or 'auto'"):
        load_model("sam_vit_b", device="cuda")


def test_cache_folder_is_the_one_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTOSAM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    spec = registry.MODELS["sam_vit_b"]
    assert weights_path(spec) == tmp_path / "models" / "sam_vit_b_01ec64.pth"
    assert spec.where == "not downloaded"
    weights_path(spec).parent.mkdir()
    weights_path(spec).touch()
    assert spec.where == "downloaded"
    monkeypatch.delenv("HISTOSAM_CACHE")
    assert cache_folder().name == "histosam"


def test_weights_put_by_hand_are_used_and_described(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A named model whose file lies in the cache folder needs no network."""
    monkeypatch.setenv("HISTOSAM_CACHE", str(tmp_path))
    spec = replace(
        registry.MODELS["pathosam_vit_b"],
        architecture="histosam_tiny",
        geometry=TrainingGeometry(mpp=0.25, patch_size_px=512),
        digest=Digest("sha256", file_sha256(checkpoint)),
        url="http://127.0.0.1:9/nothing-listens-here",
    )
    monkeypatch.setattr(registry, "MODELS", {spec.name: spec})
    weights_path(spec).parent.mkdir()
    checkpoint.rename(weights_path(spec))
    model = load_model(spec.name, device="cpu")
    assert model.info.name == "pathosam_vit_b"
    assert model.info.geometry.mpp == 0.25
    assert model.info.provenance["url"] == spec.url

    wrong = replace(spec, architecture="sam_vit_l")
    monkeypatch.setattr(registry, "MODELS", {spec.name: wrong})
    with pytest.raises(CheckpointError, match="holds histosam_tiny, but sam_vit_l was asked for"):
        load_model(spec.name, device="cpu")


def test_tampered_weights_in_the_cache_are_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTOSAM_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    spec = replace(registry.MODELS["sam_vit_b"], url="http://127.0.0.1:9/nothing-listens-here")
    monkeypatch.setattr(registry, "MODELS", {spec.name: spec})
    weights_path(spec).parent.mkdir()
    weights_path(spec).write_bytes(b"not what it says")
    with pytest.raises(DownloadError, match="cannot reach"):
        load_model("sam_vit_b", device="cpu")


def test_missing_bundled_weights_say_reinstall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(registry.MODELS["histosam-tiny"], file_name="gone.safetensors")
    monkeypatch.setattr(registry, "MODELS", {spec.name: spec})
    assert spec.where == "missing"
    with pytest.raises(CheckpointError, match="reinstall napari-histosam"):
        fetch_weights("histosam-tiny")


def test_every_downloadable_model_has_a_url_and_a_hash() -> None:
    names = [spec.name for spec in list_models()]
    assert len(set(names)) == len(names)
    assert {"histosam-tiny", "sam_vit_b", "sam_vit_l", "sam_vit_h"} <= set(names)
    for spec in list_models()[1:]:
        assert spec.url is not None
        assert spec.url.startswith("https://")
        assert spec.digest is not None
        digits = 64 if spec.digest.algorithm == "sha256" else 32
        assert re.fullmatch(rf"[0-9a-f]{{{digits}}}", spec.digest.value)


def test_listing_models_needs_no_torch() -> None:
    code = (
        "import sys; from histosam_core.model import list_models, InteractiveModel; "
        "list_models()[0].where; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
