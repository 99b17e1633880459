from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from histosam_core.errors import EmptyMaskError, OutputExistsError
from histosam_core.session import AcceptedObject, Session, draw_preview, save_preview
from histosam_core.session.preview import (
    NEGATIVE,
    OUTLINE,
    PANEL_PX,
    POSITIVE,
    _round_length,
)

if TYPE_CHECKING:
    from histosam_core.slide import Slide


def accepted(slide: Slide, model, *clicks: tuple[int, int, bool]) -> AcceptedObject:
    session = Session(slide, model)
    for x, y, is_positive in clicks:
        session.click((x, y), is_positive)
    return session.accept()


def where(picture: NDArray[np.uint8], color: tuple[int, int, int]) -> NDArray[np.intp]:
    return np.argwhere((picture == color).all(axis=2))


def test_outline_and_clicks_lie_where_they_are_on_the_slide(slide: Slide, model) -> None:
    # The island is 40 px = 20 um; the picture then shows 200 um, 400 px, on 1000 px.
    one = accepted(slide, model, (120, 1020, True))
    picture = draw_preview(slide, one)[:, :-PANEL_PX]
    assert picture.shape == (1000, 1000, 3)
    rows, columns = where(picture, OUTLINE).T
    # Shifted inside, the view begins at level-0 pixels 0 and 800; 2.5 px are one level-0 pixel.
    for got, wanted in zip(
        (columns.min(), columns.max(), rows.min(), rows.max()), (250, 350, 500, 600), strict=True
    ):
        assert abs(got - wanted) <= 3
    centre = where(picture[548:556, 296:306], POSITIVE)
    assert len(centre)


def test_inside_is_tinted_and_outside_is_not(slide: Slide, model) -> None:
    picture = draw_preview(slide, accepted(slide, model, (120, 1020, True)))
    assert tuple(picture[700, 700]) == (240, 230, 240)
    inside = picture[520, 270].astype(int)
    assert tuple(inside) != (200, 120, 180)
    assert np.abs(inside - (200, 120, 180)).max() < 60


def test_negative_clicks_are_red(slide: Slide, model) -> None:
    one = accepted(slide, model, (240, 500, True), (300, 500, False))
    picture = draw_preview(slide, one)[:-200, :-PANEL_PX]
    assert len(where(picture, POSITIVE))
    assert len(where(picture, NEGATIVE))


def test_overview_marks_the_place(slide: Slide, model) -> None:
    picture = draw_preview(slide, accepted(slide, model, (120, 1020, True)))
    panel = picture[:240, -PANEL_PX:]
    rows, columns = where(panel, NEGATIVE).T
    # The overview is 260 px wide at (20, 20); the view is the lower left quarter of the slide.
    assert abs(columns.min() - 20) <= 1
    assert abs(columns.max() - (20 + 65)) <= 2
    assert abs(rows.min() - (20 + 195 * 800 / 1200)) <= 2


def test_several_objects_share_a_picture(slide: Slide, model) -> None:
    island = accepted(slide, model, (120, 1020, True))
    corner = accepted(slide, model, (1590, 10, True))
    both = draw_preview(slide, [island, corner])
    assert both.shape[1] == 1000 + PANEL_PX
    with pytest.raises(EmptyMaskError):
        draw_preview(slide, [])


def test_file_is_written_whole_and_not_over_another(slide: Slide, model, tmp_path: Path) -> None:
    one = accepted(slide, model, (120, 1020, True))
    path = save_preview(slide, one, tmp_path / "new" / "preview.png")
    with Image.open(path) as image:
        assert image.size == (1000 + PANEL_PX, 1000)
    with pytest.raises(OutputExistsError):
        save_preview(slide, one, path, overwrite=False)
    assert [p.name for p in path.parent.iterdir()] == ["preview.png"]


@pytest.mark.parametrize(
    ("um", "length"), [(1, 1), (4.9, 2), (5, 5), (99, 50), (100, 100), (2600, 2000), (0.3, 0.2)]
)
def test_scale_bar_has_a_round_length(um: float, length: float) -> None:
    assert _round_length(um) == pytest.approx(length)
