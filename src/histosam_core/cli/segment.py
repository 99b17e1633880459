"""`histosam segment`: outline one object on a slide by clicks; write it for QuPath."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators
from rich.console import Group
from rich.table import Table
from rich.text import Text

from histosam_core import console
from histosam_core.cli.options import DeviceOption, JsonOption, OverwriteOption, check_output
from histosam_core.errors import ConfigError, EmptyMaskError

if TYPE_CHECKING:
    from histosam_core.clicks import Click
    from histosam_core.session import AcceptedObject, ClickResult, Session

PICTURES = (".png", ".jpg", ".jpeg")


def segment(
    slide: Annotated[Path, Parameter(help="A slide, a PNG or a JPEG.")],
    *,
    out: Annotated[Path, Parameter(help="Where the outline goes (.geojson).")],
    click: Annotated[
        tuple[str, ...],
        Parameter(
            show_default=False,
            allow_leading_hyphen=True,
            help="X,Y,+ or X,Y,-: a click in level-0 pixels; + belongs to the object, - does not. "
            "Repeat it.",
        ),
    ] = (),
    clicks: Annotated[
        Path | None, Parameter(help="A file of clicks instead: .csv (x,y,sign) or .json.")
    ] = None,
    preview: Annotated[
        Path | None, Parameter(help="Also write a picture of the outline in place (PNG, JPEG).")
    ] = None,
    model: Annotated[
        str,
        Parameter(
            help="A name of `histosam models`, or a checkpoint's path; NAME@sam or NAME@refining "
            "takes that one of its decoders."
        ),
    ] = "histosam-tiny",
    mpp: Annotated[
        float | None,
        Parameter(help="Micrometres per level-0 pixel, where the file has none or a wrong one."),
    ] = None,
    label: Annotated[str, Parameter(help="The object's class.")] = "Tumor",
    min_island_px: Annotated[
        int,
        Parameter(
            validator=validators.Number(gte=0), help="Leave out islands of fewer window pixels."
        ),
    ] = 0,
    grow: Annotated[
        bool,
        Parameter(
            negative="--no-grow",
            help="Let the object go on beyond the windows that are clicked in.",
        ),
    ] = True,
    grow_windows: Annotated[
        int | None,
        Parameter(
            validator=validators.Number(gte=1),
            show_default=lambda _: "64",
            help="Windows that it may grow into after each click.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Outline one object by clicks and write it as GeoJSON that QuPath opens.

    **Examples**

        histosam segment slide.svs --click 1200,800,+ --out tumor.geojson

        histosam segment slide.svs --click 1200,800,+ --click 1350,900,- --out tumor.geojson
        --preview tumor.png

        histosam segment slide.svs --click 1200,800,+ --no-grow --out one_window.geojson

        histosam segment scan.tif --mpp 0.25 --clicks clicks.csv --label Necrosis --out n.geojson
    """
    from histosam_core.model.registry.model_choice import load_choice
    from histosam_core.session import Session, check_on_slide, save_preview
    from histosam_core.session.growth.growing import WINDOWS_A_CLICK
    from histosam_core.slide import open_slide

    given = _given_clicks(click, clicks)
    check_output(out, "--out", ".geojson", ".json", overwrite=overwrite)
    check_output(preview, "--preview", *PICTURES, overwrite=overwrite)
    start = time.perf_counter()
    with open_slide(slide, mpp=mpp) as opened:
        for one in given:
            check_on_slide(one.xy, opened.size_wh)
        with console.progress_bar("Loading the model") as progress:
            loaded = load_choice(model, device, progress=progress)
        session = Session(opened, loaded)
        for note in session.notes:
            console.note(note)
        answers = _answers(session, given, (grow_windows or WINDOWS_A_CLICK) if grow else 0)
        if session.growth is not None and session.growth.waiting:
            console.note(
                f"the object goes on; it had grown into {session.growth.n_windows} window(s). "
                "Allow more (--grow-windows), or add a negative click where it should end"
            )
        try:
            accepted = session.accept(label, min_island_px=min_island_px)
        except EmptyMaskError as error:
            raise EmptyMaskError(
                "the clicks gave an empty mask, so nothing was written; add a positive click "
                "inside the object, or take a negative one away"
            ) from error
        if preview is not None:
            save_preview(opened, accepted, preview)
        session.save_geojson(out)
    facts = describe(accepted, answers, session)
    facts |= {"seconds": time.perf_counter() - start, "out": str(out)}
    facts["preview"] = None if preview is None else str(preview)
    if json:
        console.print_json(facts)
    else:
        console.out.print(_table(facts))


