"""Predictor: a place on a slide and clicks -> logits; each place is read and encoded once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.clicks import Click
from histosam_core.errors import PredictionError
from histosam_core.inference.embedding_store import EmbeddingKey, EmbeddingStore, MemoryStore
from histosam_core.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from histosam_core.geometry import Region
    from histosam_core.model import InteractiveModel
    from histosam_core.slide import Slide

__all__ = ["Prediction", "Predictor", "Timings"]


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of one answer: reading the slide, encoding, decoding. 0 for what was not needed."""

    read_s: float = 0.0
    encode_s: float = 0.0
    decode_s: float = 0.0

    @property
    def total_s(self) -> float:
        """All three together."""
        return self.read_s + self.encode_s + self.decode_s


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """A model's answer for one region.

    Parameters
    ----------
    logits
        (h, w) float32, all finite.
    quality
        The model's own estimate of the IoU; None where it gives none.
    timings
        What it cost.
    was_ready
        Whether the embedding was in the store.
    """

    logits: NDArray[np.float32]
    quality: float | None
    timings: Timings
    was_ready: bool


class Predictor:
    """One model on one slide.

    Parameters
    ----------
    slide
        Where pixels come from.
    model
        Any `InteractiveModel`. What it says of itself in ``info`` (a `CheckpointInfo`) goes into
        the keys of its embeddings; a model without gets a key of its own.
    slide_mpp
        Micrometres per level-0 pixel; the slide's own, or what stands in for it.
    store
        Where embeddings are kept. Default: a `MemoryStore` of its own.
    clock
        Returns seconds.
    """

    def __init__(
        self,
        slide: Slide,
        model: InteractiveModel,
        slide_mpp: float,
        *,
        store: EmbeddingStore | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.slide = slide
        self.model = model
        self.slide_mpp = slide_mpp
        self.store: EmbeddingStore = MemoryStore() if store is None else store
        self._clock = clock
        self._fingerprint = slide.fingerprint
        info = getattr(model, "info", None)
        self._weights = getattr(info, "sha256", "") or f"in-memory-{uuid.uuid4()}"
        self._preprocessing = repr(getattr(info, "preprocessing", ""))

    def key(self, region: Region) -> EmbeddingKey:
        """Return what the region's embedding is stored under."""
        return EmbeddingKey(
            slide=self._fingerprint,
            location_xy=region.location_xy,
            downsample=region.downsample(self.slide_mpp),
            size_wh=region.size_wh,
            preprocessing=self._preprocessing,
            weights=self._weights,
        )

    def is_ready(self, region: Region) -> bool:
        """Whether a click in this region needs no reading and no encoding."""
        return self.key(region) in self.store

    def read(self, region: Region) -> NDArray[np.uint8]:
        """Read the region, (h, w, 3) uint8 RGB, white outside the slide."""
        return self.slide.read_frame(region.frame(self.slide_mpp), region.size_wh)

    def embed(
        self,
        regions: Sequence[Region],
        *,
        batch_size: int = 4,
        progress: ProgressCallback = silent,
    ) -> int:
        """Encode regions ahead of clicks, those that are not ready; return how many that were.

        A model with ``encode_batch`` gets up to `batch_size` at once. Raising from `progress`
        cancels; what is encoded stays.
        """
        wanted = [region for region in dict.fromkeys(regions) if not self.is_ready(region)]
        batched = hasattr(self.model, "encode_batch")
        step = max(1, batch_size) if batched else 1
        for first in range(0, len(wanted), step):
            progress(first, len(wanted), "embedding")
            batch = wanted[first : first + step]
            images = [self.read(region) for region in batch]
            embeddings = (
                self.model.encode_batch(images)  # type: ignore[attr-defined]
                if batched
                else [self.model.encode(image) for image in images]
            )
            for region, embedding in zip(batch, embeddings, strict=True):
                self.store.put(self.key(region), embedding)
        progress(len(wanted), len(wanted), "embedding")
        return len(wanted)

    def predict(
        self,
        region: Region,
        clicks: Sequence[Click],
        previous_logits: NDArray[np.float32] | None = None,
    ) -> Prediction:
        """Answer clicks in a region.

        Parameters
        ----------
        region
            Where the model looks.
        clicks
            In level-0 pixels (x, y), pixel centres at whole numbers; all inside the region.
        previous_logits
            (h, w) float32, the mask prompt; None for no mask prompt.

        Raises
        ------
        PredictionError
            The model's answer has another size than the region, or holds what is not a number.
        SlideError
            The slide cannot be read.
        """
        start = self._clock()
        key = self.key(region)
        embedding = self.store.get(key)
        was_ready = embedding is not None
        read_s = encode_s = 0.0
        if not was_ready:
            image = self.read(region)
            read_s, start = self._lap(start)
            embedding = self.model.encode(image)
            encode_s, start = self._lap(start)
            self.store.put(key, embedding)
        logits = self._decode(region, embedding, clicks, previous_logits)
        decode_s, _ = self._lap(start)
        quality = getattr(self.model, "quality", None)
        return Prediction(
            logits,
            float(quality[-1]) if quality else None,
            Timings(read_s, encode_s, decode_s),
            was_ready,
        )

    def _decode(
        self,
        region: Region,
        embedding: Any,
        clicks: Sequence[Click],
        previous_logits: NDArray[np.float32] | None,
    ) -> NDArray[np.float32]:
        frame = region.frame(self.slide_mpp)
        local = [Click(frame.from_level0(click.xy), click.is_positive) for click in clicks]
        logits = np.asarray(self.model.decode(embedding, local, previous_logits), np.float32)
        w, h = region.size_wh
        if logits.shape != (h, w):
            raise PredictionError(
                f"the model answered {logits.shape} logits for a window of {h} x {w} px; its "
                "decode must return them at the size of the image"
            )
        if not np.isfinite(logits).all():
            raise PredictionError(
                "the model answered with values that are not numbers, so the click was not "
                "taken; try the CPU (--device cpu), or another checkpoint"
            )
        return logits

    def _lap(self, start: float) -> tuple[float, float]:
        now = self._clock()
        return now - start, now
