"""Encode once: when two threads want the same embedding, the second waits for the first."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Event, Lock
from typing import Any


class _Making:
    def __init__(self) -> None:
        self.is_over = Event()
        self.made: Any = None


class InFlight:
    """What is being made at this moment, by key."""

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
