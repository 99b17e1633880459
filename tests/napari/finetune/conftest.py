"""The fine-tune widget in a real window, over a stand-in that trains nothing or the command."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_histosam.jobs import job_folder as job_process
from napari_histosam.jobs.job import find_jobs

STAND_IN = Path(__file__).with_name("training_stand_in.py")
TITLE = "Fine-tune a model"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run the stand-in instead of `histosam`."""
    monkeypatch.setattr(job_process, "PROGRAM", (str(STAND_IN),))


@pytest.fixture
def no_job_left(folders: None) -> Iterator[None]:
    """End what a test has started."""
    yield
    for job in find_jobs():
        job.kill()


@pytest.fixture
def patches(tmp_path: Path) -> Path:
    """A folder that looks like one of patches, for the stand-in."""
    folder = tmp_path / "liver"
    for part, count in (("train", 640), ("validation", 80)):
        (folder / f"{part}.zarr" / "images").mkdir(parents=True)
        shape = json.dumps({"shape": [count, 400, 400, 3]})
        (folder / f"{part}.zarr" / "images" / "zarr.json").write_text(shape)
    return folder


@pytest.fixture
def small_patches(tmp_path: Path) -> Path:
    """Real patches of 64 px: a dark disc on a light ground."""
    from histosam_core.dataset.patches import PatchGeometry, PatchStoreWriter, SlideRecord

    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64]
    (tmp_path / "small").mkdir()
    for part, count in (("train", 6), ("validation", 2)):
        writer = PatchStoreWriter(
            tmp_path / "small" / f"{part}.zarr",
            split=part,
            geometry=PatchGeometry(2.0, 64),
            slides=[SlideRecord("s", "s.svs", "s.xml", "0", 0.5, (9, 9), 0, count)],
            slide_index=np.zeros(count),
            location_xy=np.zeros((count, 2)),
            tumor_fraction=np.full(count, 0.3),
            tissue_fraction=np.ones(count),
            settings={},
        )
        for index in range(count):
            y, x = rng.uniform(25, 40, 2)
            disc = (rows - y) ** 2 + (columns - x) ** 2 < 18**2
            image = np.where(disc[..., None], 90, 200) + rng.normal(0, 12, (64, 64, 3))
            writer.write(index, np.clip(image, 0, 255).astype(np.uint8), disc.astype(np.int8))
    return tmp_path / "small"


@pytest.fixture
def open_widget(viewer: Any, no_job_left: None) -> Callable[[], Any]:
    """Open the widget as napari's menu does; return it."""

    def open_it() -> Any:
        _, widget = viewer.window.add_plugin_dock_widget("napari-histosam", TITLE)
        return widget

    return open_it
