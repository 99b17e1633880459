"""From annotated slides to a fine-tuned model.

    python examples/finetune_a_model.py SLIDES OUT [EPOCHS]

SLIDES is a folder of slides with an annotation beside each: XML, GeoJSON or a mask TIFF.
"""

from __future__ import annotations

import sys
from pathlib import Path

import histosam_core as hs


def main(slides: str, out: str, epochs: str = "30") -> None:
    patches = Path(out) / "patches"
    summary = hs.extract_patches(slides, patches, mpp=2.0, patch_size_px=400)
    print(f"patches: {dict(summary.n_patches)}")
    config = hs.TrainConfig(
        out=Path(out) / "run",
        model="histosam-tiny",  # or "sam_vit_b" on a GPU
        patches=patches,
        scenario="refining",
        epochs=int(epochs),
    )
    result = hs.finetune(config)
    print(f"validation NoC@85: {result.before.noc85:.1f} -> {result.best.noc85:.1f} clicks")
    print(f"best checkpoint: {result.best_checkpoint}")


if __name__ == "__main__":
    main(*sys.argv[1:])
