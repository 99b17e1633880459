"""What an evaluation is started with: checked in one line, then made a command. No Qt, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from histosam_core.errors import ConfigError, HistoSamError
from histosam_core.paths import data_folder

if TYPE_CHECKING:
    from histosam_core.clicks.users import UserKind

__all__ = ["Choices", "DataKind", "data_in", "free_results_folder"]

DataKind = Literal["patches", "slides"]

STORE_SUFFIX = ".zarr"
PREFERRED_SPLIT = "test"


@dataclass(frozen=True, slots=True)
class Choices:
    """Everything that is chosen in the widget.

    Parameters
    ----------
    models
        Names or checkpoints' paths, with a decoder or without; see `parse_model`.
    out
        Results folder.
    patches
        Patch stores.
    slides
        A folder of annotated slides, whose tumour regions are clicked on as a whole.
    annotations
        Folder of their annotations; None: beside them.
    slide_mpp, labels
        Of the slides: micrometres per level-0 pixel where files state none, and the classes that
        count as tumour; None and none: as files say.
    target_iou, max_clicks, limit, batch_size, device
        As in `histosam evaluate`; `limit` of None takes all.
    user, sigma_px, repeats
        Who clicks, and how often where it is not the ideal user, see `User`.
    """

    models: tuple[str, ...]
    out: Path
    patches: tuple[Path, ...] = ()
    slides: Path | None = None
    annotations: Path | None = None
    slide_mpp: float | None = None
    labels: tuple[str, ...] = ()
    target_iou: float = 0.90
    max_clicks: int = 20
    limit: int | None = None
    batch_size: int = 8
    device: str = "auto"
    user: UserKind = "ideal"
    sigma_px: float = 8.0
    repeats: int = 5

    @property
    def title(self) -> str:
        """What the job is called."""
        from histosam_core.model.registry.model_choice import parse_model

        models = ", ".join(parse_model(model).title for model in self.models)
        data = [f"{path.parent.name}/{path.stem}" for path in self.patches]
        data += [self.slides.name] if self.slides is not None else []
        return f"{models} on {', '.join(data)}"

    @property
    def about(self) -> dict[str, Any]:
        """What a job is to remember: where its results are, and which model each name stands for.

        Raises
        ------
        ConfigError
            Two models would have one name.
        CheckpointError
            A model does not have the decoder that is chosen.
        """
        from histosam_core.evaluation.settings import labelled

        return {"out": str(self.out), "models": labelled(self.models)}

    def problem(self) -> str:
        """Return all that stands against a start, in one line; empty where nothing does."""
        return "; ".join(filter(None, (self._problem_of_data(), self._problem_of_settings())))

    def arguments(self) -> tuple[str, ...]:
        """Return the command's arguments, the verb first.

        Raises
        ------
        ConfigError
            Something stands against a start.
        """
        problem = self.problem()
        if problem:
            raise ConfigError(problem)
        given = ["evaluate"]
        for label, source in self.about["models"].items():
            given += ["--model", f"{label}={source}"]
        for path in self.patches:
            given += ["--patches", str(path)]
        if self.slides is not None:
            given += ["--slides", str(self.slides)]
            if self.annotations is not None:
                given += ["--annotations", str(self.annotations)]
            if self.slide_mpp is not None:
                given += ["--slide-mpp", f"{self.slide_mpp:g}"]
            for label in self.labels:
                given += ["--label", label]
        given += ["--out", str(self.out), "--target-iou", f"{self.target_iou:g}"]
        given += ["--max-clicks", str(self.max_clicks), "--batch-size", str(self.batch_size)]
        if self.limit is not None:
            given += ["--limit", str(self.limit)]
        if self.user != "ideal":
            given += ["--user", self.user, "--repeats", str(self.repeats)]
            given += ["--sigma", f"{self.sigma_px:g}"] if self.user == "jitter" else []
        return (*given, "--device", self.device)

    def _problem_of_data(self) -> str:
        if not self.patches and self.slides is None:
            return "add patches or a folder of annotated slides"
        if self.patches and self.slides is not None:
            return "patches and whole slides are two runs; untick one kind"
        for path in (*self.patches, self.slides):
            if path is not None and not path.exists():
                return f"{path} is not there; take it off the list"
        if self.annotations is not None and not self.annotations.is_dir():
            return f"there is no folder {self.annotations}; choose the annotations'"
        return ""

    def _problem_of_settings(self) -> str:
        from histosam_core.evaluation.protocol.trial import ProtocolSettings

        if not self.models:
            return "tick at least one model"
        try:
            ProtocolSettings(self.target_iou, self.max_clicks)
            _ = self.about
        except HistoSamError as error:
            return str(error)
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
    base, number = data_folder() / "evaluations", 1
    while (base / f"results-{number}").exists():
        number += 1
    return base / f"results-{number}"
