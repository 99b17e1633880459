"""The models make the click sequences of the original repositories, click for click.

Their networks are stand-ins that the reference vectors were made with.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn
from torchvision.ops import roi_align

from histosam_core.clicks import Click, next_click
from histosam_core.evaluation import run_clicks
from histosam_core.metrics import iou
from histosam_core.model import FocalClickModel, Prediction, RitmModel, SimpleClickModel, ZoomIn

if TYPE_CHECKING:
    from histosam_core.model.specialists.click_model import ClickModel

pytestmark = pytest.mark.real_slide

Arrays = dict[str, NDArray[Any]]


@pytest.fixture
def fake(data_dir: Path) -> dict[str, Any]:
    """What fakenet.py beside the vectors defines."""
    return runpy.run_path(str(data_dir / "reference" / "fakenet.py"))


@pytest.fixture
def vectors(data_dir: Path) -> Callable[[str], Arrays]:
    return lambda name: dict(np.load(data_dir / "reference" / f"{name}.npz"))


@dataclass
class Recorder:
    """Hands calls on to a model and keeps its answers."""

    own: ClickModel
    answers: list[Prediction] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.info, self.device, self.encode = self.own.info, self.own.device, self.own.encode

    def decode(self, embedding: Any, clicks: Any, previous: Any = None) -> Prediction:
        self.answers.append(self.own.decode(embedding, clicks, previous))  # type: ignore[attr-defined]
        return self.answers[-1]


def unpacked(packed: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape).astype(bool)


def rows(clicks: list[Click]) -> list[list[int]]:
    return [[int(c.xy[1]), int(c.xy[0]), int(c.is_positive)] for c in clicks]


RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "noflip_thr0.49_iou0.90": ({"flip": False}, {}),
    "noflip_thr0.50_full20": ({"flip": False}, {"target_iou": 1.01, "mask_threshold": 0.5}),
    "flip_thr0.49_iou0.90": ({}, {}),
    "flip_thr0.49_full20": ({}, {"target_iou": 1.01}),
    "noflip_limit4_full12": (
        {"flip": False, "max_net_clicks": 4},
        {"target_iou": 1.01, "max_clicks": 12},
    ),
    "noflip_min5_iou0.80": ({"flip": False}, {"target_iou": 0.8, "min_clicks": 5}),
}


@pytest.mark.parametrize("run", RUNS)
def test_clicks_without_zoom_are_those_of_ritm(
    run: str, fake: dict[str, Any], vectors: Callable[[str], Arrays]
) -> None:
    of_model, of_protocol = RUNS[run]
    stored = vectors("eval_protocol")
    for name in sorted(k.removesuffix("_image") for k in stored if k.endswith("_image")):
        truth = stored[f"{name}_gt"]
        network = fake["FakeNet"]()
        model = RitmModel(network, zoom_in=None, device="cpu", **of_model)
        made = run_clicks(model, stored[f"{name}_image"], truth, **of_protocol)
        key = f"{run}__{name}_"
        assert rows(made.clicks) == stored[key + "clicks"][:, :3].tolist(), key
        np.testing.assert_array_equal(made.ious, stored[key + "ious"])
        np.testing.assert_array_equal(made.mask, unpacked(stored[key + "final_mask"], truth.shape))
        np.testing.assert_array_equal(
            network.calls[-1].astype(np.float32), stored[key + "last_points_nd"]
        )


MODES: dict[str, Callable[[nn.Module], ClickModel]] = {
    "ritm_400": lambda net: RitmModel(net, device="cpu"),
    "ritm_600": lambda net: RitmModel(net, zoom_in=ZoomIn(target_size=600), device="cpu"),
    "simpleclick_448": lambda net: SimpleClickModel(net, device="cpu"),
    "fixed_300_noskip": lambda net: RitmModel(
        net, zoom_in=ZoomIn(skip_clicks=-1, target_size=300, min_crop_size=40), device="cpu"
    ),
}


@pytest.mark.parametrize("mode", MODES)
def test_clicks_with_zoom_are_those_of_ritm_and_simpleclick(
    mode: str, fake: dict[str, Any], vectors: Callable[[str], Arrays]
) -> None:
    stored = vectors("zoomin")
    for name in sorted(k.removesuffix("_shape") for k in stored if k.endswith("_shape")):
        image, truth = fake["synth"](int(name[1:]))
        factor = 3 if max(truth.shape) < 140 else 2
        image = np.kron(image, np.ones((factor, factor, 1), np.uint8))
        truth = np.kron(truth, np.ones((factor, factor), truth.dtype))
        network = fake["FakeNet"]()
        model = Recorder(MODES[mode](network))
        made = run_clicks(model, image, truth, target_iou=1.01, max_clicks=8)
        key = f"{mode}__{name}_"
        assert rows(made.clicks) == stored[key + "clicks"].tolist(), key
        np.testing.assert_array_equal(made.ious, stored[key + "ious"])
        regions = [answer.state.roi or (-1, -1, -1, -1) for answer in model.answers]
        np.testing.assert_array_equal(regions, stored[key + "roi_after_step"])
        np.testing.assert_array_equal(
            network.calls[-1].astype(np.float32), stored[key + "last_points_nd"]
        )
        probabilities = [expit(answer.logits.astype(np.float64)) for answer in model.answers]
        means, areas = stored[key + "prob_mean_and_area"].T
        np.testing.assert_allclose([p.mean() for p in probabilities], means, atol=1e-6)
        assert [np.count_nonzero(p > 0.49) for p in probabilities] == areas.tolist()
        np.testing.assert_allclose(
            probabilities[-1][::4, ::4], stored[key + "final_prob_stride4"], atol=5e-4
        )


def focal_network(fake: dict[str, Any]) -> Any:
    """FocalClick's form of the stand-in, as the vectors' README describes it."""

    class FocalNet(fake["FakeNet"]):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.boxes: list[Tensor] = []
            self.refine_points: list[Tensor] = []

        def forward(self, image: Tensor, points: Tensor) -> dict[str, Tensor]:
            answer: dict[str, Tensor] = super().forward(image, points)
            return answer | {"feature": nn.functional.avg_pool2d(answer["instances"], 4)}

        def refine(
            self, image: Tensor, points: Tensor, feature: Tensor, logits: Tensor, box: Tensor
        ) -> dict[str, Tensor]:
            self.boxes.append(box)
            self.refine_points.append(points)
            height, width = image.shape[-2:]
            coarse = roi_align(logits, box, (height, width), aligned=True)
            ys, xs = torch.meshgrid(
                torch.arange(height).double(), torch.arange(width).double(), indexing="ij"
            )
            pull = 2 * (image[:, 2:3].double() - 0.5)
            n = points.shape[1] // 2
            for i, (y, x, number) in enumerate(points[0].double().tolist()):
                if max(y, x, number) < 0 and number == -1:
                    continue
                blob = 1.5 * torch.exp(-((ys - y) ** 2 + (xs - x) ** 2) / 800)
                pull[0, 0] += blob if i < n else -blob
            refined = ((0.7 * coarse.double() + pull) * 64).round() / 64
            return {"instances_refined": refined.float(), "instances_coarse": coarse}

    return FocalNet()


@pytest.mark.parametrize(
    ("run", "threshold"),
    [("scratch_thr0.5", 0.5), ("init_thr0.5", 0.5), ("scratch_thr0.49_flip", 0.49)],
)
def test_clicks_are_those_of_focalclick(
    run: str, threshold: float, fake: dict[str, Any], vectors: Callable[[str], Arrays]
) -> None:
    stored = vectors("focal_eval")
    for i in (0, 4, 8):
        key = f"{run}__i{i:02d}_"
        image, truth = fake["synth"](i)
        mask = np.zeros(truth.shape, bool)
        answer = None
        if "init" in run:
            truth = np.where(truth == -1, 0, truth)
            mask = unpacked(stored[key + "init"], truth.shape)
            answer = Prediction(np.where(mask, 16, -16).astype(np.float32))
        network = focal_network(fake)
        model = FocalClickModel(network, flip="flip" in run, device="cpu")
        embedding = model.encode(image)
        clicks: list[Click] = []
        ious, bounds, traced = [], [], stored[key + "trace_globalroi_focusroi_mean_area"]
        for step in range(14):
            clicks.append(next_click(truth, mask, clicks))
            answer = model.decode(embedding, clicks, answer)
            mask = expit(answer.logits) > np.float32(threshold)
            ious.append(iou(truth, mask))
            y1, y2, x1, x2 = answer.state.roi or (0, truth.shape[0] - 1, 0, truth.shape[1] - 1)
            bounds.append([y1, y2 + 1, x1, x2 + 1])
            if "init" not in run:  # there the trace is of what the merge leaves out
                assert np.count_nonzero(mask) == traced[step, 9]
                mean = expit(answer.logits.astype(np.float64)).mean()
                assert mean == pytest.approx(traced[step, 8], abs=1e-6)
        assert rows(clicks) == stored[key + "clicks"].tolist(), key
        np.testing.assert_array_equal(np.float32(ious), stored[key + "ious"])
        np.testing.assert_array_equal(bounds, traced[:, :4])
        np.testing.assert_array_equal(torch.cat(network.boxes), stored[key + "refine_boxes"])
        np.testing.assert_array_equal(
            network.refine_points[-1].float(), stored[key + "last_refine_points"]
        )
        np.testing.assert_array_equal(
            network.calls[-1].astype(np.float32), stored[key + "last_points_nd"]
        )
