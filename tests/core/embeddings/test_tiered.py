from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.embeddings import tiered as tiered_store
from histosam_core.embeddings.disk import DiskStore
from histosam_core.embeddings.key import EmbeddingKey
from histosam_core.embeddings.memory import MemoryStore
from histosam_core.embeddings.tiered import MAX_WAITING, TieredStore

if TYPE_CHECKING:
    import pytest

KEY = EmbeddingKey("slide", (0.0, 128.0), 4.0, (400, 400), "S=512", "ab" * 32)


def key(i: int) -> EmbeddingKey:
    return replace(KEY, location_xy=(float(i), 0.0))


class Embedding:
    """Opaque to stores; counts its bytes."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self.values = values
        self.nbytes = values.nbytes


class Codec:
    def embedding_to_arrays(self, embedding: Embedding) -> dict[str, NDArray[Any]]:
        return {"values": embedding.values}

    def embedding_from_arrays(self, arrays: dict[str, NDArray[Any]]) -> Embedding:
        return Embedding(arrays["values"])


class SlowCodec(Codec):
    """Holds the writer until it is let go."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def embedding_to_arrays(self, embedding: Embedding) -> dict[str, NDArray[Any]]:
        assert self.go_on.wait(30)
        return super().embedding_to_arrays(embedding)


def embedding(value: float) -> Embedding:
    return Embedding(np.full(100, value, np.float32))


def test_what_is_put_is_on_disk_for_the_next_session(tmp_path: Path) -> None:
    first = TieredStore(disk=DiskStore(tmp_path), model=Codec())
    one = embedding(0.1)
    first.put(KEY, one)
    assert first.get(KEY) is one
    assert first.close(30)
    second = TieredStore(disk=DiskStore(tmp_path), model=Codec())
    assert KEY in second
    assert KEY not in second.memory
    found = second.get(KEY)
    assert found is not None
    assert found.values.tobytes() == one.values.tobytes()
    assert second.memory.get(KEY) is found  # brought to memory
    assert second.get(KEY) is found


def test_what_memory_drops_is_found_on_disk(tmp_path: Path) -> None:
    store = TieredStore(MemoryStore(800), DiskStore(tmp_path), model=Codec())
    for i in range(4):
        store.put(key(i), embedding(i))
    assert store.flush(30)
    assert [key(i) in store.memory for i in range(4)] == [False, False, True, True]
    assert all(key(i) in store for i in range(4))
    assert [store.get(key(i)).values[0] for i in range(4)] == [0, 1, 2, 3]


def test_put_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    codec = SlowCodec()
    store = TieredStore(disk=DiskStore(tmp_path), model=codec)
    for i in range(MAX_WAITING + 3):
        store.put(key(i), embedding(i))
        assert store.get(key(i)) is not None
    assert not store.flush(0.01)
    assert not list(tmp_path.iterdir())
    codec.go_on.set()
    assert store.flush(30)
    # The writer's hands and the queue were full: the last three are in memory only.
    on_disk = [key(i) in store.disk for i in range(MAX_WAITING + 3)]
    assert on_disk == [True] * MAX_WAITING + [False] * 3


def test_a_store_that_waits_has_written_when_put_returns(tmp_path: Path) -> None:
    store = TieredStore(disk=DiskStore(tmp_path), model=Codec(), waits=True)
    for i in range(MAX_WAITING + 3):
        store.put(key(i), embedding(i))
        assert key(i) in store.disk


def test_after_close_memory_goes_on(tmp_path: Path) -> None:
    store = TieredStore(disk=DiskStore(tmp_path), model=Codec())
    assert store.close(30)
    store.put(KEY, embedding(1))
    assert store.flush(30)
    assert (KEY in store.memory, KEY in store.disk) == (True, False)


def test_a_model_without_a_codec_is_served_from_memory_alone(tmp_path: Path) -> None:
    DiskStore(tmp_path).put(KEY, {"values": np.zeros(3)})
    store = TieredStore(disk=DiskStore(tmp_path), model=object())
    assert (KEY in store, store.get(KEY)) == (False, None)
    store.put(key(1), embedding(1))
    assert store.flush(30)
    assert store.get(key(1)) is not None
    assert key(1) not in store.disk


def test_arrays_of_another_form_are_absent(tmp_path: Path) -> None:
    DiskStore(tmp_path).put(KEY, {"other": np.zeros(3)})
    store = TieredStore(disk=DiskStore(tmp_path), model=Codec())
    assert store.get(KEY) is None


def test_an_embedding_that_cannot_be_written_ends_writing_and_says_why(tmp_path: Path) -> None:
    class Broken(Codec):
        def embedding_to_arrays(self, embedding: Embedding) -> dict[str, NDArray[Any]]:
            raise RuntimeError("the device is gone")

    store = TieredStore(disk=DiskStore(tmp_path), model=Broken())
    store.put(KEY, embedding(1))
    assert store.flush(30)
    assert store.get(KEY) is not None
    assert store.note == "embeddings are no longer kept on disk: RuntimeError: the device is gone"


def test_note_is_the_disks(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = TieredStore(disk=DiskStore(tmp_path / "file" / "embeddings"), model=Codec())
    store.put(KEY, embedding(1))
    assert store.flush(30)
    assert store.note.startswith("embeddings are no longer kept on disk: cannot write")
    assert store.get(KEY) is not None


def test_the_thread_of_an_idle_store_ends_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiered_store, "IDLE_S", 0.01)
    store = TieredStore(disk=DiskStore(tmp_path), model=Codec())
    for i in range(3):
        store.put(key(i), embedding(i))
        thread = store._thread
        if thread is not None:
            thread.join(30)
            assert not thread.is_alive()
        assert store.flush(30)
        assert key(i) in store.disk


def test_many_threads_may_use_it_at_once(tmp_path: Path) -> None:
    store = TieredStore(MemoryStore(4000), DiskStore(tmp_path, 30_000), model=Codec())
    wrong: list[object] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(100):
            i = int(rng.integers(0, 30))
            try:
                found = store.get(key(i))
                if found is None:
                    store.put(key(i), embedding(i))
                elif not (found.values == i).all():
                    wrong.append(i)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert store.close(30)
    assert (wrong, store.note) == ([], "")
