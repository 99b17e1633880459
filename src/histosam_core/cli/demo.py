"""`histosam demo`: the whole path in one command, offline, on synthetic slides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from histosam_core.cli.options import FLAG, OverwriteOption


def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder to make.")] = Path("demo"),
    quick: Annotated[
        bool, FLAG, Parameter(help="Few slides, few steps: the same files in a minute.")
    ] = False,
    seed: Annotated[int, Parameter(help="Of the slides and of the training.")] = 0,
    keep_cohort: Annotated[
        bool, FLAG, Parameter(help="Keep all slides, not only the outlined one.")
    ] = False,
    overwrite: OverwriteOption = False,
    model: Annotated[str, Parameter(show=False)] = "histosam-tiny",
) -> None:
    """Make slides, cut patches, fine-tune two decoders, count clicks, outline a slide, report.

    Needs no network, no GPU and no data. The slides are synthetic, so the numbers say that
    everything works together and how decoders compare on these slides; they say nothing about
    patients. Rows are printed as they fell.

    **Examples**

        histosam demo

        histosam demo --quick --out /tmp/demo --overwrite
    """
    from histosam_core.console import err
    from histosam_core.console import out as console
    from histosam_core.evaluation.report.tables import rich_table
    from histosam_core.recipes.demo.report import write_demo_report
    from histosam_core.recipes.demo.steps import FULL, QUICK, Demo, demo_folder

    work = Demo(out, QUICK if quick else FULL, seed, model)
    with demo_folder(out, overwrite=overwrite):
        try:
            work.run(keep_cohort=keep_cohort)
            write_demo_report(work)
        except KeyboardInterrupt:
            err.print(f"histosam: the demo was stopped; {out} is as it was before")
            raise SystemExit(1) from None
    console.print()
    console.print(rich_table(work.results))
    console.print(
        "NoC@k: mean clicks to IoU k %; NoF@k: share of patches that never get there; "
        "SPC: seconds per click, encoding included."
    )
    console.print(f"\nTook {work.total_s:.0f} s; peak memory {work.memory_text()}.")
    console.print("Open next:")
    for path, what in work.open_next():
        console.print(f"  {path}  [dim]{what}[/]")
