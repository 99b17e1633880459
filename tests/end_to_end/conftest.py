"""One quick demo, run once, whose slides and models the other end-to-end tests work on."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


Run = Callable[..., subprocess.CompletedProcess[str]]


def run_command(
    *command: str | Path, cwd: Path, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would in `cwd`, with this environment's `histosam` and `python`."""
    environment = os.environ | {
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        "COLUMNS": "200",
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        pytest.fail(f"{command} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


@pytest.fixture(scope="session")
def run() -> Run:
    """``run("histosam", "info", ..., cwd=folder)``; fails the test unless `check` is False."""
    return run_command


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> tuple[Path, str]:
    """`histosam demo --quick --keep-cohort`: its folder, and what it printed.

    Run once, by the worker that comes first; the others wait for it.
    """
    base = tmp_path_factory.getbasetemp()
    home = (base if worker_id == "master" else base.parent) / "quick_demo"
    home.mkdir(exist_ok=True)
    printed = home / "printed.txt"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            done = run_command("histosam", "demo", "--quick", "--keep-cohort", cwd=home)
            printed.write_text(done.stdout)
    return home / "demo", printed.read_text()


@pytest.fixture
def demo_folder(demo: tuple[Path, str]) -> Path:
    return demo[0]


@pytest.fixture
def workspace(demo_folder: Path, tmp_path: Path) -> Path:
    """A folder as the README has it: one slide, and a folder of annotated slides."""
    shutil.copy(next((demo_folder / "annotations").glob("*.svs")), tmp_path / "slide.svs")
    shutil.copytree(demo_folder / "cohort" / "liver", tmp_path / "slides")
    return tmp_path
