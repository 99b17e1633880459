"""Fixtures of the models' tests: the reference vectors, their weights, a server of weights."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from .weights_server import Server, serve_weights

FillWeights = Callable[[nn.Module], None]


@pytest.fixture
def reference_dir(data_dir: Path) -> Path:
    """Folder of the reference vectors; tests that use it are marked `real_slide`."""
    return data_dir / "reference"


@pytest.fixture
def fill_weights() -> FillWeights:
    """Write the weights of the reference vectors into a network, in place.

    Each tensor is drawn from a generator seeded with its name's CRC-32.
    """

    @torch.no_grad()
    def fill(network: nn.Module) -> None:
        for name, tensor in network.state_dict().items():
            if not tensor.is_floating_point():
                tensor.zero_()
            elif tensor.ndim:
                draws = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(
                    tuple(tensor.shape)
                )
                if tensor.ndim > 1:
                    values = draws / np.sqrt(np.prod(tensor.shape[1:]))
                elif name.endswith("weight"):
                    values = 1 + 0.1 * draws
                elif name.endswith("running_var"):
                    values = 1 + 0.1 * np.abs(draws)
                else:
                    values = 0.1 * draws
                tensor.copy_(torch.from_numpy(values.astype(np.float32)))

    return fill


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of weights; nothing asks a proxy for it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve_weights() as behaviour:
        yield behaviour
