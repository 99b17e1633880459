"""Embeddings on disk, over sessions, evaluations and runs: a safetensors file each.

Several processes may share a folder. None of them keeps an index: what is there is what the folder
shows. Files appear whole or not at all, a file's time is that of its last use, and the least
recently used is dropped first. What cannot be read is as good as absent, and a disk that refuses
ends the writing: a store never breaks the work it serves.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from histosam_core.atomic import new_file
from histosam_core.embeddings.key import Arrays, EmbeddingKey
from histosam_core.errors import ConfigError, OutputWriteError
from histosam_core.paths import cache_folder

DEFAULT_BYTES = 2 * 2**30
"""4000 windows of `histosam-tiny` (512 KiB each), or 500 of SAM."""
FORMAT = "1"
OURS = re.compile(r"\.?[0-9a-f]{64}(-[0-9a-f]{8})?\.safetensors")
ABANDONED_S = 3600.0
"""A file that has been half written for so long belongs to a process that is no more."""
WRITES_PER_SCAN = 64
"""How often at most a store looks at what other processes have added."""
FILES_PER_WRITE = 8
"""A scan of many files is spread over so many writes that each pays for this many."""
SPARE = 32
"""Where the bound is reached, one part in so many is freed with it: a scan for many writes."""


class DiskStore:
    """An `EmbeddingStore` in a folder, of embeddings that are dicts of NumPy arrays.

    `TieredStore` brings a model's own embeddings to that form and back.

    Parameters
    ----------
    folder
        Made when first written to. Default: ``embeddings`` in the cache folder
        ($HISTOSAM_CACHE, else the platform's). Files that are not a store's own are left alone.
    max_bytes
        Bound on the folder's embeddings.
    unused_s
        Drop only what nobody has used for so many seconds; where that makes no room, nothing more
        is written.
    reserve_bytes
        Space left free on the disk.

    Attributes
    ----------
    note : str
        Why nothing more is written, in one line; empty while all is well.

    Raises
    ------
    ConfigError
        `max_bytes` is negative.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        max_bytes: int = DEFAULT_BYTES,
        *,
        unused_s: float = 0.0,
        reserve_bytes: int = 0,
    ) -> None:
        if max_bytes < 0:
            raise ConfigError(f"max_bytes {max_bytes} must be 0 or more")
        self.folder = cache_folder() / "embeddings" if folder is None else Path(folder)
        self.max_bytes = max_bytes
        self._unused_s, self._reserve_bytes = unused_s, reserve_bytes
        self._lock = Lock()
        self.note = ""
        self._n_bytes = 0
        self._writes_left = 0

    def path(self, key: EmbeddingKey) -> Path:
        """Return where the key's file is, or would be."""
        return self.folder / f"{key.digest}.safetensors"

    def get(self, key: EmbeddingKey) -> dict[str, NDArray[Any]] | None:
        """Return the arrays and mark them as used, or None.

        A file of another key, or of another version of this program, is left where it is; one that
        is damaged is removed.
        """
        if not key.outlives_process:
            return None
        path = self.path(key)
        try:
            with safe_open(path, framework="numpy") as file:
                facts = file.metadata() or {}
                if facts.get("histosam_embedding") != FORMAT or facts.get("key") != _text(key):
                    return None
                arrays: dict[str, NDArray[Any]] = {n: file.get_tensor(n) for n in file.keys()}
            is_whole = facts.get("xxh3") == _checksum(arrays)
        except OSError:
            return None
        except (SafetensorError, TypeError, ValueError):
            is_whole = False
        with suppress(OSError):  # gone meanwhile, or a read-only folder
            if is_whole:
                os.utime(path)
            else:
                path.unlink()
        return arrays if is_whole else None

    def put(self, key: EmbeddingKey, embedding: Arrays) -> None:
        """Keep arrays, and drop what was longest unused where they would exceed the bound.

        Larger than the whole bound, or of a model that is in no file: not kept. When the disk
        refuses, this store writes no more, and `note` says why.
        """
        if self.note or not key.outlives_process:
            return
        # safetensors would write the memory of a transposed array as it lies.
        arrays = {name: np.asarray(array, order="C") for name, array in embedding.items()}
        facts = {"histosam_embedding": FORMAT, "key": _text(key), "xxh3": _checksum(arrays)}
        content = save(arrays, facts)
        if len(content) > self.max_bytes:
            return
        with self._lock:
            try:
                self._make_room(len(content))
                with new_file(self.path(key)) as temporary:
                    free = shutil.disk_usage(self.folder).free
                    if free < self._reserve_bytes + len(content):
                        raise OutputWriteError(
                            f"the disk of {self.folder} is nearly full; free space, or choose "
                            "another folder"
                        )
                    temporary.write_bytes(content)
            except OutputWriteError as error:
                self.note = f"embeddings are no longer kept on disk: {error}"
                return
            self._n_bytes += len(content)
            self._writes_left -= 1

    def __contains__(self, key: object) -> bool:
        """Whether there is a file for the key; it is not read."""
        try:
            return (
                isinstance(key, EmbeddingKey) and key.outlives_process and self.path(key).is_file()
            )
        except OSError:
            return False

    def _make_room(self, n_bytes: int) -> None:
        """Look at the folder now and then, and when the bound is near; drop the oldest files.

        OutputWriteError where files that must go cannot be removed, or are in use.
        """
        if self._writes_left > 0 and self._n_bytes + n_bytes <= self.max_bytes:
            return
        files = sorted(self._files())
        held, most = sum(size for _, size, _ in files), self.max_bytes - n_bytes
        if held > most:
            most -= self.max_bytes // SPARE
        why = f"old files in {self.folder} cannot be removed; remove them or choose another folder"
        for used_ns, size, path in files:
            if held <= most:
                break
            if self._unused_s and used_ns > time.time_ns() - self._unused_s * 1e9:
                bound = f"{self.max_bytes / 2**20:.0f} MiB"
                why = f"{self.folder} is full ({bound}); raise the bound, or choose another folder"
                break
            with suppress(OSError):
                path.unlink(missing_ok=True)
                held -= size
        if held + n_bytes > self.max_bytes:
            raise OutputWriteError(why)
        self._n_bytes = held
        self._writes_left = max(WRITES_PER_SCAN, len(files) // FILES_PER_WRITE)

    def _files(self) -> list[tuple[int, int, Path]]:
        """Time of last use in ns, size and path of each file; what was abandoned is removed."""
        found = []
        try:
            entries = list(os.scandir(self.folder))
        except OSError:
            return []
        for entry in entries:
            if not OURS.fullmatch(entry.name):
                continue
            with suppress(OSError):  # dropped meanwhile by another process
                stat = entry.stat(follow_symlinks=False)
                if entry.name.startswith("."):  # being written
                    if stat.st_mtime < time.time() - ABANDONED_S:
                        os.unlink(entry.path)
                else:
                    found.append((stat.st_mtime_ns, stat.st_size, Path(entry.path)))
        return found


def _text(key: EmbeddingKey) -> str:
    return json.dumps(asdict(key))


def _checksum(arrays: Arrays) -> str:
    """Digest of names, shapes and bytes; safetensors itself notices a missing end only."""
    digest = xxhash.xxh3_128()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return str(digest.hexdigest())
