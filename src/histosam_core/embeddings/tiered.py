"""Embeddings in memory first, then on disk."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from histosam_core.embeddings.disk import DiskStore
from histosam_core.embeddings.key import EmbeddingCodec, EmbeddingKey
from histosam_core.embeddings.memory import MemoryStore

MAX_WAITING = 16
IDLE_S = 2.0
"""So that the thread of a store which is not used any more ends, closed or not."""


class TieredStore:
    """An `EmbeddingStore` of two: one in memory, and behind it one on disk.

    What is found on disk alone is brought to memory.

    Parameters
    ----------
    memory
        Default: a new `MemoryStore`.
    disk
        Default: a new `DiskStore` in the cache folder. Several stores may share one.
    model
        Whose embeddings these are. One that is no `EmbeddingCodec` is served from memory only.
    waits
        Whether `put` returns only when the disk has the embedding. Otherwise it is written a little
        later, from a thread of the store's own, so that no click is delayed; where that falls
        behind by more than `MAX_WAITING` embeddings, the newest are not written.
    """

    def __init__(
        self,
        memory: MemoryStore | None = None,
        disk: DiskStore | None = None,
        *,
        model: object,
        waits: bool = False,
    ) -> None:
        self.memory = MemoryStore() if memory is None else memory
        self.disk = DiskStore() if disk is None else disk
        self._codec = model if isinstance(model, EmbeddingCodec) else None
        self._waits = waits
        self._condition = threading.Condition()
        self._waiting: deque[tuple[EmbeddingKey, Any]] = deque()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._note = ""

    @property
    def note(self) -> str:
        """Why nothing more is written to disk, in one line; empty while all is well."""
        return self._note or self.disk.note

    def get(self, key: EmbeddingKey) -> Any | None:
        """Return the embedding, or None."""
        embedding = self.memory.get(key)
        if embedding is not None or self._codec is None:
            return embedding
        arrays = self.disk.get(key)
        if arrays is None:
            return None
        try:
            embedding = self._codec.embedding_from_arrays(arrays)
        except (KeyError, TypeError, ValueError):  # of another form than this model's
            return None
        self.memory.put(key, embedding)
        return embedding

    def put(self, key: EmbeddingKey, embedding: Any) -> None:
        """Keep an embedding in memory, and write it or ask for it to be written."""
        self.memory.put(key, embedding)
        if self._codec is None or self.note:
            return
        if self._waits:
            self._write(key, embedding)
            return
        with self._condition:
            if self._is_closed or len(self._waiting) >= MAX_WAITING:
                return
            self._waiting.append((key, embedding))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._write_all, name="embeddings to disk", daemon=True
                )
                self._thread.start()
            self._condition.notify_all()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until all that was put is written; return whether that came in time."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._waiting, timeout_s)

    def close(self, timeout_s: float | None = None) -> bool:
        """Write what waits, and nothing that is put later; return whether that came in time.

        Memory and disk go on serving. A process that ends without this loses what was waiting.
        """
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()
        return self.flush(timeout_s)

    def __contains__(self, key: object) -> bool:
        """Whether either has it. No file is read: a damaged one counts until `get` finds out."""
        return key in self.memory or (self._codec is not None and key in self.disk)

    def _write_all(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: bool(self._waiting) or self._is_closed, IDLE_S)
                if not self._waiting:
                    self._thread = None
                    return
                key, embedding = self._waiting[0]
            self._write(key, embedding)
            del embedding
            with self._condition:
                self._waiting.popleft()
                self._condition.notify_all()

    def _write(self, key: EmbeddingKey, embedding: Any) -> None:
        if self._codec is None or self.note:
            return
        try:
            self.disk.put(key, self._codec.embedding_to_arrays(embedding))
        except Exception as error:  # a thread has nobody to raise to, and work goes on without
            self._note = f"embeddings are no longer kept on disk: {type(error).__name__}: {error}"
