"""A setting that is declared once: its check, its JSON, what people read of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from cyclopts import App

from histosam_core.cli.options import NOTHING, Given, gather, options_of, takes
from histosam_core.errors import ConfigError
from histosam_core.settings import Face, JobSettings, Problems, faces, like, read_settings, setting
from histosam_core.training import TrainConfig


@dataclass(frozen=True)
class Extras:
    loud: bool = field(default=False, metadata={"caption": "Loud", "help": "With sound."})


class Settings(JobSettings):
    """A small job's."""

    out: Path = setting(..., "Folder", path="folder", group="Files")
    """Where to."""
    slides: tuple[Path, ...] = setting((), "Slides")
    """Which."""
    share: float = setting(0.5, "Share", group="Work", ge=0, lt=1, advanced=True)
    """How much."""
    steps: int | None = setting(None, "Steps", unit="px", ge=1)
    """How many."""
    colour: Literal["red", "blue"] = setting("red", "Colour")
    """Which one."""
    rate: float = setting(None, "Rate", default_text="the share", gt=0)
    """How fast."""
    extras: Extras = setting(Extras(), "Extras")
    """What else."""

    def complete(self) -> None:
        """Take the rate from the share."""
        if self.rate is None:
            self.decide("rate", self.share)

    def check(self, wrong: Problems) -> None:
        """Steps and colours do not go together."""
        if self.colour == "blue" and self.steps:
            wrong.add("blue takes no steps; leave them out", "colour", "steps")
        wrong.require("rate", self.rate <= 2, "at most 2")


class More(Settings):
    """The same job, with a setting more: all that it takes to add one."""

    depth: int = setting(3, "Depth", unit="um", ge=1, le=9)
    """How deep."""


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"share": 1.0}, "share is 1.0; it must be at least 0 and below 1"),
        ({"share": "half"}, "share is 'half'; it must be a number"),
        ({"share": float("nan")}, "share is nan; it must be at least 0 and below 1"),
        ({"steps": 0}, "steps is 0; it must be at least 1, or left out"),
        ({"steps": True}, "steps is True; it must be a whole number, or left out"),
        ({"colour": "green"}, "colour is 'green'; it must be one of red, blue"),
        ({"slides": 3}, "slides is 3; it must be a list of paths"),
        ({"extras": {"loud": "yes"}}, "extras.loud must be true or false"),
        ({"extras": {"quiet": True}}, "extras has no setting 'quiet'"),
        ({"colour": "blue", "steps": 2}, "blue takes no steps; leave them out"),
        ({"rate": 3.0}, "rate is 3.0; it must be at most 2"),
        ({"step": 3}, "no setting is called 'step'; did you mean steps?"),
    ],
)
def test_a_wrong_setting_is_told_in_plain_words(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(out="a", **values)
    assert str(caught.value) == f"settings: {told}"


def test_problems_of_values_and_between_values_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(out="a", share=-1, colour="blue", steps=2, rate=5, unknown=1)
    for told in ("share is -1", "blue takes no steps", "rate is 5", "'unknown'"):
        assert told in str(caught.value)
    with pytest.raises(ConfigError, match="out is missing") as caught:
        Settings(share=-1, colour="blue", steps=2)
    assert "share is -1" in str(caught.value)


def test_what_is_wrong_by_itself_is_not_told_twice() -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(out="a", colour="blue", steps=0, rate="fast")
    assert "blue takes" not in str(caught.value)
    assert str(caught.value).count("rate") == 1


def test_plain_values_become_paths_tuples_and_groups() -> None:
    settings = Settings(out="a", slides=["b", "c"], extras={"loud": True})
    assert settings.slides == (Path("b"), Path("c"))
    assert Settings("a", slides="b").slides == (Path("b"),)
    assert settings.extras == Extras(loud=True)
    assert json.loads(json.dumps(settings.as_dict())) == {
        "out": "a", "slides": ["b", "c"], "share": 0.5, "steps": None, "colour": "red",
        "rate": 0.5, "extras": {"loud": True},
    }  # fmt: skip


def test_what_was_given_is_known_and_changes_are_checked(tmp_path: Path) -> None:
    settings = Settings(out="a", share=0.25)
    assert settings.model_fields_set == {"out", "share"}
    assert settings.with_(share=0.75).rate == 0.75
    with pytest.raises(ConfigError, match="share"):
        settings.with_(share=2.0)
    with pytest.raises(ValueError, match="frozen"):
        settings.share = 0.1
    settings.save(tmp_path / "settings.json")
    assert Settings.load(tmp_path / "settings.json") == settings


def test_faces_say_what_a_form_needs() -> None:
    by_name = {face.name: face for face in faces(Settings)}
    assert list(by_name) == ["out", "slides", "share", "steps", "colour", "rate", "extras.loud"]
    assert by_name["out"] == Face(
        name="out", type=Path, is_optional=False, is_required=True, default=None, caption="Folder",
        help="Where to.", options=("--out",), path="folder", group="Files",
    )  # fmt: skip
    share, steps = by_name["share"], by_name["steps"]
    assert (share.lower, share.upper, share.upper_is_open, share.advanced) == (0, 1, True, True)
    assert (steps.type, steps.is_optional, steps.unit, steps.group) == (int, True, "px", "Work")
    assert by_name["colour"].choices == ("red", "blue")
    assert by_name["rate"].is_by_others
    assert not steps.is_by_others
    assert (by_name["extras.loud"].default, by_name["extras.loud"].group) == (False, "Extras")


def test_a_setting_of_another_job_is_declared_as_there() -> None:
    class Other(JobSettings):
        share: float | None = like(Settings, "share", None, caption="Part")

    (face,) = faces(Other)
    assert (face.caption, face.help, face.default, face.upper) == ("Part", "How much.", None, 1)
    with pytest.raises(ConfigError, match="below 1, or left out"):
        Other(share=1.0)


def test_a_setting_that_is_added_is_checked_saved_and_shown() -> None:
    with pytest.raises(ConfigError, match="depth is 10; it must be at least 1 and at most 9"):
        More(out="a", depth=10)
    assert More(out="a", depth=5).as_dict()["depth"] == 5
    (face,) = (face for face in faces(More) if face.name == "depth")
    assert (face.options, face.caption, face.unit, face.default) == (("--depth",), "Depth", "um", 3)


def test_a_setting_that_is_added_is_an_option_of_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    given_to_work: list[Settings] = []
    app = App(result_action="return_value")

    @app.command
    @takes(options_of(More))
    def work(*, given: Given = NOTHING) -> None:
        given_to_work.append(gather(More, given))

    app(["work", "--help"])
    assert "--depth INT" in (told := capsys.readouterr().out)
    assert "How deep. (um; default: 3)" in told
    app(["work", "--out", "a", "--depth", "5", "--loud", "--slides", "b", "--slides", "c"])
    assert given_to_work == [More(out="a", depth=5, extras=Extras(loud=True), slides=("b", "c"))]


def test_every_setting_of_a_training_has_words() -> None:
    for face in faces(TrainConfig):
        assert face.caption, face.name
        assert face.help.endswith("."), face.name
        assert face.group, face.name


def test_a_file_of_settings_holds_an_object(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(ConfigError, match="must hold a JSON object"):
        read_settings(tmp_path / "a.json")
