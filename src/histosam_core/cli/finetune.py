"""`histosam finetune`: train a model on prepared patches, and say what came of it."""

from __future__ import annotations

import json as json_text
import os
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from histosam_core.cli import options  # noqa: TC001 - typer reads the annotations
from histosam_core.job_events import ControlOption, EventsOption, job_events
from histosam_core.progress import silent
from histosam_core.training.scenarios import SCENARIOS

if TYPE_CHECKING:
    from histosam_core.training import TrainConfig, TrainResult

__all__ = ["finetune"]

SCENARIO_HELP = (
    "What trains of a model of SAM's line. "
    + " ".join(f"{scenario.name}: {scenario.explanation}" for scenario in SCENARIOS.values())
    + " (default: refining) RITM, FocalClick and SimpleClick train as a whole: leave it out."
)


def finetune(
    out: Annotated[Path, typer.Option(help="Run folder; made if missing.")],
    patches: Annotated[
        Path | None,
        typer.Option(help="Folder that `histosam prepare` wrote (train.zarr, validation.zarr)."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name or checkpoint to start from, of SAM's line, RITM, FocalClick or SimpleClick "
            "(default: histosam-tiny)."
        ),
    ] = None,
    scenario: Annotated[str | None, typer.Option(help=SCENARIO_HELP)] = None,
    early_features: options.EarlyFeaturesOption = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the patches (default: 30).")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Patches in memory together (default: 8).")
    ] = None,
    accumulate_steps: Annotated[
        int | None, typer.Option(help="Batches that make a step (default: 1).")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Adam's, after the warm-up (default: 5e-4; FocalClick on SegFormer 5e-3, "
            "SimpleClick 5e-5)."
        ),
    ] = None,
    crop_size: Annotated[
        str | None,
        typer.Option(
            help="What RITM, FocalClick and SimpleClick train on, HEIGHTxWIDTH in pixels or one "
            "number (default: 320x480, 256, 448)."
        ),
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(help="End within this time; the learning rate falls with it.")
    ] = None,
    max_steps_per_epoch: Annotated[
        int | None, typer.Option(help="End each epoch after so many steps.")
    ] = None,
    validation_limit: Annotated[
        int | None, typer.Option(help="Validation patches used (default: 100).")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="End after so many validations without a lower NoC@85 (default: never)."),
    ] = None,
    seed: options.SeedOption = None,
    workers: options.ReadersOption = None,
    device: options.DeviceOption = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, bf16, or fp16 on a CUDA GPU (default: fp32).")
    ] = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option(help="Folder for a frozen encoder's embeddings (default: beside patches)."),
    ] = None,
    cache_disk_mb: Annotated[
        int | None, typer.Option(help="Bound on that folder; 0 keeps none (default: 20480).")
    ] = None,
    stain: Annotated[
        bool | None,
        typer.Option("--stain/--no-stain", help="Jitter haematoxylin and eosin (default: off)."),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the log for TensorBoard too.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="JSON file of settings; options here go before it.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Any other setting, NAME=VALUE; may be repeated. See docs/finetuning.md."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew in a folder that holds a run.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    events: EventsOption = False,
    control: ControlOption = None,
) -> None:
    """Fine-tune a model on patches, validated by simulated clicks after every epoch.

    The model is one of SAM's line, trained by a scenario, or RITM, FocalClick or SimpleClick,
    trained as their authors did.

    The run folder gets config.json, log.csv, curves.png, best.safetensors, last.safetensors and the
    state to resume from. Ctrl-C saves the state and stops.

    **Examples**

        histosam finetune --model histosam-tiny --patches data/liver --scenario refining
        --out runs/refining

        histosam finetune --model ritm_h18s --patches data/liver --out runs/ritm

        histosam finetune --patches data/liver --out runs/quick --epochs 5 --max-minutes 2
        --set validation_clicks=10 --set augment.stain=true

        histosam finetune --out runs/refining --resume

        accelerate launch --multi_gpu --num_processes 4 -m histosam_core finetune
        --patches data/liver --out runs/refining
    """
    from histosam_core import console
    from histosam_core.errors import ConfigError

    if resume and overwrite:
        raise ConfigError("--resume goes on with a run and --overwrite deletes it; pass one")
    given: dict[str, Any] = {
        "out": str(out),
        "patches": str(patches) if patches is not None else None,
        "model": model,
        "scenario": scenario,
        "early_features": early_features,
        "epochs": epochs,
        "batch_size": batch_size,
        "accumulate_steps": accumulate_steps,
        "learning_rate": learning_rate,
        "crop_size": None if crop_size is None else parse_crop_size(crop_size),
        "max_minutes": max_minutes,
        "max_steps_per_epoch": max_steps_per_epoch,
        "validation_limit": validation_limit,
        "patience": patience,
        "seed": seed,
        "workers": workers,
        "device": device,
        "precision": precision,
        "cache_dir": str(cache_dir) if cache_dir is not None else None,
        "cache_disk_mb": cache_disk_mb,
        "tensorboard": tensorboard or None,
    }
    extra = list(setting or [])
    if stain is not None:
        extra.append(f"augment.stain={str(stain).lower()}")
    given = {name: value for name, value in given.items() if value is not None}
    result: TrainResult | None = None
    # Of the processes that train together the first one speaks.
    is_first = int(os.environ.get("RANK", "0")) == 0
    if not is_first:
        events, control = False, None
    with suppress(KeyboardInterrupt), job_events(events, control) as job:
        from histosam_core.training import finetune as train

        settings = gather_settings(given, extra, config, out if resume else None)

        def tell(event: Mapping[str, object]) -> None:
            job.emit(event)
            if event["event"] == "notice" and not events:
                console.err.print(f"{event['text']}", markup=False)

        what = settings.recipe.title if settings.recipe.is_specialist else settings.scenario
        title = f"Fine-tune {what}"
        with job.progress_bar(title) if is_first else nullcontext(silent) as progress:
            result = train(
                settings, resume=resume, overwrite=overwrite, progress=progress, on_event=tell
            )
        job.result(**as_json(result), checkpoint=str(result.best_checkpoint))
    if result is None and not is_first:
        raise typer.Exit(1)
    if result is None:
        console.err.print(
            f"Stopped; the state is saved. Go on with: histosam finetune --out {out} --resume"
        )
        raise typer.Exit(1)
    if events or not is_first:
        return
    if json:
        console.print_json(as_json(result))
    else:
        _print_result(settings, result)


