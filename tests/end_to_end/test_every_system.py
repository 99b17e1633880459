"""Every system of the paper's tables: one evaluation and one report, sessions, undo, replays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import command
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from histosam_core.dataset import extract_patches, open_patches
from histosam_core.model import (
    FocalClickModel,
    RitmModel,
    SimpleClickModel,
    TrainingGeometry,
    describe_network,
    load_model,
    network,
    save_checkpoint,
)
from histosam_core.session import Session
from histosam_core.session.journal import new_journal
from histosam_core.slide import open_slide

SPECIALISTS = {
    "ritm": "ritm_hrnet18s_itm",
    "focalclick": "focalclick_segformerB0_S2",
    "simpleclick": "simpleclick_xtiny448",
}
SCENARIOS = {"sam_md": "sam", "sam_ie_md": "sam", "sam_whole": "sam", "refining": "refining"}
SIDE = 96


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of each of the eight systems, two patches, a slide."""
    folder = tmp_path_factory.mktemp("systems")
    torch.manual_seed(0)
    geometry = TrainingGeometry(2.0, SIDE)
    for name, architecture in SPECIALISTS.items():
        net = network(architecture)
        info = describe_network(net, name=name, geometry=geometry)
        save_checkpoint(folder / f"{name}.safetensors", net, info)
    for name, decoder in SCENARIOS.items():
        tiny = load_model("histosam-tiny", "cpu", decoder=decoder)
        info = describe_network(tiny.network, name=name, geometry=geometry)
        save_checkpoint(folder / f"{name}.safetensors", tiny.network, info)
    image = np.full((300, 400, 3), (235, 215, 230), np.uint8)
    image[100:220, 90:300] = (140, 70, 150)
    Image.fromarray(image).save(folder / "scan.png")
    return folder


def histosam(*arguments: object) -> str:
    result = command.histosam(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_all_eight_in_one_evaluation_and_one_report(folder: Path, tmp_path: Path) -> None:
    from histosam_core.recipes.synthetic.cohort import make_cohort

    cohort = make_cohort(tmp_path / "slides", n_slides=1, slide_um=900.0, workers=1)
    pairs = list(zip(cohort.slides, cohort.annotations, strict=True))
    extract_patches(
        pairs, tmp_path / "patches", patch_size_px=SIDE, splits={"test": 1.0}, workers=1
    )
    assert len(open_patches(tmp_path / "patches", "test")) >= 2
    models = {"sam": "histosam-tiny@sam"}
    models |= {name: str(folder / f"{name}.safetensors") for name in (*SCENARIOS, *SPECIALISTS)}
    named = [text for name, source in models.items() for text in ("--model", f"{name}={source}")]
    out = tmp_path / "results"
    histosam(
        "evaluate", *named, "--patches", tmp_path / "patches" / "test.zarr", "--out", out,
        "--max-clicks", 2, "--limit", 2, "--device", "cpu",
    )  # fmt: skip
    runs = json.loads((out / "summary.json").read_text())["runs"]
    assert [run["model"] for run in runs] == list(models)
    assert all(run["n_patches"] == 2 for run in runs)
    report = (out / "report.html").read_text()
    assert all(name in report for name in models)


@pytest.mark.parametrize("name", SPECIALISTS)
def test_a_journal_is_replayed_with_another_familys_model(
    folder: Path, tmp_path: Path, name: str
) -> None:
    with (
        open_slide(folder / "scan.png", mpp=2.0) as slide,
        new_journal(slide) as journal,
    ):
        session = Session(slide, load_model("histosam-tiny", "cpu"), journal=journal)
        session.click((150, 150))
        session.click((60, 60), is_positive=False)
        session.undo()
        session.redo()
        session.accept("Tumor")
        session.end()
        path = journal.path
    model = folder / f"{name}.safetensors"
    told = json.loads(
        histosam(
            "replay", path, "--slide", folder / "scan.png", "--model", model, "--device", "cpu",
            "--json", "--out", tmp_path / "out.geojson",
        )
    )  # fmt: skip
    assert not told["is_same_model"]
    assert len(told["objects"]) == 1
    assert (tmp_path / "out.geojson").is_file()


class Blobs(nn.Module):
    """Blobs round the clicks, on an image that says nothing."""

    def forward(self, x: Tensor, points: Tensor) -> dict[str, Tensor]:
        height, width = x.shape[-2:]
        ys, xs = torch.arange(height)[:, None], torch.arange(width)
        n = points.shape[1] // 2
        logits = -2.0 + x[:, :1] + 1.5 * (x[:, 3:] > 0.49)
        for b, table in enumerate(points):
            for i, (y, column, _) in enumerate(table.tolist()):
                if y >= 0 or column >= 0:
                    reach = 0.1 * min(height, width)
                    near = torch.exp(-((ys - y) ** 2 + (xs - column) ** 2) / (2 * reach**2))
                    logits[b, 0] += (4.0 if i < n else -4.0) * near
        return {"instances": logits.float(), "feature": logits.float()[:, :, ::4, ::4]}

    def refine(self, image: Any, points: Any, feature: Any, logits: Tensor, box: Tensor) -> Any:
        from torchvision.ops import roi_align

        size_hw = logits.shape[-2], logits.shape[-1]
        coarse = roi_align(logits, box, size_hw, aligned=True)
        return {"instances_refined": coarse + image[:, 1:2] - 0.5}


CLICKS = [((150, 150), True), ((260, 190), True), ((60, 60), False), ((290, 110), True)]


@pytest.mark.parametrize(
    "make",
    [RitmModel, SimpleClickModel, FocalClickModel],
    ids=["ritm", "simpleclick", "focalclick"],
)
def test_undo_and_redo_across_a_change_of_zoom(folder: Path, make: Callable[[Any], Any]) -> None:
    """Each state's mask is, bit for bit, the one that its clicks alone give."""
    model = make(Blobs())
    with open_slide(folder / "scan.png", mpp=2.0) as slide:

        def session() -> Session:
            return Session(slide, model, geometry=TrainingGeometry(2.0, 384))

        def logits(one: Session) -> dict[Any, bytes]:
            return {at: tile.logits.tobytes() for at, tile in one.canvas_snapshot.items()}

        alone, regions = [], []
        for n in range(1, len(CLICKS) + 1):
            fresh = session()
            for xy, is_positive in CLICKS[:n]:
                fresh.click(xy, is_positive)
            alone.append(logits(fresh))
            answers = fresh._outline.latest().values()
            regions.append([answer.state.roi for answer in answers])
        assert len({str(region) for region in regions}) > 1, "no zoom has changed"
        one = session()
        for xy, is_positive in CLICKS:
            one.click(xy, is_positive)
        for n in (3, 2, 1):
            one.undo()
            assert logits(one) == alone[n - 1]
        for n in (2, 3, 4):
            one.redo()
            assert logits(one) == alone[n - 1]
        one.undo()
        one.undo()
        for xy, is_positive in CLICKS[2:]:  # other clicks after an undo: the same ones again
            one.click(xy, is_positive)
        assert logits(one) == alone[-1]
