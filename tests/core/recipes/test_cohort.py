"""A cohort: complete or absent, the same for any number of workers, its annotations true."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import openslide
import pytest

from histosam_core.annotation import read_annotations
from histosam_core.errors import ConfigError, HistoSamError, OutputExistsError, OutputWriteError
from histosam_core.geometry import Region
from histosam_core.metrics import iou
from histosam_core.recipes.synthetic import SyntheticSlide, render_slide
from histosam_core.recipes.synthetic import cohort as module
from histosam_core.recipes.synthetic.cohort import Cohort, make_cohort

SIDE_UM = 420.0


def _hashes(cohort: Cohort) -> list[str]:
    files = cohort.slides + cohort.annotations
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, list[SyntheticSlide]]:
    """Three slides, one of each annotation format, and the truth they were written from."""
    truth: list[SyntheticSlide] = []

    def keep(*args: object, **options: object) -> SyntheticSlide:
        truth.append(render_slide(*args, **options))  # type: ignore[arg-type]
        return truth[-1]

    out = tmp_path_factory.mktemp("cohort") / "liver"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "render_slide", keep)
        made = make_cohort(
            out, n_slides=3, slide_um=(600.0, 500.0), annotation_format="mixed", workers=1, seed=3
        )
    return made, truth


def test_slides_open_with_mpp_magnification_and_levels(
    mixed: tuple[Cohort, list[SyntheticSlide]],
) -> None:
    cohort, _ = mixed
    assert [path.name for path in cohort.slides] == [f"liver_{k:03d}.svs" for k in (1, 2, 3)]
    for path in cohort.slides:
        with openslide.OpenSlide(path) as slide:
            assert slide.properties["openslide.vendor"] == "aperio"
            assert slide.level_dimensions == ((1200, 1000), (300, 250), (75, 62))
            assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
            assert float(slide.properties["openslide.objective-power"]) == 20


def test_annotation_of_every_format_gives_the_truth_back(
    mixed: tuple[Cohort, list[SyntheticSlide]],
) -> None:
    cohort, truth = mixed
    assert [path.name for path in cohort.annotations] == [
        "liver_001.xml",
        "liver_002.xml",
        "liver_003_mask.tif",
    ]
    region = Region((0, 0), (1200, 1000))
    for path, slide in zip(cohort.annotations, truth, strict=True):
        drawn = read_annotations(path).mask(region, slide.mpp)
        assert iou(slide.tumor_mask, drawn == 1) > 0.99


def test_record_says_how_it_was_made(mixed: tuple[Cohort, list[SyntheticSlide]]) -> None:
    cohort, truth = mixed
    record = json.loads((cohort.folder / "cohort.json").read_text(encoding="utf-8"))
    assert record["settings"]["seed"] == cohort.seed == 3
    assert record["settings"]["size_wh"] == [1200, 1000]
    assert record["generator_version"]
    assert "CC0" in record["licence"]
    assert [row["slide"] for row in record["slides"]] == [path.name for path in cohort.slides]
    for row, slide in zip(record["slides"], truth, strict=True):
        assert row["tumor_fraction"] == pytest.approx(slide.tumor_mask.mean(), abs=1e-4)


def test_slides_do_not_depend_on_workers_or_on_how_many_there_are(tmp_path: Path) -> None:
    alone = make_cohort(
        tmp_path / "a", domain="lymph_node", n_slides=1, slide_um=SIDE_UM, workers=1, seed=5
    )
    steps: list[tuple[int, int]] = []
    pooled = make_cohort(
        tmp_path / "b",
        domain="lymph_node",
        n_slides=2,
        slide_um=SIDE_UM,
        workers=2,
        seed=5,
        progress=lambda done, total, message="": steps.append((done, total)),
    )
    assert _hashes(alone) == [_hashes(pooled)[0], _hashes(pooled)[2]]
    assert pooled.slides[0].read_bytes() != pooled.slides[1].read_bytes()
    assert steps == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize("workers", [1, 2])
def test_cancelled_cohort_leaves_nothing(tmp_path: Path, workers: int) -> None:
    def cancel(done: int, total: int, message: str = "") -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_cohort(tmp_path / "a", n_slides=2, slide_um=SIDE_UM, workers=workers, progress=cancel)
    assert list(tmp_path.iterdir()) == []


def test_error_in_a_worker_reaches_the_caller(tmp_path: Path) -> None:
    jobs = [
        module._Job(tmp_path, "liver", index, (10, 10), 0.5, 20.0, 0, "asap") for index in (1, 2)
    ]
    with pytest.raises(ConfigError, match="256 px"):
        list(module._run(jobs, workers=2))
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_asap_xml", full)
    with pytest.raises(OutputWriteError, match="No space"):
        make_cohort(tmp_path / "out", n_slides=1, slide_um=SIDE_UM, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_dead_worker_is_reported_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_start_worker", partial(os._exit, 1))
    with pytest.raises(HistoSamError, match="fewer workers"):
        make_cohort(tmp_path / "out", n_slides=2, slide_um=SIDE_UM, workers=2)
    assert list(tmp_path.iterdir()) == []


def test_full_folder_is_kept_unless_overwriting(
    tmp_path: Path, mixed: tuple[Cohort, list[SyntheticSlide]]
) -> None:
    with pytest.raises(OutputExistsError):
        make_cohort(mixed[0].folder, n_slides=1, slide_um=SIDE_UM, workers=1)
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(OutputExistsError, match="other files"):
        make_cohort(tmp_path, n_slides=1, slide_um=SIDE_UM, workers=1, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


def test_overwriting_replaces_the_old_cohort(tmp_path: Path) -> None:
    out = tmp_path / "a"
    make_cohort(out, n_slides=2, slide_um=SIDE_UM, workers=1)
    make_cohort(out, n_slides=1, slide_um=SIDE_UM, workers=1, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == [
        "cohort.json",
        "liver_001.svs",
        "liver_001.xml",
    ]


def test_all_bad_settings_are_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        make_cohort(
            tmp_path / "a",
            domain="kidney",
            n_slides=0,
            slide_um=10.0,
            magnification=np.nan,
            seed=-1,
            annotation_format="pdf",  # type: ignore[arg-type]
            workers=0,
        )
    message = str(caught.value)
    assert "\n" not in message
    named = ("domain", "n_slides", "slide_um", "magnification", "seed", "format", "workers")
    assert all(word in message for word in named)
    assert list(tmp_path.iterdir()) == []
