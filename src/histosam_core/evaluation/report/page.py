"""One self-contained HTML report of several models on several data sets, from the rows alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.atomic import new_file
from histosam_core.errors import EvaluationRecordsError
from histosam_core.evaluation.report.example_patches import data_uri, example_views
from histosam_core.evaluation.report.exports import csv_table, latex_table, summary_json
from histosam_core.evaluation.report.plots import (
    MOST_SLIDES,
    colour_of,
    curve_figure,
    distribution_figure,
    figure_png,
    figure_svg,
    repeats_figure,
    slides_figure,
)
from histosam_core.evaluation.report.summary import RunSummary, can_tell
from histosam_core.evaluation.report.tables import (
    COLUMNS,
    NOC_COLUMNS,
    Block,
    blocks_of,
    number,
    p_value,
    seconds,
)
from histosam_core.version import __version__

if TYPE_CHECKING:
    from jinja2 import Template
    from matplotlib.figure import Figure

    from histosam_core.evaluation.records import EvaluationResult
    from histosam_core.evaluation.report.comparison import Difference

REPORT_FILES = ("report.html", "summary.json", "curves.png", "summary.csv", "table.tex")


def write_outputs(
    results: Sequence[EvaluationResult],
    out: str | os.PathLike[str],
    *,
    title: str = "Click evaluation",
    introduction: str = "",
    report: bool = True,
) -> list[Path]:
    """Write the results into a folder, for people and for programs.

    summary.json has all numbers, summary.csv the table, table.tex the same for a paper, curves.png
    the curves, and report.html, unless `report` is False, all that in one page.

    Files of these names in the folder are replaced. `title` and `introduction` are those of
    `render_report`. Returns what was written, the report last.

    Raises
    ------
    EvaluationRecordsError
        There is no run.
    """
    _require_runs(results)
    html, summary, curves, table, latex = (Path(out) / name for name in REPORT_FILES)
    texts = {
        summary: json.dumps(summary_json(results), indent=2, default=str) + "\n",
        table: csv_table(results),
        latex: latex_table(results),
    }
    for file, text in texts.items():
        with new_file(file) as path:
            path.write_text(text, encoding="utf-8")
    figure_png(curve_figure(results), curves)
    if report:
        write_report(results, html, title=title, introduction=introduction)
    return [*texts, curves, *([html] if report else [])]


def write_report(
    results: Sequence[EvaluationResult],
    path: str | os.PathLike[str],
    *,
    title: str = "Click evaluation",
    introduction: str = "",
) -> Path:
    """Write the report as one HTML file that needs nothing beside it; see `render_report`."""
    html = render_report(results, title=title, introduction=introduction)
    with new_file(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return Path(path)


def render_report(
    results: Sequence[EvaluationResult], *, title: str = "Click evaluation", introduction: str = ""
) -> str:
    """Return the report as HTML: table, curves, spread of clicks, differences, examples.

    Parameters
    ----------
    results
        Runs of any number of models on any number of data sets. Example patches are shown where
        the run folder holds them.
    title
        Heading of the page.
    introduction
        A paragraph of plain text below it.

    Raises
    ------
    EvaluationRecordsError
        There is no run.
    """
    _require_runs(results)
    filters = {"number": number, "seconds": seconds, "percent": _percent, "p": p_value}
    template = page_template(__package__, "report.html.j2", filters)
    blocks = blocks_of(results)
    threshold = _shown_threshold(results)
    settings = [run.settings for run in results]
    colours = colour_of(results)

    def picture(figure: Figure) -> str:
        return data_uri(figure_svg(figure).encode(), "image/svg+xml")

    lines = [line for block in blocks for line in block.lines]
    has_slides = any(line.n_slides > 1 for line in lines)
    repeated = [run for run in results if run.user.repeats > 1 and run.patches]
    return template.render(
        title=title,
        introduction=introduction,
        version=__version__,
        blocks=blocks,
        kinds={block.dataset: _kind(block.runs[0]) for block in blocks},
        columns=COLUMNS,
        noc_columns=NOC_COLUMNS,
        colours=colours,
        curves=picture(curve_figure(results)),
        spread=picture(distribution_figure(results, threshold)),
        shown_threshold=threshold,
        slides=picture(slides_figure(results, threshold)) if has_slides else "",
        most_slides=MOST_SLIDES,
        repeats=picture(repeats_figure(repeated)) if repeated else "",
        ranks={b.dataset: ranks for b in blocks if (ranks := _ranks(b.lines, threshold))},
        users=list(dict.fromkeys(run.user.described for run in results)),
        differences={b.dataset: found for b in blocks if (found := _from_first(b))},
        tested={d.tested for b in blocks for found in _from_first(b).values() for d in found},
        examples={
            block.dataset: views
            for i, block in enumerate(blocks)
            if (views := example_views(block.runs, f"image-{i}", colours))
        },
        settings=settings[0],
        settings_differ=any(s != settings[0] for s in settings),
        resampled={line.resampled for line in lines},
        incomplete=[run for run in results if not run.is_complete],
        runs=results,
        provenance=provenance_rows,
    )


def page_template(
    package: str, name: str, filters: Mapping[str, Callable[..., Any]] | None = None
) -> Template:
    """Return a page's template, from a package's folder "templates"; it escapes what it shows."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters or {})
    return environment.get_template(name)


