from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from histosam_core.clicks import Click
from histosam_core.geometry import Region
from histosam_core.inference import MemoryStore, Predictor

if TYPE_CHECKING:
    from histosam_core.slide import Slide

REGIONS = [Region((x, 300.0), (128, 128), 1.0) for x in (0.0, 64.0, 128.0)]


def test_embeddings_made_ahead_make_clicks_ready(slide: Slide, model) -> None:
    predictor = Predictor(slide, model, 0.5)
    seen = []
    made = predictor.embed([*REGIONS, REGIONS[0]], progress=lambda *step: seen.append(step[:2]))
    assert made == model.n_encoded == 3
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert predictor.embed(REGIONS) == 0
    answer = predictor.predict(REGIONS[1], [Click((264, 500))])
    assert answer.was_ready
    assert answer.timings.encode_s == 0
    assert answer.logits.max() == 5


def test_a_batched_model_gets_batches(slide: Slide, model) -> None:
    sizes = []

    def encode_batch(images: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        sizes.append(len(images))
        return images

    model.encode_batch = encode_batch
    Predictor(slide, model, 0.5).embed(REGIONS, batch_size=2)
    assert sizes == [2, 1]
    assert model.n_encoded == 0


def test_raising_from_progress_cancels_and_keeps_what_is_made(slide: Slide, model) -> None:
    predictor = Predictor(slide, model, 0.5)

    def stop(done: int, total: int, message: str = "") -> None:
        if done == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        predictor.embed(REGIONS, progress=stop)
    assert [predictor.is_ready(region) for region in REGIONS] == [True, False, False]


def test_a_shared_store_serves_the_same_weights_and_no_others(slide: Slide, model) -> None:
    store = MemoryStore()
    Predictor(slide, model, 0.5, store=store).embed(REGIONS)
    assert Predictor(slide, model, 0.5, store=store).is_ready(REGIONS[0])
    model.info.sha256 = "cd" * 32
    assert not Predictor(slide, model, 0.5, store=store).is_ready(REGIONS[0])


def test_models_without_a_hash_never_share(slide: Slide, model) -> None:
    model.info.sha256 = ""
    store = MemoryStore()
    Predictor(slide, model, 0.5, store=store).embed(REGIONS)
    assert not Predictor(slide, model, 0.5, store=store).is_ready(REGIONS[0])


def test_clicks_reach_the_model_in_region_pixels(slide: Slide, model) -> None:
    # Level-0 pixel 100 is the left half of grid pixel 50, whose centre lies at 100.5.
    Predictor(slide, model, 0.5).predict(Region((0.0, 0.0), (128, 128), 1.0), [Click((100, 61))])
    assert model.calls[0].clicks == (Click((49.75, 30.25)),)
