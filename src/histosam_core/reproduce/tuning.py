"""Fine-tuning a method on PAIP2019's training patches, and what it left behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.atomic import new_file
from histosam_core.reproduce import kim2023
from histosam_core.reproduce.patch_sets import Bars, no_bars

if TYPE_CHECKING:
    from histosam_core.reproduce.kim2023 import Method
    from histosam_core.reproduce.settings import ReproduceSettings
    from histosam_core.reproduce.weights import Weights
    from histosam_core.training import TrainConfig

__all__ = ["Tuned", "epochs_done", "read_tuned", "train_config", "tune"]


@dataclass(frozen=True, slots=True)
class Tuned:
    """A finished fine-tuning."""

    checkpoint: str  # of the best epoch by validation
    epochs: int
    best_epoch: int
    steps: int
    seconds: float  # wall time over all attempts
    noc85_before: float  # of the validation patches
    noc85_best: float
    base: str  # the model that it started from
    sha256: str  # of the checkpoint


def run_folder(settings: ReproduceSettings, method: Method) -> Path:
    """Return the folder of a method's fine-tuning."""
    return settings.out / "finetune" / method.key


def read_tuned(settings: ReproduceSettings, method: Method) -> Tuned | None:
    """Return a method's finished fine-tuning, or None."""
    try:
        tuned = Tuned(**json.loads(_record(settings, method).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    best = run_folder(settings, method) / Path(tuned.checkpoint).name
    # The folder may have moved since.
    return Tuned(**{**asdict(tuned), "checkpoint": str(best)}) if best.is_file() else None


def epochs_done(settings: ReproduceSettings, method: Method) -> tuple[int, float]:
    """Return how many epochs of an unfinished fine-tuning are done, and the seconds they took."""
    log = run_folder(settings, method) / "log.csv"
    try:
        rows = log.read_text(encoding="utf-8").splitlines()
        columns = rows[0].split(",")
        last = dict(zip(columns, rows[-1].split(","), strict=True))
        return int(last["epoch"]), float(last["seconds"])
    except (OSError, LookupError, ValueError):
        return 0, 0.0


def train_config(settings: ReproduceSettings, method: Method, weights: Weights) -> TrainConfig:
    """Return the settings of a method's fine-tuning.

    The paper's where it states them: 30 epochs, the learning rate divided by 10 at epochs 20 and
    25, and for SAM the rate 5e-4; batches of 32 as RITM has them, to which the paper points. The
    other families keep the rates that they were published with. All else is `TrainConfig`'s.
    """
    from histosam_core.training import TrainConfig

    values: dict[str, Any] = {
        "epochs": settings.epochs,
        "milestones": list(kim2023.MILESTONES),
        "batch_size": kim2023.BATCH_SIZE,
        "validation_clicks": settings.max_clicks,
        "max_minutes": settings.max_minutes,
        "seed": settings.seed,
    }
    if method.family == "sam":
        values["learning_rate"] = kim2023.LEARNING_RATE
    if method.scenario is not None:
        values["scenario"] = method.scenario
    fixed = {
        "out": str(run_folder(settings, method)),
        "model": weights.source,
        "patches": str(settings.out / "patches" / "paip2019_x5"),
        "device": settings.device,
    }
    return TrainConfig.from_dict({**values, **settings.tuning, **fixed})


def tune(
    settings: ReproduceSettings,
    method: Method,
    weights: Weights,
    *,
    bars: Bars = no_bars,
    on_event: Callable[[Mapping[str, object]], None] | None = None,
) -> Tuned:
    """Fine-tune a method, continuing an attempt that was stopped; a finished one is kept.

    Errors are those of `finetune`; KeyboardInterrupt passes on, once the state is saved.
    """
    from histosam_core.model.checkpoint.header import file_sha256
    from histosam_core.training import finetune
    from histosam_core.training.run_folder import RunFolder

    earlier = read_tuned(settings, method)
    if earlier is not None:
        return earlier
    folder = RunFolder(run_folder(settings, method))
    goes_on = folder.state.is_file() or folder.has_begun_only
    with bars(f"Fine-tune {method.title}") as progress:
        result = finetune(
            train_config(settings, method, weights),
            resume=goes_on,
            progress=progress,
            on_event=on_event,
        )
    tuned = Tuned(
        str(result.best_checkpoint),
        result.epochs,
        result.best_epoch,
        result.steps,
        result.seconds,
        noc85_before=result.before.noc85,
        noc85_best=result.best.noc85,
        base=weights.model,
        sha256=file_sha256(result.best_checkpoint),
    )
    with new_file(_record(settings, method)) as path:
        path.write_text(json.dumps(asdict(tuned), indent=2) + "\n", encoding="utf-8")
    return tuned


def _record(settings: ReproduceSettings, method: Method) -> Path:
    return settings.out / "finetune" / f"{method.key}.json"
