"""Forms made from settings: a setting that is declared has a row, and nothing else names it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from histosam_core.settings import JobSettings, setting
from histosam_core.training.config import TrainConfig
from napari_histosam.widgets.form import SettingsForm

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("application")]


@dataclass(frozen=True)
class Blurs:
    near: bool = field(default=True, metadata={"caption": "Near", "help": "Blur near."})
    far: bool = field(default=False, metadata={"caption": "Far", "help": "Blur far."})


class Sampling(JobSettings):
    out: Path = setting(..., "Folder", help="Of results.", path="folder")
    model: str = setting("histosam-tiny", "Model", help="To start from.", path="model")
    slides: tuple[Path, ...] = setting((), "Slides", help="Many.", path="slides")
    share: float = setting(0.25, "Share", help="Of all.", ge=0, lt=1)
    count: int | None = setting(None, "Count", help="Of them.", unit="px", ge=1)
    rate: float = setting(None, "Rate", help="Learnt.", gt=0)
    mode: Literal["fast", "exact"] = setting("fast", "Mode", help="Which.", only="sam")
    early: bool | None = setting(None, "Early", help="Or late.")
    crop: tuple[int, int] | None = setting(None, "Crop", help="Size.")
    names: tuple[str, ...] | None = setting(None, "Names", help="Of classes.")
    blurs: Blurs = setting(Blurs(), "Blurs", help="Which.", group="Blurs")


@pytest.fixture
def form() -> SettingsForm:
    return SettingsForm(Sampling, ("model", "share"), captions={"mode": {"fast": "As it comes"}})


def test_a_setting_that_is_added_has_a_row_and_reaches_the_job(tmp_path: Path) -> None:
    class More(TrainConfig):
        sharpness: float = setting(0.5, "Sharpness", unit="px", ge=0, le=2, group="Learning")
        """Of edges."""

    form = SettingsForm(More, ("epochs",), skip=("out",))
    form.unfold()
    spin = form.widget("sharpness")
    assert (spin.min, spin.max, spin.value) == (0, 2, 0.5)
    assert spin.native.text() == "0.50 px"
    assert spin.native.toolTip() == "Of edges."
    assert form.given == {}
    spin.value = 0.75
    assert form.given == {"sharpness": 0.75}
    assert More(out=tmp_path, **form.given).as_dict()["sharpness"] == 0.75


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("out", Path("/runs/a")),
        ("slides", (Path("/slides"),)),
        ("share", 0.5),
        ("count", 7),
        ("rate", 0.0002),
        ("mode", "exact"),
        ("early", False),
        ("crop", (320, 480)),
        ("names", ("HCC", "ICC")),
    ],
)
def test_a_value_goes_in_and_comes_out(form: SettingsForm, name: str, value: Any) -> None:
    form.choose({name: value})
    assert form.given == {name: value}
    assert form.value(name) == value
    form.choose({name: Sampling(out="x", rate=1.0).as_dict()[name] if name != "out" else None})
    assert name not in form.given or name == "rate"


def test_a_group_is_given_by_its_members(form: SettingsForm) -> None:
    form.choose({"blurs.far": True})
    assert form.given == {"blurs": {"far": True}}
    assert Sampling(out="x", rate=1.0, **form.given).blurs == Blurs(far=True)


def test_texts_become_lists_or_are_left_for_the_check(form: SettingsForm) -> None:
    form.unfold()
    for text, value in (("320x480", (320, 480)), ("256", (256, 256)), ("large", "large")):
        form.widget("crop").value = text
        assert form.given == {"crop": value}


def test_other_defaults_show_where_nothing_was_changed(form: SettingsForm) -> None:
    form.unfold()
    form.fit({"share": 0.5, "rate": 0.1, "blurs": {"far": True}})
    assert (form.value("share"), form.value("rate")) == (0.5, 0.1)
    assert form.given == {}
    form.choose({"share": 0.75})
    form.fit({"share": 0.125, "rate": 0.2})
    assert form.given == {"share": 0.75}
    assert form.value("rate") == 0.2


def test_what_does_not_apply_is_hidden_and_not_given(form: SettingsForm) -> None:
    form.choose({"mode": "exact", "count": 3})
    assert "As it comes" in form.widget("mode").choices
    form.fit({}, "specialist")
    form.hide_rows(["count"])
    assert form.widget("mode").native.isHidden()
    assert form.widget("count").native.isHidden()
    assert form.given == {}
    form.fit({}, "sam")
    assert form.given == {"mode": "exact"}


def test_rows_that_a_problem_names_are_marked(form: SettingsForm) -> None:
    form.mark("share is 2; it must be below 1; no mode is named")
    marked = [name for name, row in form._rows.items() if row.label.styleSheet()]
    assert marked == ["share"]


def test_the_wheel_scrolls_the_page_and_changes_no_value(form: SettingsForm) -> None:
    from qtpy.QtCore import QPoint, QPointF, Qt
    from qtpy.QtGui import QWheelEvent
    from qtpy.QtWidgets import QApplication

    spin = form.widget("share").native
    form.show()
    where = QPointF(spin.rect().center())
    turn = QWheelEvent(
        where,
        where,
        QPoint(0, 0),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    spin.clearFocus()
    QApplication.sendEvent(spin, turn)
    assert form.value("share") == 0.25
    form.hide()
