"""Evaluate a model on a set of patches: click on each, keep every click, pick examples."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from histosam_core.clicks.mask import MASK_THRESHOLD
from histosam_core.clicks.users import IDEAL, User
from histosam_core.errors import ConfigError, EmptyDatasetError
from histosam_core.evaluation.examples import choose_examples, save_example, save_mask
from histosam_core.evaluation.protocol import (
    ClickRun,
    Clock,
    EvaluationPatch,
    ProtocolSettings,
)
from histosam_core.evaluation.records import (
    EvaluationResult,
    PatchRecord,
    RunWriter,
    settings_dict,
)
from histosam_core.evaluation.side_by_side import run_patches
from histosam_core.model.interface import complete
from histosam_core.model.registry.model_choice import load_choice
from histosam_core.progress import ProgressCallback, silent
from histosam_core.version import __version__

if TYPE_CHECKING:
    from histosam_core.embeddings.image_cache import EmbeddingCache
    from histosam_core.evaluation.distributed import RemoteModel
    from histosam_core.model.interface import InteractiveModel

__all__ = ["evaluate", "spread_indices"]

N_EXAMPLES_EACH = 2
CHECKPOINT_FIELDS = (
    "name", "architecture", "decoder", "dense_prompts", "scenario", "sha256", "licence",
    "geometry", "preprocessing", "provenance",
)  # fmt: skip


def evaluate(
    model: InteractiveModel | RemoteModel | str,
    patches: Sequence[EvaluationPatch],
    *,
    name: str,
    out: str | os.PathLike[str] | None = None,
    target_iou: float = 0.90,
    max_clicks: int = 20,
    min_clicks: int = 1,
    mask_threshold: float = MASK_THRESHOLD,
    user: User = IDEAL,
    limit: int | None = None,
    batch_size: int = 8,
    cache: EmbeddingCache | None = None,
    progress: ProgressCallback = silent,
    overwrite: bool = False,
    resume: bool = True,
    keep_finished: bool = False,
    clock: Clock = time.perf_counter,
    scheduler: str | None = None,
) -> EvaluationResult:
    """Click on patches as the protocol has it; keep a row per click.

    Parameters
    ----------
    model
        Any `InteractiveModel`; with batched forms, many patches advance together. Or a
        `RemoteModel`; or a model's name or path, with its decoder or without (see `parse_model`),
        which workers load for themselves.
    patches
        A `PatchStore`, or any sequence of patches. Its `name`, where it has one, names the data
        set.
    name
        The model's name in tables and legends.
    out
        A folder of this run's own for rows, masks and examples. None keeps the rows in memory.
    target_iou, max_clicks, min_clicks, mask_threshold
        See `ProtocolSettings`. NoC can only be told for thresholds up to `target_iou`.
    user
        Who clicks, and how often on each patch.
    limit
        At most so many patches, spread evenly over the store.
    batch_size
        Patches that advance together.
    cache
        Keeps embeddings for the next model with the same encoder; without effect on a scheduler's
        workers.
    progress
        Told the patches done, each as often as the user clicks on it, and the same again now and
        then between the clicks, so that it may pause or stop the work there.
    overwrite
        Throw away an earlier run in `out`.
    resume
        Take up an unfinished run in `out` if checkpoint, data set and settings are the same.
    keep_finished
        Return a finished run in `out` as it is if all those are the same, instead of refusing.
    clock
        Returns seconds.
    scheduler
        Address of a dask.distributed scheduler, whose workers then do the clicking; see
        `RemoteModel`.

    Returns
    -------
    EvaluationResult

    Raises
    ------
    SchedulerError
        The scheduler or its workers are not there, or fail; what was finished is kept.
    EmptyDatasetError
        There is no patch.
    ConfigError
        A setting is out of range, or a patch's image and truth do not fit.
    OutputExistsError
        `out` holds a finished run, another run, or something else.
    OutputWriteError
        `out` cannot be written.
    """
    given = {k: v for k, v in locals().items() if k not in ("model", "patches", "scheduler")}
    if scheduler is not None:
        from histosam_core.evaluation.distributed import RemoteModel

        with RemoteModel(scheduler, model) as remote:
            return evaluate(remote, patches, **given)
    if isinstance(model, str):
        return evaluate(load_choice(model), patches, **given)
    settings = ProtocolSettings(target_iou, max_clicks, min_clicks, mask_threshold)
    if batch_size < 1 or (limit is not None and limit < 1):
        raise ConfigError(f"batch_size {batch_size} and limit {limit} must be at least 1")
    dataset = str(getattr(patches, "name", "patches"))
    if not len(patches):
        raise EmptyDatasetError(f"{dataset} holds no patch; prepare it again with wider filters")
    indices = spread_indices(len(patches), limit)
    header: dict[str, Any] = {
        "name": name,
        "dataset": {
            "name": dataset,
            "path": str(getattr(patches, "path", "")),
            "n_patches": len(patches),
            "n_evaluated": len(indices),
        },
        "settings": settings_dict(settings),
        "user": asdict(user),
        "checkpoint": describe_model(model),
        "batch_size": batch_size,
        # Fine enough to keep runs in the order in which they were made.
        "started": datetime.now(UTC).isoformat(timespec="microseconds"),
        "software": software(),
    }
    todo = [(index, repeat) for index in indices for repeat in range(user.repeats)]
    options = {"user": user, "batch_size": batch_size, "cache": cache, "clock": clock}
    if out is None:
        records = _run(model, patches, todo, settings, options, progress, (), None)
        return EvaluationResult(name, dataset, settings, records, {**header, "is_complete": True})
    with RunWriter(
        out, header, overwrite=overwrite, resume=resume, keep_finished=keep_finished
    ) as writer:
        records = _run(model, patches, todo, settings, options, progress, writer.finished, writer)
        result = EvaluationResult(name, dataset, settings, records, writer.header, writer.folder)
        for example in choose_examples(result, N_EXAMPLES_EACH):
            index = example.record.index
            save_example(writer.folder, index, patches[index])
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        writer.write_header(is_complete=True, finished=finished)
    return result


def spread_indices(n: int, limit: int | None) -> list[int]:
    """Return at most `limit` of ``range(n)``, spread evenly, so that every slide has its share."""
    if limit is None or limit >= n:
        return list(range(n))
    return [int(i) for i in np.linspace(0, n - 1, limit).round()]


def describe_model(model: Any) -> dict[str, Any]:
    """Return what is known of a model's checkpoint: name, architecture, sha256, geometry, device.

    A model on other machines (`RemoteModel`) is described by what it says there.
    """
    elsewhere = getattr(model, "described", None)
    if isinstance(elsewhere, Mapping):
        return dict(elsewhere)
    known = complete(model)
    facts = asdict(known.info)
    told = {name: facts[name] for name in CHECKPOINT_FIELDS if facts.get(name) is not None}
    return {"class": type(model).__name__, **told, "device": str(known.device)}


def _run(
    model: Any,
    patches: Sequence[EvaluationPatch],
    asked: Sequence[tuple[int, int]],
    settings: ProtocolSettings,
    options: Mapping[str, Any],
    progress: ProgressCallback,
    finished: Sequence[PatchRecord],
    writer: RunWriter | None,
) -> tuple[PatchRecord, ...]:
    records = {(record.index, record.repeat): record for record in finished}
    todo = [which for which in asked if which not in records]
    n_clicks = sum(len(record.clicks) for record in finished)
    message = "starting"

    def beat() -> None:
        progress(len(records), len(asked), message)

    beat()
    elsewhere = getattr(model, "run_patches", None)  # of a model on other machines
    if elsewhere is not None:
        sent = {name: options[name] for name in ("user", "batch_size")}
        runs = elsewhere(patches, todo, settings, **sent)
    else:
        runs = run_patches(model, patches, todo, settings, **options, beat=beat)
    for index, run in runs:
        record = _record(index, patches[index], run)
        if writer is not None:
            # The mask goes first: rows say that a patch is finished.
            save_mask(writer.folder, index, run.mask, run.repeat)
            writer.append(record)
        records[index, run.repeat] = record
        n_clicks += len(run.clicks)
        message = f"{n_clicks / len(records):.1f} clicks a patch"
        beat()
    return tuple(records[which] for which in asked)


def _record(index: int, patch: EvaluationPatch, run: ClickRun) -> PatchRecord:
    location: Sequence[float] | None = getattr(patch, "location_xy", None)
    fraction = getattr(patch, "tumor_fraction", None)
    return PatchRecord.of_run(
        run,
        index=index,
        patch_id=patch.id,
        slide=patch.slide,
        location_xy=None if location is None else (float(location[0]), float(location[1])),
        tumor_fraction=None if fraction is None else float(fraction),
    )


def software() -> dict[str, Any]:
    """Return the versions and the machine that a run's header names."""
    known = {
        "histosam": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        known["torch"] = str(torch.__version__)
        known["torch_threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            known["gpu"] = torch.cuda.get_device_name()
    return known
