"""Predictor: a place on a slide and clicks -> logits; each place is read and encoded once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.clicks import Click
from histosam_core.embeddings.key import UNNAMED, EmbeddingKey, KnownEncoder
from histosam_core.embeddings.memory import EmbeddingStore, InFlight, MemoryStore
from histosam_core.errors import PredictionError
from histosam_core.model.interface import as_prediction, complete
from histosam_core.session.windows.box_prompt import clicks_for_box, confine_to_box

if TYPE_CHECKING:
    from histosam_core.clicks import Box
    from histosam_core.geometry import Frame, Region
    from histosam_core.model import InteractiveModel, Prediction
    from histosam_core.slide import Slide

XYXY = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of one answer: reading the slide, encoding, decoding. 0 for what was not needed.

    Waiting for another thread that encodes the same region counts as encoding.
    """

    read_s: float = 0.0
    encode_s: float = 0.0
    decode_s: float = 0.0

    @property
    def total_s(self) -> float:
        """All three together."""
        return self.read_s + self.encode_s + self.decode_s


@dataclass(frozen=True, slots=True, eq=False)
class RegionAnswer:
    """A model's answer for one region, its logits finite; `was_ready`: its embedding was stored."""

    prediction: Prediction
    timings: Timings
    was_ready: bool


class Predictor:
    """One model on one slide. Safe to use from one thread that answers and others that look ahead.

    Parameters
    ----------
    slide
        Where pixels come from.
    model
        Any `InteractiveModel`. The hash of its encoder, else of its file, and the kind of its
        ``device`` go into the keys of its embeddings; a model without either gets keys of its own.
        One whose info says ``takes_boxes`` gets boxes as they are, the others by clicks.
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
        self.model = complete(model)
        self.slide_mpp = slide_mpp
        self.store: EmbeddingStore = MemoryStore() if store is None else store
        self._clock = clock
        self._fingerprint = slide.fingerprint
        self._weights = (
            model.encoder_hash()
            if isinstance(model, KnownEncoder)
            else self.model.info.sha256 or f"{UNNAMED}{uuid.uuid4()}"
        )
        # A GPU's bits are not the CPU's.
        self._preprocessing = f"on {str(self.model.device).partition(':')[0]}"
        self._in_flight = InFlight()

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

    def embed(self, regions: Iterable[Region]) -> int:
        """Encode regions ahead of clicks, those that are not ready; return how many this call did.

        A region that another thread is encoding is waited for, not encoded twice. What is made here
        is bit for bit what `predict` would make.
        """
        wanted = [region for region in dict.fromkeys(regions) if not self.is_ready(region)]
        return sum(self._embedding(region).is_own for region in wanted)

    def predict(
        self,
        region: Region,
        clicks: Sequence[Click],
        previous: Prediction | None = None,
        *,
        box: Box | None = None,
    ) -> RegionAnswer:
        """Answer clicks, a box, or both in a region.

        Parameters
        ----------
        region
            Where the model looks.
        clicks
            In level-0 pixels (x, y), pixel centres at whole numbers; all inside the region. May be
            empty where there is a box.
        previous
            What stands in the region, with the model's state where it has answered there before;
            None for no mask prompt.
        box
            In level-0 pixels. What of it lies in the region counts.

        Raises
        ------
        PredictionError
            The model's answer has another size than the region, or holds what is not a number.
        SlideError
            The slide cannot be read.
        OutOfMemoryError
            The model's device has too little memory left.
        """
        found = self._embedding(region)
        start = self._clock()
        prediction = self._decode(region, found.embedding, clicks, previous, box)
        decode_s, _ = self._lap(start)
        timings = Timings(found.read_s, found.encode_s, decode_s)
        return RegionAnswer(prediction, timings, found.was_ready)

    def _embedding(self, region: Region) -> _Found:
        """Take the region's embedding from the store, from another thread, or from the model."""
        key = self.key(region)
        embedding = self.store.get(key)
        if embedding is not None:
            return _Found(embedding, was_ready=True)

        def make() -> _Found:
            embedding = self.store.get(key)
            if embedding is not None:  # another thread was quicker
                return _Found(embedding, was_ready=True)
            start = self._clock()
            image = self.read(region)
            read_s, start = self._lap(start)
            embedding = self.model.encode(image)
            encode_s, _ = self._lap(start)
            self.store.put(key, embedding)
            return _Found(embedding, read_s, encode_s, is_own=True)

        start = self._clock()
        found, is_own = self._in_flight.get_or_make(key, make)
        waited_s, _ = self._lap(start)
        return found if is_own else _Found(found.embedding, encode_s=waited_s)

    def _decode(
        self,
        region: Region,
        embedding: Any,
        clicks: Sequence[Click],
        previous: Prediction | None,
        box: Box | None,
    ) -> Prediction:
        frame = region.frame(self.slide_mpp)
        local = [Click(frame.from_level0(click.xy), click.is_positive) for click in clicks]
        box_xyxy = None if box is None else _box_in(region.size_wh, frame, box)
        by_clicks = box_xyxy is not None and not self.model.info.takes_boxes
        if box_xyxy is None:
            answer = self.model.decode(embedding, local, previous)
        elif by_clicks:
            said = clicks_for_box(box_xyxy, region.size_wh, local)
            answer = self.model.decode(embedding, said, previous)
        else:
            answer = self.model.decode(embedding, local, previous, box_xyxy=box_xyxy)
        prediction = as_prediction(answer)
        logits = prediction.logits
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
        if box_xyxy is not None and by_clicks:
            return replace(prediction, logits=confine_to_box(logits, box_xyxy, local))
        return prediction

    def _lap(self, start: float) -> tuple[float, float]:
        now = self._clock()
        return now - start, now


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    embedding: Any
    read_s: float = 0.0
    encode_s: float = 0.0
    was_ready: bool = False
    is_own: bool = False


def _box_in(size_wh: tuple[int, int], frame: Frame, box: Box) -> XYXY | None:
    """Bring a level-0 box to region pixels and clip it; None where it misses the region."""
    (x0, y0), (x1, y1) = frame.from_level0(box.xyxy[:2]), frame.from_level0(box.xyxy[2:])
    x0, y0 = max(x0, -0.5), max(y0, -0.5)
    x1, y1 = min(x1, size_wh[0] - 0.5), min(y1, size_wh[1] - 0.5)
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
