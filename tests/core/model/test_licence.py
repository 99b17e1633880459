"""Licences that forbid something: shown, accepted, remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from histosam_core.errors import LicenceError, OutputWriteError, UnknownModelError
from histosam_core.model.registry.registry import MODELS, weights_path
from histosam_core.model.registry.weights import (
    ACCEPT_VARIABLE,
    accept_licence,
    fetch_weights,
    licence_to_confirm,
    require_licence,
)

NAME = "focalclick_b0_s2"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HISTOSAM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HISTOSAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(ACCEPT_VARIABLE, raising=False)
    return tmp_path / "data"


def test_what_is_forbidden_is_one_line_with_an_address() -> None:
    text = licence_to_confirm(NAME)
    assert text is not None
    for part in (NAME, "no commercial use", "https://"):
        assert part in text
    assert "\n" not in text


def test_models_that_forbid_nothing_ask_nothing() -> None:
    for name in ("histosam-tiny", "sam_vit_b", "ritm_h18s", "focalclick_h18s_s2", "runs/best.pt"):
        assert licence_to_confirm(name) is None
    require_licence(MODELS["ritm_h18s"])


def test_without_acceptance_the_error_says_how_to_accept() -> None:
    with pytest.raises(LicenceError) as raised:
        require_licence(MODELS[NAME])
    for part in (f"histosam models --accept {NAME}", "accept_licence=True", f"{ACCEPT_VARIABLE}="):
        assert part in str(raised.value)
    assert "\n" not in str(raised.value)


def test_acceptance_is_remembered_for_that_model_and_that_licence(data: Path) -> None:
    accept_licence(NAME)
    assert licence_to_confirm(NAME) is None
    assert licence_to_confirm("focalclick_b3_s2") is not None
    require_licence(MODELS[NAME])
    note = data / "licences" / f"{NAME}.json"
    facts = json.loads(note.read_text())
    assert facts["licence"] == MODELS[NAME].licence
    note.write_text(json.dumps({**facts, "licence": "another"}))
    assert licence_to_confirm(NAME) is not None
    note.write_text("damaged")
    assert licence_to_confirm(NAME) is not None


def test_a_variable_accepts_for_a_process_alone(
    monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    monkeypatch.setenv(ACCEPT_VARIABLE, f"focalclick_b3_s2, {NAME}")
    require_licence(MODELS[NAME])
    assert licence_to_confirm("focalclick_b0_s1") is not None
    assert not data.exists()


def test_a_call_accepts_and_remembers_where_it_can(
    monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    weights_path(MODELS[NAME]).parent.mkdir(parents=True)
    weights_path(MODELS[NAME]).write_bytes(b"weights")
    with pytest.raises(LicenceError):
        fetch_weights(NAME)
    with monkeypatch.context() as patched:

        def refuse(*_: object, **__: object) -> None:
            raise OutputWriteError("read-only")

        patched.setattr("histosam_core.model.registry.weights.new_file", refuse)
        fetch_weights(NAME, accept_licence=True)
    assert licence_to_confirm(NAME) is not None
    fetch_weights(NAME, accept_licence=True)
    assert licence_to_confirm(NAME) is None


def test_accepting_for_no_model_lists_close_names() -> None:
    with pytest.raises(UnknownModelError, match="did you mean focalclick_b0"):
        accept_licence("focalclick_b0")
