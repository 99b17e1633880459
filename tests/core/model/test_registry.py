from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from histosam_core.clicks import Click
from histosam_core.errors import (
    CheckpointError,
    ConfigError,
    DownloadError,
    OutputWriteError,
    UnknownModelError,
)
from histosam_core.model import (
    ModelSpec,
    build_network,
    describe_network,
    list_models,
    load_model,
    save_checkpoint,
)
from histosam_core.model.checkpoint.weights_header import file_sha256
from histosam_core.model.interface import TrainingGeometry
from histosam_core.model.registry import registry, weights
from histosam_core.model.registry.registry import Digest, weights_path
from histosam_core.model.registry.weights import (
    fetch_weights,
    note_weights,
    noted_digest,
    noted_hash_path,
)
from histosam_core.paths import cache_folder

from .weights_server import CONTENT, LOGIN, Server


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
    monkeypatch.setattr(weights, "download", lambda *_, **__: pytest.fail("downloaded"))
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


def test_every_model_has_a_url_with_a_hash_or_a_page_and_says_what_it_is() -> None:
    specs = list_models()
    names = [spec.name for spec in specs]
    assert len(set(names)) == len(names)
    assert len({spec.file_name for spec in specs}) == len(names)
    assert {"histosam-tiny", "sam_vit_b", "mobile_sam", "ritm_h18s", "focalclick_b0_s2"} <= set(
        names
    )
    assert [spec.name for spec in specs if spec.is_bundled] == [names[0]] == ["histosam-tiny"]
    for spec in specs[1:]:
        assert (spec.url is None) != (spec.page is None)
        assert str(spec.url or spec.page).startswith("https://")
        assert bool(spec.page_item) == (spec.page is not None)
        assert spec.url is None or spec.digest is not None or spec.family == "ritm"
        if spec.digest is not None:
            digits = 64 if spec.digest.algorithm == "sha256" else 32
            assert re.fullmatch(rf"[0-9a-f]{{{digits}}}", spec.digest.value)
        assert bool(spec.terms) == ("segformer" in spec.architecture)
        assert bool(spec.terms) == bool(spec.terms_url) == ("no commercial use" in spec.cannot)
        assert bool(spec.decoders) == (spec.family in {"sam", "histosam"}) == spec.encodes_ahead
        assert "arXiv" in spec.citation or "20" in spec.citation


def test_every_models_network_is_known() -> None:
    from histosam_core.model.baselines import canonical_name, network_names
    from histosam_core.model.sam.network import Architecture

    for spec in list_models():
        assert spec.architecture in (*get_args(Architecture), *network_names())
        if spec.family in {"ritm", "focalclick", "simpleclick"} and spec.name != "ritm_h18_sbd":
            assert canonical_name(spec.name) == spec.architecture


