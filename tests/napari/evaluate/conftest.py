"""Small patches with known discs, two real models, and results of both: made once a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histosam_core.dataset.patches import PatchGeometry, PatchStoreWriter, SlideRecord
from napari_histosam.jobs.job import find_jobs

SIDE_PX, N_PATCHES = 96, 5
TITLE = "Evaluate models"


@pytest.fixture(scope="session")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A patch store of two slides: dark discs on a light ground, the last hardly to be seen."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX]
    path = tmp_path_factory.mktemp("liver") / "test.zarr"
    writer = PatchStoreWriter(
        path,
        split="test",
        geometry=PatchGeometry(2.0, SIDE_PX),
        slides=[SlideRecord(f"s{i}", "s.svs", "s.xml", "0", 0.5, (9, 9), 0, 3) for i in (0, 1)],
        slide_index=[0, 0, 0, 1, 1],
        location_xy=[(100 * i, 0) for i in range(N_PATCHES)],
        tumor_fraction=np.full(N_PATCHES, 0.2),
        tissue_fraction=np.ones(N_PATCHES),
        settings={},
    )
    for index in range(N_PATCHES):
        y, x = rng.uniform(35, 60, 2)
        disc = (rows - y) ** 2 + (columns - x) ** 2 < 22**2
        dark = 198 if index == N_PATCHES - 1 else 90
        image = np.where(disc[..., None], dark, 200) + rng.normal(0, 10, (SIDE_PX, SIDE_PX, 3))
        writer.write(index, np.clip(image, 0, 255).astype(np.uint8), disc.astype(np.int8))
    return path


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the bundled model that holds its other decoder alone."""
    from histosam_core.model import load_model
    from histosam_core.model.checkpoint.checkpoint import save_checkpoint

    model = load_model("histosam-tiny", "cpu")
    name = next(one for one in model.info.decoders if one != model.info.decoder)
    other = load_model("histosam-tiny", "cpu", decoder=name)
    path = tmp_path_factory.mktemp("models") / "other.safetensors"
    save_checkpoint(path, other.network, other.info)
    return path


@pytest.fixture(scope="session")
def finished(patches: Path, other_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of both models, as `histosam evaluate` leaves them but for the report."""
    from histosam_core.dataset import open_patches
    from histosam_core.evaluation import evaluate
    from histosam_core.model import load_model

    out = tmp_path_factory.mktemp("results")
    for name, source in (("histosam-tiny", "histosam-tiny"), ("other", str(other_model))):
        model = load_model(source, "cpu")
        folder = out / "runs" / name
        evaluate(model, open_patches(patches), name=name, out=folder, max_clicks=4, target_iou=0.97)
    return out


@pytest.fixture
def no_job_left(folders: None) -> Iterator[None]:
    """End what a test has started."""
    yield
    for job in find_jobs():
        job.kill()


@pytest.fixture
def open_widget(viewer: Any, no_job_left: None) -> Callable[[], Any]:
    """Open the widget as napari's menu does; return it."""

    def open_it() -> Any:
        _, widget = viewer.window.add_plugin_dock_widget("napari-histosam", TITLE)
        return widget

    return open_it


@pytest.fixture
def widget(open_widget: Callable[[], Any]) -> Any:
    return open_widget()
