"""The models that are clicked with: published weights as they are, or fine-tuned on PAIP2019."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.atomic import new_file
from histosam_core.errors import CheckpointError
from histosam_core.model.baselines import network_names
from histosam_core.model.checkpoint.weights_header import file_sha256
from histosam_core.model.registry.own_models import checkpoint_path
from histosam_core.model.registry.registry import MODELS, weights_path
from histosam_core.reproduce import kim2023
from histosam_core.reproduce.patch_sets import Bars, no_bars, patch_folder
from histosam_core.training.config import TrainConfig

if TYPE_CHECKING:
    from histosam_core.model.interface import InteractiveModel
    from histosam_core.reproduce.kim2023 import Family, Method
    from histosam_core.reproduce.settings import ReproduceSettings

SUFFIXES = (".safetensors", ".pth", ".pt")


class MissingWeightsError(CheckpointError):
    """A model's weights are not on this machine."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A model that can be loaded."""

    model: str  # as the settings name it
    source: str  # what `load_model` takes: a file's path, or the name of a bundled model


def find_weights(model: str, folder: Path | None) -> Weights:
    """Find a model's weights; nothing is downloaded.

    `model` is a name of `list_models` or `list_own_models`, a network's name, or a file. In
    `folder` and its subfolders the official file name is looked for, upper and lower case alike. A
    model that is here without it (bundled, downloaded, one of the user's own, or a file's path)
    needs no folder.

    Raises
    ------
    MissingWeightsError
        They are not here; the message names the file.
    """
    spec = MODELS.get(model)
    if spec is None and (path := checkpoint_path(model)).is_file():
        return Weights(model, str(path.absolute()))
    names = [spec.file_name] if spec is not None else [model + suffix for suffix in SUFFIXES]
    wanted = [name.casefold() for name in names]
    files = () if folder is None else folder.rglob("*")
    there = sorted(p for p in files if p.name.casefold() in wanted and p.is_file())
    if there:
        best = min(there, key=lambda path: wanted.index(path.name.casefold()))
        return Weights(model, str(best.absolute()))
    if spec is not None and weights_path(spec).is_file():
        return Weights(model, model)
    where = f" in {folder}" if folder is not None else ""
    fix = "name their folder, --weights, or a file, --model FAMILY=FILE"
    if spec is not None and spec.url is not None:
        fix = f"histosam models --download {model}"
    elif spec is not None and spec.page is not None:
        fix = f"get {spec.page_item} from {spec.page} and save it by that name"
    raise MissingWeightsError(f"weights missing: no {' or '.join(names)}{where}; {fix}")


def load_weights(
    weights: Weights, device: str, *, family: Family, decoder: str | None = None
) -> InteractiveModel:
    """Load a model to click with.

    `decoder` is "sam" or "refining" for a model of SAM's family; None: its own.

    Raises
    ------
    CheckpointError
        The file holds another network than its name says, or one of another family, whose figures
        would fill this family's row.
    """
    from histosam_core.model import load_model

    chosen: Any = {} if decoder is None else {"decoder": decoder}
    if weights.model in MODELS:
        chosen["architecture"] = MODELS[weights.model].architecture
    elif weights.model in network_names():
        chosen["architecture"] = weights.model
    loaded = load_model(weights.source, device, **chosen)
    check_family(weights.model, getattr(loaded.info, "architecture", ""), family)
    return loaded


def check_family(model: str, architecture: str, family: Family) -> None:
    """Raise CheckpointError where a model is not of the family whose row it fills."""
    start = architecture.partition("_")[0]
    found = start if start in {"ritm", "focalclick", "simpleclick"} else "sam"
    if found != family:
        raise CheckpointError(
            f"{model} is a model of the family {found}, not {family}; pass it as --model "
            f"{found}=..., and weights of {family} as --model {family}=..."
        )


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
    """Return the folder of a method's fine-tuning; the record of a finished one lies beside it."""
    return settings.out / "finetune" / method.key


def read_tuned(settings: ReproduceSettings, method: Method) -> Tuned | None:
    """Return a method's finished fine-tuning, or None."""
    folder = run_folder(settings, method)
    try:
        tuned = Tuned(**json.loads(folder.with_suffix(".json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    best = folder / Path(tuned.checkpoint).name
    # The folder may have moved since.
    return replace(tuned, checkpoint=str(best)) if best.is_file() else None


def epochs_done(settings: ReproduceSettings, method: Method) -> tuple[int, float]:
    """Return how many epochs of an unfinished fine-tuning are done, and the seconds they took."""
    log = run_folder(settings, method) / "log.csv"
    try:
        *_, last = csv.DictReader(log.read_text(encoding="utf-8").splitlines())
        return int(last["epoch"]), float(last["seconds"])
    except (OSError, LookupError, ValueError, TypeError):
        return 0, 0.0


def train_config(settings: ReproduceSettings, method: Method, weights: Weights) -> TrainConfig:
    """Return the settings of a method's fine-tuning.

    The paper's where it states them: 30 epochs, the learning rate divided by 10 at epochs 20 and
    25, and for SAM the rate 5e-4; batches of 32 as RITM has them, to which the paper points. The
    other families keep the rates that they were published with. All else is `TrainConfig`'s.
    """
    values = {
        "epochs": settings.epochs,
        "milestones": list(kim2023.MILESTONES),
        "batch_size": kim2023.BATCH_SIZE,
        "validation_clicks": settings.max_clicks,
        "max_minutes": settings.max_minutes,
        "seed": settings.seed,
        **({"learning_rate": kim2023.LEARNING_RATE} if method.family == "sam" else {}),
        **({"scenario": method.scenario} if method.scenario else {}),
        **settings.tuning,
        "out": str(run_folder(settings, method)),
        "model": weights.source,
        "patches": str(patch_folder(settings, kim2023.PAIP2019_TEST)),
        "device": settings.device,
    }
    return TrainConfig.from_dict(values)


def tune(
    settings: ReproduceSettings,
    method: Method,
    weights: Weights,
    *,
    bars: Bars = no_bars,
    on_event: Callable[[Mapping[str, object]], None] | None = None,
) -> Tuned:
    """Fine-tune a method, continuing an attempt that was stopped.

    Errors are those of `finetune`; KeyboardInterrupt passes on, once the state is saved.
    """
    from histosam_core.training import finetune
    from histosam_core.training.run_folder import RunFolder

    folder = RunFolder(run_folder(settings, method))
    goes_on = folder.state.is_file() or folder.has_begun_only
    config = train_config(settings, method, weights)
    with bars(f"Fine-tune {method.title}") as progress:
        result = finetune(config, resume=goes_on, progress=progress, on_event=on_event)
    tuned = Tuned(
        checkpoint=str(result.best_checkpoint),
        epochs=result.epochs,
        best_epoch=result.best_epoch,
        steps=result.steps,
        seconds=result.seconds,
        noc85_before=result.before.noc85,
        noc85_best=result.best.noc85,
        base=weights.model,
        sha256=file_sha256(result.best_checkpoint),
    )
    with new_file(folder.path.with_suffix(".json")) as path:
        path.write_text(json.dumps(asdict(tuned), indent=2) + "\n", encoding="utf-8")
    return tuned
