"""The rule of CI: a test that must run and was skipped is an error."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
SKIPPING = """
import pytest

@pytest.mark.real_slide
def test_needs_a_slide():
    pytest.skip("no slide here")

@pytest.mark.real_slide
def test_needs_the_folder(data_dir):
    assert data_dir.is_dir()

@pytest.mark.gui
def test_needs_a_display():
    pytest.skip("no display here")

def test_may_skip():
    pytest.skip("not today")
"""


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(CONFTEST, folder / "conftest.py")
    (folder / "test_it.py").write_text(SKIPPING)
    markers = "real_slide: needs slides\n    gui: needs a display"
    (folder / "pytest.ini").write_text(f"[pytest]\nmarkers =\n    {markers}\n")
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("HISTOSAM_", "PYTEST_"))}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:warnings",
            str(folder),
        ],
        capture_output=True,
        text=True,
        env=keep | {"HISTOSAM_TEST_DATA": str(folder / "nowhere")} | environment,
        cwd=folder,
        check=False,
    )


@pytest.mark.parametrize("asked", ["", "0"])
def test_without_the_data_such_tests_skip(tmp_path: Path, asked: str) -> None:
    done = run(tmp_path, HISTOSAM_REQUIRE_DATA=asked)
    assert done.returncode == 0
    assert "4 skipped" in done.stdout


def test_where_the_data_is_required_they_fail(tmp_path: Path) -> None:
    done = run(tmp_path, HISTOSAM_REQUIRE_DATA="1")
    assert done.returncode == 1
    assert "2 failed, 1 skipped, 1 error" in done.stdout
    for reason in ("no slide here", "no display here"):
        assert f"was skipped (Skipped: {reason})" in done.stdout
