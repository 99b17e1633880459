"""The bound of the tile cache and the order in which tiles leave it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from histosam_core.slide.readers.tiff import TileCache


def tile(n_bytes: int = 100) -> np.ndarray:
    return np.zeros(n_bytes, np.uint8)


def test_least_recently_used_leaves_first() -> None:
    cache = TileCache(300)
    for key in "abc":
        cache.put(key, tile())
    assert cache.get("a") is not None
    cache.put("d", tile())
    assert cache.get("b") is None
    assert all(cache.get(key) is not None for key in "acd")
    assert cache.nbytes == 300


def test_newest_is_kept_even_when_larger_than_the_bound() -> None:
    cache = TileCache(50)
    cache.put("small", tile(40))
    cache.put("huge", tile(1000))
    assert len(cache) == 1
    assert cache.get("huge") is not None


def test_replacing_a_tile_does_not_count_it_twice() -> None:
    cache = TileCache(1000)
    cache.put("a", tile())
    cache.put("a", tile(300))
    assert cache.nbytes == 300
    cache.clear()
    assert (len(cache), cache.nbytes) == (0, 0)


def test_many_threads_keep_the_count_right() -> None:
    cache = TileCache(5000)

    def work(seed: int) -> None:
        for key in np.random.default_rng(seed).integers(0, 100, 500).tolist():
            if cache.get(key) is None:
                cache.put(key, tile())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert cache.nbytes == 100 * len(cache) <= 5000
