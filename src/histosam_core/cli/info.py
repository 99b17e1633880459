"""`histosam info`: what a slide is, for people or as JSON, and a thumbnail of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators
from rich.console import Group
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from histosam_core import console
from histosam_core.cli.options import JsonOption, check_output

if TYPE_CHECKING:
    from histosam_core.slide import Slide


def info(
    file: Annotated[Path, Parameter(help="A slide, a PNG or a JPEG.")],
    *,
    thumbnail: Annotated[
        Path | None, Parameter(help="Also write an overview picture here (PNG or JPEG).")
    ] = None,
    thumbnail_px: Annotated[
        int,
        Parameter(
            validator=validators.Number(gte=16, lte=16384), help="Longer side of the overview."
        ),
    ] = 1024,
    mpp: Annotated[
        float | None, Parameter(help="Micrometres per pixel, where the file has none.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show size, resolution, levels and origin of a slide.

    **Examples**

        histosam info slide.svs

        histosam info slide.svs --thumbnail overview.png

        histosam info scan.tif --mpp 0.25 --json
    """
    from histosam_core.slide import open_slide

    check_output(thumbnail, "--thumbnail", ".png", ".jpg", ".jpeg")
    with open_slide(file, mpp=mpp) as slide:
        facts = describe(slide)
        if thumbnail is not None:
            _write_thumbnail(slide, thumbnail, thumbnail_px)
            facts["thumbnail"] = str(thumbnail)
    if json:
        console.print_json(facts)
    else:
        console.out.print(_table(facts))


def describe(slide: Slide) -> dict[str, Any]:
    """Return what is known about `slide` as JSON values."""
    width, height = slide.size_wh
    size_mm = None
    if slide.mpp_xy is not None:
        size_mm = [
            round(width * slide.mpp_xy[0] / 1e3, 3),
            round(height * slide.mpp_xy[1] / 1e3, 3),
        ]
    return {
        "path": str(slide.path),
        "file_bytes": slide.path.stat().st_size,
        "size_wh": [width, height],
        "size_mm": size_mm,
        "mpp": slide.mpp,
        "mpp_xy": None if slide.mpp_xy is None else list(slide.mpp_xy),
        "mpp_source": slide.mpp_source,
        "assumable_mpp": slide.assumable_mpp,
        "magnification": slide.magnification,
        "scanner": slide.reader.metadata.scanner,
        "reader": slide.reader.name,
        "levels": [
            {
                "index": level.index,
                "size_wh": list(level.size_wh),
                "downsample_xy": list(level.downsample_xy),
                "tile_wh": list(level.layout.tile_wh),
                "compression": level.layout.compression,
            }
            for level in slide.levels
        ],
        "properties": dict(slide.properties),
        "fingerprint": slide.fingerprint,
    }


def _write_thumbnail(slide: Slide, path: Path, max_px: int) -> None:
    from PIL import Image

    from histosam_core.atomic import new_file

    picture = Image.fromarray(slide.thumbnail(max_px))
    with new_file(path) as temporary:
        picture.save(temporary)


def _table(facts: dict[str, Any]) -> Group:
    width, height = facts["size_wh"]
    rows = {"Size": f"{width:,} x {height:,} px, {decimal(facts['file_bytes'])}"}
    if facts["size_mm"]:
        rows["On glass"] = "{:.2f} x {:.2f} mm".format(*facts["size_mm"])
    rows["Resolution"] = _resolution(facts)
    if facts["magnification"]:
        rows["Magnification"] = f"{facts['magnification']:g}x"
    rows["Scanner"] = facts["scanner"] or "not stated"
    rows["Read as"] = facts["reader"]
    if "thumbnail" in facts:
        rows["Thumbnail"] = facts["thumbnail"]
    levels = Table("Level", "Pixels", "Downsample", "Stored in", "Compression", box=None)
    for level in facts["levels"]:
        levels.add_row(
            str(level["index"]),
            "{:,} x {:,}".format(*level["size_wh"]),
            f"{sum(level['downsample_xy']) / 2:g}",
            "{} x {}".format(*level["tile_wh"]),
            level["compression"] or "not stated",
        )
    return Group(console.fact_table(rows, Path(facts["path"]).name), Text(), levels)


def _resolution(facts: dict[str, Any]) -> str:
    if facts["mpp"] is not None:
        x, y = facts["mpp_xy"]
        value = f"{x:.4g}" if abs(x - y) < 1e-3 * x else f"{x:.4g} x {y:.4g}"
        return f"{value} um per pixel ({facts['mpp_source']})"
    advice = "pass --mpp where a resolution is needed"
    if facts["assumable_mpp"]:
        advice = (
            f"{facts['magnification']:g}x suggests {facts['assumable_mpp']:g} um per pixel: "
            f"pass --mpp {facts['assumable_mpp']:g} to use it"
        )
    return f"unknown: {facts['mpp_source']}; {advice}"
