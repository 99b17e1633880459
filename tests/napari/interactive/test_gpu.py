"""The session's side on a CUDA GPU, where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from histosam_core.clicks import Click
from histosam_core.slide import open_slide
from napari_histosam.interactive.engine import Engine
from napari_histosam.interactive.view import Setup


@pytest.fixture
def cuda() -> str:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU; run this on a machine that has one")
    return "cuda"


@pytest.mark.gpu
def test_clicks_on_the_gpu_give_the_cpu_s_mask(cuda: str, slide_path: Path, drawn: Any) -> None:
    masks = []
    for device in (cuda, "cpu"):
        engine = Engine(lambda: open_slide(slide_path))
        engine.open(Setup(model="histosam-tiny", device=device))
        assert str(engine.session.model.device).startswith(device)
        engine.apply(Click(drawn.inside))
        x, y = drawn.inside
        masks.append(engine.apply(Click((x + 120, y), False)))
        engine.close()
    assert masks[0].area_mm2 == pytest.approx(masks[1].area_mm2, rel=0.02)


@pytest.mark.gpu
def test_a_session_moves_from_the_gpu_to_the_cpu(cuda: str, slide_path: Path, drawn: Any) -> None:
    engine = Engine(lambda: open_slide(slide_path))
    engine.open(Setup(model="histosam-tiny", device=cuda))
    before = engine.apply(Click(drawn.inside))
    after = engine.open(Setup(model="histosam-tiny", device="cpu"))
    assert after.clicks == before.clicks
    assert after.area_mm2 == pytest.approx(before.area_mm2, rel=0.02)
    engine.close()
