"""Tiles of labels come out as they went in, and take little memory where little is in them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_histosam.viewer.label_level import TILE_PX, LabelTile

SHAPE = (TILE_PX, TILE_PX)


def tile_of(labels, rng):
    tile = rng.choice(np.array(labels, np.uint16), SHAPE)
    tile.flat[: len(labels)] = labels  # each occurs
    return tile


@pytest.mark.parametrize(
    ("labels", "nbytes"),
    [
        ([0], 2),
        ([65535], 2),
        ([0, 9], 4 + 2**13),
        ([3, 65535], 4 + 2**13),
        ([0, 1, 2], 6 + 2**16),
        (range(256), 512 + 2**16),
        (range(257), 514 + 2**17),
        (range(0, 65536, 11), 2 * 5958 + 2**17),
    ],
    ids=lambda value: f"{len(value)} labels" if not isinstance(value, int) else "",
)
def test_labels_come_out_as_they_went_in_and_take_the_bytes_stated(labels, nbytes, rng):
    tile = tile_of(list(labels), rng)
    packed = LabelTile.pack(tile)
    again = packed.unpack()
    assert again.dtype == np.uint16
    np.testing.assert_array_equal(again, tile)
    assert packed.nbytes == nbytes


@pytest.mark.parametrize("count", [1, 2, 3, 300])
def test_neither_the_packed_array_nor_what_was_unpacked_is_shared(count, rng):
    tile = tile_of(list(range(count)), rng)
    before = tile.copy()
    packed = LabelTile.pack(tile)
    tile[...] = 7
    packed.unpack()[...] = 9
    np.testing.assert_array_equal(packed.unpack(), before)
