"""The scripts in examples/ run as their first lines say."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_segment_by_clicks(workspace: Path, run: Run) -> None:
    script = EXAMPLES / "segment_by_clicks.py"
    done = run(
        "python", script, "slide.svs", "out.geojson", "2400,2100", "900,700,-", cwd=workspace
    )
    assert "900,700,-:" in done.stdout
    assert json.loads((workspace / "out.geojson").read_text())["features"]


def test_evaluate_a_model(demo_folder: Path, tmp_path: Path, run: Run) -> None:
    store = demo_folder / "patches" / "liver" / "test.zarr"
    model = demo_folder / "runs" / "refining" / "best.safetensors"
    script = EXAMPLES / "evaluate_a_model.py"
    done = run("python", script, store, "out", "histosam-tiny", model, cwd=tmp_path)
    assert "NoC@85" in done.stdout
    assert (tmp_path / "out" / "report.html").is_file()


def test_evaluate_on_slides(workspace: Path, run: Run) -> None:
    done = run("python", EXAMPLES / "evaluate_on_slides.py", "slides", "out", "4", cwd=workspace)
    assert "after 4 clicks" in done.stdout
    assert "NoC@85" in done.stdout
    assert (workspace / "out" / "report.html").is_file()


def test_finetune_a_model(workspace: Path, run: Run) -> None:
    done = run("python", EXAMPLES / "finetune_a_model.py", "slides", "out", "1", cwd=workspace)
    assert "validation NoC@85:" in done.stdout
    assert (workspace / "out" / "run" / "best.safetensors").is_file()


def test_improve_on_your_outlines(
    workspace: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTOSAM_DATA", str(workspace / "data"))
    script = EXAMPLES / "improve_on_your_outlines.py"
    done = run("python", script, "slides", "out", "0.1", cwd=workspace)
    assert "held-out patches" in done.stdout
    assert (workspace / "out" / "report.html").is_file()


def test_every_example_is_run_here() -> None:
    run_here = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in EXAMPLES.glob("*.py")} <= run_here
