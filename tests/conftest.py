"""Fixtures that every room's tests share, and the rule that CI skips nothing it must run."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

DATA = Path(
    os.environ.get("HISTOSAM_TEST_DATA", Path(__file__).resolve().parents[1] / "../shared/data")
).resolve()
REQUIRED = os.environ.get("HISTOSAM_REQUIRE_DATA", "") not in ("", "0")
MUST_RUN = ("real_slide", "gui")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real slides, annotations and reference vectors; skips where it is not there."""
    if not DATA.is_dir():
        if REQUIRED:
            pytest.fail(f"{DATA} is missing and HISTOSAM_REQUIRE_DATA is set")
        pytest.skip(f"no folder {DATA}; set HISTOSAM_TEST_DATA to the test data to run this")
    return DATA


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a skipped `real_slide` or `gui` test an error where nothing may be missing."""
    report = yield
    must_run = any(item.get_closest_marker(name) for name in MUST_RUN)
    if REQUIRED and must_run and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} was skipped ({reason}) though HISTOSAM_REQUIRE_DATA is set; "
            "unset it, or provide what the test needs"
        )
    return report
