"""Evaluate a model on a set of patches: click on each, keep every click, pick examples."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.clicks.mask import MASK_THRESHOLD
from histosam_core.clicks.users import IDEAL, User
from histosam_core.errors import ConfigError, EmptyDatasetError
from histosam_core.evaluation.pictures import save_example
from histosam_core.evaluation.protocol.runners import Runner, runner_of
from histosam_core.evaluation.protocol.trial import ProtocolSettings
from histosam_core.evaluation.records import EvaluationResult, PatchRecord, RunWriter
from histosam_core.evaluation.report.examples import choose_examples
from histosam_core.progress import ProgressCallback, silent
from histosam_core.version import __version__

if TYPE_CHECKING:
    from histosam_core.embeddings.image_cache import EmbeddingCache
    from histosam_core.evaluation.protocol.loop import Clock
    from histosam_core.evaluation.protocol.patches import EvaluationPatch
    from histosam_core.model.interface import InteractiveModel

__all__ = ["Outcome", "Tally", "evaluate", "new_header", "record_run", "spread_indices"]

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
        See `ProtocolSettings`. NoC can only be told for thresholds up to `target_iou`.
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
    settings = ProtocolSettings(target_iou, max_clicks, min_clicks, mask_threshold)
    if batch_size < 1 or (limit is not None and limit < 1):
        raise ConfigError(f"batch_size {batch_size} and limit {limit} must be at least 1")
    dataset = str(getattr(patches, "name", "patches"))
    if not len(patches):
        raise EmptyDatasetError(f"{dataset} holds no patch; prepare it again with wider filters")
    indices = spread_indices(len(patches), limit)
    facts = {
        "name": dataset,
        "path": str(getattr(patches, "path", "")),
        "n_patches": len(patches),
        "n_evaluated": len(indices),
    }
    asked = [(index, repeat) for index in indices for repeat in range(user.repeats)]
    with runner_of(model, scheduler, cache=cache, clock=clock) as runner:
        header = new_header(runner, name, facts, settings, user, batch_size)

        def run(todo: list[tuple[int, int]], tally: Tally) -> Iterable[Outcome]:
            for index, clicked in runner.run_patches(
                patches, todo, settings, user=user, batch_size=batch_size, on_step=tally.report
            ):
                patch = patches[index]
                location: Sequence[float] | None = getattr(patch, "location_xy", None)
                fraction = getattr(patch, "tumor_fraction", None)
                record = PatchRecord.of_run(
                    clicked,
                    index=index,
                    patch_id=patch.id,
                    slide=patch.slide,
                    location_xy=(
                        None if location is None else (float(location[0]), float(location[1]))
                    ),
                    tumor_fraction=None if fraction is None else float(fraction),
                )
                n_clicks = tally.n_clicks + len(record.clicks)
                message = f"{n_clicks / (len(tally.records) + 1):.1f} clicks a patch"
                yield Outcome(message, record, clicked.mask)

        with RunWriter(
            out, header, overwrite=overwrite, resume=resume, keep_finished=keep_finished
        ) as writer:
            return record_run(writer, settings, asked, run, patches.__getitem__, progress)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one patch or region, in one of the user's repeats.

    Parameters
    ----------
    message
        What progress says of it.
    record, mask
        Its rows and its last mask, (H, W) bool; None where it could not be read.
    patch_id, error
        What could not be read, and why.
    """

    message: str
    record: PatchRecord | None = None
    mask: NDArray[np.bool_] | None = None
    patch_id: str = ""
    error: str = ""


class Tally:
    """What is done of a run, for those who watch it.

    Parameters
    ----------
    finished
        What an earlier run has finished.
    n_asked
        Records that there will be.
    progress
        Called with records done, records asked for, and a message.
    """

    def __init__(
        self, finished: Sequence[PatchRecord], n_asked: int, progress: ProgressCallback
    ) -> None:
        self.records = {(record.index, record.repeat): record for record in finished}
        self.n_clicks = sum(len(record.clicks) for record in finished)
        self.failed: dict[str, str] = {}
        self._n_asked, self._progress = n_asked, progress
        self._n_done = len(self.records)
        self._message = "starting"

    def report(self, message: str | None = None) -> None:
        """Call the progress, again or with a message for this once."""
        self._progress(self._n_done, self._n_asked, self._message if message is None else message)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome, and report it."""
        record = outcome.record
        if record is None:
            self.failed[outcome.patch_id] = outcome.error
        else:
            self.records[record.index, record.repeat] = record
            self.n_clicks += len(record.clicks)
        self._n_done += 1
        self._message = outcome.message
        self.report()


def new_header(
    runner: Runner,
    name: str,
    dataset: Mapping[str, Any],
    settings: ProtocolSettings,
    user: User,
    batch_size: int,
) -> dict[str, Any]:
    """Return what evaluation.json says of a run before it starts."""
    return {
        "name": name,
        "dataset": dict(dataset),
        "settings": asdict(settings),
        "user": asdict(user),
        "checkpoint": dict(runner.described),
        "batch_size": batch_size,
        # Fine enough to keep runs in the order in which they were made.
        "started": datetime.now(UTC).isoformat(timespec="microseconds"),
        "software": _software(),
    }


def record_run(
    writer: RunWriter,
    settings: ProtocolSettings,
    asked: Sequence[tuple[int, int]],
    run: Callable[[list[tuple[int, int]], Tally], Iterable[Outcome]],
    example_of: Callable[[int], EvaluationPatch],
    progress: ProgressCallback,
) -> EvaluationResult:
    """Have clicked on what is not finished yet, keep each outcome as it comes, then examples.

    Parameters
    ----------
    writer
        Of the run folder; knows what is finished.
    settings
        The protocol's.
    asked
        Index and repeat of all records, in their order.
    run
        Clicks on those that it is given, and yields what comes of each.
    example_of
        Reads image and truth of a patch or region by its index.
    progress
        See `evaluate`.
    """
    tally = Tally(writer.finished, len(asked), progress)
    tally.report()
    for outcome in run([which for which in asked if which not in tally.records], tally):
        if outcome.record is not None and outcome.mask is not None:
            writer.append(outcome.record, outcome.mask)
        tally.add(outcome)
    records = tuple(tally.records[which] for which in asked if which in tally.records)
    header = writer.header
    result = EvaluationResult(
        header["name"], header["dataset"]["name"], settings, records, header, writer.folder
    )
    if writer.folder is not None and result.of_repeat(0).patches:
        for example in choose_examples(result, N_EXAMPLES_EACH):
            index = example.record.index
            save_example(writer.folder, index, example_of(index))
    if tally.failed:
        header["left_out"] = header.get("left_out", {}) | tally.failed
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    writer.write_header(is_complete=not tally.failed, finished=finished)
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
