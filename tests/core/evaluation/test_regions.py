"""Clicks on a region of a slide: where they go, what is counted, when they end."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histosam_core.clicks import User, next_click
from histosam_core.errors import AnnotationError, MissingMppError
from histosam_core.evaluation import ProtocolSettings
from histosam_core.evaluation.annotated_slide import AnnotatedSlide, SlideSource
from histosam_core.evaluation.protocol.slide_trials import Encoded, click_on_region, open_session
from histosam_core.metrics import iou
from histosam_core.session import Session

from .slide_stand_ins import Brush, write_slide

LONG = (100, 200, 700, 280)  # 300 x 40 grid pixels: longer than four windows
NEAR = (100, 300, 160, 340)
CORNER = (743, 423, 800, 480)


@pytest.fixture
def slide(tmp_path: Path) -> Iterator[AnnotatedSlide]:
    path = write_slide(tmp_path, "case", [LONG, NEAR, CORNER])
    source = SlideSource(path, path.with_suffix(".geojson"))
    with AnnotatedSlide(source, Brush().info.geometry) as opened:
        yield opened


def click_on(slide: AnnotatedSlide, truth: Any, settings: ProtocolSettings, **options: Any) -> Any:
    """Click on a region with a session of its own."""
    encoded, clock = options.get("encoded"), options.get("clock", time.perf_counter)
    session = open_session(slide, Brush(), settings, encoded, clock)
    return click_on_region(session, truth, settings, **options)


def test_a_region_of_many_windows_is_outlined(slide: AnnotatedSlide) -> None:
    (long, _, _), n_small = slide.regions(0.0)
    assert n_small == 0
    truth = slide.truth(long)
    session = Session(slide.slide, Brush())
    seen: list[tuple[int, float]] = []
    run = click_on_region(
        session,
        truth,
        ProtocolSettings(target_iou=0.95, max_clicks=40),
        on_click=lambda trial: seen.append((len(trial.clicks), trial.ious[-1])),
    )
    assert run.ious[-1] >= 0.95 > run.ious[-2]
    assert len(session.windows) > 4
    # What is counted is what stands on the session's canvas.
    standing, _ = session.mask_region(truth.region(slide.grid))
    np.testing.assert_array_equal(run.mask, standing)
    assert run.ious[-1] == np.float32(iou(truth.mask, standing))
    assert [n for n, _ in seen] == list(range(1, len(run.clicks) + 1))
    assert np.array([value for _, value in seen], np.float32).tolist() == run.ious.tolist()


def test_clicks_follow_the_rule_on_the_whole_region(slide: AnnotatedSlide) -> None:
    truth = slide.truth(slide.regions(0.0)[0][0])
    session = Session(slide.slide, Brush())
    run = click_on_region(session, truth, ProtocolSettings(target_iou=2, max_clicks=6))
    again = Session(slide.slide, Brush())
    mask = np.zeros(truth.mask.shape, bool)
    for i, click in enumerate(run.clicks):
        assert click == next_click(truth.mask, mask, run.clicks[:i])
        (x0, y0), (x, y) = truth.location_xy, click.xy
        # Grid pixel g has its centre between level-0 pixels 2 g and 2 g + 1.
        assert session.clicks[i].xy == (2 * (x0 + x) + 0.5, 2 * (y0 + y) + 0.5)
        again.click(session.clicks[i].xy, click.is_positive)
        mask, _ = again.mask_region(truth.region(slide.grid))


def test_another_hand_misses_by_pixels_of_the_windows_scale(slide: AnnotatedSlide) -> None:
    truth = slide.truth(slide.regions(0.0)[0][0])
    user, settings = User("jitter", sigma_px=5.0, repeats=2), ProtocolSettings(2, max_clicks=6)
    session = Session(slide.slide, Brush())
    run = click_on_region(session, truth, settings, user=user, rng=user.rng("case#1", 1))
    rng = user.rng("case#1", 1)
    mask = np.zeros(truth.mask.shape, bool)
    again = Session(slide.slide, Brush())
    n_missed = 0
    for i, click in enumerate(run.clicks):
        assert click == user.next_click(truth.mask, mask, run.clicks[:i], rng=rng)
        n_missed += click != next_click(truth.mask, mask, run.clicks[:i])
        (x0, y0), (x, y) = truth.location_xy, click.xy
        assert session.clicks[i].xy == (2 * (x0 + x) + 0.5, 2 * (y0 + y) + 0.5)
        again.click(session.clicks[i].xy, click.is_positive)
        mask, _ = again.mask_region(truth.region(slide.grid))
    assert n_missed >= 4
    second = click_on(slide, truth, settings, user=user, rng=user.rng("case#1", 1), repeat=1)
    assert (second.clicks, second.repeat) == (run.clicks, 1)


def test_repeats_share_what_was_encoded_and_are_charged_the_same(slide: AnnotatedSlide) -> None:
    truth = slide.truth(slide.regions(0.0)[0][0])
    settings = ProtocolSettings(target_iou=2, max_clicks=30)
    ticks = itertools.count()
    encoded = Encoded()
    first, second = (
        click_on(slide, truth, settings, encoded=encoded, clock=lambda: float(next(ticks) ** 2))
        for _ in range(2)
    )
    assert first.clicks == second.clicks
    assert first.encode_s == second.encode_s == sum(encoded.seconds.values())
    assert len(encoded.seconds) > 4
    assert len(encoded.store) == len(encoded.seconds)
    assert second.wall_s.sum() > second.encode_s + second.decode_s.sum()


def test_painting_over_another_region_costs_nothing(slide: AnnotatedSlide) -> None:
    """The brush reaches the neighbour, which is dark too; it is ignored in the truth."""
    truth = slide.truth(slide.regions(0.0)[0][0])
    run = click_on(slide, truth, ProtocolSettings(target_iou=2, max_clicks=30))
    assert (run.mask & (truth.mask == -1)).any()
    assert run.ious.max() == 1.0


def test_a_region_in_the_corner_is_clicked_on_the_slide(slide: AnnotatedSlide) -> None:
    """Its last grid pixel is cut by the slide's edge."""
    corner = slide.regions(0.0)[0][-1]
    assert corner.box_xyxy[2:] == slide.grid.size_wh
    run = click_on(slide, slide.truth(corner), ProtocolSettings())
    assert run.ious[-1] >= 0.9


