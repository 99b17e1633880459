"""Sessions that begin, fail to begin, and end in the middle of something."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from histosam_core.errors import ConfigError, PredictionError, SlideError
from histosam_core.slide import open_slide
from histosam_core.slide.write import write_svs
from napari_histosam.interactive.engine import Engine
from napari_histosam.interactive.view import Setup
from napari_histosam.viewer import layers as ours

TINY = Setup(model="histosam-tiny", device="cpu")


def near(drawn: Any, dx: float = 0, dy: float = 0) -> tuple[float, float]:
    x, y = drawn.inside
    return x + dx, y + dy


@pytest.fixture
def other_path(drawn: Any, tmp_path: Path) -> Path:
    path = tmp_path / "other" / "other.svs"
    path.parent.mkdir()
    return write_svs(path, drawn.image[:1500, :1200], mpp=0.5, magnification=20)


def test_starting_another_slide_while_the_first_still_loads_opens_the_other(
    desk: Any, slide_path: Path, other_path: Path, load: Callable[..., Any]
) -> None:
    first, second = desk.image, desk.add_slide()
    go_on, slides = threading.Event(), []

    def engine_for(image: Any) -> Engine:
        def opened() -> Any:
            if image is first:
                go_on.wait(10)
            slides.append(open_slide(slide_path if image is first else other_path))
            return slides[-1]

        return Engine(opened, load)

    desk.controller.engine_for = engine_for
    desk.controller.open(first, TINY)
    desk.controller.open(second, TINY)
    go_on.set()
    desk.settle()
    assert desk.view.slide_name == "other.svs"
    assert desk.controller.scene.image is second
    with pytest.raises(SlideError, match="closed"):
        slides[0].read_level(0, (0, 0), (8, 8))


def test_closing_while_the_model_loads_still_ends_the_session(
    desk: Any, slide_path: Path, load: Callable[..., Any]
) -> None:
    go_on, slides = threading.Event(), []

    def engine_for(image: Any) -> Engine:
        def opened() -> Any:
            slides.append(open_slide(slide_path))
            go_on.wait(10)
            return slides[-1]

        return Engine(opened, load)

    desk.controller.engine_for = engine_for
    desk.controller.open(desk.image, TINY)
    desk.controller.close(wait_s=0.0)
    go_on.set()
    assert desk.controller.thread.worker.close(30)
    with pytest.raises(SlideError, match="closed"):
        slides[0].read_level(0, (0, 0), (8, 8))


def test_a_slide_whose_session_cannot_begin_is_closed_and_can_be_tried_again(
    desk: Any, slide_path: Path, load: Callable[..., Any]
) -> None:
    slides = []

    def engine_for(image: Any) -> Engine:
        def opened() -> Any:
            slides.append(open_slide(slide_path))
            return slides[-1]

        return Engine(opened, load)

    desk.controller.engine_for = engine_for
    desk.controller.open(
        desk.image, Setup.model_construct(model="histosam-tiny", device="cpu", slide_mpp=-1.0)
    )
    desk.settle()
    assert len(desk.failures) == 1
    with pytest.raises(SlideError, match="closed"):
        slides[0].read_level(0, (0, 0), (8, 8))
    desk.start()
    assert len(slides) == 2
    assert [p.suffix for p in slide_path.parent.glob("*.histosam/*.jsonl")] == [".jsonl"]


def test_start_twice_is_one_session(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.settle()
    for _ in range(2):
        started.controller.open(started.image, started.view.setup)
    started.settle()
    assert started.failures == []
    assert [click.xy for click in started.view.clicks] == [near(drawn)]
    assert sum(layer.name.startswith("Clicks") for layer in started.viewer.layers) == 1


def test_leaving_a_slide_says_that_its_session_is_kept_and_empties_the_panels(
    started: Any, drawn: Any
) -> None:
    shown: list[Any] = []
    started.controller.view_changed.connect(shown.append)
    started.controller.click(near(drawn))
    started.controller.accept()
    started.settle()

    def cannot() -> Any:
        raise ConfigError("this image cannot be read; choose another")

    started.controller.engine_for = lambda image: Engine(cannot)
    started.controller.open(started.add_slide(), TINY)
    started.settle()
    assert shown[-1] is None
    assert "liver.svs has ended and is kept" in started.told[-1]
    assert not any(ours.tag_of(layer) for layer in started.viewer.layers)


def test_a_model_that_cannot_take_over_leaves_store_and_session_at_work(
    started: Any, drawn: Any
) -> None:
    started.controller.click(near(drawn))
    started.settle()
    engine, load = started.controller.thread.engine, started.controller.thread.engine._load

    def unfit(name: str, device: str, **more: Any) -> Any:
        model = load("histosam-tiny", "cpu")
        return _Unfit(model)

    engine._load = unfit
    started.controller.open(started.image, Setup(model="other", device="cpu"))
    started.settle()
    assert "no numbers" in started.failures[0].message
    assert not engine._opened.store._is_closed
    started.controller.click(near(drawn, 40))
    started.settle()
    assert len(started.view.clicks) == 2
    assert started.view.setup.model == "histosam-tiny"


class _Unfit:
    """A model whose answers cannot be used."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def decode(self, *_: Any, **__: Any) -> Any:
        raise PredictionError("the model's answer has no numbers; choose another model")

    decode_batch = decode


def test_classes_that_were_changed_are_kept_though_another_slide_is_started_at_once(
    started: Any,
) -> None:
    import json

    from napari_histosam.interactive.classes import classes_file

    started.controller.classes.choose("Mucin", (1, 2, 3))
    started.image = started.add_slide()
    started.start()
    assert json.loads(classes_file().read_text())["Mucin"] == [1, 2, 3]


def test_an_unforeseen_error_of_the_look_ahead_is_told_once(desk: Any) -> None:
    from napari_histosam.interactive.look_ahead import Ahead

    desk.controller.look_ahead.is_on = False
    desk.start()
    for _ in range(3):
        desk.controller._take_ahead(Ahead(0, 4, ZeroDivisionError("of the encoder")))
    assert [failure.message for failure in desk.failures] == ["of the encoder"]


def test_layers_of_a_closed_widget_go_when_its_session_is_restored(
    started: Any, make_desk: Callable[[Path], Any], drawn: Any
) -> None:
    started.controller.click(near(drawn))
    started.controller.accept()
    started.controller.click(near(drawn, 200))
    started.settle()
    started.controller.close(remove_layers=True)
    assert [layer.name for layer in started.viewer.layers] == ["liver", "Annotations"]

    again = make_desk(started.slide_path)
    again.viewer.layers.append(started.viewer.layers["Annotations"])
    again.start()
    again.controller.resume(again.view.offers[0].path)
    again.settle()
    assert len(again.view.objects) == 1
    assert [click.xy for click in again.view.clicks] == [near(drawn, 200)]
    assert sum(ours.tag_of(layer) is not None for layer in again.viewer.layers) == 3
