"""`histosam prepare`: annotated slides to patches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from histosam_core import console
from histosam_core.cli import options
from histosam_core.dataset.settings import PrepareSettings

if TYPE_CHECKING:
    from histosam_core.dataset import ExtractionSummary


@options.takes(options.options_of(PrepareSettings, leave_out=("slides",)))
def prepare(
    slides: Annotated[
        Path | None, Parameter(help="Folder of slides, or one slide. (required)")
    ] = None,
    *,
    given: options.Given = options.NOTHING,
    magnification: options.MagnificationOption = None,
    config: Annotated[
        Path | None,
        options.FLAG,
        Parameter(help="JSON file of settings; options here override it."),
    ] = None,
    overwrite: options.OverwriteOption = False,
    json: options.JsonOption = False,
) -> None:
    """Cut annotated slides into patches, split by slide: one store per split.

    Annotations are found by name: `case1.svs` goes with `case1.xml`, `case1.geojson`,
    `case1_mask.tif` and the like, beside the slides or in `--annotations`.

    **Examples**

        histosam prepare slides --out patches

        histosam prepare camelyon/slides --annotations camelyon/xml --magnification 5 --out patches

        histosam prepare slides --splits 0 0 1 --stride 200 --out test-patches
    """
    from histosam_core.dataset import extract_patches

    chosen = options.with_magnification(given, magnification)
    if slides is not None:
        chosen = {**chosen, "slides": slides}
    settings = options.gather(PrepareSettings, chosen, config=config)
    with console.progress_bar("Preparing patches") as progress:
        summary = extract_patches(**settings.call(), overwrite=overwrite, progress=progress)
    if json:
        console.print_json(summary.to_dict())
    else:
        _show(summary)


def _show(summary: ExtractionSummary) -> None:
    from rich.table import Column, Table

    from histosam_core.dataset.plan import REASONS

    counts = (Column(name, justify="right") for name in ("slides", "patches"))
    table = Table("split", *counts, box=None)
    for split, n in summary.n_patches.items():
        table.add_row(split, str(len(summary.slides[split])), str(n))
    console.out.print(table)
    dropped = ", ".join(f"{n} {REASONS[reason]}" for reason, n in summary.rejected.items() if n)
    total = sum(summary.n_patches.values())
    console.out.print(
        f"{total} of {summary.n_candidates} places kept ({dropped or 'none dropped'})"
    )
    for note in summary.notes:
        console.note(note)
    console.out.print(f"Look at {summary.out / 'preview.png'}")