def _require_runs(results: Sequence[EvaluationResult]) -> None:
    if not any(run.patches for run in results):
        raise EvaluationRecordsError(
            "there is no finished patch to report on; run `histosam evaluate` first"
        )


def _kind(run: EvaluationResult) -> str:
    """What a run's records are."""
    is_of_slides = run.header.get("dataset", {}).get("kind") == "slides"
    return "regions" if is_of_slides else "patches"


def _shown_threshold(results: Sequence[EvaluationResult]) -> float:
    """Return the middle threshold, or the highest that every run knows."""
    targets = [run.settings.target_iou for run in results]
    known = [t for t in (0.85, 0.80) if all(can_tell(t, target) for target in targets)]
    return known[0] if known else min(targets)


def _from_first(block: Block) -> dict[str, list[Difference]]:
    """Return how models differ from the first of their data set, by name.

    All pairs are compared, so that p values are corrected for all of them.
    """
    found: dict[str, list[Difference]] = {}
    for difference in block.differences:
        if difference.reference == block.runs[0].name:
            found.setdefault(difference.name, []).append(difference)
    return found


def _ranks(
    lines: Sequence[RunSummary], threshold: float
) -> list[tuple[str, list[tuple[int, float]], int]]:
    """Return each model's place in each of the user's repeats, by NoC, where there are several.

    (model, (place, NoC) in each repeat, number of different places). Models of one NoC share a
    place.
    """
    means = {s.name: s.repeats[threshold].means for s in lines if threshold in s.repeats}
    if len(means) < 2 or len({len(values) for values in means.values()}) > 1:
        return []
    ranks = []
    for name, values in means.items():
        places = [
            (1 + sum(other[i] < noc for other in means.values()), noc)
            for i, noc in enumerate(values)
        ]
        ranks.append((name, places, len({place for place, _ in places})))
    return ranks


def _percent(value: float) -> str:
    return f"{100 * value:.0f}"


def provenance_rows(run: EvaluationResult) -> list[tuple[str, Any]]:
    """Return what was run, for the report's last section: label and text."""
    checkpoint, software = run.header.get("checkpoint", {}), run.header.get("software", {})
    rows = [
        ("Checkpoint", checkpoint.get("name") or checkpoint.get("class")),
        ("sha256", checkpoint.get("sha256")),
        ("Architecture", checkpoint.get("architecture")),
        ("Decoder", checkpoint.get("decoder")),
        ("Training scenario", checkpoint.get("scenario")),
        ("Device", software.get("gpu") or checkpoint.get("device")),
        ("Batch size", run.header.get("batch_size")),
        ("Data", run.header.get("dataset", {}).get("path") or run.dataset),
        ("Started (UTC)", str(run.header.get("started", ""))[:19].replace("T", " ")),
        ("Software", ", ".join(f"{k} {v}" for k, v in software.items() if k != "gpu")),
    ]
    return [(label, value) for label, value in rows if value not in (None, "")]
