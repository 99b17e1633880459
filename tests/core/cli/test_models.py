from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from command import histosam

from histosam_core.errors import ConfigError, DownloadError, LicenceError, UnknownModelError
from histosam_core.model.registry import registry, weights
from histosam_core.model.registry.registry import Digest
from histosam_core.model.registry.weights import licence_to_confirm


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing."""

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HISTOSAM_CACHE", str(tmp_path))
    monkeypatch.setenv("HISTOSAM_DATA", str(tmp_path / "data"))
    for name in ("HISTOSAM_MIRROR", "HISTOSAM_ACCEPT_LICENCE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def here(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """sam_vit_b's weights, in the cache folder: some bytes with the expected hash."""
    digest = Digest("sha256", hashlib.sha256(b"weights").hexdigest())
    spec = replace(registry.MODELS["sam_vit_b"], digest=digest)
    monkeypatch.setattr(registry, "MODELS", {**registry.MODELS, spec.name: spec})
    path = cache / "models" / spec.file_name
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


def test_table_names_every_model_and_what_to_type_next() -> None:
    result = histosam("models", columns=120)
    assert result.exit_code == 0
    for name in registry.MODELS:
        assert name in result.stdout
    assert "next: histosam models --download sam_vit_b" in result.stdout


def test_json_says_where_the_weights_are(here: Path) -> None:
    result = histosam("models", "--json")
    facts = {fact["name"]: fact for fact in json.loads(result.stdout)}
    assert facts["sam_vit_b"]["where"] == "downloaded"
    assert facts["sam_vit_b"]["size_bytes"] == 7
    assert facts["sam_vit_b"]["path"] == str(here)
    assert facts["sam_vit_l"]["where"] == "not downloaded"
    assert facts["sam_vit_l"]["size_bytes"] == 1_249_524_607
    assert facts["sam_vit_b"]["licence"] == "Apache-2.0"
    assert facts["histosam-tiny"]["decoders"] == ["refining", "sam"]


def test_download_prints_where_the_weights_are(here: Path) -> None:
    result = histosam("models", "--download", "sam_vit_b")
    assert result.exit_code == 0
    assert f"sam_vit_b: {here}" in result.stdout


def test_download_of_an_unknown_name_lists_close_ones() -> None:
    result = histosam("models", "--download", "sam_vitb")
    assert isinstance(result.exception, UnknownModelError)
    assert "sam_vit_b" in str(result.exception)


def test_a_checkpoint_gets_a_name_is_listed_and_loses_it(cache: Path) -> None:
    path = cache / "best.pt"
    path.write_bytes(b"weights")
    named = histosam("models", "--add", str(path), "--name", "mine")
    assert named.exit_code == 0
    assert "--model mine" in named.stdout
    listed = json.loads(histosam("models", "--json").stdout)
    assert (listed[-1]["name"], listed[-1]["where"], listed[-1]["path"]) == (
        "mine", "own", str(path)
    )  # fmt: skip
    assert "mine" in histosam("models", columns=160).stdout
    assert histosam("models", "--remove", "mine").exit_code == 0
    assert "mine" not in histosam("models", "--json").stdout
    assert path.is_file()


@pytest.mark.parametrize(
    "call",
    [["--name", "mine"], ["--mirror", "http://x"], ["ritm_h18s", "--download", "ritm_h18s"],
     ["--accept", "focalclick_b0_s2", "--remove", "x"]],
)  # fmt: skip
def test_options_that_do_not_go_together_are_a_wrong_call(call: list[str]) -> None:
    assert isinstance(histosam("models", *call).exception, ConfigError)


def test_the_list_fits_80_columns_and_says_what_families_cannot_do(cache: Path) -> None:
    result = histosam("models", columns=80)
    lines = result.stdout.replace(str(cache), "~").splitlines()
    assert max(map(len, lines)) <= 80
    assert "RITM: no box prompts, no embeddings ahead of clicks" in lines
    (row,) = (line for line in lines if line.startswith("  focalclick_b0_s2"))
    assert row.split() == ["focalclick_b0_s2", "15", "MB", "by", "hand", "non-commercial"]
    assert "  https://drive.google.com/drive/folders/1qpK0gtAPkVMF7VC42UA9XF4xMWr5KJmL" in lines
    assert "  medsam_vit_b by hand from https://github.com/bowang-lab/MedSAM" in lines


