"""A stand-in for models that keep in mind, from click to click, more than their mask says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from histosam_core.model import ModelInfo, Prediction, TrainingGeometry

if TYPE_CHECKING:
    from histosam_core.clicks import Click

XYXY = tuple[int, int, int, int]


@dataclass(frozen=True)
class Zoom:
    """How often the model had answered, and the part of the image it looked at; end excluded."""

    n_answers: int
    box_xyxy: XYXY


@dataclass(frozen=True, eq=False)
class Asked:
    """What one call of `decode` was given."""

    clicks: tuple[Click, ...]
    previous: Prediction | None


class ZoomingModel:
    """Looks at all of an image first, then closer, and stays there while every click lies inside.

    Each answer depends on how often it has answered before and on where it looked then, so that a
    state that is lost, late or another window's gives another mask.
    """

    info = ModelInfo("zooming", TrainingGeometry(1.0, 128), sha256="0f" * 32)
    device = "cpu"

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    def encode(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        return (200 - image.mean(axis=2, dtype=np.float32)) / 100 - 1

    def decode(
        self,
        embedding: NDArray[np.float32],
        clicks: Sequence[Click],
        previous: Prediction | None = None,
        *,
        box_xyxy: Any = None,
    ) -> Prediction:
        self.asked.append(Asked(tuple(clicks), previous))
        height, width = embedding.shape
        earlier: Zoom | None = None if previous is None else previous.state
        zoom = Zoom(1, (0, 0, width, height))
        logits = embedding.copy()
        if previous is not None:
            logits += np.tanh(previous.logits)
            zoom = self._next(clicks, previous, earlier)
        yy, xx = np.mgrid[:height, :width]
        for click in clicks:
            d2 = (xx - click.xy[0]) ** 2 + (yy - click.xy[1]) ** 2
            bump = 4 * np.exp(-d2 / (width / 6) ** 2)
            logits += bump if click.is_positive else -bump
        x0, y0, x1, y1 = zoom.box_xyxy
        logits += np.where((xx >= x0) & (xx < x1) & (yy >= y0) & (yy < y1), 0.0, -1.5)
        logits += 0.3 * np.sin(zoom.n_answers)
        return Prediction(logits.astype(np.float32), 1 / zoom.n_answers, zoom)

    def _next(self, clicks: Sequence[Click], previous: Prediction, earlier: Zoom | None) -> Zoom:
        if earlier is None:  # somebody else's mask
            return Zoom(1, _round(clicks, previous.logits))
        x0, y0, x1, y1 = box = earlier.box_xyxy
        is_inside = all(x0 <= c.xy[0] < x1 and y0 <= c.xy[1] < y1 for c in clicks)
        if earlier.n_answers == 1 or not is_inside:
            box = _round(clicks, previous.logits)
        return Zoom(earlier.n_answers + 1, box)


class BatchedZoomingModel(ZoomingModel):
    """The same in batches."""

    def encode_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        return [self.encode(image) for image in images]

    def decode_batch(
        self,
        embeddings: Sequence[NDArray[np.float32]],
        clicks: Sequence[Sequence[Click]],
        previous: Sequence[Prediction | None] | None = None,
        *,
        boxes_xyxy: Any = None,
    ) -> list[Prediction]:
        before = previous or [None] * len(embeddings)
        return [self.decode(e, c, p) for e, c, p in zip(embeddings, clicks, before, strict=True)]


def _round(clicks: Sequence[Click], logits: NDArray[np.float32]) -> XYXY:
    """The box of the mask and the clicks, 4 px larger."""
    rows, columns = np.nonzero(logits > 0)
    xs = [*columns, *(round(c.xy[0]) for c in clicks)]
    ys = [*rows, *(round(c.xy[1]) for c in clicks)]
    return int(min(xs)) - 4, int(min(ys)) - 4, int(max(xs)) + 5, int(max(ys)) + 5


@pytest.fixture
def zooming_model() -> ZoomingModel:
    return ZoomingModel()


@pytest.fixture
def batched_zooming_model() -> BatchedZoomingModel:
    return BatchedZoomingModel()
