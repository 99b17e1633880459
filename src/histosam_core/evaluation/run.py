"""Evaluate a model on a set of patches: click on each, keep every click, pick examples."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from histosam_core.clicks.mask import MASK_THRESHOLD
from histosam_core.clicks.users import IDEAL, User
from histosam_core.embeddings.image_cache import EmbeddingCache as EmbeddingCache  # noqa: TC001
from histosam_core.errors import ConfigError, EmptyDatasetError
from histosam_core.evaluation.pictures import save_example
from histosam_core.evaluation.protocol.batched import PatchWork
from histosam_core.evaluation.protocol.runners import LocalRunner, Runner, Work
from histosam_core.evaluation.protocol.trial import ProtocolSettings
from histosam_core.evaluation.records import EvaluationResult, RunWriter
from histosam_core.evaluation.report.example_patches import choose_examples
from histosam_core.model.registry.model_choice import load_choice
from histosam_core.progress import ProgressCallback, silent
from histosam_core.version import __version__

if TYPE_CHECKING:
    from histosam_core.evaluation.protocol.click_loop import Clock
    from histosam_core.evaluation.protocol.trial import EvaluationPatch
    from histosam_core.model.interface import InteractiveModel

N_EXAMPLES_EACH = 2


def evaluate(
    model: InteractiveModel | Runner | str,
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
        Any `InteractiveModel`; with batched forms, many patches advance together. Or a model's
        name or path, with its decoder or without (see `parse_model`), which is loaded where it
        runs; or a `Runner`, such as a `ClusterRunner`.
    patches
        A `PatchStore`, or any sequence of patches. Its `name`, where it has one, names the data
        set.
    name
        The model's name in tables and legends.
    out
        A folder of this run's own for rows, masks and examples. None keeps the rows in memory.
    target_iou, max_clicks, min_clicks, mask_threshold
        See `ProtocolSettings`. NoC is known for thresholds up to `target_iou` only.
    user
        Who clicks, and how often on each patch.
    limit
        At most so many patches, spread evenly over the store.
    batch_size
        Patches that advance together.
    cache
        Keeps embeddings for the next model with the same encoder; without effect on a scheduler's
        workers and where `model` is a runner.
    progress
        Called with the patches done, each as often as the user clicks on it, and again now and
        then between the clicks, so that it may pause or stop the work there.
    overwrite
        Throw away an earlier run in `out`.
    resume
        Take up an unfinished run in `out` if checkpoint, data set and settings are the same.
    keep_finished
        Return a finished run in `out` as it is if all those are the same, instead of refusing.
    clock
        Returns seconds; a runner has its own.
    scheduler
        Address of a dask.distributed scheduler, whose workers then do the clicking; see
        `ClusterRunner`.

    Raises
    ------
    SchedulerError
        The scheduler or its workers are not there, or fail; what was finished is kept.
    EmptyDatasetError
        There is no patch.
    ConfigError
        A setting is out of range, or a patch's image and truth do not fit.
    PredictionError
        The model answers with what is not a number.
    OutputExistsError, OutputWriteError
        `out` holds a finished run, another run, or something else; it cannot be written.
    """
    settings = ProtocolSettings(target_iou, max_clicks, min_clicks, mask_threshold)
    if batch_size < 1 or (limit is not None and limit < 1):
        raise ConfigError(f"batch_size {batch_size} and limit {limit} must be at least 1")
    name_of_set = str(getattr(patches, "name", "patches"))
    if not len(patches):
        raise EmptyDatasetError(
            f"{name_of_set} holds no patch; prepare it again with wider filters"
        )
    indices = spread_indices(len(patches), limit)
    dataset = {
        "name": name_of_set,
        "path": str(getattr(patches, "path", "")),
        "n_patches": len(patches),
        "n_evaluated": len(indices),
    }
    with runner_of(model, scheduler, cache=cache, clock=clock) as runner:
        work = PatchWork(patches, settings, user, batch_size)
        header = new_header(runner, work, name, dataset)
        with RunWriter(
            out, header, overwrite=overwrite, resume=resume, keep_finished=keep_finished
        ) as writer:
            return record_run(runner, work, indices, writer, progress)


