"""Small slides with outlined tumours, and a small checkpoint that was trained at their scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from histosam_core.annotation import AnnotatedRegion, mask_to_geometry, write_geojson
from histosam_core.improve import ImproveSettings
from histosam_core.model import build_network, describe_network, save_checkpoint
from histosam_core.model.interface import TrainingGeometry

DARK, PALE = (120, 60, 140), (235, 170, 200)
SIDE_PX = 1024
BLOBS = ((200, 200), (800, 240), (260, 780), (780, 780))

MakeSlide = Callable[..., tuple[Path, Path]]


def tumor_mask(centres: Sequence[tuple[int, int]], radius: int = 110) -> np.ndarray:
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    inside = np.zeros((SIDE_PX, SIDE_PX), bool)
    for cx, cy in centres:
        inside |= (x - cx) ** 2 + (y - cy) ** 2 < radius**2
    return inside


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data folder: a test's own."""
    monkeypatch.setenv("HISTOSAM_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def make_slide(tmp_path: Path) -> MakeSlide:
    """Return a function that writes a slide (0.5 um) and its outlines; returns both paths."""

    def make(
        name: str = "case",
        *,
        centres: Sequence[tuple[int, int]] = BLOBS,
        outlined: Sequence[tuple[int, int]] | None = None,
        label: str = "Tumor",
        extra: Sequence[AnnotatedRegion] = (),
        folder: str = "slides",
    ) -> tuple[Path, Path]:
        home = tmp_path / folder
        home.mkdir(exist_ok=True)
        image = np.where(tumor_mask(centres)[..., None], DARK, PALE).astype(np.uint8)
        noise = np.random.default_rng(0).normal(0, 10, image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
        slide = home / f"{name}.tif"
        tifffile.imwrite(
            slide, image, tile=(128, 128), photometric="rgb", resolution=(2e4, 2e4),
            resolutionunit="CENTIMETER",
        )  # fmt: skip
        known = tumor_mask(centres if outlined is None else outlined)
        regions = [AnnotatedRegion(mask_to_geometry(known), label)] if known.any() else []
        return slide, write_geojson(home / f"{name}.geojson", [*regions, *extra])

    return make


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with both decoders, for patches of 32 px at 2 um."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network("histosam_tiny", decoder="refining", image_size=32)
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    info = describe_network(network, name="base", geometry=TrainingGeometry(2.0, 32))
    save_checkpoint(path, network, info)
    return path


@pytest.fixture
def settings_for(tmp_path: Path, checkpoint: Path) -> Callable[..., ImproveSettings]:
    """Return a function that makes settings of a few seconds' work."""

    def make(**changes: object) -> ImproveSettings:
        few = {"epochs": 1, "batch_size": 4, "max_steps_per_epoch": 3, "validation_limit": 2}
        base = {
            "out": tmp_path / "work",
            "slides": tmp_path / "slides",
            "model": str(checkpoint),
            "minutes": None,
            "min_tissue": 0.0,
            "least_patches": (4, 2, 4),
            "max_clicks": 3,
            "test_limit": 8,
            "tuning": few | {"learning_rate": 1e-3},
            "device": "cpu",
        }
        return ImproveSettings(**{**base, **changes})

    return make
