from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from histosam_core.clicks import Box, Click
from histosam_core.embeddings.disk import DiskStore
from histosam_core.embeddings.tiered import TieredStore
from histosam_core.errors import SlideError
from histosam_core.geometry import Region
from histosam_core.model import load_model
from histosam_core.session import MemoryStore, Predictor

if TYPE_CHECKING:
    from pathlib import Path

    from histosam_core.model import Prediction
    from histosam_core.slide import Slide

REGIONS = [Region((x, 300.0), (128, 128), 1.0) for x in (0.0, 64.0, 128.0)]


def test_embeddings_made_ahead_make_clicks_ready(slide: Slide, model) -> None:
    predictor = Predictor(slide, model, 0.5)
    assert predictor.embed([*REGIONS, REGIONS[0]]) == model.n_encoded == 3
    assert predictor.embed(REGIONS) == 0
    answer = predictor.predict(REGIONS[1], [Click((264, 500))])
    assert answer.was_ready
    assert answer.timings.encode_s == 0
    assert answer.prediction.logits.max() == 5


def test_a_shared_store_serves_the_same_weights_and_no_others(slide: Slide, model) -> None:
    store = MemoryStore()
    Predictor(slide, model, 0.5, store=store).embed(REGIONS)
    assert Predictor(slide, model, 0.5, store=store).is_ready(REGIONS[0])
    model.info = replace(model.info, sha256="cd" * 32)
    assert not Predictor(slide, model, 0.5, store=store).is_ready(REGIONS[0])


def test_models_without_a_hash_never_share(slide: Slide, model) -> None:
    model.info = replace(model.info, sha256="")
    store = MemoryStore()
    Predictor(slide, model, 0.5, store=store).embed(REGIONS)
    assert not Predictor(slide, model, 0.5, store=store).is_ready(REGIONS[0])


def test_clicks_reach_the_model_in_region_pixels(slide: Slide, model) -> None:
    # Level-0 pixel 100 is the left half of grid pixel 50, whose centre lies at 100.5.
    Predictor(slide, model, 0.5).predict(Region((0.0, 0.0), (128, 128), 1.0), [Click((100, 61))])
    assert model.calls[0].clicks == (Click((49.75, 30.25)),)


def test_cpu_and_gpu_do_not_share_and_the_gpus_number_does_not_matter(slide: Slide, model) -> None:
    keys = []
    for device in ("cpu", "cuda:0", "cuda:1"):
        model.device = torch.device(device)
        keys.append(Predictor(slide, model, 0.5).key(REGIONS[0]))
    assert keys[0] != keys[1] == keys[2]


def test_an_embedding_made_ahead_gives_the_mask_that_a_click_makes(
    slide: Slide, tmp_path: Path
) -> None:
    """Bit for bit, from memory and from disk, with the model that is shipped."""
    model = load_model("histosam-tiny", "cpu")
    click = [Click((264, 500)), Click((300, 640), is_positive=False)]
    direct = Predictor(slide, model, 0.5).predict(REGIONS[1], click)
    store = TieredStore(disk=DiskStore(tmp_path), model=model)
    ahead = Predictor(slide, model, 0.5, store=store)
    assert ahead.embed(REGIONS) == 3
    from_memory = ahead.predict(REGIONS[1], click)
    assert store.close(30)
    later = Predictor(slide, model, 0.5, store=TieredStore(disk=DiskStore(tmp_path), model=model))
    assert later.is_ready(REGIONS[1])
    from_disk = later.predict(REGIONS[1], click)
    for answer in (from_memory, from_disk):
        assert answer.was_ready
        assert answer.prediction.logits.tobytes() == direct.prediction.logits.tobytes()
        assert answer.prediction.quality == direct.prediction.quality


class HeldModel:
    """Wraps a model; its first encoding waits to be let go, and then fails where it is told to."""

    def __init__(self, model: Any, error: Exception | None = None) -> None:
        self.model, self.error = model, error
        self.info, self.device = model.info, model.device
        self.has_begun, self.go_on = threading.Event(), threading.Event()

    def encode(self, image: np.ndarray[Any, Any]) -> Any:
        if not self.has_begun.is_set():
            self.has_begun.set()
            assert self.go_on.wait(30)
            if self.error is not None:
                raise self.error
        return self.model.encode(image)

    def decode(self, *args: Any, **options: Any) -> Prediction:
        answer: Prediction = self.model.decode(*args, **options)
        return answer


