"""Small patches and a small network that learns in seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from histosam_core.dataset.patches import PatchGeometry, PatchStoreWriter, SlideRecord
from histosam_core.model.checkpoint.checkpoint import describe_network
from histosam_core.model.sam.interactive import SamModel
from histosam_core.model.sam.network import SamNetwork, build_network

PATCH_PX = 32


@dataclass(frozen=True)
class SmallPatch:
    image: np.ndarray
    gt_mask: np.ndarray
    mpp: float = 2.0


def make_patches(count: int, seed: int, size: int = PATCH_PX) -> list[SmallPatch]:
    """Blobs of one colour on another; now the blob is the object, now all but the blob."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[:size, :size] / size
    patches = []
    for _ in range(count):
        cx, cy = rng.uniform(0.3, 0.7, 2)
        inside = ((xs - cx) ** 2 + (ys - cy) ** 2) < rng.uniform(0.2, 0.35) ** 2
        colours = np.array([[190, 120, 180], [110, 60, 150]])
        image = colours[inside.astype(int)] + rng.normal(0, 12, (size, size, 3))
        gt = inside ^ (rng.random() < 0.5)
        patches.append(SmallPatch(np.clip(image, 0, 255).astype(np.uint8), gt.astype(np.int8)))
    return patches


def make_model(decoder: str = "refining", seed: int = 0, size: int = PATCH_PX) -> SamModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_network("histosam_tiny", decoder=decoder, image_size=size)
    return SamModel(network, describe_network(network, name="small"), "cpu")


@pytest.fixture
def network() -> SamNetwork:
    return make_model().network


@pytest.fixture
def small_model() -> Callable[..., SamModel]:
    return make_model


@pytest.fixture
def small_patches() -> Callable[..., list[SmallPatch]]:
    return make_patches


@pytest.fixture
def write_store() -> Callable[..., None]:
    """Return a function that writes patches as a store: its path, the patches."""
    return _write_store


def _write_store(path: Path, patches: list[Any]) -> None:
    count = len(patches)
    record = SlideRecord("slide", "slide.svs", "slide.xml", "0", 0.5, (9, 9), 0, count)
    writer = PatchStoreWriter(
        path,
        split=path.stem,
        geometry=PatchGeometry(1.5, 32),
        slides=[record],
        slide_index=np.zeros(count),
        location_xy=np.zeros((count, 2)),
        tumor_fraction=np.full(count, 0.5),
        tissue_fraction=np.ones(count),
        settings={},
    )
    for index, patch in enumerate(patches):
        writer.write(index, patch.image, patch.gt_mask)
