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
from histosam_core.improve.proof import Improvement, prove
from histosam_core.model.registry.own_models import (
    OwnModel,
    add_own_model,
    find_own_model,
    free_name,
    list_own_models,
    own_models_folder,
)
from histosam_core.model.registry.registry import MODELS
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
    out, emit = settings.out, on_event or (lambda event: None)
    resumed = _begin(settings, resume=resume, overwrite=overwrite)
    _check_name(settings.name, out / "tuning" / "best.safetensors")
    model = _check_model(settings)
    if not resumed:
        _save(settings)

    def begin_stage(stage: str, title: str) -> ProgressCallback:
        """Tell that a stage begins; return what takes its progress as a part of the whole."""
        number = list(STAGES).index(stage) + 1
        emit({"event": "stage", "stage": stage, "number": number, "of": len(STAGES)})
        start, end = STAGES[stage]

        def report(done: int, total: int, message: str = "") -> None:
            share = done / total if total else 0.0
            here = min(end, start + int(share * (end - start)))
            progress(here, DONE, f"{title}: {message}" if message else title)

        return report

    bar = begin_stage("patches", "cutting patches")
    summary, notes = cut_patches(settings, model.geometry, progress=bar)
    notes = (*notes, *summary.notes)
    for note in notes:
        emit({"event": "notice", "text": note})
    base = _short(settings.model)
    bar = begin_stage("before", "clicks before")
    before = _clicks(settings, settings.model, "before", f"{base} before", bar)
    training = _tune(settings, model, summary, begin_stage("tuning", "tuning"), emit)
    checkpoint = training.best_checkpoint
    bar = begin_stage("after", "clicks after")
    after = _clicks(settings, str(checkpoint), "after", f"{settings.scenario} after", bar)

    slides = {s.name: s.mpp for s in open_patches(out / "patches", "test").slides}
    cut = settings.extraction(model.geometry)
    patch_px = {name: cut.patch_size_px * cut.mpp / mpp for name, mpp in slides.items()}
    proof = prove(before, after, patch_px=patch_px, seed=settings.seed)
    own = None
    if settings.promote == "always" or (settings.promote == "better" and proof.is_better):
        own = _promote(checkpoint, settings.name, wanted=out.absolute().name)
    improvement = Improvement(
        out=out,
        base=base,
        scenario=settings.scenario,
        checkpoint=checkpoint,
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
    was_refused = [path.name for path in out.iterdir()] == [SETTINGS_FILE]  # before it made more
    if not (overwrite or was_refused):
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
    from histosam_core.training.recipes import SCENARIOS

    scenario = SCENARIOS[settings.scenario]
    early_features = settings.tuning.get("early_features")
    return load_base(settings.model, settings.device, scenario, early_features=early_features).info


def _clicks(
    settings: ImproveSettings, model: str, stage: str, name: str, progress: ProgressCallback
) -> EvaluationResult:
    """Click on the held-out patches; what was done before is not done again."""
    from histosam_core.evaluation import evaluate
    from histosam_core.model import load_model

    return evaluate(
        load_model(model, settings.device),
        open_patches(settings.out / "patches", "test"),
        name=name,
        out=settings.out / "runs" / stage,
        max_clicks=settings.max_clicks,
        limit=settings.test_limit,
        progress=progress,
        keep_finished=True,
    )


def _tune(
    settings: ImproveSettings,
    model: CheckpointInfo,
    summary: ExtractionSummary,
    progress: ProgressCallback,
    on_event: OnEvent,
) -> TrainResult:
    from histosam_core.training import finetune
    from histosam_core.training.recipes import SCENARIOS

    starts_fresh = SCENARIOS[settings.scenario].decoder not in model.decoders
    n_patches = summary.n_patches["train"]
    patches = open_patches(settings.out / "patches", "train")
    has_state = (settings.out / "tuning" / "state.pt").is_file()
    return finetune(
        settings.train_config(n_patches, starts_fresh=starts_fresh),
        resume=has_state,
        overwrite=not has_state,
        train_patches=RepeatedPatches(patches, settings.repeats(n_patches)),
        progress=progress,
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


def _check_name(name: str | None, checkpoint: Path) -> None:
    """Raise ConfigError where another model than a copy of the checkpoint has that name."""
    holder = None if name is None else find_own_model(name)
    if name in MODELS or (holder is not None and not _is_copy(holder, checkpoint)):
        raise ConfigError(f"a model is called {name!r} already; choose another --name")


def _promote(checkpoint: Path, name: str | None, *, wanted: str) -> OwnModel:
    """Copy a checkpoint to the user's own models, unless a copy of it is in their list already.

    Without a name it gets one as near to `wanted` as is free.
    """
    for own in list_own_models():
        if name in (None, own.name) and _is_copy(own, checkpoint):
            return own
    _check_name(name, checkpoint)
    name = free_name(wanted) if name is None else name
    path = own_models_folder().absolute() / f"{name}.safetensors"
    with new_file(path) as temporary:
        shutil.copyfile(checkpoint, temporary)
    return add_own_model(path, name=name)


def _is_copy(own: OwnModel, checkpoint: Path) -> bool:
    """Whether an own model is this program's copy of a checkpoint."""
    from histosam_core.model.checkpoint.weights_header import file_sha256

    return (
        checkpoint.is_file()
        and own.path.parent == own_models_folder().absolute()
        and own.path.stat().st_size == checkpoint.stat().st_size
        and file_sha256(own.path) == file_sha256(checkpoint)
    )
