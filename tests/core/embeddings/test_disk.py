from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from histosam_core.embeddings import disk
from histosam_core.embeddings.disk import WRITES_PER_SCAN, DiskStore
from histosam_core.embeddings.key import EmbeddingKey
from histosam_core.errors import ConfigError

KEY = EmbeddingKey("slide", (0.1, 128.0), 4.008, (400, 400), "S=512", "ab" * 32)
HEADER_BYTES = 1000


def key(i: int) -> EmbeddingKey:
    return replace(KEY, location_xy=(float(i), 0.0))


def block(n_bytes: int) -> dict[str, NDArray[Any]]:
    return {"features": np.arange(n_bytes, dtype=np.uint8)}


def age(store: DiskStore, number: int, seconds: float) -> None:
    """Let an embedding be as if last used so long ago."""
    path = store.path(key(number))
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "embeddings")


def test_another_store_on_the_folder_gives_back_every_bit(store: DiskStore) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "features": rng.standard_normal((3, 4, 5)).astype(np.float32).transpose(2, 0, 1),
        "half": np.array([[1.5, np.inf]], np.float16),
        "numbers": np.array([2**40, -1]),
        "one": np.array(0.1),
        "none": np.zeros((0, 3), np.float32),
    }
    store.put(KEY, arrays)
    other = DiskStore(store.folder)
    assert KEY in other
    found = other.get(KEY)
    assert found is not None
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


def test_the_folder_is_in_the_cache_unless_it_is_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTOSAM_CACHE", str(tmp_path / "cache"))
    store = DiskStore()
    assert store.folder == tmp_path / "cache" / "embeddings"
    assert not store.folder.exists()
    assert (store.get(KEY), KEY in store) == (None, False)
    store.put(KEY, block(10))
    assert [path.name for path in store.folder.iterdir()] == [f"{KEY.digest}.safetensors"]


@pytest.mark.parametrize(
    "other",
    [
        {"slide": "other"},
        {"location_xy": (0.1 + 1e-12, 128.0)},
        {"downsample": 4.0},
        {"size_wh": (400, 401)},
        {"preprocessing": "S=1024"},
        {"weights": "cd" * 32},
    ],
)
def test_a_file_is_never_served_for_another_key(store: DiskStore, other: dict[str, Any]) -> None:
    store.put(KEY, block(10))
    different = replace(KEY, **other)
    assert store.get(different) is None
    store.path(KEY).rename(store.path(different))
    assert store.get(different) is None
    assert store.path(different).is_file()


def test_models_in_no_file_are_not_kept(store: DiskStore) -> None:
    unnamed = replace(KEY, weights="in-memory-1b4e28ba")
    store.put(unnamed, block(10))
    assert (unnamed in store, store.get(unnamed)) == (False, None)
    assert not store.folder.exists()


@pytest.mark.parametrize("damage", ["empty", "cut", "header", "bit", "text"])
def test_a_damaged_file_is_absent_and_removed(store: DiskStore, damage: str) -> None:
    store.put(KEY, block(5000))
    path = store.path(KEY)
    content = bytearray(path.read_bytes())
    if damage == "bit":
        content[-1000] ^= 4
    elif damage == "header":
        content[:8] = b"\xff" * 8
    spoilt = {"empty": b"", "cut": content[:-7], "text": b"not an embedding"}
    path.write_bytes(spoilt.get(damage, content))
    assert store.get(KEY) is None
    assert not path.exists()
    store.put(KEY, block(5000))
    assert store.get(KEY) is not None


def test_a_file_of_something_else_is_absent_and_stays(store: DiskStore) -> None:
    store.folder.mkdir()
    save_file(block(10), store.path(KEY))
    assert store.get(KEY) is None
    assert store.path(KEY).is_file()


def test_least_recently_used_goes_first(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, 3 * 5000 + 3 * HEADER_BYTES)
    for i in range(3):
        store.put(key(i), block(5000))
        age(store, i, 100 - i)
    assert store.get(key(0)) is not None
    store.put(key(3), block(5000))
    assert [i for i in range(4) if key(i) in store] == [0, 2, 3]


def test_other_files_in_the_folder_are_neither_counted_nor_dropped(tmp_path: Path) -> None:
    (tmp_path / "notes.safetensors").write_bytes(bytes(50_000))
    store = DiskStore(tmp_path, 5000 + HEADER_BYTES)
    for i in range(3):
        store.put(key(i), block(5000))
    assert [i for i in range(3) if key(i) in store] == [2]
    assert (tmp_path / "notes.safetensors").is_file()


