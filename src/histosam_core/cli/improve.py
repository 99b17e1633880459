"""`histosam improve`: fine-tune a model on one's own outlines, prove it better, keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from histosam_core import console
from histosam_core.cli import options
from histosam_core.errors import ConfigError
from histosam_core.improve.settings import OURS, TUNING, ImproveSettings
from histosam_core.training.config import TrainConfig

if TYPE_CHECKING:
    from histosam_core.improve import Improvement
    from histosam_core.job_events import JobEvents

_USUAL = {**TUNING, "epochs": "600 steps, 30 epochs at least"}
_TUNING_OPTIONS = options.options_of(
    TrainConfig, below="tuning", leave_out={*OURS, *ImproveSettings.model_fields}, usual=_USUAL
)


@options.takes({**options.options_of(ImproveSettings), **_TUNING_OPTIONS})
def improve(
    *,
    given: options.Given = options.NOTHING,
    magnification: options.MagnificationOption = None,
    resume: options.ResumeOption = False,
    overwrite: options.OverwriteOption = False,
    call: options.JobOptions = options.USUAL,
) -> None:
    """Fine-tune a model on slides that you outlined, and keep it if it is proven better.

    The outlines are split into training, validation and a held-out test: by slide where there are
    three or more, else by place. The clicks that the model needs on the held-out part are counted
    before and after; the new model joins your own if it needs fewer, beyond chance.

    **Examples**

        histosam improve --slides slides --annotations outlines --out liver

        histosam improve --slides slide.svs --annotations slide.geojson --minutes 5 --out liver

        histosam improve --slides slides --model sam_vit_b --scenario histosam --minutes 0
        --known-within slide --name liver-2026 --out liver

        histosam improve --out liver --resume
    """
    if resume and overwrite:
        raise ConfigError("--resume goes on with the work and --overwrite deletes it; pass one")
    chosen = options.with_magnification(given, magnification)

    def work(job: JobEvents) -> Improvement:
        from histosam_core.improve import improve as run
        from histosam_core.improve.run import SETTINGS_FILE

        config = options.config_of(call, given, SETTINGS_FILE, "work") if resume else call.config
        settings = options.gather(ImproveSettings, chosen, config=config)
        with job.progress_bar(f"Improve {settings.model}") as progress:
            done = run(
                settings,
                resume=resume,
                overwrite=overwrite,
                progress=progress,
                on_event=job.emit if job.wanted else None,
            )
        job.result(**done.to_dict())
        return done

    options.run_job(
        call,
        work,
        stopped="Stopped; what was done is kept. Go on with: histosam improve "
        f"--out {given.get('out', 'OUT')} --resume",
        facts=lambda done: done.to_dict(),
        show=_show,
    )


def _show(done: Improvement) -> None:
    for note in done.notes:
        console.note(note)
    console.out.print(done.headline(), style="bold", markup=False)
    console.out.print(done.trust(), markup=False)
    console.out.print(f"Open {done.report}", markup=False)
    console.out.print(f"Next: {done.next_step()}", markup=False)
