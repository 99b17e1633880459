"""`histosam prepare`: annotated slides to patches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from histosam_core.cli import options  # noqa: TC001 - typer reads the annotations

if TYPE_CHECKING:
    from histosam_core.dataset import ExtractionSummary

__all__ = ["prepare"]


def prepare(
    slides: Annotated[Path, typer.Argument(help="Folder of slides, or one slide.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to make the patch stores in.")],
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="Folder of annotations (XML, GeoJSON, mask TIFF); default: by the slides."
        ),
    ] = None,
    mpp: Annotated[
        float | None, typer.Option(help="Micrometres per patch pixel.  [default: 2.0]")
    ] = None,
    magnification: Annotated[
        float | None, typer.Option(help="The same, as an objective's power: 5 is 2.0 um.")
    ] = None,
    patch_size: Annotated[int, typer.Option(help="Edge of a patch in pixels.")] = 400,
    stride: Annotated[
        int | None, typer.Option(help="Step of the grid in patch pixels.  [default: patch size]")
    ] = None,
    tumor: Annotated[
        tuple[float, float], typer.Option(help="Least and greatest share of tumour.")
    ] = (0.2, 0.8),
    min_tissue: Annotated[float, typer.Option(help="Least share of tissue.")] = 0.5,
    splits: Annotated[
        tuple[float, float, float],
        typer.Option(help="Shares of slides for train, validation and test; 0 leaves one out."),
    ] = (0.7, 0.15, 0.15),
    split_file: options.SplitFileOption = None,
    label: options.LabelOption = None,
    slide_mpp: options.SlideMppOption = None,
    skip_unannotated: Annotated[
        bool, typer.Option("--skip-unannotated", help="Leave slides without annotation out.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the split by shares.")] = 0,
    workers: Annotated[
        int | None, typer.Option(help="Threads that read.  [default: one per core, at most 8]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Cut annotated slides into patches, split by slide: one store per split.

    Annotations are found by name: `case1.svs` goes with `case1.xml`, `case1.geojson`,
    `case1_mask.tif` and the like, beside the slides or in `--annotations`.

    **Examples**

    `histosam prepare slides --out patches`

    `histosam prepare camelyon/slides --annotations camelyon/xml --magnification 5 --out patches`

    `histosam prepare slides --splits 0 0 1 --stride 200 --out test-patches`
    """
    from histosam_core.console import print_json, progress_bar
    from histosam_core.dataset import extract_patches, read_split_file
    from histosam_core.dataset.settings import mpp_of_magnification
    from histosam_core.errors import ConfigError

    if mpp is not None and magnification is not None:
        raise ConfigError("give either --mpp or --magnification, not both")
    if magnification is not None:
        mpp = mpp_of_magnification(magnification)
    shares = dict(zip(("train", "validation", "test"), splits, strict=True))
    with progress_bar("Preparing patches") as progress:
        summary = extract_patches(
            slides,
            out,
            annotations=annotations,
            mpp=2.0 if mpp is None else mpp,
            patch_size_px=patch_size,
            stride_px=stride,
            tumor_fraction=tumor,
            min_tissue=min_tissue,
            splits=shares if split_file is None else read_split_file(split_file),
            seed=seed,
            slide_mpp=slide_mpp,
            labels=label or None,
            skip_unannotated=skip_unannotated,
            workers=workers,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        print_json(summary.to_dict())
    else:
        _show(summary)


def _show(summary: ExtractionSummary) -> None:
    from rich.table import Table

    from histosam_core.console import err, out
    from histosam_core.dataset.plan import REASONS

    table = Table(box=None)
    for column in ("split", "slides", "patches"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, n in summary.n_patches.items():
        table.add_row(split, str(len(summary.slides[split])), str(n))
    out.print(table)
    dropped = ", ".join(f"{n} {REASONS[reason]}" for reason, n in summary.rejected.items() if n)
    total = sum(summary.n_patches.values())
    out.print(f"{total} of {summary.n_candidates} places kept ({dropped or 'none dropped'})")
    for note in summary.notes:
        err.print(f"[yellow]note:[/] {note}")
    out.print(f"Look at {summary.out / 'preview.png'}")
