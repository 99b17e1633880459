"""The Mask and Probability layers while an object grows out of what they cover."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from histosam_core.session import Canvas, WindowGrid
from napari_histosam.interactive.scene.mask_layers import Display, MaskLayers
from napari_histosam.viewer import layers as ours
from napari_histosam.viewer.coordinates import ImageFrame

GRID = WindowGrid((64_000, 48_000), 0.5, 2.0, 128)
FRAME = ImageFrame(np.eye(3))


class Pile:
    """The layers that `MaskLayers` has made, by role."""

    def __init__(self) -> None:
        self.made: dict[Any, Any] = {}
        self.display = Display()
        self.layers = MaskLayers(self.display, FRAME.affine, self.make, self.made.get)

    def make(self, role: Any, data: Any, affine: Any) -> Any:
        make = ours.make_mask if role == ours.MASK else ours.make_heat_map
        self.made[role] = make(self, data, affine, ("pixel", "pixel"))
        return self.made[role]

    def show(self, *places: tuple[int, int]) -> None:
        canvas = Canvas(GRID, 0.49)
        for x, y in places:
            canvas = canvas.drawn((x, y), np.ones((100, 100), bool), is_positive=True)
        self.layers.show(canvas.tiles, GRID.downsample)

    def is_on(self, x: int, y: int) -> bool:
        """Whether the mask layer shows the object at a level-0 point."""
        layer = self.made[ours.MASK]
        row, column = np.rint(layer.world_to_data((y, x))).astype(int)
        return bool(layer.data[row, column])


@pytest.fixture
def pile() -> Pile:
    return Pile()


def test_what_the_user_set_in_napari_s_controls_outlives_growth(pile: Pile) -> None:
    pile.show((700, 500))
    mask = pile.made[ours.MASK]
    before = mask.data
    mask.opacity, mask.visible, mask.contour = 0.9, False, 3
    pile.show((700, 500), (4000, 3000))
    assert pile.made[ours.MASK] is mask
    assert mask.data is not before  # it has grown
    assert (mask.opacity, mask.visible, mask.contour) == (0.9, False, 3)
    assert pile.is_on(750 * 4, 550 * 4)
    assert pile.is_on(4050 * 4, 3050 * 4)


def test_an_object_of_a_whole_slide_is_shown_where_it_lies(pile: Pile) -> None:
    pile.show((0, 0), (15_000, 11_000))
    assert max(pile.made[ours.MASK].data.shape) <= 2048
    assert pile.is_on(48 * 4, 48 * 4)
    assert pile.is_on(15_050 * 4, 11_050 * 4)
    assert not pile.is_on(8000 * 4, 6000 * 4)


def test_the_probability_grows_with_the_mask(pile: Pile) -> None:
    pile.show((700, 500))
    pile.display.heat_map = True
    pile.layers.restyle()
    pile.show((700, 500), (4000, 3000))
    mask, heat = pile.made[ours.MASK], pile.made[ours.HEAT_MAP]
    assert heat.data.shape == mask.data.shape
    assert np.array_equal(heat.affine.affine_matrix, mask.affine.affine_matrix)
    assert (heat.data[mask.data > 0] > 125).all()
    assert heat.visible
