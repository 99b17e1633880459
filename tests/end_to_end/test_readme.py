"""What the README tells people to type works as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
# Training as long as the README means would take minutes, and would not always be promoted.
SHORTER = {
    "finetune": ["--epochs", "1", "--max-steps-per-epoch", "2", "--batch-size", "2",
                 "--validation-limit", "2"],
    "improve": ["--minutes", "0.05", "--test-limit", "2", "--promote", "always"],
}  # fmt: skip


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    commands = [line.partition("#")[0].split() for line in lines]
    return [command for command in commands if command[:1] == ["histosam"]]


def test_the_commands_run_in_the_order_given(
    workspace: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTOSAM_DATA", str(workspace / "data"))
    assert [command[1] for command in commands()] == [
        "info", "segment", "prepare", "finetune", "evaluate", "improve", "segment",
    ]  # fmt: skip
    for command in commands():
        run(*command, *SHORTER.get(command[1], []), cwd=workspace)
    outline = json.loads((workspace / "outline.geojson").read_text())
    assert outline["features"]
    assert (workspace / "outline.png").stat().st_size > 0
    assert (workspace / "results" / "report.html").is_file()
    assert json.loads((workspace / "improved.geojson").read_text())["features"]


def test_the_python_example_runs(workspace: Path, run: Run) -> None:
    (block,) = blocks("python")
    run("python", "-c", block, cwd=workspace)
    assert json.loads((workspace / "outline.geojson").read_text())["features"]


def test_the_make_targets_exist() -> None:
    named = set(re.findall(r"^make (\w+)", "\n".join(blocks("bash")), flags=re.M))
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    assert named == {"demo", "test"}
    assert named <= targets


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "docs/index.md", "docs/napari.md", "docs/session.md"]
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), target
