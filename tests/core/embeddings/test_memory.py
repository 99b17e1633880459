from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histosam_core.embeddings.key import EmbeddingKey
from histosam_core.embeddings.memory import MemoryStore, size_in_bytes
from histosam_core.errors import ConfigError

KEY = EmbeddingKey("slide", (0.0, 128.0), 4.0, (400, 400), "S=512", "ab" * 32)


def key(i: int) -> EmbeddingKey:
    return replace(KEY, location_xy=(float(i), 0.0))


def block(n_bytes: int) -> np.ndarray[Any, Any]:
    return np.zeros(n_bytes, np.uint8)


def test_least_recently_used_goes_first() -> None:
    store = MemoryStore(300)
    for i in range(3):
        store.put(key(i), block(100))
    assert store.get(key(0)) is not None
    store.put(key(3), block(100))
    assert [i for i in range(4) if key(i) in store] == [0, 2, 3]


def test_a_store_that_keeps_the_first_drops_and_replaces_nothing() -> None:
    store = MemoryStore(250, keep="first")
    for i in range(3):
        store.put(key(i), block(100))
    assert [i for i in range(3) if key(i) in store] == [0, 1]
    store.put(key(0), block(50))
    assert (store.get(key(0)).nbytes, store.n_bytes) == (100, 200)


def test_an_embedding_above_the_bound_is_not_kept_and_drops_nothing() -> None:
    store = MemoryStore(100)
    store.put(key(0), block(60))
    store.put(key(1), block(101))
    assert key(0) in store
    assert store.get(key(1)) is None


def test_a_second_put_replaces_the_first() -> None:
    store = MemoryStore(100)
    store.put(key(0), block(60))
    store.put(key(0), block(50))
    assert (len(store), store.n_bytes) == (1, 50)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 120)), max_size=40))
def test_bound_holds_and_the_count_is_right(puts: list[tuple[int, int]]) -> None:
    store = MemoryStore(250)
    for i, n_bytes in puts:
        store.put(key(i), block(n_bytes))
        held = [e for j in range(10) if (e := store.get(key(j))) is not None]
        assert store.n_bytes == sum(e.nbytes for e in held) <= 250
        assert (i, n_bytes <= 250) == (i, key(i) in store)


@pytest.mark.parametrize(
    "other",
    [
        {"slide": "other"},
        {"location_xy": (1.0, 128.0)},
        {"downsample": 4.008},
        {"size_wh": (512, 400)},
        {"preprocessing": "S=1024"},
        {"weights": "cd" * 32},
    ],
)
def test_every_part_of_the_key_keeps_embeddings_apart(other: dict[str, Any]) -> None:
    store = MemoryStore()
    store.put(KEY, block(1))
    different = replace(KEY, **other)
    assert different not in store
    assert different.digest != KEY.digest


def test_digest_is_the_same_in_every_process() -> None:
    assert KEY.digest == "ee478ecb0cf30127d56066cf1e4c22ea09b26e7cf2ccd67da59c88e7da58875b"


def test_pixels_size_and_encoder_make_the_key_of_an_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    made = EmbeddingKey.of_pixels(image, "cpu", "ab")
    assert made == EmbeddingKey.of_pixels(image[::-1][::-1], "cpu", "ab")
    assert made.size_wh == (6, 4)
    others = [(image[:, ::-1], "cpu", "ab"), (image, "cuda", "ab"), (image, "cpu", "cd"),
              (image.reshape(6, 4, 3), "cpu", "ab")]  # fmt: skip
    assert len({made, *(EmbeddingKey.of_pixels(*other) for other in others)}) == 5


def test_size_counts_arrays_in_any_nesting() -> None:
    @dataclass
    class Embedding:
        features: Any
        image_hw: tuple[int, int]

    nested = Embedding({"a": [block(100), block(20)]}, (4, 4))
    assert 120 <= size_in_bytes(nested) < 250


def test_negative_bound_is_refused() -> None:
    with pytest.raises(ConfigError):
        MemoryStore(-1)