@pytest.mark.parametrize("kept_bytes", [0, 10**6])
def test_a_click_waits_for_the_look_ahead_and_encodes_nothing(
    slide: Slide, model, kept_bytes: int
) -> None:
    held = HeldModel(model)
    predictor = Predictor(slide, held, 0.5, store=MemoryStore(kept_bytes))
    ahead = threading.Thread(target=predictor.embed, args=([REGIONS[1]],))
    ahead.start()
    assert held.has_begun.wait(30)
    answers: list[Any] = []
    click = threading.Thread(
        target=lambda: answers.append(predictor.predict(REGIONS[1], [Click((264, 500))]))
    )
    click.start()
    click.join(0.1)
    assert click.is_alive()
    held.go_on.set()
    click.join(30)
    ahead.join(30)
    assert model.n_encoded == 1
    assert answers[0].prediction.logits.max() == 5
    assert not answers[0].was_ready
    assert answers[0].timings.encode_s >= 0.05  # what it waited
    assert answers[0].timings.read_s == 0


def test_where_the_look_ahead_fails_the_click_encodes_itself(slide: Slide, model) -> None:
    held = HeldModel(model, SlideError("the slide has moved"))
    predictor = Predictor(slide, held, 0.5)
    errors: list[BaseException] = []

    def look_ahead() -> None:
        try:
            predictor.embed([REGIONS[1]])
        except SlideError as error:
            errors.append(error)

    ahead = threading.Thread(target=look_ahead)
    ahead.start()
    assert held.has_begun.wait(30)
    answers: list[Any] = []
    click = threading.Thread(
        target=lambda: answers.append(predictor.predict(REGIONS[1], [Click((264, 500))]))
    )
    click.start()
    click.join(0.05)
    held.go_on.set()
    click.join(30)
    ahead.join(30)
    assert [str(error) for error in errors] == ["the slide has moved"]
    assert answers[0].prediction.logits.max() == 5
    assert model.n_encoded == 1


def test_the_look_ahead_waits_for_a_click_and_counts_what_it_encoded(slide: Slide, model) -> None:
    held = HeldModel(model)
    predictor = Predictor(slide, held, 0.5)
    click = threading.Thread(target=predictor.predict, args=(REGIONS[0], [Click((60, 500))]))
    click.start()
    assert held.has_begun.wait(30)
    counts: list[int] = []
    ahead = threading.Thread(target=lambda: counts.append(predictor.embed(REGIONS)))
    ahead.start()
    held.go_on.set()
    ahead.join(30)
    click.join(30)
    assert counts == [2]
    assert model.n_encoded == 3


def test_a_model_trained_on_boxes_gets_them_in_region_pixels(slide: Slide, model) -> None:
    seen: list[tuple[Sequence[Click], Any]] = []

    def decode(
        embedding: Any, clicks: Sequence[Click], previous: Any, *, box_xyxy: Any = None
    ) -> np.ndarray[Any, Any]:
        seen.append((clicks, box_xyxy))
        return np.full((128, 128), 3, np.float32)

    info = replace(model.info, takes_boxes=True)
    boxed = SimpleNamespace(info=info, device="cpu", encode=model.encode, decode=decode)
    predictor = Predictor(slide, boxed, 0.5)
    region = Region((100.0, 60.0), (128, 128), 1.0)
    answer = predictor.predict(region, [Click((140.5, 80.5))], box=Box((99.5, 59.5, 199.5, 139.5)))
    assert seen == [([Click((20.0, 10.0))], (-0.5, -0.5, 49.5, 39.5))]
    assert (answer.prediction.logits == 3).all()


def test_a_model_without_boxes_gets_clicks_and_is_confined(slide: Slide, model) -> None:
    predictor = Predictor(slide, model, 0.5)
    region = Region((200.0, 400.0), (128, 128), 1.0)  # the object fills the upper 100 rows
    box = Box((239.5, 439.5, 399.5, 519.5))  # region pixels 20 to 99, 20 to 59
    answer = predictor.predict(region, [], box=box)
    assert model.calls[0].clicks[0] == Click((59.5, 39.5))
    assert [c.is_positive for c in model.calls[0].clicks] == [True, False, False, False, False]
    inside = np.zeros((128, 128), bool)
    inside[20:60, 20:100] = True
    assert ((answer.prediction.logits > 0) == inside).all()
    again = predictor.predict(region, [], box=box)
    assert np.array_equal(again.prediction.logits, answer.prediction.logits)
    clicked = predictor.predict(region, [Click((300, 480), is_positive=False)], box=box)
    assert not clicked.prediction.logits[39, 49] > 0
    assert clicked.prediction.logits[39, 70] > 0


def test_only_what_lies_in_the_region_of_a_box_counts(slide: Slide, model) -> None:
    predictor = Predictor(slide, model, 0.5)
    region = Region((200.0, 400.0), (128, 128), 1.0)
    predictor.predict(region, [], box=Box((-1000, -1000, 295.5, 455.5)))
    assert model.calls[0].clicks == (
        Click((23.5, 13.5)),
        Click((63.5, 13.5), is_positive=False),
        Click((23.5, 43.5), is_positive=False),
    )
    predictor.predict(region, [Click((300, 480))], box=Box((1000, 1000, 1100, 1100)))
    assert len(model.calls[1].clicks) == 1
