"""RITM, FocalClick, SimpleClick and MobileSAM on a CUDA GPU answer as they do on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from histosam_core.evaluation import run_clicks
from histosam_core.model import network, pick_device
from histosam_core.model.checkpoint.checkpoint import describe_network
from histosam_core.model.load import make_interactive

NETWORKS = (
    "ritm_hrnet18s_itm",
    "focalclick_hrnet18s_S1",
    "focalclick_segformerB0_S2",
    "simpleclick_xtiny448",
    "mobile_sam",
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


@pytest.mark.parametrize("name", NETWORKS)
def test_clicks_on_a_gpu_are_those_of_the_cpu(name: str) -> None:
    torch.manual_seed(0)
    net = network(name)
    image = np.random.default_rng(0).integers(0, 255, (120, 150, 3), np.uint8)
    gt_mask = np.zeros((120, 150), bool)
    gt_mask[30:80, 40:110] = True
    info = describe_network(net, name=name)
    runs = [
        run_clicks(make_interactive(net, info, pick_device(device)), image, gt_mask, max_clicks=3)
        for device in ("cpu", "cuda")
    ]
    assert runs[0].clicks[0] == runs[1].clicks[0]
    assert (runs[0].mask ^ runs[1].mask).mean() < 0.01