def test_one_models_facts_have_its_citation_licence_and_what_to_choose() -> None:
    result = histosam("models", "focalclick_b0_s2")
    assert result.exit_code == 0
    told = " ".join(result.stdout.split())
    for part in (
        "FocalClick: Towards Practical Interactive Image Segmentation, CVPR 2022",
        "SegFormerB0-S2 of COCO+LVIS",
        "https://drive.google.com/drive/folders/1XzUlpPqbzAyMt009HVpEeW31ln1FeXfX",
        "no commercial use",
        "not accepted yet: histosam models --accept focalclick_b0_s2",
        "none published",
        "400 px at 2 um/px",
    ):
        assert part in told
    facts = json.loads(histosam("models", "ritm_h18s", "--json").stdout)
    assert facts["citation"].startswith("Sofiiuk")
    assert (facts["takes_boxes"], facts["encodes_ahead"]) == (False, False)
    assert facts["where"] == "not downloaded"
    assert facts["digest"] is facts["noted_digest"] is None
    unknown = histosam("models", "ritm_h18x")
    assert isinstance(unknown.exception, UnknownModelError)
    assert "did you mean ritm_h18" in str(unknown.exception)


def test_an_own_models_facts_are_told_too(cache: Path) -> None:
    path = cache / "best.pt"
    path.write_bytes(b"weights")
    histosam("models", "--add", str(path), "--name", "mine")
    told = histosam("models", "mine").stdout
    assert "your own" in told
    assert str(path) in "".join(told.split())
    assert json.loads(histosam("models", "mine", "--json").stdout)["name"] == "mine"


def test_a_licence_is_accepted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = histosam("models", "--download", "focalclick_b0_s2")
    assert isinstance(refused.exception, LicenceError)
    accepted = histosam("models", "--accept", "focalclick_b0_s2")
    assert accepted.exit_code == 0
    assert "no commercial use" in accepted.stdout
    assert "accepted, and remembered" in accepted.stdout
    assert licence_to_confirm("focalclick_b0_s2") is None
    again = histosam("models", "--accept", "focalclick_b0_s2")
    assert "nothing to accept, or it was accepted before" in again.stdout
    by_hand = histosam("models", "--download", "focalclick_b0_s2")
    assert isinstance(by_hand.exception, DownloadError)
    facts = json.loads(histosam("models", "--json", "--accept", "focalclick_b3_s2").stdout)
    assert facts["must_accept_licence"] is False
    assert isinstance(histosam("models", "--accept", "x").exception, UnknownModelError)


@pytest.mark.parametrize(("answer", "error"), [("y", DownloadError), ("n", LicenceError)])
def test_in_a_terminal_the_licence_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, answer: str, error: type[Exception]
) -> None:
    monkeypatch.setattr("histosam_core.cli.models._in_a_terminal", lambda: True)
    result = histosam("models", "--download", "focalclick_b0_s2", stdin=f"{answer}\n")
    assert "no commercial use" in result.stdout
    assert "Do you accept this? [y/n] (n)" in result.stdout
    assert isinstance(result.exception, error)


def test_weights_come_from_a_mirror(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    mirror = cache / "mirror"
    mirror.mkdir()
    (mirror / "coco_lvis_h18s_itermask.pth").write_bytes(b"weights")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=mirror)) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        base = f"http://127.0.0.1:{http.server_port}/"
        result = histosam("models", "--download", "ritm_h18s", "--mirror", base, "--json")
        http.shutdown()
        thread.join()
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    path = cache / "models" / "coco_lvis_h18s_itermask.pth"
    assert (facts["where"], facts["path"]) == ("downloaded", str(path))
    assert path.read_bytes() == b"weights"
    assert facts["noted_digest"] == f"sha256 {hashlib.sha256(b'weights').hexdigest()}"


def test_ctrl_c_says_that_the_same_command_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(weights, "download", stop)
    result = histosam("models", "--download", "ritm_h18s")
    assert result.exit_code == 1
    assert "goes on from where it was" in result.stderr