def test_times_are_those_of_the_clock(slide: AnnotatedSlide) -> None:
    truth = slide.truth(slide.regions(0.0)[0][1])
    ticks = itertools.count()
    run = click_on(
        slide,
        truth,
        ProtocolSettings(target_iou=2, max_clicks=3),
        clock=lambda: float(next(ticks)),
    )
    assert run.encode_s >= 1
    assert (run.decode_s >= 1).all()
    assert run.wall_s.sum() >= run.encode_s + run.decode_s.sum()


def test_the_thumbnail_is_bounded_and_the_truth_is_not(
    slide: AnnotatedSlide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histosam_core.evaluation.annotated_slide.THUMBNAIL_PX", 100)
    image, truth = slide.example(slide.regions(0.0)[0][0])
    assert max(image.shape) == 100
    assert max(truth.shape) > 300
    # Both show the same place: dark where there is tumour.
    rows = np.linspace(0, truth.shape[0] - 1, image.shape[0]).round().astype(int)
    cols = np.linspace(0, truth.shape[1] - 1, image.shape[1]).round().astype(int)
    tumour = truth[np.ix_(rows, cols)] != 0
    assert ((image[..., 0] < 180) == tumour).mean() > 0.95


def test_the_users_resolution_wins(tmp_path: Path) -> None:
    path = write_slide(tmp_path, "case", [LONG], mpp=None)
    annotation = path.with_suffix(".geojson")
    geometry = Brush().info.geometry
    with pytest.raises(MissingMppError, match=r"--mpp 0\.5"):
        AnnotatedSlide(SlideSource(path, annotation), geometry)
    with AnnotatedSlide(SlideSource(path, annotation, mpp=0.25), geometry) as slide:
        assert slide.grid.downsample == 4
        assert slide.regions(0.0)[0][0].area_px == 150 * 20


def test_only_stated_classes_count(tmp_path: Path) -> None:
    path = write_slide(tmp_path, "case", [LONG], label="Stroma")
    annotation = path.with_suffix(".geojson")
    geometry = Brush().info.geometry
    with (
        AnnotatedSlide(SlideSource(path, annotation), geometry) as slide,
        pytest.raises(AnnotationError, match="--label"),
    ):
        slide.regions(0.0)
    with AnnotatedSlide(SlideSource(path, annotation, labels=("stroma",)), geometry) as slide:
        assert len(slide.regions(0.0)[0]) == 1
