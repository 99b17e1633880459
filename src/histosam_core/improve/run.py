"""The whole way: slides and outlines, patches, clicks before, tuning, clicks after, promotion."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from histosam_core.atomic import new_file
from histosam_core.dataset import ExtractionSummary, open_patches
from histosam_core.errors import ConfigError, OutputExistsError, OutputWriteError
from histosam_core.improve.outlined_patches import RepeatedPatches, cut_patches
from histosam_core.improve.promotion import check_name, deserves_it, promote
from histosam_core.improve.proof import prove
from histosam_core.improve.result import Improvement
from histosam_core.progress import ProgressCallback, silent
from histosam_core.settings import read_settings

if TYPE_CHECKING:
    from histosam_core.evaluation import EvaluationResult
    from histosam_core.improve.settings import ImproveSettings
    from histosam_core.model.checkpoint.checkpoint_info import CheckpointInfo
    from histosam_core.training import TrainResult

SETTINGS_FILE = "improve.json"
OWN_NAMES = (
    SETTINGS_FILE, "patches", "runs", "tuning", "improvement.json", "report.html", "summary.json",
    "curves.png",
)  # fmt: skip
STAGES: Mapping[str, tuple[int, int]] = {
    "patches": (0, 50),
    "before": (50, 150),
    "tuning": (150, 850),
    "after": (850, 1000),
}
"""The stages, and the share of the whole that each takes on the progress bar, in thousandths."""
DONE = 1000

OnEvent = Callable[[Mapping[str, object]], None]


def improve(
    settings: ImproveSettings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: ProgressCallback = silent,
    on_event: OnEvent | None = None,
) -> Improvement:
    """Fine-tune a model on a user's outlines, and keep it if held-out outlines prove it better.

    Every stage leaves its results in the folder, so that work which was stopped or killed goes on
    where it was.

    Parameters
    ----------
    settings
        Which slides, model and scenario, and all the rest.
    resume
        Go on with the work in ``settings.out``; its settings must be the same.
    overwrite
        Start anew in a folder that holds such work, deleting it first.
    progress
        Called with thousandths of the whole.
    on_event
        Called with the stages (``{"event": "stage", "stage", "number", "of"}``), with what was
        assumed or left out (``notice``), and with the events of `finetune`.

    Raises
    ------
    OutputExistsError
        ``settings.out`` is taken, and neither `resume` nor `overwrite` was asked for.
    ConfigError
        Settings do not fit one another, or differ from those of the work to be resumed.
    AnnotationError, EmptyDatasetError, SlideError
        The slides and outlines do not give enough patches; see `extract_patches`.
    CheckpointError, UnknownModelError
        The model cannot be used, or not by that scenario.
    KeyboardInterrupt
        Passed on, once the state is saved.
    """
    out = settings.out
    emit = on_event or _ignore
    resumed = _begin(settings, resume=resume, overwrite=overwrite)
    tuned = out / "tuning" / "best.safetensors"
    check_name(settings.name, tuned)
    model = _check_model(settings)
    geometry = model.geometry
    if not resumed:
        _save(settings)

    _begin_stage(emit, "patches")
    bar = _part(progress, "patches", "cutting patches")
    summary, notes = cut_patches(settings, geometry, progress=bar)
    notes = (*notes, *summary.notes)
    for note in notes:
        emit({"event": "notice", "text": note})

    _begin_stage(emit, "before")
    before = _clicks(settings, settings.model, "before", progress)
    _begin_stage(emit, "tuning")
    training = _tune(settings, model, summary, progress, on_event)
    _begin_stage(emit, "after")
    after = _clicks(settings, str(training.best_checkpoint), "after", progress)

    slides = {s.name: s.mpp for s in open_patches(out / "patches", "test").slides}
    cut = settings.extraction(geometry)
    proof = prove(
        before,
        after,
        patch_px={name: cut.patch_size_px * cut.mpp / mpp for name, mpp in slides.items()},
        seed=settings.seed,
    )
    own = None
    if deserves_it(proof, settings.promote):
        own = promote(training.best_checkpoint, name=settings.name, wanted=out.absolute().name)
    improvement = Improvement(
        out=out,
        base=_short(settings.model),
        scenario=settings.scenario,
        checkpoint=training.best_checkpoint,
        proof=proof,
        n_patches=dict(summary.n_patches),
        n_slides={part: len(slides) for part, slides in summary.slides.items()},
        split_by=summary.split_by,
        own_model=None if own is None else own.name,
        notes=notes,
        seconds=training.seconds,
    )
    _write_report(improvement, [before, after])
    progress(DONE, DONE, "done")
    return improvement


def _begin(settings: ImproveSettings, *, resume: bool, overwrite: bool) -> bool:
    """Make sure that the folder is ours to use; whether earlier work in it goes on."""
    out, saved = settings.out, settings.out / SETTINGS_FILE
    if resume and overwrite:
        raise ConfigError("resuming goes on with the work and overwriting deletes it; choose one")
    if resume:
        if not saved.is_file():
            raise ConfigError(f"{out} holds no work to resume; start it without --resume")
        settings.check_same(read_settings(saved))
        return True
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not saved.is_file():
        raise OutputExistsError(
            f"{out} exists and was not made by this command; choose another folder"
        )
    if [path.name for path in out.iterdir()] == [SETTINGS_FILE]:
        return False  # work that was refused before it made anything
    if not overwrite:
        raise OutputExistsError(
            f"{out} holds earlier work; pass --resume to go on with it, --overwrite to start anew, "
            "or choose another folder"
        )
    return False


def _save(settings: ImproveSettings) -> None:
    """Clear what earlier work left in the folder, and begin with the settings."""
    for name in OWN_NAMES:
        path = settings.out / name
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputWriteError(
                f"cannot remove {path}: {error.strerror}; choose another folder"
            ) from error
    settings.save(settings.out / SETTINGS_FILE)


def _check_model(settings: ImproveSettings) -> CheckpointInfo:
    """Load the model as the tuning will, before any long work; return what it says of itself."""
    from histosam_core.training.families.sam_parts import load_base
    from histosam_core.training.scenarios import SCENARIOS

    scenario = SCENARIOS[settings.scenario]
    early_features = settings.tuning.get("early_features")
    return load_base(settings.model, settings.device, scenario, early_features=early_features).info


def _clicks(
    settings: ImproveSettings, model: str, stage: str, progress: ProgressCallback
) -> EvaluationResult:
    """Click on the held-out patches; what was done before is not done again."""
    from histosam_core.evaluation import evaluate
    from histosam_core.model import load_model

    name = _short(settings.model) if stage == "before" else settings.scenario
    return evaluate(
        load_model(model, settings.device),
        open_patches(settings.out / "patches", "test"),
        name=f"{name} {stage}",
        out=settings.out / "runs" / stage,
        max_clicks=settings.max_clicks,
        limit=settings.test_limit,
        progress=_part(progress, stage, f"clicks {stage}"),
        keep_finished=True,
    )


def _tune(
    settings: ImproveSettings,
    model: CheckpointInfo,
    summary: ExtractionSummary,
    progress: ProgressCallback,
    on_event: OnEvent | None,
) -> TrainResult:
    from histosam_core.training import finetune
    from histosam_core.training.scenarios import SCENARIOS

    starts_fresh = SCENARIOS[settings.scenario].decoder not in model.decoders
    n_patches = summary.n_patches["train"]
    patches = open_patches(settings.out / "patches", "train")
    has_state = (settings.out / "tuning" / "state.pt").is_file()
    return finetune(
        settings.train_config(n_patches, starts_fresh=starts_fresh),
        resume=has_state,
        overwrite=not has_state,
        train_patches=RepeatedPatches(patches, settings.repeats(n_patches)),
        progress=_part(progress, "tuning", "tuning"),
        on_event=on_event,
    )


def _write_report(improvement: Improvement, results: list[EvaluationResult]) -> None:
    from histosam_core.evaluation import write_outputs

    write_outputs(
        results,
        improvement.out,
        title=f"{improvement.base} tuned on your outlines",
        introduction=improvement.text(),
    )
    with new_file(improvement.out / "improvement.json") as path:
        path.write_text(json.dumps(improvement.to_dict(), indent=2) + "\n", encoding="utf-8")


def _short(model: str) -> str:
    """A model's name; of a checkpoint's path the end, with the folder of its run."""
    return "/".join(Path(model).parts[-2:]) if Path(model).suffix else model


def _part(progress: ProgressCallback, stage: str, title: str) -> ProgressCallback:
    """A stage's progress as a part of the whole."""
    start, end = STAGES[stage]

    def report(done: int, total: int, message: str = "") -> None:
        share = done / total if total else 0.0
        here = min(end, start + int(share * (end - start)))
        progress(here, DONE, f"{title}: {message}" if message else title)

    return report


def _begin_stage(emit: OnEvent, stage: str) -> None:
    number = list(STAGES).index(stage) + 1
    emit({"event": "stage", "stage": stage, "number": number, "of": len(STAGES)})


def _ignore(event: Mapping[str, object]) -> None:
    """The callback where nobody listens."""