@contextmanager
def runner_of(
    model: InteractiveModel | Runner | str,
    scheduler: str | None = None,
    *,
    device: str = "auto",
    cache: EmbeddingCache | None = None,
    clock: Clock = time.perf_counter,
) -> Iterator[Runner]:
    """Yield what runs a model.

    Parameters
    ----------
    model
        A model; its name or path, with its decoder or without (see `parse_model`), which is loaded
        where it runs; or a runner, which is yielded as it is.
    scheduler
        Address of a dask.distributed scheduler, whose workers then run it; None: this machine.
    device
        Where a model that is loaded is put.
    cache, clock
        See `LocalRunner`; without effect on a scheduler's workers.

    Raises
    ------
    SchedulerError
        No scheduler answers, or it has no worker, or one that does not fit.
    """
    if isinstance(model, Runner):
        yield model
    elif scheduler is not None:
        from histosam_core.evaluation.protocol.cluster import ClusterRunner

        with ClusterRunner(scheduler, model, device=device) as runner:
            yield runner
    else:
        loaded = load_choice(model, device) if isinstance(model, str) else model
        yield LocalRunner(loaded, cache=cache, clock=clock)


def new_header(runner: Runner, work: Work, name: str, dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return what evaluation.json says of a run before it starts."""
    return {
        "name": name,
        "dataset": dataset,
        "settings": asdict(work.settings),
        "user": asdict(work.user),
        "checkpoint": dict(runner.described),
        "batch_size": work.batch_size,
        # Fine enough to keep runs in the order in which they were made.
        "started": datetime.now(UTC).isoformat(timespec="microseconds"),
        "software": _software(),
    }


def record_run(
    runner: Runner,
    work: Work,
    indices: Sequence[int],
    writer: RunWriter,
    progress: ProgressCallback,
) -> EvaluationResult:
    """Have what is not finished yet clicked on; keep each outcome as it comes, then examples.

    Each of `indices`, patches or regions of the work, is clicked on as often as the user repeats.
    """
    asked = [(index, repeat) for index in indices for repeat in range(work.user.repeats)]
    records = {(record.index, record.repeat): record for record in writer.finished}
    n_done, n_clicks = len(records), sum(len(record.clicks) for record in records.values())
    failed: dict[str, str] = {}
    message = "starting"

    def report(current: str) -> None:
        progress(n_done, len(asked), current or message)

    report("")
    for outcome in runner.run(work, [key for key in asked if key not in records], report):
        n_done += 1
        if outcome.record is None or outcome.mask is None:
            failed[outcome.patch_id] = outcome.error
        else:
            record = outcome.record
            writer.append(record, outcome.mask)
            records[record.index, record.repeat] = record
            n_clicks += len(record.clicks)
        message = outcome.message or f"{n_clicks / len(records):.1f} clicks a patch"
        report("")
    header = writer.header
    result = EvaluationResult(
        header["name"],
        header["dataset"]["name"],
        work.settings,
        tuple(records[key] for key in asked if key in records),
        header,
        writer.folder,
    )
    if writer.folder is not None and result.of_repeat(0).patches:
        for example in choose_examples(result, N_EXAMPLES_EACH):
            index = example.record.index
            save_example(writer.folder, index, *work.example(index))
    if failed:
        header["left_out"] = header.get("left_out", {}) | failed
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    writer.write_header(is_complete=not failed, finished=finished)
    return result


def spread_indices(n: int, limit: int | None) -> list[int]:
    """Return at most `limit` of ``range(n)``, spread evenly, so that every slide has its share."""
    if limit is None or limit >= n:
        return list(range(n))
    return [int(i) for i in np.linspace(0, n - 1, limit).round()]


def _software() -> dict[str, Any]:
    """Return the versions and the machine that a run's header names."""
    known: dict[str, Any] = {
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
