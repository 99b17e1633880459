"""The demo's own parts; `histosam demo` as a whole is run in tests/end_to_end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from shapely.geometry import Point

from histosam_core.annotation import AnnotatedRegion, PolygonAnnotation
from histosam_core.clicks import Click
from histosam_core.errors import OutputExistsError, OutputWriteError
from histosam_core.progress import silent
from histosam_core.recipes.demo.outlined_slide import border_tumor, click_until_good
from histosam_core.recipes.demo.report import insert
from histosam_core.recipes.demo.steps import FULL, QUICK, Demo, demo_folder, peak_memory_mib
from histosam_core.session import Session
from histosam_core.slide import Slide, open_slide
from histosam_core.slide.write import write_svs

if TYPE_CHECKING:
    from histosam_core.model import Prediction

TUMOR = AnnotatedRegion(Point(200, 210).buffer(100))


class DarkAreaModel:
    """Answers with the dark area, enlarged by as many pixels as `errors` says for each click."""

    def __init__(self, errors: Sequence[int]) -> None:
        self.errors = errors

    def encode(self, image: NDArray[np.uint8]) -> Any:
        return image

    def decode(
        self,
        embedding: Any,
        clicks: Sequence[Click],
        previous: Prediction | None = None,
        *,
        box_xyxy: Any = None,
    ) -> NDArray[np.float32]:
        import cv2

        dark = (embedding[..., 0] < 128).astype(np.uint8)
        grow = self.errors[min(len(clicks), len(self.errors)) - 1]
        mask = cv2.dilate(dark, np.ones((2 * grow + 1, 2 * grow + 1), np.uint8))
        return np.where(mask > 0, 5, -5).astype(np.float32)


@pytest.fixture
def slide(tmp_path: Path) -> Iterator[Slide]:
    # As large as a window of the model: every click stays in it.
    ys, xs = np.mgrid[:400, :400]
    image = np.full((400, 400, 3), 230, np.uint8)
    image[(xs - 200) ** 2 + (ys - 210) ** 2 <= 100**2] = 60
    path = write_svs(tmp_path / "disc.svs", image, mpp=2.0, magnification=5, downsamples=(1, 4))
    with open_slide(path) as opened:
        yield opened


def outline(slide: Slide, errors: Sequence[int]) -> tuple[float, Session]:
    session = Session(slide, DarkAreaModel(errors))
    start = Click((200.0, 210.0), is_positive=True)
    return click_until_good(session, PolygonAnnotation([TUMOR]), start, silent), session


def test_clicking_ends_when_the_outline_is_good(slide: Slide) -> None:
    overlap, session = outline(slide, errors=[60, 40, 1])
    assert overlap > 0.9
    assert len(session.clicks) == 3
    assert [click.is_positive for click in session.clicks] == [True, False, False]


def test_clicking_goes_back_to_the_best_state_when_it_never_gets_good(slide: Slide) -> None:
    overlap, session = outline(slide, errors=[60, 40, 70])
    assert 0.3 < overlap < 0.9
    assert len(session.clicks) == 2
    assert session.can_redo


def test_tumor_on_the_border_is_told_from_tumor_inside() -> None:
    truth = np.zeros((5, 5), np.int8)
    truth[1:4, 1:4] = 1
    assert border_tumor(truth) == 0
    truth[0] = 1
    assert border_tumor(truth) == 5 / 16
    truth[0] = -1
    assert border_tumor(truth) == 0


def test_a_demo_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), demo_folder(out, overwrite=False):  # noqa: PT012
            (out / "half").write_text("")
            raise error
        assert list(tmp_path.iterdir()) == []
    with demo_folder(out, overwrite=False):
        (out / "summary.json").write_text("first")
    with pytest.raises(KeyboardInterrupt), demo_folder(out, overwrite=True):  # noqa: PT012
        (out / "summary.json").write_text("second")
        raise KeyboardInterrupt
    assert (out / "summary.json").read_text() == "first"
    with demo_folder(out, overwrite=True):
        (out / "summary.json").write_text("third")
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert (out / "summary.json").read_text() == "third"


def test_an_existing_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with (
        pytest.raises(OutputExistsError, match="pass --overwrite"),
        demo_folder(tmp_path, overwrite=False),
    ):
        pass
    # Overwriting replaces a demo, never something else.
    with (
        pytest.raises(OutputExistsError, match="is no earlier demo"),
        demo_folder(tmp_path, overwrite=True),
    ):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_place_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputWriteError, match="choose another place"),
        demo_folder(tmp_path / "file" / "demo", overwrite=False),
    ):
        pass


def test_sections_go_where_they_belong() -> None:
    page = "<h1>A</h1><h2 id=x>B</h2><h2>C</h2>"
    assert insert(page, "<p/>", before="<h2") == "<h1>A</h1><p/><h2 id=x>B</h2><h2>C</h2>"
    with pytest.raises(ValueError, match="<footer"):
        insert(page, "<p/>", before="<footer")


def test_peak_memory_counts_what_was_used() -> None:
    before = peak_memory_mib()
    ballast = np.ones(2**26)  # 512 MiB
    after = peak_memory_mib()
    if before is None or after is None:
        pytest.skip("this system does not tell")
    assert ballast.sum() == 2**26
    assert after[0] >= 512
    assert after[0] >= before[0]


def test_memory_is_told_in_words(tmp_path: Path) -> None:
    demo = Demo(tmp_path, QUICK, 0)
    assert demo.memory_text() == "not known on this system"
    demo.peak_mib = (2048.0, 0.0)
    assert demo.memory_text() == "2.0 GiB"
    demo.peak_mib = (2048.0, 512.0)
    assert demo.memory_text() == "2.0 GiB, 0.5 GiB in its largest worker"


def test_the_quick_demo_does_less_of_everything() -> None:
    assert sum(QUICK.slides) < sum(FULL.slides)
    assert QUICK.epochs * QUICK.steps_per_epoch < FULL.epochs * FULL.steps_per_epoch
    assert QUICK.test_limit < FULL.test_limit
