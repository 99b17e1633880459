"""Stand-ins for models and a patch store, so that evaluation is tested without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from histosam_core.clicks import Click
    from histosam_core.model import Prediction


@dataclass
class BlobModel:
    """Foreground is a disk round every positive click less one round every negative click.

    Reddish pixels lean towards foreground, and so does what was foreground before. It has no more
    than somebody's own model needs: encode and decode, which returns a plain array.
    """

    radius_px: float = 9.0
    calls: list[int] = field(default_factory=list)

    def encode(self, image: NDArray[np.uint8]) -> Any:
        return (image[..., 0].astype(np.float32) - 128) / 64

    def decode(
        self,
        embedding: Any,
        clicks: Sequence[Click],
        previous: Prediction | None = None,
        *,
        box_xyxy: Any = None,
    ) -> NDArray[np.float32]:
        yy, xx = np.mgrid[: embedding.shape[0], : embedding.shape[1]]
        logits = embedding - 1.5
        if previous is not None:
            logits = logits + 0.5 * np.sign(previous.logits)
        for click in clicks:
            d2 = (xx - click.xy[0]) ** 2 + (yy - click.xy[1]) ** 2
            bump = 4 * np.exp(-d2 / (2 * self.radius_px**2))
            logits = logits + (bump if click.is_positive else -bump)
        return logits.astype(np.float32)


class BatchedBlobModel(BlobModel):
    """The same in batches; remembers how large each batch was."""

    def encode_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Any]:
        return [self.encode(image) for image in images]

    def decode_batch(
        self, embeddings: Any, clicks: Any, previous: Any = None, *, boxes_xyxy: Any = None
    ) -> list[NDArray[np.float32]]:
        self.calls.append(len(embeddings))
        previous = previous or [None] * len(embeddings)
        return [self.decode(e, c, p) for e, c, p in zip(embeddings, clicks, previous, strict=True)]


@dataclass(frozen=True)
class FakePatch:
    image: NDArray[np.uint8]
    gt_mask: NDArray[np.int8]
    id: str
    slide: str
    location_xy: tuple[int, int] = (0, 0)
    mpp: float = 2.0
    tumor_fraction: float = 0.5


class FakeStore(list[FakePatch]):
    """A patch store in memory."""

    def __init__(self, patches: Sequence[FakePatch], name: str = "liver/test") -> None:
        super().__init__(patches)
        self.name = name


def make_patch(i: int, size: int = 48) -> FakePatch:
    rng = np.random.default_rng(i)
    yy, xx = np.mgrid[:size, :size]
    gt = np.zeros((size, size), np.int8)
    for _ in range(1 + i % 3):
        cx, cy, r = rng.uniform(8, size - 8), rng.uniform(8, size - 8), rng.uniform(5, 13)
        gt[(xx - cx) ** 2 + (yy - cy) ** 2 <= r * r] = 1
    if i % 4 == 3:
        gt[:3] = -1
    image = rng.integers(60, 160, (size, size, 3)).astype(np.uint8)
    image[..., 0] += np.where(gt == 1, 50, 0).astype(np.uint8)
    return FakePatch(image, gt, f"patch-{i:03d}", f"slide-{i % 3}", (i * 48, 0))


@pytest.fixture
def store() -> FakeStore:
    return FakeStore([make_patch(i) for i in range(11)])


@pytest.fixture
def model() -> BlobModel:
    return BlobModel()


@pytest.fixture
def batched_model() -> BatchedBlobModel:
    return BatchedBlobModel()
