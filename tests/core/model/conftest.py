"""Fixtures of the models' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .weights_server import Server, serve_weights


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of weights; nothing asks a proxy for it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve_weights() as behaviour:
        yield behaviour
