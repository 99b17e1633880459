"""What an evaluation is started with: checked as a whole, then a job. No Qt, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from histosam_core.errors import ConfigError, HistoSamError
from histosam_core.evaluation.settings import EvaluateSettings
from histosam_core.model.registry.model_choice import parse_model
from histosam_core.paths import data_folder
from napari_histosam.jobs.job_folder import free_folder

DataKind = Literal["patches", "slides"]

STORE_SUFFIX = ".zarr"
PREFERRED_SPLIT = "test"


@dataclass(frozen=True, slots=True)
class Choices:
    """Everything that is chosen in the dock."""

    models: tuple[str, ...]
    """Names or checkpoints' paths, with a decoder or without; see `parse_model`."""
    out: Path
    """Results folder."""
    patches: tuple[Path, ...] = ()
    """Patch stores."""
    slides: Path | None = None
    """A folder of annotated slides, whose tumour regions are clicked on as a whole."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """Other settings of `EvaluateSettings` by name, where they are not the default."""

    @property
    def title(self) -> str:
        """What the job is called."""
        models = ", ".join(parse_model(model).title for model in self.models)
        data = [f"{path.parent.name}/{path.stem}" for path in self.patches]
        data += [self.slides.name] if self.slides is not None else []
        return f"{models} on {', '.join(data)}"

    @property
    def about(self) -> dict[str, Any]:
        """What a job keeps: where its results are, and the model that each name stands for.

        Raises
        ------
        HistoSamError
            As `settings`.
        """
        return {"out": str(self.out), "models": self.settings().labelled_models()}

    @property
    def plan(self) -> str:
        """What a run will do, in a line."""
        settings = self.settings()
        data = _count(len(self.patches), "data set") if self.patches else "whole slides"
        limit = f", at most {settings.limit} of each" if settings.limit else ""
        models = _count(len(self.models), "model")
        return f"{models} on {data}{limit}, up to {settings.max_clicks} clicks each"

    def settings(self) -> EvaluateSettings:
        """Return the settings of the command.

        Raises
        ------
        ConfigError
            One or more settings are wrong; the message lists all of them.
        CheckpointError
            A model does not have the decoder that is chosen.
        """
        chosen = {name: getattr(self, name) for name in ("models", "out", "patches", "slides")}
        return EvaluateSettings(**chosen, **self.given)

    def problem(self) -> str:
        """Return all that is wrong, in one line; empty where nothing is."""
        return "; ".join(filter(None, (self._problem_of_data(), self._problem_of_settings())))

    def _problem_of_data(self) -> str:
        if not self.patches and self.slides is None:
            return "add patches or a folder of annotated slides"
        if self.patches and self.slides is not None:
            return "patches and whole slides are two runs; untick one kind"
        for path in (*self.patches, self.slides):
            if path is not None and not path.exists():
                return f"{path} is not there; take it off the list"
        annotations = self.given.get("annotations")
        if annotations is not None and not annotations.is_dir():
            return f"there is no folder {annotations}; choose the annotations'"
        return ""

    def _problem_of_settings(self) -> str:
        if not self.models:
            return "tick at least one model"
        # What is wrong with the data is said already.
        patches = (self.patches or (Path(),)) if self.slides is None else ()
        try:
            replace(self, patches=patches).settings()
        except HistoSamError as error:
            return str(error).removeprefix(f"{EvaluateSettings.title}: ")
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            return f"{self.out} is taken; choose another results folder, or open its results"
        return ""


def data_in(folder: Path) -> tuple[DataKind, dict[Path, bool]]:
    """Return what a folder offers to evaluate on, and whether it is likely to be meant.

    Parameters
    ----------
    folder
        A patch store, a folder of them, or a folder of slides.

    Returns
    -------
    kind
        "patches" or "slides".
    found
        Path -> whether it is likely to be meant: of several splits the test split.

    Raises
    ------
    ConfigError
        There is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}; choose another")
    if (folder / "zarr.json").is_file():
        return "patches", {folder: True}
    stores = sorted(folder.glob(f"*{STORE_SUFFIX}"))
    if not stores:
        return "slides", {folder: True}
    has_test = any(store.stem == PREFERRED_SPLIT for store in stores)
    return "patches", {store: not has_test or store.stem == PREFERRED_SPLIT for store in stores}


def free_results_folder() -> Path:
    """Return a folder for new results in the user's data folder; it is not there yet."""
    return free_folder(data_folder() / "evaluations" / "results")


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n != 1 else ''}"
