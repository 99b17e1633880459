"""A synthetic slide of flat colours and models whose answers can be told beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from histosam_core.model import ModelInfo, Prediction, TrainingGeometry
from histosam_core.slide import Slide, open_slide

if TYPE_CHECKING:
    from histosam_core.clicks import Click

BACKGROUND, OBJECT, OTHER = (240, 230, 240), (150, 60, 140), (200, 120, 180)


INFO = ModelInfo("flat-colours", TrainingGeometry(1.0, 128), sha256="ab" * 32)


@dataclass
class Call:
    clicks: tuple[Click, ...]
    previous: NDArray[np.float32] | None


class FloodModel:
    """The patch of one colour under each positive click, what was set before, less a disc of
    6 px round each negative click."""

    def __init__(self) -> None:
        self.info = INFO
        self.device = "cpu"
        self.n_encoded = 0
        self.calls: list[Call] = []

    def encode(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.n_encoded += 1
        return image.copy()

    def decode(
        self,
        embedding: NDArray[np.uint8],
        clicks: Sequence[Click],
        previous: Prediction | None = None,
        *,
        box_xyxy: Any = None,
    ) -> Prediction:
        previous_logits = None if previous is None else previous.logits
        self.calls.append(Call(tuple(clicks), previous_logits))
        mask = np.zeros(embedding.shape[:2], bool)
        if previous_logits is not None:
            mask |= previous_logits > 0
        yy, xx = np.mgrid[: mask.shape[0], : mask.shape[1]]
        for click in clicks:
            x, y = (round(v) for v in click.xy)
            if click.is_positive:
                same = (embedding == embedding[y, x]).all(axis=2)
                _, labels = cv2.connectedComponents(same.astype(np.uint8), connectivity=4)
                mask |= labels == labels[y, x]
        for click in clicks:
            if not click.is_positive:
                mask &= (xx - click.xy[0]) ** 2 + (yy - click.xy[1]) ** 2 > 36
        return Prediction(np.where(mask, 5, -5).astype(np.float32), 0.5 + 0.1 * len(clicks))


class SmoothModel(FloodModel):
    """Smooth bumps round the clicks, half of what was there before, a little of the colour."""

    def decode(
        self,
        embedding: NDArray[np.uint8],
        clicks: Sequence[Click],
        previous: Prediction | None = None,
        *,
        box_xyxy: Any = None,
    ) -> Prediction:
        previous_logits = None if previous is None else previous.logits
        self.calls.append(Call(tuple(clicks), previous_logits))
        yy, xx = np.mgrid[: embedding.shape[0], : embedding.shape[1]]
        logits = (200 - embedding[..., 1].astype(np.float32)) / 100 - 1
        if previous_logits is not None:
            logits = logits + np.tanh(previous_logits)
        for click in clicks:
            d2 = (xx - click.xy[0]) ** 2 + (yy - click.xy[1]) ** 2
            logits = logits + (1 if click.is_positive else -1) * 4 * np.exp(-d2 / 800)
        return Prediction(logits.astype(np.float32))


def paint() -> NDArray[np.uint8]:
    """1600 x 1200 px, to be read at half that: every edge lies on an even pixel."""
    image = np.empty((1200, 1600, 3), np.uint8)
    image[:] = BACKGROUND
    image[400:600, 200:1400] = OBJECT  # 600 x 100 grid pixels: longer than four windows
    image[460:500, 700:760] = BACKGROUND  # a hole
    image[0:100, 1500:1600] = OTHER  # in the corner
    image[1000:1040, 100:140] = OTHER  # an island far off
    return image


@pytest.fixture(scope="session")
def slide_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slides") / "flat.png"
    Image.fromarray(paint()).save(path)
    return path


@pytest.fixture
def slide(slide_path: Path) -> Iterator[Slide]:
    with open_slide(slide_path, mpp=0.5) as opened:
        yield opened


@pytest.fixture
def truth() -> NDArray[np.bool_]:
    """The long object on the grid of 1 um pixels, (600, 800)."""
    mask: NDArray[np.bool_] = (paint()[::2, ::2] == OBJECT).all(axis=2)
    return mask


@pytest.fixture
def model() -> FloodModel:
    return FloodModel()


@pytest.fixture
def smooth_model() -> SmoothModel:
    return SmoothModel()
