"""An image that is clicked on, and what networks have made of regions of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KEPT_REGIONS = 2
"""The current one and the one before it, for undo."""


class ClickImage:
    """The embedding of RITM, FocalClick and SimpleClick: pixels, and regions prepared for them.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB.
    device
        Where the networks compute.
    bytes_per_region
        What a prepared region may be expected to take, for `nbytes`.

    Attributes
    ----------
    pixels : Tensor
        (1, 3, H, W) float32 in 0..1 on the device.
    """

    def __init__(
        self, image: NDArray[np.uint8], device: torch.device, bytes_per_region: int = 0
    ) -> None:
        planes = torch.from_numpy(np.array(image.transpose(2, 0, 1)[None], order="C"))
        self.pixels: Tensor = planes.to(device).to(torch.float32).div(255)
        self._bytes_per_region = bytes_per_region
        self._kept: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._lock = Lock()

    def __getstate__(self) -> dict[str, object]:
        """Leave out the prepared regions, which are made again."""
        return {"pixels": self.pixels, "_bytes_per_region": self._bytes_per_region}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Start without prepared regions."""
        self.pixels = state["pixels"]
        self._bytes_per_region = state["_bytes_per_region"]
        self._kept = OrderedDict()
        self._lock = Lock()

    @property
    def image_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[-2], self.pixels.shape[-1]

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels and, as expected, of the prepared regions."""
        return self.pixels.nbytes + KEPT_REGIONS * self._bytes_per_region

    def prepared(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """Return what is kept under a key, or make it; the longest unused is dropped.

        The key names all that the result depends on but for the pixels. Two threads that miss the
        same key may both make it; what they make is alike, and nobody may change it.
        """
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        made = make()
        with self._lock:
            self._kept[key] = made
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT_REGIONS:
                self._kept.popitem(last=False)
        return made