@pytest.fixture
def served(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """ritm_h18s, whose authors publish no hash, from the test's server."""
    monkeypatch.setenv("HISTOSAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HISTOSAM_MIRROR", raising=False)
    spec = replace(registry.MODELS["ritm_h18s"], url=server.url)
    monkeypatch.setattr(registry, "MODELS", {**registry.MODELS, spec.name: spec})
    return spec


def test_the_hash_of_the_first_download_is_noted_and_checked_from_then_on(
    served: ModelSpec, server: Server
) -> None:
    path = fetch_weights("ritm_h18s")
    assert path.read_bytes() == CONTENT
    noted = json.loads(noted_hash_path(path).read_text())
    assert noted["sha256"] == file_sha256(path) == str(noted_digest(served)).split()[1]
    assert (noted["source"], noted["size_bytes"]) == (server.url, len(CONTENT))
    assert fetch_weights("ritm_h18s") == path
    path.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(DownloadError, match="has changed: it had sha256") as raised:
        fetch_weights("ritm_h18s")
    assert noted_hash_path(path).name in str(raised.value)
    assert len(server.asked) == 1

    path.unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(DownloadError, match="does not have the expected sha256"):
        fetch_weights("ritm_h18s")
    assert not path.exists()
    noted_hash_path(path).unlink()
    assert fetch_weights("ritm_h18s").read_bytes() == CONTENT[::-1]


def test_a_damaged_note_is_told(served: ModelSpec) -> None:
    path = fetch_weights("ritm_h18s")
    for text in ("", "[]", "{}"):
        noted_hash_path(path).write_text(text)
        with pytest.raises(DownloadError, match="cannot be read; delete it if you trust"):
            fetch_weights("ritm_h18s")


def test_a_login_page_that_was_saved_in_place_of_weights_is_fetched_anew(
    served: ModelSpec, server: Server
) -> None:
    path = weights_path(served)
    path.parent.mkdir(parents=True)
    path.write_bytes(LOGIN)
    server.content, server.content_type = LOGIN, "text/html"
    with pytest.raises(DownloadError, match="sent a web page"):
        fetch_weights("ritm_h18s")
    server.content = CONTENT
    server.content_type = "application/octet-stream"
    fetch_weights("ritm_h18s")
    assert path.read_bytes() == CONTENT


def test_a_file_with_another_hash_is_told_where_nothing_can_be_fetched(
    served: ModelSpec, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(served, digest=Digest("sha256", "0" * 64))
    monkeypatch.setattr(registry, "MODELS", {spec.name: spec})
    server.status = 404
    with pytest.raises(DownloadError, match="answered 404") as raised:
        fetch_weights(spec.name)
    assert "not the published one" not in str(raised.value)
    weights_path(spec).parent.mkdir(parents=True, exist_ok=True)
    weights_path(spec).write_bytes(CONTENT)
    with pytest.raises(DownloadError, match="the file that is there now is not the published one"):
        fetch_weights(spec.name)
    assert weights_path(spec).read_bytes() == CONTENT


@pytest.mark.parametrize("by_variable", [False, True])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror_is_asked_for_the_file_by_its_name(
    served: ModelSpec,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    by_variable: bool,
    slash: str,
) -> None:
    base = server.url.rpartition("/")[0] + "/mirror" + slash
    if by_variable:
        monkeypatch.setenv("HISTOSAM_MIRROR", base)
    mirror = None if by_variable else base
    fetch_weights("ritm_h18s", mirror=mirror)
    fetch_weights("simpleclick_vit_b", mirror=mirror)  # which can be had by hand alone elsewhere
    assert server.paths == [
        "/mirror/coco_lvis_h18s_itermask.pth", "/mirror/cocolvis_vit_base.pth"
    ]  # fmt: skip
    server.status = 404
    with pytest.raises(DownloadError, match=r"answered 404.*the file is not there") as raised:
        fetch_weights("simpleclick_vit_l", mirror=mirror)
    assert "in a browser, download cocolvis_vit_large.pth from https://drive.google" in str(
        raised.value
    )


def test_weights_on_a_page_name_the_page_the_file_and_where_to_put_it(
    served: ModelSpec, server: Server
) -> None:
    spec = registry.MODELS["focalclick_h18s_s2"]
    with pytest.raises(DownloadError) as raised:
        fetch_weights(spec.name)
    for part in (spec.page, spec.page_item, weights_path(spec)):
        assert str(part) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert spec.where == "by hand"
    weights_path(spec).parent.mkdir(parents=True)
    weights_path(spec).write_bytes(LOGIN)
    with pytest.raises(DownloadError, match="is a web page, probably a login page") as raised:
        fetch_weights(spec.name)
    assert f"from {spec.page} and put it at {weights_path(spec)}" in str(raised.value)
    weights_path(spec).write_bytes(b"by hand")
    assert fetch_weights(spec.name) == weights_path(spec)
    assert (spec.where, spec.is_here) == ("downloaded", True)
    note_weights(spec, "0" * 64)
    with pytest.raises(DownloadError, match="has changed"):
        fetch_weights(spec.name)
    assert server.asked == []


def test_a_folder_that_cannot_be_written_still_serves(
    served: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = registry.MODELS["focalclick_h18s_s2"]
    weights_path(spec).parent.mkdir(parents=True)
    weights_path(spec).write_bytes(b"by hand")

    def refuse(*_: object, **__: object) -> None:
        raise OutputWriteError("read-only")

    monkeypatch.setattr("histosam_core.model.registry.weights.new_file", refuse)
    note_weights(spec, "0" * 64)
    assert noted_digest(spec) is None
    assert fetch_weights(spec.name) == weights_path(spec)


def test_listing_models_needs_no_torch() -> None:
    code = (
        "import sys; from histosam_core.model import list_models, InteractiveModel; "
        "list_models()[0].where; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