def gather_settings(
    given: dict[str, Any], extra: list[str], config: Path | None, resumed: Path | None
) -> TrainConfig:
    """Merge settings: a file or the resumed run's, then `--set`, then options.

    Raises
    ------
    ConfigError
        Nothing to resume, NAME=VALUE is malformed, or settings are wrong.
    """
    from histosam_core.errors import ConfigError
    from histosam_core.settings import read_settings
    from histosam_core.training import TrainConfig

    values: dict[str, Any] = {}
    if config is not None:
        values = read_settings(config)
    elif resumed is not None:
        saved = resumed / "config.json"
        if not saved.is_file():
            raise ConfigError(f"{resumed} holds no run to resume; start it without --resume")
        values = read_settings(saved)
    parse_settings(extra, values)
    return TrainConfig.from_dict({**values, **given})


def parse_settings(extra: list[str], values: dict[str, Any]) -> None:
    """Put each NAME=VALUE of `--set` among `values`; NAME.MEMBER goes into the group NAME.

    Raises
    ------
    ConfigError
        A text is not NAME=VALUE.
    """
    from histosam_core.errors import ConfigError

    for text in extra:
        name, separator, value_text = text.partition("=")
        if not separator or not name:
            raise ConfigError(f"--set {text}: write NAME=VALUE, such as validation_clicks=10")
        try:
            value = json_text.loads(value_text)
        except ValueError:
            value = value_text
        group, _, member = name.partition(".")
        if member:
            inner = values.get(group)
            values[group] = {**(inner if isinstance(inner, dict) else {}), member: value}
        else:
            values[name] = value


def parse_crop_size(text: str) -> list[int]:
    """Read HEIGHTxWIDTH, or the side of a square.

    Raises
    ------
    ConfigError
        It is neither.
    """
    from histosam_core.errors import ConfigError

    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.strip().isdecimal() for side in sides):
        raise ConfigError(f"--crop-size {text}: write HEIGHTxWIDTH, such as 320x480, or one number")
    return [int(sides[0]), int(sides[-1])]


def as_json(result: TrainResult) -> dict[str, Any]:
    """Plain values for `--json`."""
    return {
        "run_folder": str(result.run_folder),
        "best_checkpoint": str(result.best_checkpoint),
        "last_checkpoint": str(result.last_checkpoint),
        "before": result.before.as_dict(),
        "best": result.best.as_dict(),
        "last": result.last.as_dict(),
        "best_epoch": result.best_epoch,
        "epochs": result.epochs,
        "steps": result.steps,
        "seconds": result.seconds,
    }


def _print_result(settings: TrainConfig, result: TrainResult) -> None:
    from rich.table import Table

    from histosam_core import console

    n = result.before.n_patches
    table = Table(title=f"Validation on {n} patches, {settings.validation_clicks} clicks at most")
    for column in ("", "NoC@80", "NoC@85", "NoC@90", "IoU, 1 click", "IoU, 5 clicks"):
        table.add_column(column, justify="right" if column else "left")
    for name, scores in (("before", result.before), (f"epoch {result.best_epoch}", result.best)):
        nocs = (scores.noc80, scores.noc85, scores.noc90)
        ious = (scores.miou_after(1), scores.miou_after(5))
        table.add_row(name, *(f"{v:.2f}" for v in nocs), *(f"{v:.3f}" for v in ious))
    console.out.print(table)
    if result.best.noc85 > result.before.noc85:
        console.out.print(
            "The model needs more clicks than before; train longer or at a lower rate"
        )
    console.out.print(f"{result.steps} steps in {result.seconds / 60:.1f} min: {result.run_folder}")
    test = "data/test.zarr" if settings.patches is None else settings.patches / "test.zarr"
    console.out.print(
        f"Next: histosam evaluate --model {result.best_checkpoint} --patches {test} --out results"
    )
