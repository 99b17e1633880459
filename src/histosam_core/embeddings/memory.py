"""Embeddings in memory: those that are kept, bounded in bytes, and those that are being made."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Literal, Protocol

from histosam_core.errors import ConfigError

if TYPE_CHECKING:
    from histosam_core.embeddings.key import EmbeddingKey

DEFAULT_BYTES = 256 * 2**20
"""About 60 windows of SAM ViT-B (4 MiB each), more of a smaller model."""


class EmbeddingStore(Protocol):
    """Where to look before an image is encoded. Safe to use from several threads."""

    def get(self, key: EmbeddingKey) -> Any | None:
        """Return the embedding, or None."""

    def put(self, key: EmbeddingKey, embedding: Any) -> None:
        """Keep an embedding; the store may drop it, or others, at any time."""

    def __contains__(self, key: object) -> bool:
        """Whether `get` would find it."""


class MemoryStore:
    """An `EmbeddingStore` in memory.

    Parameters
    ----------
    max_bytes
        Bound on the embeddings' arrays and tensors together; on a GPU they count, and stay, there.
    keep
        What stays when the bound is reached: what was used "last", or what came "first". The
        latter suits work that comes by every image in turn, where dropping the longest unused
        would drop each one just before its turn.

    Raises
    ------
    ConfigError
        `max_bytes` is negative.
    """

    def __init__(
        self, max_bytes: int = DEFAULT_BYTES, *, keep: Literal["last", "first"] = "last"
    ) -> None:
        if max_bytes < 0:
            raise ConfigError(f"max_bytes {max_bytes} must be 0 or more")
        self.max_bytes = max_bytes
        self._keeps_first = keep == "first"
        self._entries: OrderedDict[EmbeddingKey, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    @property
    def n_bytes(self) -> int:
        """What is held now."""
        return self._bytes

    def get(self, key: EmbeddingKey) -> Any | None:
        """Return the embedding and mark it as used, or None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: EmbeddingKey, embedding: Any) -> None:
        """Keep an embedding; one larger than the whole bound is not kept."""
        size = size_in_bytes(embedding)
        with self._lock:
            if self._keeps_first and (key in self._entries or self._bytes + size > self.max_bytes):
                return
            if key in self._entries:
                self._bytes -= self._entries.pop(key)[1]
            if size > self.max_bytes:
                return
            self._entries[key] = embedding, size
            self._bytes += size
            while self._bytes > self.max_bytes:
                self._bytes -= self._entries.popitem(last=False)[1][1]

    def __contains__(self, key: object) -> bool:
        with self._lock:
            return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)


class _Making:
    def __init__(self) -> None:
        self.is_over = Event()
        self.made: Any = None


class InFlight:
    """Encode once: of two threads that want the same embedding, the second waits for the first."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._making: dict[Hashable, _Making] = {}

    def get_or_make(self, key: Hashable, make: Callable[[], Any]) -> tuple[Any, bool]:
        """Return what `make` makes, and whether this call made it or one under way for the key.

        `make` never returns None. What it raises passes through to its own caller alone; one of
        those that wait for it then makes it itself.
        """
        while True:
            with self._lock:
                other = self._making.get(key)
                if other is None:
                    own = self._making[key] = _Making()
                    break
            other.is_over.wait()
            if other.made is not None:
                return other.made, False
        try:
            own.made = make()
            return own.made, True
        finally:
            with self._lock:
                del self._making[key]
            own.is_over.set()


def size_in_bytes(embedding: Any) -> int:
    """Add up the arrays and tensors in an embedding: any nesting of containers and dataclasses."""
    n_bytes = getattr(embedding, "nbytes", None)
    if isinstance(n_bytes, int):
        return n_bytes
    if isinstance(embedding, Mapping):
        return sum(size_in_bytes(value) for value in embedding.values())
    if isinstance(embedding, list | tuple):
        return sum(size_in_bytes(value) for value in embedding)
    if is_dataclass(embedding):
        return sum(size_in_bytes(getattr(embedding, f.name)) for f in fields(embedding))
    return sys.getsizeof(embedding)