def test_an_embedding_above_the_bound_is_not_kept_and_drops_nothing(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, 4000)
    store.put(key(0), block(1000))
    store.put(key(1), block(4000))
    assert (key(0) in store, key(1) in store) == (True, False)
    assert store.note == ""


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3000)), max_size=30))
def test_bound_holds(tmp_path: Path, puts: list[tuple[int, int]]) -> None:
    for path in tmp_path.iterdir():
        path.unlink()
    store = DiskStore(tmp_path, 8000)
    for i, n_bytes in puts:
        store.put(key(i), block(n_bytes))
        assert key(i) in store
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 8000
    assert store.note == ""


def test_what_is_in_use_is_not_dropped_and_ends_writing(tmp_path: Path) -> None:
    def open_store() -> DiskStore:
        return DiskStore(tmp_path, 2 * 5000 + 2 * HEADER_BYTES, unused_s=3600)

    store = open_store()
    for i in range(3):
        store.put(key(i), block(5000))
    assert [i for i in range(3) if key(i) in store] == [0, 1]
    assert "is full" in store.note
    age(store, 1, 7200)
    later = open_store()
    later.put(key(2), block(5000))
    assert [i for i in range(3) if key(i) in later] == [0, 2]
    assert later.note == ""


def test_a_nearly_full_disk_ends_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DiskStore(tmp_path, reserve_bytes=2**30)
    usage = disk.shutil.disk_usage(tmp_path)
    store.put(key(0), block(10))
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage._replace(free=2**20))
    store.put(key(1), block(10))
    assert [i for i in range(2) if key(i) in store] == [0]
    assert "nearly full" in store.note
    assert [path.name for path in tmp_path.iterdir()] == [store.path(key(0)).name]


def test_what_another_process_adds_is_counted_before_long(tmp_path: Path) -> None:
    bound = 100_000
    stores = [DiskStore(tmp_path, bound) for _ in range(2)]
    for i in range(2 * WRITES_PER_SCAN):
        stores[0].put(key(2 * i), block(300))
        stores[1].put(key(2 * i + 1), block(300))
    held = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert held <= bound + WRITES_PER_SCAN * (300 + HEADER_BYTES)


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from histosam_core.embeddings.disk import DiskStore\n"
        "from histosam_core.embeddings.key import EmbeddingKey\n"
        "store = DiskStore(sys.argv[1], 60_000)\n"
        "for i in range(150):\n"
        "    key = EmbeddingKey('slide', (float(i % 20), 0.0), 4.0, (400, 400), '', 'ab')\n"
        "    found = store.get(key)\n"
        "    assert found is None or (found['features'] == i % 20).all()\n"
        "    store.put(key, {'features': np.full(5000, i % 20, np.uint8)})\n"
        "assert store.note == '', store.note\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in running:
        assert process.communicate(timeout=120)[1] == b""
        assert process.returncode == 0
    assert all(not path.name.startswith(".") for path in tmp_path.iterdir())


def test_a_full_disk_ends_writing_and_says_why(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(key(0), block(10))

    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        store.put(key(1), block(10))
    store.put(key(2), block(10))
    assert [i for i in range(3) if key(i) in store] == [0]
    assert store.get(key(0)) is not None
    assert store.note.startswith("embeddings are no longer kept on disk: ")
    assert os.strerror(errno.ENOSPC) in store.note
    assert "\n" not in store.note


def test_a_folder_that_cannot_be_made_breaks_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = DiskStore(tmp_path / "file" / "embeddings")
    store.put(KEY, block(10))
    assert (KEY in store, store.get(KEY)) == (False, None)
    assert "file" in store.note


def test_files_that_cannot_be_removed_end_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DiskStore(tmp_path, 5000 + HEADER_BYTES)
    store.put(key(0), block(5000))

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "refused")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        store.put(key(1), block(5000))
    assert (key(0) in store, key(1) in store) == (True, False)
    assert "cannot be removed" in store.note


def test_what_a_dead_process_left_half_written_is_removed(store: DiskStore) -> None:
    store.folder.mkdir()
    old, new = (store.folder / f".{KEY.digest}-{n:08x}.safetensors" for n in (1, 2))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1e9, 1e9))
    store.put(KEY, block(10))
    assert (old.exists(), new.exists()) == (False, True)


def test_negative_bound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        DiskStore(tmp_path, -1)
