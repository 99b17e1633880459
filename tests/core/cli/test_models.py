from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from histosam_core.cli.models import models
from histosam_core.errors import UnknownModelError
from histosam_core.model import registry
from histosam_core.model.download import Digest

app = typer.Typer()
app.command()(models)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HISTOSAM_CACHE", str(tmp_path))
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
