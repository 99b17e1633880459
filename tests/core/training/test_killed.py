"""A training process that is killed, again and again, and resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("HISTOSAM_KILLS", "5"))
"""Twenty take a minute or so."""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="attempts are forked: run this on Linux")
@pytest.mark.parametrize("model", ["histosam-tiny", "focalclick_b0_s2"])
def test_a_run_killed_at_random_moments_ends_as_if_it_had_not_been(
    tmp_path: Path, model: str
) -> None:
    script = Path(__file__).with_name("killed_run.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "--model", model, "--kills", str(KILLS)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["differing"] == [], report
    assert report["steps"] == 24
    # It was killed in the midst of its work, and not at one place only.
    assert len({steps for steps in report["steps_at_kills"] if 0 < steps < 24}) > 1, report
