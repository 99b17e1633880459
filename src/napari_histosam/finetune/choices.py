"""What a fine-tuning is started with: checked as a whole, then a job. No Qt, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from histosam_core.errors import ConfigError
from histosam_core.paths import data_folder
from histosam_core.training.recipes import recipe_of
from napari_histosam.jobs.job_folder import free_folder

if TYPE_CHECKING:
    from histosam_core.improve.settings import ImproveSettings
    from histosam_core.training.config import TrainConfig

Source = Literal["viewer", "slides", "patches"]

STORES = ("train.zarr", "validation.zarr")
COMMON = ("out", "model", "scenario", "device", "seed")
"""Settings that `TrainConfig` and `ImproveSettings` both have; other ones are the tuning's."""
N_PATCHES = 64
"""Training patches that the defaults of an improvement are shown for."""


@dataclass(frozen=True, slots=True)
class Choices:
    """Everything that is chosen in the dock."""

    source: Source
    """"viewer": objects accepted in this viewer, written to files before the start. "slides":
    annotated slides. "patches": a folder that `histosam prepare` wrote."""
    tuning: Mapping[str, Any]
    """Settings of `TrainConfig` by name, "out" and "model" among them."""
    data: Mapping[str, Any]
    """Settings that say what is learnt from: "patches", or those of `ImproveSettings`."""
    n_objects: int = 0
    """Objects accepted in the viewer."""

    @property
    def kind(self) -> Literal["finetune", "improve"]:
        """The verb: from annotations, the new model is also proven on a held-out part."""
        return "finetune" if self.source == "patches" else "improve"

    @property
    def out(self) -> Path:
        """Run folder."""
        return Path(self.tuning["out"])

    @property
    def model(self) -> str:
        """Name or checkpoint to start from."""
        return str(self.tuning["model"])

    @property
    def title(self) -> str:
        """What the job is called."""
        name = "my annotations"
        if self.source != "viewer":
            data = self.data.get(self.source)
            name = Path(data[0] if isinstance(data, tuple) else str(data)).name
        scenario = "" if recipe_of(self.model).is_specialist else f", {self.config().scenario},"
        return f"{Path(self.model).stem}{scenario} on {name}"

    def settings(self) -> TrainConfig | ImproveSettings:
        """Return the settings of the command.

        Raises
        ------
        ConfigError
            One or more settings are wrong; the message lists all of them.
        """
        if self.kind == "finetune":
            from histosam_core.training.config import TrainConfig

            return TrainConfig(**self.tuning, **self.data)
        from histosam_core.improve.settings import ImproveSettings

        tuning = dict(self.tuning)
        common = {name: tuning.pop(name) for name in COMMON if name in tuning}
        if "max_minutes" in tuning:
            common["minutes"] = tuning.pop("max_minutes")
        data = {"slides": (Path(),), **self.data}  # those of a viewer are not written yet
        return ImproveSettings(**common, **data, tuning=tuning)

    def config(self) -> TrainConfig:
        """Return the settings of the training itself; ConfigError as `settings`."""
        from histosam_core.improve.settings import ImproveSettings

        settings = self.settings()
        if isinstance(settings, ImproveSettings):
            return settings.train_config(N_PATCHES)
        return settings

    def problem(self) -> str:
        """Return all that is wrong, in one line; empty where nothing is."""
        return "; ".join(filter(None, (self._problem_of_data(), self._problem_of_settings())))

    def _problem_of_data(self) -> str:
        recipe = recipe_of(self.model)
        if self.kind == "improve" and recipe.is_specialist:
            return (
                f"{recipe.title} models learn from patches alone: choose a folder of them, which "
                "`histosam prepare` makes, or a model of SAM's line"
            )
        if self.source == "viewer" and not self.n_objects:
            return "no object is accepted in this viewer; outline some, or choose annotated slides"
        if self.source == "slides":
            slides, annotations = (self.data.get(name, ()) for name in ("slides", "annotations"))
            if not slides:
                return "choose a slide or a folder of slides"
            missing = [path for path in (*slides, *annotations) if not path.exists()]
            if missing:
                return f"{missing[0]} is not there; choose another"
        if self.source == "patches":
            folder = self.data.get("patches")
            if folder is None:
                return "choose a folder of patches"
            absent = [name for name in STORES if not (folder / name).is_dir()]
            if absent:
                return (
                    f"{folder} holds no {' and no '.join(absent)}; make patches with "
                    "`histosam prepare`, or choose another folder"
                )
        return ""

    def _problem_of_settings(self) -> str:
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            return f"{self.out} is taken; choose another run folder"
        if self.kind == "improve" and recipe_of(self.model).is_specialist:
            return ""
        try:
            self.settings()
        except ConfigError as error:
            return str(error).partition(": ")[2].removeprefix("fine-tuning settings: ")
        return ""


def default_settings(source: Source, model: str) -> dict[str, Any]:
    """Return the settings of `TrainConfig` that hold where nothing is changed.

    Parameters
    ----------
    source
        See `Choices`; None stands for the epochs where they depend on the patches that are cut.
    model
        Decides some of them.
    """
    if recipe_of(model).is_specialist:
        source = "patches"
    chosen = Choices(source, {"out": Path("run"), "model": model}, {})
    found = chosen.config().as_dict()
    if chosen.kind == "improve":
        found["epochs"] = None
    return {name: value for name, value in found.items() if name not in ("out", "model")}


def free_run_folder(model: str, scenario: str | None) -> Path:
    """Return a folder for a new run in the user's data folder; it is not there yet."""
    return free_folder(data_folder() / "runs" / f"{Path(model).stem}-{scenario or 'tuned'}")
