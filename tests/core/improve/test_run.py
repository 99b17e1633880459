"""The whole way on one small slide: stopped anywhere, promoted or not, and wrong calls."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from histosam_core.errors import (
    AnnotationError,
    CheckpointError,
    ConfigError,
    OutputExistsError,
    UnknownModelError,
)
from histosam_core.evaluation import read_records
from histosam_core.improve import improve
from histosam_core.improve import run as run_module
from histosam_core.model import (
    build_network,
    describe_network,
    list_own_models,
    load_model,
    save_checkpoint,
)


class StopAt:
    """Progress that stops the work, once, at a message."""

    def __init__(self, words: str = "", after: int = 0) -> None:
        self.words, self.after = words, after
        self.seen: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int, message: str = "") -> None:
        self.seen.append((done, total))
        if self.words and self.words in message:
            self.after -= 1
            if self.after < 0:
                raise KeyboardInterrupt


def test_work_that_was_stopped_at_every_stage_ends_as_if_it_had_not_been(
    make_slide: Callable, settings_for: Callable, tmp_path: Path
) -> None:
    make_slide()
    events: list[dict] = []
    bar = StopAt()
    whole = improve(settings_for(), progress=bar)
    assert [done for done, _ in bar.seen] == sorted(done for done, _ in bar.seen)
    assert bar.seen[-1] == (1000, 1000)

    broken = settings_for(out=tmp_path / "broken")
    stops = (("cutting patches", 1), ("clicks before", 2), ("tuning", 2), ("clicks after", 2))
    for i, (words, after) in enumerate(stops):
        with pytest.raises(KeyboardInterrupt):
            improve(broken, resume=i > 0, progress=StopAt(words, after))
        assert not (broken.out / "improvement.json").exists()
    resumed = improve(broken, resume=True, on_event=events.append)
    assert resumed.proof == whole.proof
    assert resumed.n_patches == whole.n_patches
    for run in ("before", "after"):
        one, other = (read_records(out / "runs" / run)[0] for out in (whole.out, broken.out))
        for a, b in zip(one.patches, other.patches, strict=True):
            np.testing.assert_array_equal(a.ious, b.ious)
    stages = [event["stage"] for event in events if event["event"] == "stage"]
    assert stages == ["patches", "before", "tuning", "after"]


def test_a_promoted_model_loads_by_its_name_is_reported_and_not_promoted_twice(
    make_slide: Callable, settings_for: Callable
) -> None:
    make_slide()
    done = improve(settings_for(name="mine", promote="always"))
    assert (done.own_model, done.is_promoted) == ("mine", True)
    model = load_model("mine", device="cpu")
    assert model.info.scenario == "refining"
    assert Path(model.info.path).read_bytes() == done.checkpoint.read_bytes()

    told = json.loads((done.out / "improvement.json").read_text())
    assert told["headline"] == done.headline()
    assert done.headline() in html.unescape(done.report.read_text())
    assert told["proof"]["n_patches"] == done.proof.n_patches
    assert "split by place" in told["trust"]
    assert told["own_model"] == "mine"

    again = improve(settings_for(name="mine", promote="always"), resume=True)
    assert again.proof == done.proof
    assert [own.name for own in list_own_models()] == ["mine"]


def test_a_model_that_is_not_proven_better_is_not_promoted(
    make_slide: Callable, settings_for: Callable
) -> None:
    """A learning rate near zero leaves the model as it was."""
    make_slide()
    still = {"epochs": 1, "batch_size": 4, "max_steps_per_epoch": 1, "learning_rate": 1e-12}
    done = improve(settings_for(tuning=still))
    assert done.proof.difference.value == pytest.approx(0, abs=1e-6)
    assert not done.is_promoted
    assert list_own_models() == []
    assert done.headline().endswith("; not promoted.")
    assert f"--add {done.checkpoint}" in done.next_step()


def test_a_model_that_is_proven_better_is_promoted(
    make_slide: Callable, settings_for: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clicks after are made with a model that knows the truth's colour."""
    make_slide()
    load = load_model

    def loaded(name: str, device: str = "auto", **options: object) -> object:
        model = load(name, device, **options)
        if "tuning" in str(name):
            model.encode_batch = lambda images: [image.mean(axis=2) for image in images]
            model.decode_batch = lambda embeddings, *_: [
                (155 - e).astype(np.float32) for e in embeddings
            ]
        return model

    monkeypatch.setattr("histosam_core.model.load_model", loaded)
    done = improve(settings_for())
    assert done.proof.is_better
    assert done.proof.after < done.proof.before
    assert done.own_model == "work"
    assert "promoted as work" in done.headline()


def test_work_that_was_refused_can_be_started_again(
    make_slide: Callable, settings_for: Callable
) -> None:
    make_slide(label="Stroma")
    for _ in range(2):
        with pytest.raises(AnnotationError, match="name those that count"):
            improve(settings_for())


def test_a_taken_folder_is_not_touched_unless_it_is_said(
    make_slide: Callable, settings_for: Callable, tmp_path: Path
) -> None:
    make_slide()
    earlier = settings_for()
    earlier.save(earlier.out / "improve.json")
    (earlier.out / "tuning").mkdir()
    (earlier.out / "my notes.txt").touch()
    with pytest.raises(OutputExistsError, match="--resume to go on with it, --overwrite"):
        improve(settings_for())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError, match="was not made by this command"):
            improve(settings_for(out=tmp_path / "other"), overwrite=overwrite)
    with pytest.raises(ConfigError, match="holds no work to resume"):
        improve(settings_for(out=tmp_path / "new"), resume=True)
    with pytest.raises(ConfigError, match="max_clicks was 3, now 4"):
        improve(settings_for(max_clicks=4), resume=True)
    with pytest.raises(KeyboardInterrupt):
        improve(settings_for(max_clicks=4), overwrite=True, progress=StopAt("cutting patches"))
    assert not (earlier.out / "tuning").exists()
    assert (earlier.out / "my notes.txt").exists()


def test_what_cannot_end_well_does_not_begin(
    make_slide: Callable, settings_for: Callable, tmp_path: Path
) -> None:
    make_slide()
    refuse = StopAt("cutting patches")
    with pytest.raises(UnknownModelError):
        improve(settings_for(model="no-such-model"), progress=refuse)
    network = build_network("histosam_tiny", decoder="refining", image_size=32)
    state = network.state_dict()
    torch.save({key: state[key] for key in list(state)[5:]}, tmp_path / "part.pt")
    with pytest.raises(CheckpointError):
        improve(settings_for(model=str(tmp_path / "part.pt")), progress=refuse)
    only_refining = tmp_path / "refining.safetensors"
    save_checkpoint(only_refining, network, describe_network(network, name="r"))
    if "sam" not in load_model(only_refining, "cpu").info.decoders:
        with pytest.raises(CheckpointError):
            improve(settings_for(model=str(only_refining), scenario="md"), progress=refuse)
    with pytest.raises(ConfigError, match="called 'sam_vit_b' already"):
        improve(settings_for(name="sam_vit_b"), progress=refuse)
    assert not (tmp_path / "work").exists()


def test_the_parts_of_the_bar_cover_it_once() -> None:
    parts = list(run_module.STAGES.values())
    assert parts[0][0] == 0
    assert parts[-1][1] == run_module.DONE
    assert all(a[1] == b[0] for a, b in pairwise(parts))
