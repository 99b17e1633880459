"""The click loop: stopping rules, thresholds, batches, and the reference sequences."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from histosam_core.clicks import Click
from histosam_core.errors import ConfigError, PredictionError
from histosam_core.evaluation import ProtocolSettings, run_clicks
from histosam_core.evaluation.protocol.batched import run_patches

if TYPE_CHECKING:
    from histosam_core.model import Prediction


class ConstantModel:
    """Answers the same logits whatever is clicked; remembers what it was given."""

    def __init__(self, logits: NDArray[np.float32]) -> None:
        self.logits = logits
        self.seen: list[tuple[int, Prediction | None]] = []

    def encode(self, image: NDArray[np.uint8]) -> None:
        return None

    def decode(
        self,
        embedding: None,
        clicks: Any,
        previous: Prediction | None = None,
        *,
        box_xyxy: Any = None,
    ) -> NDArray[np.float32]:
        self.seen.append((len(clicks), previous))
        return self.logits


IMAGE = np.zeros((4, 5, 3), np.uint8)
GT = np.zeros((4, 5), bool)
GT[1:3, 1:4] = True
PERFECT = np.where(GT, 5, -5).astype(np.float32)


def test_stops_at_the_first_click_that_reaches_the_target() -> None:
    run = run_clicks(ConstantModel(PERFECT), IMAGE, GT)
    assert run.ious.tolist() == [1.0]
    assert run.ious.dtype == np.float32
    assert (run.mask == GT).all()
    assert run.clicks == [Click((1, 1), True)]


def test_goes_on_to_min_clicks_and_to_the_budget() -> None:
    perfect = ConstantModel(PERFECT)
    assert len(run_clicks(perfect, IMAGE, GT, min_clicks=3).clicks) == 3
    assert len(run_clicks(perfect, IMAGE, GT, target_iou=1.01, max_clicks=6).clicks) == 6
    assert len(run_clicks(ConstantModel(-PERFECT), IMAGE, GT).clicks) == 20


def test_the_previous_prediction_goes_back_into_the_model() -> None:
    model = ConstantModel(-PERFECT)
    run_clicks(model, IMAGE, GT, max_clicks=3)
    assert [n for n, _ in model.seen] == [1, 2, 3]
    assert model.seen[0][1] is None
    assert all(p is not None and p.logits is model.logits for _, p in model.seen[1:])


def test_probability_must_lie_strictly_above_the_threshold() -> None:
    zero = np.zeros((4, 5), np.float32)
    assert not run_clicks(ConstantModel(zero), IMAGE, GT, mask_threshold=0.5).mask.any()
    assert run_clicks(ConstantModel(zero), IMAGE, GT, mask_threshold=0.49).mask.all()
    far = np.full((4, 5), -1000, np.float32)
    assert not run_clicks(ConstantModel(far), IMAGE, GT).mask.any()


def test_ignored_pixels_count_neither_for_clicks_nor_for_the_iou() -> None:
    everything = ConstantModel(np.full((4, 5), 9, np.float32))
    by_mask = run_clicks(everything, IMAGE, GT, ignore_mask=~GT)
    by_label = run_clicks(everything, IMAGE, np.where(GT, 1, -1))
    assert by_mask.ious.tolist() == by_label.ious.tolist() == [1.0]


def test_time_is_split_between_encoder_decoder_and_the_rest() -> None:
    ticks = itertools.count()
    run = run_clicks(
        ConstantModel(-PERFECT), IMAGE, GT, max_clicks=3, clock=lambda: float(next(ticks))
    )
    assert run.encode_s == 1
    assert run.decode_s.tolist() == [1, 1, 1]
    # start, encode x 2, then per click decode x 2 and the end of the click
    assert run.wall_s.tolist() == [5, 3, 3]


@pytest.mark.parametrize(
    ("image", "gt", "match"),
    [
        (IMAGE[..., :2], GT, "uint8 RGB"),
        (IMAGE.astype(float), GT, "uint8 RGB"),
        (IMAGE, GT[:3], "cover"),
        (IMAGE, GT.astype(np.uint8) * 255, "255"),
    ],
)
def test_images_and_truths_that_do_not_fit_are_refused(image: Any, gt: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        run_clicks(ConstantModel(PERFECT), image, gt)


def test_an_answer_of_another_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="size of the image"):
        run_clicks(ConstantModel(PERFECT[:2]), IMAGE, GT)


def test_all_wrong_settings_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        ProtocolSettings(target_iou=0, max_clicks=0, min_clicks=0, mask_threshold=1)
    assert all(name in str(error.value) for name in ("target_iou", "max_clicks", "min_clicks"))
    assert "mask_threshold" in str(error.value)


@pytest.mark.parametrize("batch_size", [1, 3, 8, 40])
def test_patches_side_by_side_get_the_same_clicks_as_alone(
    batched_model, store, batch_size
) -> None:  # type: ignore[no-untyped-def]
    settings = ProtocolSettings(target_iou=0.8, max_clicks=9)
    runs = dict(run_patches(batched_model, store, range(11), settings, batch_size=batch_size))
    assert sorted(runs) == list(range(11))
    assert max(batched_model.calls) == min(batch_size, 11)
    lengths = set()
    for i, patch in enumerate(store):
        alone = run_clicks(batched_model, patch.image, patch.gt_mask, target_iou=0.8, max_clicks=9)
        assert runs[i].clicks == alone.clicks
        assert runs[i].ious.tolist() == alone.ious.tolist()
        assert (runs[i].mask == alone.mask).all()
        lengths.add(len(alone.clicks))
    assert len(lengths) > 2, "the patches should finish at different clicks"


def test_a_free_place_is_taken_at_once(batched_model, store) -> None:  # type: ignore[no-untyped-def]
    settings = ProtocolSettings(target_iou=0.8, max_clicks=9)
    runs = dict(run_patches(batched_model, store, range(11), settings, batch_size=3))
    total = sum(len(run.clicks) for run in runs.values())
    assert sum(batched_model.calls) == total
    # Batches shrink only when nothing is left to come in.
    assert batched_model.calls == sorted(batched_model.calls, reverse=True)


def test_a_model_without_batches_gets_one_patch_after_the_other(model, store) -> None:  # type: ignore[no-untyped-def]
    order = [i for i, _ in run_patches(model, store, [4, 0, 2], ProtocolSettings())]
    assert order == [4, 0, 2]


class ReferenceModel:
    """The reference's fake network as an interactive model.

    `click_limit` is the reference predictor's own limit on the clicks that its network sees.
    """

    def __init__(self, net: Any, click_limit: int | None = None) -> None:
        self.net = net
        self.click_limit = click_limit

    def encode(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.moveaxis(image, -1, 0).astype(np.float32) / np.float32(255)

    def decode(
        self,
        embedding: NDArray[np.float32],
        clicks: Sequence[Click],
        previous: Prediction | None = None,
        *,
        box_xyxy: Any = None,
    ) -> NDArray[np.float32]:
        probability = np.zeros(embedding.shape[1:], np.float32)
        if previous is not None:
            probability = 1 / (1 + np.exp(-previous.logits))
        clicks = clicks[: self.click_limit]
        rows = max(len(clicks), 1)
        points = np.full((1, 2 * rows, 3), -1.0, np.float32)
        for i, click in enumerate(clicks):
            points[0, i + (0 if click.is_positive else rows)] = (click.xy[1], click.xy[0], i)
        four = np.concatenate([embedding, probability[None]])[None]
        answer: NDArray[np.float32] = self.net.logits_np(four, points)[0, 0]
        return answer


@pytest.fixture(scope="module")
def reference_net(data_dir: Path) -> Any:
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("fakenet", data_dir / "reference" / "fakenet.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FakeNet()


@pytest.mark.real_slide
@pytest.mark.parametrize(
    ("run_name", "settings", "click_limit"),
    [
        ("noflip_thr0.49_iou0.90", {}, None),
        ("noflip_thr0.50_full20", {"mask_threshold": 0.5, "target_iou": 1.01}, None),
        ("noflip_limit4_full12", {"target_iou": 1.01, "max_clicks": 12}, 4),
        ("noflip_min5_iou0.80", {"target_iou": 0.8, "min_clicks": 5}, None),
    ],
)
def test_reproduces_the_reference_sequences(
    data_dir: Path,
    reference_net: Any,
    run_name: str,
    settings: dict[str, Any],
    click_limit: int | None,
) -> None:
    vectors = np.load(data_dir / "reference" / "eval_protocol.npz")
    images = sorted(name[:3] for name in vectors.files if name.endswith("_image"))
    assert images
    for key in images:
        image, gt = vectors[f"{key}_image"], vectors[f"{key}_gt"]
        run = run_clicks(ReferenceModel(reference_net, click_limit), image, gt, **settings)
        expected = vectors[f"{run_name}__{key}_clicks"]
        clicks = [[c.xy[1], c.xy[0], c.is_positive, i] for i, c in enumerate(run.clicks)]
        assert clicks == expected.tolist(), key
        assert run.ious.tolist() == vectors[f"{run_name}__{key}_ious"].tolist()
        mask = np.unpackbits(vectors[f"{run_name}__{key}_final_mask"], count=gt.size)
        assert (run.mask == mask.reshape(gt.shape)).all()


def test_an_answer_that_is_no_number_ends_the_run() -> None:
    """It would pass for background, and its clicks for the model's."""

    class Broken:
        def encode(self, image: Any) -> Any:
            return image.shape[:2]

        def decode(self, embedding: Any, clicks: Any, previous: Any) -> Any:
            logits = np.zeros(embedding, np.float32)
            logits -= 1.0
            logits[3, 4] = np.nan if len(clicks) > 1 else -1.0
            return logits

    image = np.zeros((20, 30, 3), np.uint8)
    with pytest.raises(PredictionError, match=r"not numbers.*another checkpoint"):
        run_clicks(Broken(), image, np.ones((20, 30), bool))
