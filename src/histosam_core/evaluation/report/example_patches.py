"""Example patches: which of a run a report shows, and how."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from histosam_core.evaluation.pictures import read_image, read_mask, read_truth
from histosam_core.metrics import clicks_to_reach

if TYPE_CHECKING:
    from histosam_core.evaluation.records import EvaluationResult, PatchRecord

Rank = Literal["best", "median", "worst"]


@dataclass(frozen=True, slots=True)
class Example:
    """A patch worth showing, and its place among the patches of its run."""

    rank: Rank
    record: PatchRecord


def choose_examples(result: EvaluationResult, n_each: int = 1) -> list[Example]:
    """Return the best, median and worst patches of a run, `n_each` of each.

    Patches are ranked by the clicks to the target, then by the IoU at the end. In a run of few
    patches none is shown twice. Of a user's repeats the first one counts.
    """
    result = result.of_repeat(0)
    target = min(result.settings.target_iou, 0.90)
    needed = clicks_to_reach(result.iou_curves, target, result.settings.max_clicks)
    last = [float(curve[-1]) for curve in result.iou_curves]
    order = sorted(range(len(last)), key=lambda i: (needed[i], -last[i]))
    ranked = [result.patches[i] for i in order]
    n = len(ranked)
    middle = max((n - n_each) // 2, 0)
    places: dict[int, Rank] = {}
    for rank, start in (("worst", n - n_each), ("best", 0), ("median", middle)):
        for place in range(max(start, 0), min(start + n_each, n)):
            places.setdefault(place, rank)  # type: ignore[arg-type]
    return [Example(places[place], ranked[place]) for place in sorted(places)]


def example_views(
    runs: Sequence[EvaluationResult], key: str, colours: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return the best, median and worst patches of each run, with every run's answer on them.

    They are what the template shows; `key` begins the names of its pictures in the page.
    """
    n_each = 2 if len(runs) == 1 else 1
    why: dict[str, list[str]] = {}
    for run in runs:
        for example in choose_examples(run, n_each):
            reason = example.rank if len(runs) == 1 else f"{example.rank} for {run.name}"
            why.setdefault(example.record.patch_id, []).append(reason)
    views = []
    for i, (patch_id, reasons) in enumerate(why.items()):
        records = [
            (run, r)
            for run in runs
            for r in run.patches
            if r.patch_id == patch_id and r.repeat == 0
        ]
        stored = [
            (image, truth)
            for run, r in records
            if run.folder is not None
            and (image := read_image(run.folder, r.index)) is not None
            and (truth := read_truth(run.folder, r.index)) is not None
        ]
        if not stored:
            continue
        image, truth = stored[0]
        views.append(
            {
                "key": f"{key}-{i}",
                "image": data_uri(image, "image/jpeg"),
                "size_wh": (truth.shape[1], truth.shape[0]),
                "why": ", ".join(reasons),
                "patch_id": patch_id,
                "slide": records[0][1].slide,
                "truth": outline_path(truth == 1),
                "panels": [_panel(run, record, colours[run.name]) for run, record in records],
            }
        )
    return views


def _panel(run: EvaluationResult, record: PatchRecord, colour: str) -> dict[str, Any]:
    """One model's answer."""
    mask = None if run.folder is None else read_mask(run.folder, record.index)
    n = len(record.clicks)
    caption = f"{n} click{'s' if n != 1 else ''}, IoU {record.ious[-1]:.2f}"
    if record.ious[-1] < run.settings.target_iou <= 1:
        caption += ", target not reached"
    return {
        "name": run.name,
        "colour": colour,
        "outline": "" if mask is None else outline_path(mask),
        "clicks": [
            (i, click.xy[0] + 0.5, click.xy[1] + 0.5, click.is_positive)
            for i, click in enumerate(record.clicks, 1)
        ],
        "caption": caption,
    }


def outline_path(mask: NDArray[np.bool_]) -> str:
    """Return the outlines of a mask, holes too, as the `d` of an SVG path.

    SVG has pixel corners at whole numbers, so that the lines, which run through the centres of the
    outermost pixels, lie at halves.
    """
    contours, _ = cv2.findContours(
        np.ascontiguousarray(mask, np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    parts = []
    for contour in contours:
        points = contour[:, 0]
        start = f"M{points[0, 0] + 0.5:g} {points[0, 1] + 0.5:g}"
        steps = " ".join(f"{dx} {dy}" for dx, dy in np.diff(points, axis=0))
        # A lone pixel has no outline to step along; a dot stands for it.
        parts.append(f"{start}l{steps or '0 0'}z")
    return "".join(parts)


def data_uri(content: bytes, kind: str) -> str:
    """Return bytes as a link that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
