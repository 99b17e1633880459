"""What `histosam demo` leaves to be read: the evaluation's report with the demo's own sections."""

from __future__ import annotations

import json
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from histosam_core.atomic import new_file
from histosam_core.evaluation.report.example_patches import data_uri
from histosam_core.evaluation.report.page import render_report, write_outputs

if TYPE_CHECKING:
    from histosam_core.recipes.demo.outlined_slide import Outline
    from histosam_core.recipes.demo.steps import Demo

INTRODUCTION = (
    "A small model, pre-trained on drawn shapes and random tissue, is fine-tuned in two ways on "
    "synthetic liver-like slides and evaluated by simulated clicks: on other slides of the same "
    "kind, and on lymph-node-like slides of another texture, stain and scale. The numbers show "
    "that the whole path works and how the decoders compare here; they say nothing about patients."
)
PREVIEW_PX = 1400  # longest side of the picture in the page
JPEG_QUALITY = 85


def write_demo_report(demo: Demo) -> None:
    """Write report.html, summary.json and curves.png into the demo's folder."""
    out = demo.out
    write_outputs(demo.results, out, report=False)
    summary = json.loads((out / "summary.json").read_text())
    with new_file(out / "summary.json") as path:
        path.write_text(json.dumps(summary | {"demo": facts(demo)}, indent=2) + "\n")
    page = render_report(demo.results, title="HistoSAM demo", introduction=INTRODUCTION)
    page = insert(page, outline_section(demo.outline), before="<h2")
    page = insert(page, run_section(demo), before="<footer")
    with new_file(out / "report.html") as path:
        path.write_text(page, encoding="utf-8")


def facts(demo: Demo) -> dict[str, Any]:
    """Return how the demo was run and what it cost, as JSON has it."""
    peak, outline = demo.peak_mib, demo.outline
    return {
        "plan": asdict(demo.plan),
        "seed": demo.seed,
        "seconds": {step: round(s, 1) for step, s in demo.seconds.items()},
        "total_s": round(demo.total_s, 1),
        "peak_memory_mib": peak and {"process": round(peak[0]), "largest_worker": round(peak[1])},
        "outline": {
            "slide": outline.slide.name,
            "geojson": outline.geojson.name,
            "clicks": outline.n_clicks,
            "windows": outline.n_windows,
            "iou": round(outline.iou, 4),
        },
    }


def insert(page: str, section: str, *, before: str) -> str:
    """Put a section before the first tag that starts with `before`.

    Raises
    ------
    ValueError
        The page has no such tag: the template was changed without this file.
    """
    head, tag, tail = page.partition(before)
    if not tag:
        raise ValueError(f"the report has no {before!r} to put a section before")
    return head + section + tag + tail


def outline_section(outline: Outline) -> str:
    """Return the section that shows the outlined slide."""
    clicks = f"{outline.n_clicks} simulated click{'s' * (outline.n_clicks != 1)}"
    windows = f"{outline.n_windows} window{'s' * (outline.n_windows != 1)}"
    return (
        "<h2>A slide outlined by clicks</h2>\n"
        f"<p>The refining model, {clicks} in {windows} of {escape(outline.slide.name)}: IoU "
        f"{outline.iou:.2f} with the truth there. {escape(outline.geojson.name)} holds the outline "
        "in level-0 pixels; QuPath reads it.</p>\n"
        f'<figure><img src="{small_jpeg(outline.preview)}" alt="The slide with its outline and the '
        'clicks"></figure>\n'
    )


def run_section(demo: Demo) -> str:
    """Return the section that says what every step took."""
    rows = "".join(
        f"<tr><td>{escape(step)}</td><td>{s:.1f} s</td></tr>" for step, s in demo.seconds.items()
    )
    return (
        "<h2>What the demo took</h2>\n"
        '<div class="scroll"><table style="max-width: 28em"><thead><tr><th>Step</th><th>Time</th>'
        f"</tr></thead><tbody>{rows}<tr><td><b>all</b></td><td><b>{demo.total_s:.0f} s</b></td>"
        "</tr></tbody></table></div>\n"
        f'<p class="note">Seed {demo.seed}; peak memory {demo.memory_text()}.</p>\n'
    )


def small_jpeg(path: Path) -> str:
    """Return a picture file as JPEG in a data URI, made smaller where it is large."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path} is no picture")
    scale = min(1.0, PREVIEW_PX / max(image.shape[:2]))
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data_uri(encoded.tobytes(), "image/jpeg")
