"""Memory stays small however large the slide is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.mark.slow
def test_slide_of_100000_pixels_reads_within_300_mb() -> None:
    call = [sys.executable, str(BENCHMARKS / "bench_slide_memory.py"), "--json"]
    answer = subprocess.run(call, check=True, capture_output=True, text=True, timeout=240)
    peaks = json.loads(answer.stdout)
    assert 5 < peaks["above_import_mb"] < 300
