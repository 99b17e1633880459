"""Count the clicks that a model needs on patches, and write the report.

    python examples/evaluate_a_model.py PATCHES.zarr OUT [MODEL ...]

Anything with `encode` and `decode` (see `histosam_core.model.interface`) can stand for a model.
"""

from __future__ import annotations

import sys
from pathlib import Path

import histosam_core as hs
from histosam_core.evaluation import plain_table, write_outputs


def main(store: str, out: str, *models: str) -> None:
    patches = hs.open_patches(store)
    results = [
        hs.evaluate(hs.load_model(model), patches, name=model, out=Path(out) / f"{i}", limit=50)
        for i, model in enumerate(models or ["histosam-tiny"])
    ]
    curves = results[0].iou_curves  # a row per patch: the IoU after each click
    print(f"{hs.noc(curves, 0.85):.1f} clicks to IoU 85 % on {len(curves)} patches")
    print(plain_table(results))
    write_outputs(results, out, title="My evaluation")


if __name__ == "__main__":
    main(*sys.argv[1:])
