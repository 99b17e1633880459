"""Count the clicks that whole tumour regions need, slide by slide.

    python examples/evaluate_on_slides.py SLIDES OUT [MAX_CLICKS]

SLIDES is a folder of slides with their annotations beside them. With the address of a dask
scheduler in DASK_SCHEDULER its workers do the clicking.
"""

from __future__ import annotations

import os
import sys

from histosam_core.evaluation import evaluate_slides, plain_table, write_outputs


def main(slides: str, out: str, max_clicks: str = "60") -> None:
    result = evaluate_slides(
        "histosam-tiny",
        slides,
        name="histosam-tiny",
        out=f"{out}/run",
        max_clicks=int(max_clicks),
        progress=lambda done, total, message="": print(f"{done} of {total}: {message}"),
        scheduler=os.environ.get("DASK_SCHEDULER"),
    )
    for region in result.patches:
        n, reached = len(region.clicks), region.ious[-1]
        print(f"{region.patch_id}: IoU {reached:.2f} after {n} clicks")
    for what, why in result.header["left_out"].items():
        print(f"{what} was left out: {why}")
    print(plain_table([result]))
    write_outputs([result], out, title="Clicks on whole regions")


if __name__ == "__main__":
    main(*sys.argv[1:])
