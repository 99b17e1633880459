from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from histosam_core.clicks import Click
from histosam_core.model import InteractiveModel, RitmModel, SimpleClickModel, ZoomIn

from ..click_stand_ins import BlobNetwork  # noqa: TID252


def picture(height: int = 60, width: int = 80) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_it_is_an_interactive_model_with_a_name_of_its_own() -> None:
    model = SimpleClickModel(BlobNetwork(), device="cpu")
    assert isinstance(model, InteractiveModel)
    assert model.info.name == "SimpleClickModel"
    assert model.zoom_in == ZoomIn(skip_clicks=-1, target_size=(448, 448))


def test_network_always_sees_a_square() -> None:
    network = BlobNetwork(bias=-3)
    zoom_in = ZoomIn(skip_clicks=-1, target_size=(96, 96), min_crop_size=20)
    model = SimpleClickModel(network, zoom_in=zoom_in, device="cpu")
    embedding = model.encode(picture())
    first = model.decode(embedding, [Click((40, 30))])
    assert first.state.roi == (0, 59, 0, 79)
    assert network.points[0][0, 0].tolist() == [96 * 30 / 60, 96 * 40 / 80, 0]
    second = model.decode(embedding, [Click((40, 30)), Click((42, 33))], first)
    top, bottom, left, right = second.state.roi
    assert (bottom - top, right - left) < (59, 79)
    assert [tuple(x.shape) for x in network.inputs] == [(2, 4, 96, 96)] * 2
    assert first.logits.shape == second.logits.shape == (60, 80)


def test_first_click_on_a_mask_sees_the_whole_image() -> None:
    network = BlobNetwork()
    model = SimpleClickModel(network, device="cpu")
    mask = np.full((60, 80), -10, np.float32)
    mask[:20, :20] = 10
    answer = model.decode(model.encode(picture()), [Click((5, 5))], mask)
    assert answer.state.roi == (0, 59, 0, 79)
    assert network.inputs[0][0, 3, 0, 0] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("hw", [(1, 1), (13, 5), (448, 448)])
def test_any_size_of_image(hw: tuple[int, int]) -> None:
    model = SimpleClickModel(BlobNetwork(), zoom_in=ZoomIn(-1, (32, 32)), device="cpu")
    embedding = model.encode(picture(*hw))
    answer = None
    clicks: list[Click] = []
    for x in (0, hw[1] - 1, 0):
        clicks.append(Click((x, 0)))
        answer = model.decode(embedding, clicks, answer)
        assert answer.logits.shape == hw
        assert np.isfinite(answer.logits).all()


def test_its_answers_are_ritms_with_the_same_zoom() -> None:
    zoom_in = ZoomIn(skip_clicks=-1, target_size=(40, 40))
    image = picture()
    made = []
    for kind in (SimpleClickModel, RitmModel):
        model = kind(BlobNetwork(), zoom_in=zoom_in, device="cpu")
        made.append(model.decode(model.encode(image), [Click((9, 9)), Click((50, 20))]).logits)
    np.testing.assert_array_equal(*made)
