"""From a few outlined slides to a model that is proven better on such slides.

    python examples/improve_on_your_outlines.py SLIDES OUT [MINUTES]

SLIDES is a folder of slides with an annotation beside each: GeoJSON, XML or a mask TIFF.
"""

from __future__ import annotations

import sys

from histosam_core.improve import ImproveSettings, improve


def main(slides: str, out: str, minutes: str = "20") -> None:
    settings = ImproveSettings(
        out=out,
        slides=slides,
        model="histosam-tiny",  # or "sam_vit_b" on a GPU
        scenario="refining",
        minutes=float(minutes),
        known_within_um=100.0,  # None: every tumour of the slides is outlined
    )
    result = improve(settings)
    print(result.headline())
    print(result.trust())
    print(f"report: {result.report}")
    if result.is_promoted:
        print(f'next: hs.load_model("{result.own_model}")')
    else:
        print(f"the tuned model, not promoted: {result.checkpoint}")


if __name__ == "__main__":
    main(*sys.argv[1:])
