"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

DATA = Path(
    os.environ.get("HISTOSAM_TEST_DATA", Path(__file__).resolve().parents[1] / "../shared/data")
).resolve()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real slides, annotations and reference vectors; skips where it is not there."""
    if not DATA.is_dir():
        if os.environ.get("HISTOSAM_REQUIRE_DATA"):
            pytest.fail(f"{DATA} is missing and HISTOSAM_REQUIRE_DATA is set")
        pytest.skip(f"no folder {DATA}; set HISTOSAM_TEST_DATA to the test data to run this")
    return DATA


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
