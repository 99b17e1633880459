"""evaluate: what it runs, what it records about the model, and what it refuses."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from histosam_core.errors import ConfigError, EmptyDatasetError, HistoSamError
from histosam_core.evaluation import LocalRunner, evaluate, runner_of
from histosam_core.evaluation.protocol.runners import describe_model
from histosam_core.evaluation.run import spread_indices
from histosam_core.model import CheckpointInfo, TrainingGeometry


def test_memory_and_disk_hold_the_same(batched_model, store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    in_memory = evaluate(batched_model, store, name="blob", max_clicks=5)
    on_disk = evaluate(batched_model, store, name="blob", max_clicks=5, out=tmp_path / "run")
    assert [p.clicks for p in in_memory.patches] == [p.clicks for p in on_disk.patches]
    assert [p.index for p in on_disk.patches] == list(range(11))
    assert in_memory.dataset == "liver/test"
    assert in_memory.folder is None


def test_a_model_without_batches_gives_the_same_clicks(model, batched_model, store) -> None:  # type: ignore[no-untyped-def]
    alone = evaluate(model, store, name="blob", max_clicks=5)
    together = evaluate(batched_model, store, name="blob", max_clicks=5, batch_size=4)
    assert [p.clicks for p in alone.patches] == [p.clicks for p in together.patches]


def test_limit_spreads_over_the_store() -> None:
    assert spread_indices(11, 3) == [0, 5, 10]
    assert spread_indices(11, 1) == [0]
    assert spread_indices(3, 9) == spread_indices(3, None) == [0, 1, 2]
    for n, limit in itertools.product(range(1, 40), range(1, 40)):
        chosen = spread_indices(n, limit)
        assert len(set(chosen)) == len(chosen) == min(n, limit)


def test_progress_ends_at_the_number_of_patches(model, store) -> None:  # type: ignore[no-untyped-def]
    steps: list[tuple[int, int]] = []
    evaluate(
        model,
        store,
        name="blob",
        limit=4,
        max_clicks=2,
        progress=lambda done, total, message="": steps.append((done, total)),
    )
    assert [step for step, _ in itertools.groupby(steps)] == [(n, 4) for n in range(5)]


def test_wall_time_of_all_clicks_is_the_time_of_the_loop(batched_model, store) -> None:  # type: ignore[no-untyped-def]
    ticks = itertools.count()
    batched_model.device = "cuda:0"  # images share a pass; on a CPU they are encoded one by one
    result = evaluate(
        batched_model,
        store,
        name="blob",
        max_clicks=4,
        target_iou=1.01,
        batch_size=11,
        clock=lambda: float(next(ticks)),
    )
    # Four steps; each reads the clock at its start, twice to decode and at its end, the first
    # twice more to encode.
    assert sum(p.wall_s.sum() for p in result.patches) == pytest.approx(5 + 3 * 3)
    assert sum(p.decode_s.sum() for p in result.patches) == pytest.approx(4)
    assert sum(p.encode_s for p in result.patches) == pytest.approx(1)


def test_checkpoint_and_settings_stand_beside_the_rows(model, store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model.info = CheckpointInfo(
        name="ours",
        architecture="histosam_tiny",
        decoder="refining",
        geometry=TrainingGeometry(1.0, 256),
        licence="of its own",
        sha256="ab" * 32,
        provenance={"epochs": 3},
    )
    model.device = "cpu"
    evaluate(model, store, name="blob", out=tmp_path / "run", limit=2, max_clicks=3)
    header = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    checkpoint = header["checkpoint"]
    assert checkpoint["sha256"] == "ab" * 32
    assert checkpoint["geometry"] == {"mpp": 1.0, "patch_size_px": 256}
    assert checkpoint["preprocessing"]["pixel_mean"] == [123.675, 116.28, 103.53]
    assert checkpoint["provenance"] == {"epochs": 3}
    named = {key: checkpoint[key] for key in ("class", "name", "architecture", "decoder", "device")}
    assert named == {
        "class": "BlobModel",
        "name": "ours",
        "architecture": "histosam_tiny",
        "decoder": "refining",
        "device": "cpu",
    }
    assert checkpoint["licence"] == "of its own"
    assert "scenario" not in checkpoint, "it was not fine-tuned"
    assert header["settings"] == {
        "target_iou": 0.9,
        "max_clicks": 3,
        "min_clicks": 1,
        "mask_threshold": 0.49,
        "grow_windows": 0,
    }
    assert header["is_complete"] is True
    assert header["dataset"]["n_evaluated"] == 2


def test_a_model_without_info_is_described_by_its_class(model) -> None:  # type: ignore[no-untyped-def]
    assert describe_model(model) == {
        "class": "BlobModel",
        "name": "BlobModel",
        "decoder": "",
        "sha256": "",
        "licence": "not stated",
        "geometry": {"mpp": 2.0, "patch_size_px": 400},
        "device": "cpu",
    }


def test_wrong_calls_are_refused_before_anything_is_written(model, store, tmp_path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "run"
    with pytest.raises(EmptyDatasetError, match="prepare it again"):
        evaluate(model, [], name="blob", out=out)
    wrong: list[dict[str, Any]] = [{"limit": 0}, {"batch_size": 0}, {"max_clicks": 0}]
    for settings in wrong:
        with pytest.raises(ConfigError):
            evaluate(model, store, name="blob", out=out, **settings)
    assert not out.exists()


def test_a_full_disk_is_one_of_our_errors(model, store, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "run"

    def full(self: Any, rows: Any) -> None:
        raise OSError(28, "No space left on device")

    class FullWriter:
        writerow = full
        writerows = full

    monkeypatch.setattr("histosam_core.evaluation.records.csv.writer", lambda file: FullWriter())
    with pytest.raises(HistoSamError, match="No space left"):
        evaluate(model, store, name="blob", out=out)


def test_a_runner_stands_for_its_model(batched_model, store) -> None:  # type: ignore[no-untyped-def]
    """It keeps its own threads and clock, and may serve several data sets."""
    ticks = iter(range(10**6))
    runner = LocalRunner(batched_model, workers=2, clock=lambda: float(next(ticks)))
    direct = evaluate(batched_model, store, name="blob", max_clicks=4)
    for _ in range(2):
        run = evaluate(runner, store, name="blob", max_clicks=4)
        assert [p.clicks for p in run.patches] == [p.clicks for p in direct.patches]
        assert all(p.decode_s.min() >= 1 / 16 for p in run.patches), "ticks, not seconds"
    assert run.header["checkpoint"] == describe_model(batched_model)
    with runner_of(runner, "tcp://unused:1") as same:
        assert same is runner
