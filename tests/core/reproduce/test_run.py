"""The whole way on small synthetic data: all of it, stopped anywhere, with parts missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from histosam_core.errors import ConfigError, OutputExistsError, SlideNotFoundError
from histosam_core.recipes.stand_in_study import SMALL_MODELS, make_synthetic_weights
from histosam_core.reproduce import Selection, look, reproduce
from histosam_core.reproduce.method_models import Weights, train_config

if TYPE_CHECKING:
    from histosam_core.progress import ProgressCallback

    from .conftest import Tuning


def _rows(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("rows.csv"))}


class StopAt:
    """Bars that stop the work once so many units are done of what some words in a title name."""

    def __init__(self, words: str, units: int) -> None:
        self.words, self.units = words, units
        self.titles: list[str] = []

    @contextmanager
    def __call__(self, title: str) -> Iterator[ProgressCallback]:
        self.titles.append(title)

        def tell(done: int, total: int, message: str = "") -> None:
            if self.words in title and done >= self.units:
                raise KeyboardInterrupt

        yield tell


def test_all_cells_are_filled_and_nothing_is_done_twice(
    settings_for: Callable, tuning: Tuning
) -> None:
    events: list[dict[str, Any]] = []
    settings = settings_for()
    done = reproduce(settings, on_event=events.append)
    assert done.count("done") == len(done.states)
    assert len([e for e in events if e["event"] == "cell"]) == 33
    assert [Path(config.out).name for config, _ in tuning.calls] == [
        "ritm", "focalclick", "simpleclick", "md", "ie_md", "whole", "refining",
    ]  # fmt: skip
    summary = json.loads((settings.out / "summary.json").read_text())
    assert summary["n_done"] == 33
    assert all(cell["n_done"] == 2 for cell in summary["cells"])
    refining = done.by_key["finetuned", "paip2019_x5", "refining"].result
    assert refining is not None
    assert refining.header["checkpoint"]["decoder"] == "refining"

    before = _rows(settings.out)
    again = StopAt("", 99)
    assert reproduce(settings, bars=again).count("done") == 33
    assert again.titles == []
    assert _rows(settings.out) == before
    assert len(tuning.calls) == 7


def test_work_that_is_stopped_goes_on_where_it_was(settings_for: Callable, tuning: Tuning) -> None:
    settings = settings_for()
    selection = Selection.parse(["sam,md", "paip2019_x5"])
    with pytest.raises(KeyboardInterrupt):
        reproduce(settings, selection, bars=StopAt("Patches", 1))
    assert not (settings.out / "patches" / "paip2019_x5").exists()
    with pytest.raises(KeyboardInterrupt):
        reproduce(settings, selection, bars=StopAt("SAM on", 1))
    begun = look(settings, selection).by_key["zero_shot", "paip2019_x5", "sam"]
    assert (begun.status, begun.n_done) == ("begun", 1)
    assert "begun, 1 of 2 patches" in (settings.out / "tables.html").read_text()

    tuning.stops = 1
    with pytest.raises(KeyboardInterrupt):
        reproduce(settings, selection)
    view = look(settings, selection)
    assert view.by_key["zero_shot", "paip2019_x5", "sam"].status == "done"
    assert view.begun["md"] == (1, 3.0)
    done = reproduce(settings, selection)
    assert [resume for _, resume in tuning.calls] == [False, True]
    assert done.count("done") == 2
    assert done.count("not chosen") == 31


def test_missing_weights_leave_their_cells_and_the_rest_goes_on(
    settings_for: Callable, base: Path, tmp_path: Path
) -> None:
    models = {"ritm": "sam_vit_l", "sam": str(base), "focalclick": str(base)}
    settings = settings_for(
        models={**models, "simpleclick": str(base)}, weights=tmp_path / "weights"
    )
    selection = Selection.parse(["zero_shot", "camelyon16_x5"])
    done = reproduce(settings, selection)
    ritm = done.by_key["zero_shot", "camelyon16_x5", "ritm"]
    assert ritm.status == "not run"
    assert ritm.reason.startswith("weights missing: no sam_vit_l_0b3195.pth")
    assert done.count("done") == 3
    assert "weights missing: no sam_vit_l" in (settings.out / "tables.html").read_text()


def test_without_paip2019_there_is_no_fine_tuning(settings_for: Callable, tuning: Tuning) -> None:
    settings = settings_for(paip=None)
    done = reproduce(settings, Selection.parse(["ritm"]))
    assert done.count("done") == 2
    tuned = done.by_key["finetuned", "camelyon16_x5", "ritm"]
    assert tuned.reason.startswith("fine-tuning needs PAIP2019")
    assert done.by_key["zero_shot", "paip2019_x5", "ritm"].reason.endswith("--paip")
    assert tuning.calls == []


def test_patches_once_cut_need_no_slides(settings_for: Callable) -> None:
    selection = Selection.parse(["sam", "camelyon16_x5"])
    with pytest.raises(KeyboardInterrupt):
        reproduce(settings_for(), selection, bars=StopAt("SAM on", 1))
    done = reproduce(settings_for(paip=None, camelyon=None), selection)
    assert done.count("done") == 1


def test_an_error_in_one_method_is_told_in_its_cells(
    settings_for: Callable, base: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(base.read_bytes()[:5000])
    models = dict.fromkeys(("focalclick", "simpleclick", "sam"), str(base))
    settings = settings_for(models={**models, "ritm": str(broken)})
    events: list[dict[str, Any]] = []
    done = reproduce(
        settings, Selection.parse(["ritm,sam", "zero_shot", "camelyon16_x5"]),
        on_event=events.append,
    )  # fmt: skip
    assert done.by_key["zero_shot", "camelyon16_x5", "ritm"].status == "not run"
    assert done.by_key["zero_shot", "camelyon16_x5", "sam"].status == "done"
    assert any("broken.safetensors" in str(e.get("text")) for e in events)


def test_cells_of_an_earlier_fine_tuning_are_made_anew(
    settings_for: Callable, tuning: Tuning
) -> None:
    settings, selection = settings_for(), Selection.parse(["md", "camelyon16_x5,camelyon16_x10"])
    first = reproduce(settings, selection)
    (settings.out / "finetune" / "md.json").unlink()
    assert reproduce(settings, selection).count("done") == 2
    assert len(tuning.calls) == 1  # finished cells need no model
    shutil.rmtree(settings.out / "runs" / "finetuned" / "md@camelyon16_x5")
    done = reproduce(settings, selection)
    assert len(tuning.calls) == 2
    assert done.count("done") == 2
    for one in ("camelyon16_x5", "camelyon16_x10"):
        then, now = (view.by_key["finetuned", one, "md"].result for view in (first, done))
        assert then is not None
        assert now is not None
        assert then.header["checkpoint"]["sha256"] != now.header["checkpoint"]["sha256"]
        assert now.header["checkpoint"]["sha256"] == done.tuned["md"].sha256


def test_a_look_writes_nothing(settings_for: Callable) -> None:
    settings = settings_for()
    view = look(settings)
    assert view.count("to do") == 33
    assert not settings.out.exists()


def test_times_are_expected_by_what_was_done(settings_for: Callable, tuning: Tuning) -> None:
    settings = settings_for()
    reproduce(settings, Selection.parse(["sam", "camelyon16_x5"]))
    view = look(settings)
    other = view.by_key["zero_shot", "camelyon16_x10", "sam"]
    assert other.seconds is not None
    assert other.seconds > 0
    assert view.by_key["zero_shot", "camelyon16_x5", "ritm"].seconds is None
    method = view.by_key["finetuned", "camelyon16_x5", "md"].cell.method
    assert view.seconds_of_tuning(method) is None


def test_a_folder_of_other_things_or_other_settings_is_refused(
    settings_for: Callable, tmp_path: Path
) -> None:
    settings = settings_for()
    settings.out.mkdir()
    (settings.out / "thesis.docx").write_text("")
    with pytest.raises(OutputExistsError, match="another --out"):
        reproduce(settings)
    (settings.out / "thesis.docx").unlink()
    reproduce(settings, Selection.parse(["sam", "camelyon16_x5"]))
    with pytest.raises(ConfigError, match="max_clicks was 2, now 3"):
        reproduce(settings_for(max_clicks=3))


def test_a_wrong_folder_or_tuning_setting_is_told_before_any_work(
    settings_for: Callable, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    settings = settings_for(paip=empty)
    with pytest.raises(SlideNotFoundError, match="no slide of PAIP2019"):
        reproduce(settings)
    for way in (look, reproduce):
        with pytest.raises(ConfigError, match="learning"):
            way(settings_for(tuning={"learning": 1}))
    assert not settings.out.exists()


def test_fine_tuning_has_the_papers_settings(tmp_path: Path, base: Path) -> None:
    from histosam_core.reproduce import ReproduceSettings
    from histosam_core.reproduce.kim2023 import methods_of

    settings = ReproduceSettings(
        out=tmp_path, paip=tmp_path, max_minutes=5.0, tuning={"batch_size": 4}
    )
    method = methods_of("finetuned")[-1]
    config = train_config(settings, method, Weights("base", str(base)))
    assert (config.epochs, config.learning_rate, config.scenario) == (30, 5e-4, "refining")
    assert config.milestones == (20 / 30, 25 / 30)
    assert (config.batch_size, config.max_minutes) == (4, 5.0)
    assert config.patches == tmp_path / "patches" / "paip2019_x5"


@pytest.mark.slow
def test_the_smallest_network_of_every_family_goes_all_the_way(
    settings_for: Callable, tmp_path: Path
) -> None:
    weights = make_synthetic_weights(tmp_path / "weights")
    settings = settings_for(
        models=SMALL_MODELS,
        weights=weights,
        limit=1,
        tuning={
            "batch_size": 2,
            "max_steps_per_epoch": 1,
            "validation_limit": 1,
            "validation_clicks": 2,
            "max_iterations": 0,
        },
    )
    methods = "ritm,focalclick,simpleclick,refining"
    done = reproduce(settings, Selection.parse([methods, "camelyon16_x5"]))
    assert done.count("done") == 7
    assert not [notice for notice in done.notices if "error" in notice.casefold()]
    assert set(done.tuned) == {"ritm", "focalclick", "simpleclick", "refining"}
    assert {one.steps for one in done.tuned.values()} == {1}
