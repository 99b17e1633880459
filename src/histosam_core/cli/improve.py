"""`histosam improve`: fine-tune a model on one's own outlines, prove it better, keep it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from histosam_core.cli import options  # noqa: TC001 - typer reads the annotations
from histosam_core.cli.finetune import SCENARIO_HELP
from histosam_core.job_events import ControlOption, EventsOption, job_events

if TYPE_CHECKING:
    from histosam_core.improve import Improvement, ImproveSettings

__all__ = ["improve"]

WHOLE_SLIDE = "slide"


def improve(
    out: Annotated[Path, typer.Option(help="Folder of this work; made if missing.")],
    slides: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of slides, or a slide; a slide may be repeated."),
    ] = None,
    annotations: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of annotations (GeoJSON, XML, mask TIFF), or one for each slide; "
            "default: by the slides."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Name or checkpoint to start from (default: histosam-tiny).")
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(help=SCENARIO_HELP + " (default: refining)")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="The tuning's time, 0 for no limit; counting clicks comes on top (default: 20)."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the new model (default: made from the folder's).")
    ] = None,
    promote: Annotated[
        str | None,
        typer.Option(
            help="When the new model joins your own: better, always, never (default: better)."
        ),
    ] = None,
    known_within: Annotated[
        str | None,
        typer.Option(
            help="Micrometres round an outline that are known not to be tumour; what is "
            "further away is ignored. `slide`: all tumour is outlined (default: 100)."
        ),
    ] = None,
    mpp: Annotated[
        float | None, typer.Option(help="Micrometres per patch pixel (default: the model's).")
    ] = None,
    magnification: Annotated[
        float | None, typer.Option(help="The same, as an objective's power: 5 is 2.0 um.")
    ] = None,
    patch_size: Annotated[
        int | None, typer.Option(help="Edge of a patch in pixels (default: the model's).")
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(help="Step of the grid in patch pixels (default: half a patch)."),
    ] = None,
    tumor: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Least and greatest share of tumour (default: 0.2 0.8).", show_default=False
        ),
    ] = None,
    min_tissue: Annotated[
        float | None, typer.Option(help="Least share of tissue (default: 0.5).")
    ] = None,
    splits: Annotated[
        tuple[float, float, float] | None,
        typer.Option(
            help="Shares for training, validation and the held-out test (default: 0.6 0.15 0.25).",
            show_default=False,
        ),
    ] = None,
    split_file: options.SplitFileOption = None,
    label: options.LabelOption = None,
    slide_mpp: options.SlideMppOption = None,
    test_limit: Annotated[
        int | None, typer.Option(help="Held-out patches clicked on at most (default: 100).")
    ] = None,
    max_clicks: Annotated[
        int | None, typer.Option(help="Clicks per patch at most (default: 20).")
    ] = None,
    early_features: options.EarlyFeaturesOption = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the patches (default: 600 steps, 30 epochs at least)."),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Patches a step (default: 8).")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Adam's, after the warm-up (default: 2e-4).")
    ] = None,
    seed: options.SeedOption = None,
    workers: options.ReadersOption = None,
    device: options.DeviceOption = None,
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16 (default: fp32).")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Any other setting of `histosam finetune`, NAME=VALUE; may be repeated."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the work in the folder.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew in a folder that holds such work.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
    events: EventsOption = False,
    control: ControlOption = None,
) -> None:
    """Fine-tune a model on slides that you outlined, and keep it if it is proven better.

    The outlines are dealt out for training, validation and a held-out test: by slide where there
    are three or more, else by place. The clicks that the model needs on the held-out part are
    counted before and after; the new model joins your own if it needs fewer, beyond chance.

    **Examples**

        histosam improve --slides slides --annotations outlines --out liver

        histosam improve --slides slide.svs --annotations slide.geojson --minutes 5 --out liver

        histosam improve --slides slides --model sam_vit_b --scenario histosam --minutes 0
        --known-within slide --name liver-2026 --out liver

        histosam improve --out liver --resume
    """
    from histosam_core import console
    from histosam_core.dataset.settings import mpp_of_magnification
    from histosam_core.errors import ConfigError

    if resume and overwrite:
        raise ConfigError("--resume goes on with the work and --overwrite deletes it; pass one")
    if mpp is not None and magnification is not None:
        raise ConfigError("give either --mpp or --magnification, not both")
    tuning: dict[str, Any] = {
        "early_features": early_features,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "workers": workers,
        "precision": precision,
    }
    given: dict[str, Any] = {
        "slides": slides or None,
        "annotations": annotations or None,
        "model": model,
        "scenario": scenario,
        "minutes": minutes,
        "name": name,
        "promote": promote,
        "known_within_um": known_within,
        "mpp": mpp if magnification is None else mpp_of_magnification(magnification),
        "patch_size_px": patch_size,
        "stride_px": stride,
        "tumor_fraction": tumor,
        "min_tissue": min_tissue,
        "splits": splits,
        "split_file": split_file,
        "labels": label or None,
        "slide_mpp": slide_mpp,
        "test_limit": test_limit,
        "max_clicks": max_clicks,
        "device": device,
        "seed": seed,
    }
    done: Improvement | None = None
    with suppress(KeyboardInterrupt), job_events(events, control) as job:
        from histosam_core.improve import improve as run

        settings = gather_settings(out, given, tuning, setting or [], resume=resume)
        with job.progress_bar(f"Improve {settings.model}") as progress:
            done = run(
                settings,
                resume=resume,
                overwrite=overwrite,
                progress=progress,
                on_event=job.emit if job.wanted else None,
            )
        job.result(**done.to_dict())
    if done is None:
        console.err.print(
            f"Stopped; what was done is kept. Go on with: histosam improve --out {out} --resume"
        )
        raise typer.Exit(1)
    if events:
        return
    if json:
        console.print_json(done.to_dict())
    else:
        _show(done)


def gather_settings(
    out: Path, given: dict[str, Any], tuning: dict[str, Any], extra: list[str], *, resume: bool
) -> ImproveSettings:
    """Merge settings: those of the work to be resumed, then `--set`, then options.

    Raises
    ------
    ConfigError
        Nothing to resume, a value is malformed, or settings are wrong.
    """
    from histosam_core.cli.finetune import parse_settings
    from histosam_core.errors import ConfigError
    from histosam_core.improve import ImproveSettings
    from histosam_core.improve.run import SETTINGS_FILE
    from histosam_core.settings import read_settings

    values: dict[str, Any] = {}
    if resume:
        if not (out / SETTINGS_FILE).is_file():
            raise ConfigError(f"{out} holds no work to resume; start it without --resume")
        values = read_settings(out / SETTINGS_FILE)
    elif not given["slides"]:
        raise ConfigError("give --slides and --out (or --out and --resume alone)")
    chosen = {key: value for key, value in given.items() if value is not None}
    if chosen.get("minutes") == 0:
        chosen["minutes"] = None
    if "known_within_um" in chosen:
        chosen["known_within_um"] = _known_within(chosen["known_within_um"])
    base = dict(values.get("tuning") or {})
    parse_settings(extra, base)
    base |= {key: value for key, value in tuning.items() if value is not None}
    return ImproveSettings.from_dict({**values, **chosen, "tuning": base, "out": out})


def _known_within(text: str) -> float | None:
    from histosam_core.errors import ConfigError

    if text == WHOLE_SLIDE:
        return None
    try:
        return float(text)
    except ValueError:
        raise ConfigError(
            f"--known-within {text}: give micrometres, such as 100, or {WHOLE_SLIDE}"
        ) from None


def _show(done: Improvement) -> None:
    from histosam_core import console

    for note in done.notes:
        console.err.print(f"note: {note}", style="yellow", markup=False)
    console.out.print(done.headline(), style="bold", markup=False)
    console.out.print(done.trust(), markup=False)
    console.out.print(f"Open {done.report}", markup=False)
    console.out.print(f"Next: {done.next_step()}", markup=False)
