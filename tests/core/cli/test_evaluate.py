"""histosam evaluate: outputs, labels, going on after a stop, and wrong calls."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command import histosam

from histosam_core.cli.evaluate import run_folder_name
from histosam_core.errors import ConfigError, OutputExistsError
from histosam_core.evaluation.settings import EvaluateSettings, labelled


class Disk:
    """Answers a disk round every positive click."""

    info: Any = None

    def encode(self, image: Any) -> Any:
        return image.shape[:2]

    def decode(
        self, embedding: Any, clicks: Any, previous: Any = None, *, box_xyxy: Any = None
    ) -> Any:
        yy, xx = np.mgrid[: embedding[0], : embedding[1]]
        near = np.zeros(embedding, bool)
        for c in clicks:
            near |= c.is_positive & ((xx - c.xy[0]) ** 2 + (yy - c.xy[1]) ** 2 < 30)
        return np.where(near, 4, -4).astype(np.float32)


class Store(list[Any]):
    def __init__(self, path: Path) -> None:
        rng = np.random.default_rng(len(path.name))
        yy, xx = np.mgrid[:32, :32]
        for i in range(5):
            cx, cy = rng.integers(8, 24, 2)
            gt = ((xx - cx) ** 2 + (yy - cy) ** 2 < 30 + 20 * i).astype(np.int8)
            image = rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)
            self.append(Patch(image, gt, f"p{i}", f"s{i % 2}"))
        self.name = path.name


class Patch:
    def __init__(self, image: Any, gt_mask: Any, name: str, slide: str) -> None:
        self.image, self.gt_mask, self.id, self.slide = image, gt_mask, name, slide


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    loaded: list[tuple[str, str]] = []

    def load(name: str, device: str, *, decoder: str | None, progress: Any) -> Disk:
        loaded.append((name if decoder is None else f"{name} {decoder}", device))
        disk = Disk()
        disk.info = SimpleNamespace(name=name, decoder=decoder, decoders=("refining", "sam"))
        return disk

    monkeypatch.setattr("histosam_core.model.load_model", load, raising=False)
    monkeypatch.setattr("histosam_core.dataset.open_patches", Store, raising=False)
    return loaded


def call(*arguments: object) -> Any:
    return histosam("evaluate", *arguments)


TWO = ("--model", "tiny", "--model", "ours=runs/best.safetensors", "--device", "cpu")
DATA = ("--patches", "liver", "--patches", "node")


def test_writes_rows_summary_curves_and_report(tmp_path: Path, stand_ins: Any) -> None:
    out = tmp_path / "results"
    result = call(*TWO, *DATA, "--out", out, "--max-clicks", 6)
    assert result.exit_code == 0, result.output
    assert stand_ins == [("tiny", "cpu"), ("runs/best.safetensors", "cpu")]
    assert sorted(p.name for p in (out / "runs").iterdir()) == [
        "ours@liver",
        "ours@node",
        "tiny@liver",
        "tiny@node",
    ]
    for name in ("report.html", "summary.json", "curves.png", "runs/ours@node/rows.csv"):
        assert (out / name).stat().st_size > 0
    assert "NoC@85" in result.stdout
    assert "ours" in result.stdout


def test_json_is_all_there_is_on_standard_output(tmp_path: Path) -> None:
    result = call(*TWO, *DATA, "--out", tmp_path / "r", "--json", "--limit", 2, "--no-report")
    content = json.loads(result.stdout)
    assert [r["n_patches"] for r in content["runs"]] == [2] * 4
    assert not (tmp_path / "r" / "report.html").exists()


def test_report_is_made_again_from_the_rows(tmp_path: Path, stand_ins: Any) -> None:
    out = tmp_path / "results"
    assert call(*TWO, *DATA, "--out", out).exit_code == 0
    before = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    stand_ins.clear()
    assert call("--from-rows", out).exit_code == 0
    assert stand_ins == []
    assert (out / "report.html").read_bytes() == before


def test_two_decoders_of_a_model_stand_beside_each_other(tmp_path: Path, stand_ins: Any) -> None:
    both = ("--model", "tiny@refining", "--model", "tiny@sam", "--patches", "liver", "--json")
    done = call(*both, "--out", tmp_path, "--limit", 2, "--max-clicks", 2, "--no-report")
    assert [name for name, _ in stand_ins] == ["tiny refining", "tiny sam"]
    summary = json.loads(done.stdout)
    assert [(run["model"], run["checkpoint"]["decoder"]) for run in summary["runs"]] == [
        ("tiny@refining", "refining"),
        ("tiny@sam", "sam"),
    ]
    assert summary["differences"][0]["reference"] == "tiny@refining"


def test_results_are_not_replaced_unless_asked(tmp_path: Path) -> None:
    out = tmp_path / "results"
    once = (*TWO, *DATA, "--out", out, "--max-clicks", 3)
    assert call(*once).exit_code == 0
    assert isinstance(call(*once).exception, OutputExistsError)
    assert call(*once, "--overwrite").exit_code == 0


def test_the_same_command_goes_on_after_a_stop(tmp_path: Path) -> None:
    out = tmp_path / "results"
    once = (*TWO, *DATA, "--out", out, "--max-clicks", 3)
    assert call(*once).exit_code == 0
    rows = out / "runs" / "tiny@liver" / "rows.csv"
    kept = rows.read_bytes()
    for name in ("summary.json", "report.html"):
        (out / name).unlink()
    header_path = out / "runs" / "ours@node" / "evaluation.json"
    header = json.loads(header_path.read_text())
    header_path.write_text(json.dumps({**header, "is_complete": False}))
    assert call(*once).exit_code == 0
    assert rows.read_bytes() == kept
    assert json.loads(header_path.read_text())["is_complete"]


def test_an_evaluation_starts_from_the_settings_of_another(tmp_path: Path) -> None:
    out = tmp_path / "results"
    settings = EvaluateSettings(models="tiny", patches="liver", out=out, max_clicks=2, limit=3)
    settings.save(tmp_path / "mine.json")
    assert call("--config", tmp_path / "mine.json", "--limit", 2).exit_code == 0
    again = call("--config", out / "evaluate.json", "--out", tmp_path / "again", "--json")
    assert json.loads(again.stdout)["runs"][0]["n_patches"] == 2
    kept = EvaluateSettings.load(tmp_path / "again" / "evaluate.json")
    assert (kept.max_clicks, kept.limit, kept.user) == (2, 2, "ideal")


def test_a_low_target_says_what_is_left_out(tmp_path: Path) -> None:
    result = call("--model", "tiny", *DATA, "--out", tmp_path / "r", "--target-iou", 0.85)
    assert result.exit_code == 0
    assert "NoC@90 and NoF@90 need --target-iou" in result.stderr


def test_a_user_that_misses_clicks_several_times(tmp_path: Path) -> None:
    out = tmp_path / "r"
    jitter = ("--user", "jitter", "--sigma", 3, "--seed", 7, "--max-clicks", 4)
    result = call(*TWO, "--patches", "liver", "--out", out, *jitter, "--latex", tmp_path / "t.tex")
    assert result.exit_code == 0, result.output
    assert "jitter of 3 px, 5 repeats, seed 7" in result.stdout
    content = json.loads((out / "summary.json").read_text())
    assert len(content["runs"][0]["noc_repeats"]["85"]["means"]) == 5
    assert content["runs"][0]["user"]["seed"] == 7
    assert (tmp_path / "t.tex").read_text() == (out / "table.tex").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--model", "tiny"),
        ("--model", "tiny", "--patches", "liver"),
        ("--model", "tiny", "--patches", "liver", "--patches", "x/liver", "--out", "OUT"),
        ("--model", "tiny", "--model", "tiny", "--patches", "liver", "--out", "OUT"),
        ("--model", "tiny", "--patches", "liver", "--out", "OUT", "--max-clicks", "0"),
        ("--from-rows", "OUT", "--model", "tiny"),
        ("--model", "tiny", "--patches", "liver", "--out", "OUT", "--repeats", "2"),
        ("--model", "tiny", "--slides", "slides", "--out", "OUT", "--repeats", "2"),
        ("--model", "tiny", "--slides", "slides", "--out", "OUT", "--embeddings", "kept"),
        ("--model", "histosam-tiny@md", "--patches", "liver", "--out", "OUT"),
    ],
)
def test_wrong_calls_write_nothing(arguments: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call(*(str(out) if a == "OUT" else a for a in arguments))
    assert isinstance(result.exception, ConfigError)
    assert not out.exists()


def test_labels_are_short_and_different() -> None:
    assert labelled(["histosam-tiny", "a=sam_vit_b", "runs/md/best.safetensors", "x/ours.pth"]) == {
        "histosam-tiny": "histosam-tiny",
        "a": "sam_vit_b",
        "md best": "runs/md/best.safetensors",
        "ours": "x/ours.pth",
    }
    assert labelled(["histosam-tiny@sam", "runs/md/best.pth@refining", "a=histosam-tiny@sam"]) == {
        "histosam-tiny@sam": "histosam-tiny@sam",
        "md best@refining": "runs/md/best.pth@refining",
        "a": "histosam-tiny@sam",
    }
    for clash in (["a", "a"], ["=x"], ["x="]):
        with pytest.raises(ConfigError, match="LABEL=NAME"):
            labelled(clash)


def test_run_folders_have_harmless_names() -> None:
    assert run_folder_name("our best: v2", "liver/test") == "our-best-v2@liver-test"
    assert run_folder_name("../..", "x") == "run@x"
    # No other model's folder, such as that of one which is called histosam-tiny-sam.
    assert run_folder_name("histosam-tiny@sam", "x") == "histosam-tiny@sam@x"
