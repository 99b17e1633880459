"""`histosam evaluate`: simulated clicks on patches or whole slides, and the report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from histosam_core import console
from histosam_core.cli import options
from histosam_core.errors import ConfigError, OutputExistsError
from histosam_core.evaluation.settings import SETTINGS_FILE, EvaluateSettings

if TYPE_CHECKING:
    from histosam_core.evaluation import EvaluationResult
    from histosam_core.job_events import JobEvents

Results = list["EvaluationResult"]


@options.takes(options.options_of(EvaluateSettings))
def evaluate(
    *,
    given: options.Given = options.NOTHING,
    report: Annotated[
        bool, options.FLAG, Parameter(negative="--no-report", help="Write report.html.")
    ] = True,
    latex: Annotated[
        Path | None, options.FLAG, Parameter(help="Write the table for LaTeX to this file too.")
    ] = None,
    from_rows: Annotated[
        Path | None,
        options.FLAG,
        Parameter(help="Make the report again from the rows in this folder; runs no model."),
    ] = None,
    overwrite: options.OverwriteOption = False,
    call: options.JobOptions = options.USUAL,
) -> None:
    """Click on patches as a simulated user would, and count the clicks a model needs.

    Writes a row per click, the table as `summary.json`, `summary.csv` and `table.tex`, `curves.png`
    and a self-contained `report.html`. When it is stopped, the same command goes on where it was.

    **Examples**

        histosam evaluate --model histosam-tiny --patches data/liver/test.zarr --out results

        histosam evaluate --model histosam-tiny --model ours=runs/refining/best.safetensors
        --patches data/liver/test.zarr --patches data/lymph/test.zarr --out results

        histosam evaluate --model histosam-tiny@refining --model histosam-tiny@sam
        --patches data/liver/test.zarr --out decoders

        histosam evaluate --model histosam-tiny --slides slides --max-clicks 60 --out results

        histosam evaluate --model md=md.safetensors --model ours=ours.safetensors
        --patches data/liver/test.zarr --user jitter --sigma 8 --repeats 5 --out jittered

        histosam evaluate --config results/evaluate.json --device cuda --out again

        histosam evaluate --from-rows results --latex table.tex
    """
    from histosam_core import evaluation

    written: list[Path] = []

    def work(job: JobEvents) -> Results:
        if from_rows is not None:
            if given.keys() - {"out"} or call.config is not None:
                raise ConfigError("--from-rows runs no model; leave out all but --out and --latex")
            results = evaluation.read_records(from_rows)
        else:
            settings = options.gather(EvaluateSettings, given, config=call.config)
            results = _run(settings, job, overwrite=overwrite)
        out = Path(given.get("out") or from_rows or settings.out)
        written.extend(evaluation.write_outputs(results, out, report=report))
        if latex is not None:
            from histosam_core.atomic import new_file

            with new_file(latex) as temporary:
                temporary.write_text(evaluation.latex_table(results), encoding="utf-8")
        job.result(out=str(out), report=str(written[-1]) if report else None)
        return results

    def show(results: Results) -> None:
        console.out.print(evaluation.rich_table(results))
        if any(result.settings.target_iou < 0.90 for result in results):
            console.err.print("NoC@90 and NoF@90 need --target-iou 0.9 or more; they are left out")
        console.out.print(f"Open [bold]{written[-1]}[/]" if report else f"Wrote {written[0]}")

    results = options.run_job(
        call,
        work,
        stopped="Stopped; what is finished is kept. Go on with the same command",
        facts=evaluation.summary_json,
        show=show,
    )
    n = len({what for result in results for what in result.header.get("left_out", {})})
    if n:
        console.err.print(f"[bold red]left out by error: {n}[/]; the notes above say why")
        raise SystemExit(1)


def _run(settings: EvaluateSettings, job: JobEvents, *, overwrite: bool) -> Results:
    """Evaluate models one after the other; a run folder for each model and data set."""
    from histosam_core import evaluation
    from histosam_core.dataset import open_patches
    from histosam_core.embeddings.image_cache import EmbeddingCache
    from histosam_core.evaluation.whole_slide import slides_name

    out, models = settings.out, settings.labelled_models()
    if (out / "summary.json").exists() and not overwrite:
        raise OutputExistsError(
            f"{out} holds the results of an evaluation; choose another folder or pass --overwrite"
        )
    opened = [open_patches(path) for path in settings.patches]
    names = [str(store.name) for store in opened]
    if len(set(names)) < len(names):
        raise ConfigError(f"two patch stores are called {names}; give each its own name")
    common: dict[str, Any] = {
        "target_iou": settings.target_iou,
        "max_clicks": settings.max_clicks,
        "user": settings.simulated_user(),
        "limit": settings.limit,
        "overwrite": overwrite,
        "keep_finished": True,
    }
    # Several models may share an encoder; what one alone encodes, nobody asks for again.
    is_shared = len(models) > 1 or settings.embeddings is not None
    keep = is_shared and settings.scheduler is None and bool(settings.patches)
    cache = EmbeddingCache(folder=settings.embeddings) if keep else None
    folders: list[Path] = []
    shown: set[str] = set()
    for label, source in models.items():
        with evaluation.runner_of(
            source, settings.scheduler, device=settings.device, cache=cache
        ) as runner:
            for store, dataset in zip(opened, names, strict=True):
                folders.append(out / "runs" / run_folder_name(label, dataset))
                with job.progress_bar(f"{label} on {dataset}") as progress:
                    evaluation.evaluate(
                        runner,
                        store,
                        name=label,
                        out=folders[-1],
                        batch_size=settings.batch_size,
                        progress=progress,
                        **common,
                    )
            if settings.slides is not None:
                dataset = slides_name(settings.slides)
                folders.append(out / "runs" / run_folder_name(label, dataset))
                with job.progress_bar(label) as progress:
                    result = evaluation.evaluate_slides(
                        runner,
                        settings.slides,
                        annotations=settings.annotations,
                        name=label,
                        out=folders[-1],
                        slide_mpp=settings.slide_mpp,
                        labels=settings.labels or None,
                        min_area_mm2=settings.min_area_mm2,
                        grow_windows=settings.grow_windows,
                        progress=progress,
                        **common,
                    )
                left_out = result.header.get("left_out", {}).values()
                notes = [*result.header.get("notes", ()), *(f"left out: {why}" for why in left_out)]
                for text in dict.fromkeys(notes):
                    if text not in shown:
                        job.report({"event": "notice", "text": text})
                shown.update(notes)
        del runner  # before the next model is loaded
    settings.save(out / SETTINGS_FILE)
    # The report is made from the rows on disk, so that it can be made again to the letter.
    return evaluation.read_records(folders)


def run_folder_name(label: str, dataset: str) -> str:
    """Return a folder name that every file system takes."""
    return "@".join(
        re.sub(r"[^\w.@-]+", "-", text).strip("-.") or "run" for text in (label, dataset)
    )