def describe(
    accepted: AcceptedObject, answers: list[ClickResult], session: Session
) -> dict[str, Any]:
    """Return what was outlined, and what each click cost, as JSON values."""
    parts = list(getattr(accepted.geometry, "geoms", (accepted.geometry,)))
    return {
        "label": accepted.label,
        "area_mm2": accepted.area_mm2,
        "quality": accepted.quality,
        "polygons": len(parts),
        "holes": sum(len(part.interiors) for part in parts),
        "windows": len(accepted.windows),
        "window_mpp": session.grid.mpp,
        "window_px": session.grid.window_px,
        "slide_mpp": session.slide_mpp,
        "slide_mpp_source": session.scale.source,
        "notes": list(session.notes),
        "checkpoint": accepted.region.metadata.get("Checkpoint"),
        "clicks": [
            {
                "xy": list(answer.click.xy),
                "is_positive": answer.click.is_positive,
                "is_new_window": answer.is_new_window,
                "read_ms": 1e3 * answer.timings.read_s,
                "encode_ms": 1e3 * answer.timings.encode_s,
                "decode_ms": 1e3 * answer.timings.decode_s,
            }
            for answer in answers
        ],
    }


def _given_clicks(texts: tuple[str, ...], file: Path | None) -> list[Click]:
    from histosam_core.session import parse_click, read_click_list

    if texts and file is not None:
        raise ConfigError("give --click or --clicks, not both")
    given = [parse_click(text) for text in texts] if file is None else read_click_list(file)
    if not given:
        raise ConfigError("no click was given; add e.g. --click 1200,800,+ (level-0 pixels)")
    return given


def _answers(session: Session, given: list[Click], grow_windows: int) -> list[ClickResult]:
    answers = []
    with console.progress_bar("Clicks") as progress:
        for number, one in enumerate(given):
            progress(number, len(given))
            answers.append(session.click(one.xy, one.is_positive))
            session.grow(grow_windows)
        progress(len(given), len(given))
    return answers


def _table(facts: dict[str, Any]) -> Group:
    rows = {
        "Class": facts["label"],
        "Area": f"{facts['area_mm2']:.4g} mm\N{SUPERSCRIPT TWO}",
        "Outline": f"{facts['polygons']} polygon(s), {facts['holes']} hole(s)",
        "Windows": f"{facts['windows']} of {facts['window_px']} px at {facts['window_mpp']:g} um",
        "Slide": f"{facts['slide_mpp']:.4g} um per pixel ({facts['slide_mpp_source']})",
        "Model": str(facts["checkpoint"]),
        "Quality": "not given" if facts["quality"] is None else f"{facts['quality']:.2f}",
        "Written": ", ".join(p for p in (facts["out"], facts["preview"]) if p),
    }
    times = Table("Click", "x, y", "", "Read ms", "Encode ms", "Decode ms", box=None)
    for number, one in enumerate(facts["clicks"], start=1):
        times.add_row(
            str(number),
            "{:g}, {:g}".format(*one["xy"]),
            "+" if one["is_positive"] else "-",
            *(f"{one[f'{step}_ms']:.0f}" for step in ("read", "encode", "decode")),
        )
    return Group(console.fact_table(rows), Text(), times)
