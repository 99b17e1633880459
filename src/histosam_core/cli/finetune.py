"""`histosam finetune`: train a model on prepared patches, and say what came of it."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING

from histosam_core import console
from histosam_core.cli import options
from histosam_core.errors import ConfigError
from histosam_core.progress import silent
from histosam_core.training.config import TrainConfig

if TYPE_CHECKING:
    from histosam_core.job_events import JobEvents
    from histosam_core.training import TrainResult


@options.takes(options.options_of(TrainConfig))
def finetune(
    *,
    given: options.Given = options.NOTHING,
    setting: options.SetOption = (),
    resume: options.ResumeOption = False,
    overwrite: options.OverwriteOption = False,
    call: options.JobOptions = options.USUAL,
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
        --validation-clicks 10 --stain

        histosam finetune --config run.json --out runs/again

        histosam finetune --out runs/refining --resume

        accelerate launch --multi_gpu --num_processes 4 -m histosam_core finetune
        --patches data/liver --out runs/refining
    """
    if resume and overwrite:
        raise ConfigError("--resume goes on with a run and --overwrite deletes it; pass one")
    is_first = int(os.environ.get("RANK", "0")) == 0
    used: list[TrainConfig] = []

    def work(job: JobEvents) -> TrainResult:
        from histosam_core.training import finetune as train

        config = options.config_of(call, given, "config.json", "run") if resume else call.config
        settings = options.gather(TrainConfig, given, config=config, extra=setting)
        used.append(settings)

        what = settings.recipe.title if settings.recipe.is_specialist else settings.scenario
        with job.progress_bar(f"Fine-tune {what}") if is_first else nullcontext(silent) as progress:
            result = train(
                settings,
                resume=resume,
                overwrite=overwrite,
                progress=progress,
                on_event=job.report,
            )
        job.result(**asdict(result), checkpoint=result.best_checkpoint)
        return result

    options.run_job(
        call,
        work,
        stopped="Stopped; the state is saved. Go on with: histosam finetune "
        f"--out {given.get('out', 'OUT')} --resume",
        facts=asdict,
        show=lambda result: _show(used[0], result),
        speaks=is_first,
    )


def _show(settings: TrainConfig, result: TrainResult) -> None:
    from rich.table import Column, Table

    n = result.before.n_patches
    figures = ("NoC@80", "NoC@85", "NoC@90", "IoU, 1 click", "IoU, 5 clicks")
    table = Table(
        "",
        *(Column(name, justify="right") for name in figures),
        title=f"Validation on {n} patches, {settings.validation_clicks} clicks at most",
    )
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
