"""Where a family's published weights are: in the folder that was named, or already here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.errors import CheckpointError

if TYPE_CHECKING:
    from histosam_core.model.interface import InteractiveModel
    from histosam_core.reproduce.kim2023 import Family

__all__ = ["MissingWeightsError", "Weights", "check_family", "find_weights", "load_weights"]

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
    from histosam_core.model.registry.own_models import checkpoint_path
    from histosam_core.model.registry.registry import MODELS, weights_path

    spec = MODELS.get(model)
    if spec is None:
        path = checkpoint_path(model)
        if path.is_file():
            return Weights(model, str(path.absolute()))
    names = [spec.file_name] if spec is not None else [model + suffix for suffix in SUFFIXES]
    found = _in_folder(names, folder)
    if found is not None:
        return Weights(model, str(found.absolute()))
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
    from histosam_core.model.baselines import network_names
    from histosam_core.model.registry.registry import MODELS

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


def _in_folder(names: list[str], folder: Path | None) -> Path | None:
    if folder is None or not folder.is_dir():
        return None
    wanted = [name.casefold() for name in names]
    there = sorted(p for p in folder.rglob("*") if p.name.casefold() in wanted and p.is_file())
    return min(there, key=lambda p: wanted.index(p.name.casefold()), default=None)
