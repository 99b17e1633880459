"""Embeddings of training patches kept on disk, over runs: a file per variant, a record per patch.

Records have one size and lie at the patch's place, so that a file fills in any order and several
processes may fill it together: they write the same bytes. Each begins with its own checksum; what
is missing, torn or damaged is as good as absent. A cache never breaks a run: when the disk
refuses, nothing more is written and `note` says why.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from threading import Lock

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from histosam_core.atomic import new_file
from histosam_core.errors import OutputWriteError

__all__ = ["EmbeddingFiles"]

FACTS = "embeddings.json"
CHECKSUM_BYTES = 16
RESERVE_BYTES = 2**30
"""Disk space left free, since what the run itself saves must still fit."""
IN_USE_S = 3600.0
"""A folder that was used within this time may be another run's, which goes on."""
TOUCH_S = 600.0


class EmbeddingFiles:
    """Half-precision embeddings, and masks, of one set of patches as one encoder sees them.

    Thread-safe.

    Parameters
    ----------
    cache_dir
        Folder of all such sets; this one's is named by the digest of `facts`.
    facts
        All that decides the embeddings, as plain values.
    feature_shape
        (C, h, w) of an embedding.
    mask_hw
        Height and width of a mask.
    max_bytes
        Bound on `cache_dir`. Sets of other facts that nobody has used for an hour go first.

    Attributes
    ----------
    folder : Path
        Where this set is.
    """

    def __init__(
        self,
        cache_dir: Path,
        facts: Mapping[str, object],
        *,
        feature_shape: tuple[int, int, int],
        mask_hw: tuple[int, int],
        max_bytes: int,
    ) -> None:
        text = json.dumps(facts, indent=2, sort_keys=True)
        self.folder = cache_dir / xxhash.xxh3_128_hexdigest(text.encode())
        self._feature_shape, self._mask_hw = feature_shape, mask_hw
        self._n_values = math.prod(feature_shape)
        plane_bytes = math.ceil(math.prod(mask_hw) / 8)
        self._record_bytes = CHECKSUM_BYTES + 2 * self._n_values + 2 * plane_bytes
        self._files: dict[int, FileIO] = {}
        self._lock = Lock()
        self._note = ""
        self._touched = time.monotonic()
        self._bytes_left = 0
        try:
            if not (self.folder / FACTS).is_file():
                with new_file(self.folder / FACTS) as temporary:
                    temporary.write_text(text + "\n", encoding="utf-8")
            os.utime(self.folder)
            self._bytes_left = max_bytes - _make_room(self.folder, max_bytes)
        except OSError as error:
            self._give_up(error)

    @property
    def note(self) -> str:
        """Why nothing more is written, in one line; empty while all is well."""
        return self._note

    def get(self, index: int, variant: int) -> tuple[Tensor, NDArray[np.int8]] | None:
        """Return the (C, h, w) float16 embedding and (H, W) int8 mask of a patch, or None."""
        record = bytearray(self._record_bytes)
        with self._lock:
            try:
                if variant not in self._files and not self._path(variant).exists():
                    return None
                file = self._file(variant)
                file.seek(index * self._record_bytes)
                n_read = file.readinto(record)
            except OSError:
                return None
        payload = record[CHECKSUM_BYTES:]
        if n_read != len(record) or record[:CHECKSUM_BYTES] != _checksum(payload, index):
            return None
        return self._unpack(payload)

    def put(self, index: int, variant: int, embedding: Tensor, gt_mask: NDArray[np.int8]) -> None:
        """Keep a (C, h, w) float16 embedding and its (H, W) int8 mask, where there is room."""
        if self._note:
            return
        payload = b"".join(
            (
                embedding.detach().cpu().contiguous().numpy().tobytes(),
                np.packbits(gt_mask == 1).tobytes(),
                np.packbits(gt_mask == -1).tobytes(),
            )
        )
        record = memoryview(_checksum(payload, index) + payload)
        with self._lock:
            try:
                self._check_room()
                file = self._file(variant)
                file.seek(index * self._record_bytes)
                while record:
                    record = record[file.write(record) :]
            except OSError as error:
                self._give_up(error)
                return
            self._bytes_left -= self._record_bytes

    def close(self) -> None:
        """Close the files; they open again when needed."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()

    def _check_room(self) -> None:
        """Raise OSError where a record more is too many; say now and then that we are here."""
        if self._bytes_left < self._record_bytes:
            raise OutputWriteError("the folder holds as much as cache_disk_mb allows; raise it")
        if shutil.disk_usage(self.folder).free < RESERVE_BYTES + self._record_bytes:
            raise OutputWriteError("the disk is nearly full; free space, or name another cache_dir")
        if time.monotonic() - self._touched > TOUCH_S:
            os.utime(self.folder)
            self._touched = time.monotonic()

    def _path(self, variant: int) -> Path:
        return self.folder / f"variant-{variant:03d}.bin"

    def _file(self, variant: int) -> FileIO:
        """Open the variant's file, or make it."""
        if variant not in self._files:
            path = self._path(variant)
            path.touch()
            self._files[variant] = FileIO(path, "r+")
        return self._files[variant]

    def _unpack(self, payload: bytearray) -> tuple[Tensor, NDArray[np.int8]]:
        features = torch.frombuffer(payload, dtype=torch.float16, count=self._n_values)
        planes = np.frombuffer(payload, np.uint8, offset=2 * self._n_values)
        is_object, is_ignored = (
            np.unpackbits(plane, count=self._mask_hw[0] * self._mask_hw[1])
            for plane in planes.reshape(2, -1)
        )
        gt_mask = is_object.astype(np.int8) - is_ignored.astype(np.int8)
        return features.view(self._feature_shape), gt_mask.reshape(self._mask_hw)

    def _give_up(self, error: OSError) -> None:
        reason = error.strerror or f"{error}"
        self._note = f"embeddings are no longer kept in {self.folder.parent}: {reason}"


def _checksum(payload: bytes | bytearray, index: int) -> bytes:
    """Digest of a record; the patch's place is part of it, and an empty record fits none."""
    return xxhash.xxh3_128_digest(payload, seed=index + 1)


def _make_room(ours: Path, max_bytes: int) -> int:
    """Drop the longest unused sets beside `ours` until all fit; return the bytes that are there."""
    sets = {path: _bytes_in(path) for path in ours.parent.iterdir() if (path / FACTS).is_file()}
    held = sum(sets.values())
    unused = sorted((path.stat().st_mtime, path) for path in sets if path != ours)
    for used, path in unused:
        if held <= max_bytes or used > time.time() - IN_USE_S:
            break
        with suppress(OSError):
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
            held -= sets[path]
    return held


def _bytes_in(folder: Path) -> int:
    """Bytes on disk; files with gaps take up less than their length."""
    total = 0
    for file in folder.iterdir():
        stat = file.stat()
        total += 512 * stat.st_blocks if hasattr(stat, "st_blocks") else stat.st_size
    return total
