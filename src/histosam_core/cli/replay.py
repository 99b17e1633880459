"""`histosam replay`: repeat a journalled session, with the same model or another one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Group
from rich.table import Table
from rich.text import Text

from histosam_core import console
from histosam_core.cli.options import DeviceOption, JsonOption, OverwriteOption, check_output
from histosam_core.errors import JournalError

if TYPE_CHECKING:
    from histosam_core.model.load import Model


def replay(
    journal: Annotated[
        Path,
        Parameter(help="A journal (.jsonl) from the folder SLIDE.histosam beside a slide."),
    ],
    *,
    slide: Annotated[
        Path | None,
        Parameter(help="The slide, where it is neither where it was nor beside the journal."),
    ] = None,
    model: Annotated[
        str | None,
        Parameter(
            help="Another model, or the path of the same one; NAME@sam or NAME@refining takes that "
            "one of its decoders. (default: the journal's)"
        ),
    ] = None,
    device: DeviceOption = "auto",
    out: Annotated[
        Path | None, Parameter(help="Also write the outlines of the replay (.geojson).")
    ] = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Repeat a session without anyone clicking, and compare every object with the journal's.

    The same model gives the same masks; another one a comparison on the same clicks.

    **Examples**

        histosam replay slide.svs.histosam/2026-05-04T09-12-33-a1b2c3.jsonl

        histosam replay session.jsonl --slide slide.svs --model sam_vit_b --out sam_vit_b.geojson
    """
    from histosam_core.annotation import write_geojson
    from histosam_core.session import find_slide
    from histosam_core.session.journal import read_journal
    from histosam_core.session.journal.replay import replay as replay_journal
    from histosam_core.slide import open_slide

    check_output(out, "--out", ".geojson", ".json", overwrite=overwrite)
    start = time.perf_counter()
    read = read_journal(journal)
    with (
        open_slide(slide or find_slide(read)) as opened,
        console.progress_bar("Replaying") as progress,
    ):
        report = replay_journal(read, opened, _models(model, device), progress=progress)
    if out is not None:
        write_geojson(out, report.regions)
    for note in report.notes:
        console.note(note)
    facts = {
        "journalled_models": list(report.journalled_models),
        "models": list(report.models),
        "is_same_model": report.is_same_model,
        "is_identical": report.is_identical,
        "mean_iou": report.mean_iou,
        "operations": report.n_operations,
        "open_prompts": report.n_open_prompts,
        "notes": list(report.notes),
        "objects": [asdict(one) for one in report.objects],
        "seconds": time.perf_counter() - start,
        "out": None if out is None else str(out),
    }
    if json:
        console.print_json(facts)
    else:
        console.out.print(_table(facts))


def _models(model: str | None, device: str) -> Callable[[Mapping[str, Any]], Model]:
    """Return what loads the model for a session of the journal, each once."""
    from histosam_core.model.registry.model_choice import ModelChoice, load_choice, parse_model

    loaded: dict[ModelChoice, Model] = {}

    def model_for(facts: Mapping[str, Any]) -> Model:
        if model is None:
            choice = ModelChoice(_source(facts), facts["decoder"] or None)
        else:
            choice = parse_model(model)
        if choice not in loaded:
            loaded[choice] = load_choice(choice, device)
        found = loaded[choice]
        if model is None and found.info.sha256 != facts["sha256"]:
            raise JournalError(
                f"{choice.source} is no longer the file that the journal was made with (sha256 "
                f"{facts['sha256'][:12]}...); give that one, or another to compare: --model PATH"
            )
        return found

    return model_for


def _source(facts: Mapping[str, Any]) -> str:
    """Where the journal's own model is: its file, else its name."""
    from histosam_core.model.registry.registry import MODELS

    path, name = str(facts["path"]), str(facts["name"])
    if path and Path(path).is_file():
        return path
    if path:  # not by its name: a checkpoint may have the one of the model it came from
        raise JournalError(
            f"the journal was made with {name} in {path}, which is no longer there; say where "
            "it is now, or give another model to compare: --model PATH"
        )
    if name in MODELS:
        return name
    raise JournalError(
        f"the journal was made with {name}, which is not installed here; give its "
        "file, or another model to compare: --model PATH"
    )


def _table(facts: dict[str, Any]) -> Group:
    n, verdict = len(facts["objects"]), "all identical"
    if n and not facts["is_identical"]:
        verdict = f"mean IoU {facts['mean_iou']:.4f}"
    rows = {
        "Journal's model": ", ".join(facts["journalled_models"]),
        "Replayed with": ", ".join(facts["models"]),
        "Operations": str(facts["operations"]),
        "Objects": f"{n}, {verdict}" if n else "none was accepted",
        "Not accepted": f"{facts['open_prompts']} prompt(s), not compared",
    }
    if facts["out"]:
        rows["Written"] = facts["out"]
    table = Table("Object", "Class", "Prompts", "Journal mm2", "Now mm2", "IoU", box=None)
    for number, one in enumerate(facts["objects"], start=1):
        table.add_row(
            str(number),
            Text(one["label"]),
            str(one["n_prompts"]),
            f"{one['journalled_mm2']:.4g}",
            f"{one['area_mm2']:.4g}",
            "identical" if one["is_identical"] else f"{one['iou']:.4f}",
        )
    return Group(console.fact_table(rows), Text(), table)
