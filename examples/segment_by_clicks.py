"""Outline a region of a slide by clicks, correct it, save it for QuPath.

    python examples/segment_by_clicks.py SLIDE OUT.geojson X,Y X,Y,- ...

Clicks are level-0 pixels; `,-` marks what does not belong to the region.
"""

from __future__ import annotations

import sys

import histosam_core as hs


def main(slide_path: str, out: str, *clicks: str) -> None:
    model = hs.load_model("histosam-tiny")
    with hs.open_slide(slide_path) as slide:
        print(f"{slide.name}: {slide.size_wh} pixels at {slide.mpp} um")
        session = hs.Session(slide, model)
        for click in clicks:
            x, y, *sign = click.split(",")
            mask, region = session.click((float(x), float(y)), is_positive=sign != ["-"])
            print(f"{click}: {mask.sum()} of {mask.size} px at {region.mpp} um are in the region")
        session.undo()  # the last click was a mistake ...
        session.redo()  # ... or was it?
        session.accept(label="Tumor")
        session.save_geojson(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
