from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from histosam_core.cli.models import models
from histosam_core.errors import ConfigError, UnknownModelError
from histosam_core.model import registry
from histosam_core.model.download import Digest

app = typer.Typer()
app.command()(models)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HISTOSAM_CACHE", str(tmp_path))
    monkeypatch.setenv("HISTOSAM_DATA", str(tmp_path / "data"))
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
    result = CliRunner().invoke(app, env={"COLUMNS": "120"})
    assert result.exit_code == 0
    for name in registry.MODELS:
        assert name in result.stdout
    assert "next: histosam models --download sam_vit_b" in result.stdout


def test_json_says_where_the_weights_are(here: Path) -> None:
    result = CliRunner().invoke(app, ["--json"])
    facts = {fact["name"]: fact for fact in json.loads(result.stdout)}
    assert facts["sam_vit_b"]["where"] == "downloaded"
    assert facts["sam_vit_b"]["size_bytes"] == 7
    assert facts["sam_vit_b"]["path"] == str(here)
    assert facts["sam_vit_l"]["where"] == "not downloaded"
    assert facts["sam_vit_l"]["size_bytes"] == 1_249_524_607
    assert facts["sam_vit_b"]["licence"] == "Apache-2.0"
    assert facts["histosam-tiny"]["decoders"] == ["refining", "sam"]


def test_download_prints_where_the_weights_are(here: Path) -> None:
    result = CliRunner().invoke(app, ["--download", "sam_vit_b"])
    assert result.exit_code == 0
    assert f"sam_vit_b: {here}" in result.stdout


def test_download_of_an_unknown_name_lists_close_ones() -> None:
    result = CliRunner().invoke(app, ["--download", "sam_vitb"])
    assert isinstance(result.exception, UnknownModelError)
    assert "sam_vit_b" in str(result.exception)


def test_a_checkpoint_gets_a_name_is_listed_and_loses_it(cache: Path) -> None:
    path = cache / "best.pt"
    path.write_bytes(b"weights")
    named = CliRunner().invoke(app, ["--add", str(path), "--name", "mine"])
    assert named.exit_code == 0
    assert "--model mine" in named.stdout
    listed = json.loads(CliRunner().invoke(app, ["--json"]).stdout)
    assert (listed[-1]["name"], listed[-1]["where"], listed[-1]["path"]) == (
        "mine", "own", str(path)
    )  # fmt: skip
    assert "mine" in CliRunner().invoke(app, env={"COLUMNS": "160"}).stdout
    assert CliRunner().invoke(app, ["--remove", "mine"]).exit_code == 0
    assert "mine" not in CliRunner().invoke(app, ["--json"]).stdout
    assert path.is_file()


def test_a_name_alone_is_a_wrong_call() -> None:
    assert isinstance(CliRunner().invoke(app, ["--name", "mine"]).exception, ConfigError)
