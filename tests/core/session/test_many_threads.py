"""One predictor, one store, many threads: every answer right, nothing left hanging."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from histosam_core.clicks import Click
from histosam_core.embeddings import disk as disk_store
from histosam_core.errors import OutputWriteError
from histosam_core.geometry import Region
from histosam_core.session import DiskStore, MemoryStore, Predictor, TieredStore

if TYPE_CHECKING:
    from histosam_core.slide import Slide

REGIONS = [Region((x * 100.0, y * 100.0), (64, 64), 1.0) for x in range(6) for y in range(5)]


class EncoderFailed(RuntimeError):
    pass


class Model:
    """Answers with the red of the picture; every seventh encoding fails; embeddings are arrays."""

    def __init__(self, info: Any) -> None:
        self.info = info
        self.n_encoded = 0
        self._lock = threading.Lock()

    def encode(self, image):
        with self._lock:
            self.n_encoded += 1
            fails = self.n_encoded % 7 == 0
        time.sleep(0.001)
        if fails:
            raise EncoderFailed
        return image[..., 0].astype(np.float32)

    def decode(self, embedding, clicks, previous=None, *, box_xyxy=None):
        return embedding

    def embedding_to_arrays(self, embedding):
        return {"red": embedding}

    def embedding_from_arrays(self, arrays):
        return arrays["red"]


class SlowDisk(DiskStore):
    def put(self, key, embedding) -> None:
        time.sleep(0.002)
        super().put(key, embedding)


@pytest.mark.parametrize("disk_is_full", [False, True])
def test_eight_threads_with_a_failing_encoder_and_a_slow_or_full_disk(
    slide: Slide, model, tmp_path: Path, monkeypatch, disk_is_full: bool
) -> None:
    before = set(threading.enumerate())
    new_file, n_written = disk_store.new_file, iter(range(10**6))

    def refused(path):
        if disk_is_full and next(n_written) >= 5:
            raise OutputWriteError("no space left on the disk")
        return new_file(path)

    monkeypatch.setattr(disk_store, "new_file", refused)
    red = Model(model.info)
    memory = MemoryStore(10 * 64 * 64 * 4)  # a third of the regions
    store = TieredStore(memory, SlowDisk(tmp_path / "embeddings", 40 * 64 * 64 * 4), model=red)
    predictor = Predictor(slide, red, 0.5, store=store)
    expected = {region: predictor.read(region)[..., 0].astype(np.float32) for region in REGIONS}

    def work(seed: int) -> int:
        rng, n_failed = np.random.default_rng(seed), 0
        for _ in range(60):
            region = REGIONS[int(rng.integers(len(REGIONS)))]
            middle = region.location_xy[0] + 60, region.location_xy[1] + 60
            try:
                if rng.random() < 0.3:
                    predictor.embed([region])
                else:
                    answer = predictor.predict(region, [Click(middle)])
                    assert np.array_equal(answer.prediction.logits, expected[region])
            except EncoderFailed:
                n_failed += 1
        return n_failed

    with ThreadPoolExecutor(8) as pool:
        n_failed = sum(pool.map(work, range(8), timeout=120))
    assert n_failed == red.n_encoded // 7 > 0
    assert store.close(30)
    assert predictor._in_flight._making == {}
    assert memory.n_bytes <= memory.max_bytes
    assert ("no space left" in store.note) == disk_is_full
    files = [path for path in store.disk.folder.iterdir() if path.name[0] != "."]
    assert 0 < len(files) == len(list(store.disk.folder.iterdir()))
    assert sum(path.stat().st_size for path in files) <= store.disk.max_bytes
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= before
