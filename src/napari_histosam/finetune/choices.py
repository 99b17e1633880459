"""What a fine-tuning is started with: checked in one line, then made a command. No Qt, no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from histosam_core.errors import ConfigError
from histosam_core.paths import data_folder
from histosam_core.training.recipes import recipe_of

__all__ = ["Choices", "Source", "free_run_folder"]

Source = Literal["viewer", "slides", "patches"]

OPTIONS = {
    "learning_rate": "--learning-rate",
    "seed": "--seed",
    "workers": "--workers",
    "precision": "--precision",
}
"""Settings that both commands have an option for; the others go through --set."""
STORES = ("train.zarr", "validation.zarr")


@dataclass(frozen=True, slots=True)
class Choices:
    """Everything that is chosen in the widget.

    Parameters
    ----------
    source
        "viewer": objects accepted in this viewer, written to files before the start. "slides":
        annotated slides. "patches": a folder that `histosam prepare` wrote.
    out
        Run folder.
    patches
        The folder of patches.
    slides
        Slides, or one folder of slides.
    annotations
        A file for each slide, or one folder; empty: they lie beside the slides.
    n_objects
        Objects accepted in the viewer.
    slide_mpp
        Micrometres per level-0 pixel where a slide states none.
    label
        The class that counts as tumour; empty: those whose name says so.
    is_all_outlined
        All tumour of the slides is outlined, so that the rest is known to be none.
    model, batch_size, device
        As in `TrainConfig`.
    scenario
        As in `TrainConfig`; None for a specialist, which has none.
    epochs
        None: as many as the command takes by itself.
    minutes
        Time limit of the training; None: none.
    settings
        Other settings of `TrainConfig` by name, where they are not the default; those of
        `AugmentSettings` as "augment.NAME".
    """

    source: Source
    out: Path
    patches: Path | None = None
    slides: tuple[Path, ...] = ()
    annotations: tuple[Path, ...] = ()
    n_objects: int = 0
    slide_mpp: float | None = None
    label: str = ""
    is_all_outlined: bool = False
    model: str = "histosam-tiny"
    scenario: str | None = "refining"
    epochs: int | None = None
    minutes: float | None = None
    batch_size: int = 8
    device: str = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> Literal["finetune", "improve"]:
        """The verb: from annotations, the new model is also proven on a held-out part."""
        return "finetune" if self.source == "patches" else "improve"

    @property
    def title(self) -> str:
        """What the job is called."""
        name = "my annotations"
        if self.source == "patches" and self.patches is not None:
            name = self.patches.name
        elif self.source == "slides" and self.slides:
            name = self.slides[0].name
        scenario = f", {self.scenario}," if self.scenario else ""
        return f"{Path(self.model).stem}{scenario} on {name}"

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
        given: list[str] = [self.kind]
        given += self._improve_options() if self.kind == "improve" else self._finetune_options()
        given += ["--out", str(self.out), "--model", self.model]
        given += ["--scenario", self.scenario] if self.scenario else []
        given += ["--batch-size", str(self.batch_size), "--device", self.device]
        if self.epochs is not None:
            given += ["--epochs", str(self.epochs)]
        for name, value in sorted(self.settings.items()):
            text = value if isinstance(value, str) else json.dumps(value)
            given += [OPTIONS[name], text] if name in OPTIONS else ["--set", f"{name}={text}"]
        return tuple(given)

    def _finetune_options(self) -> list[str]:
        given = ["--patches", str(self.patches)]
        if self.minutes is not None:
            given += ["--max-minutes", f"{self.minutes:g}"]
        return given

    def _improve_options(self) -> list[str]:
        given = []
        for slide in self.slides:
            given += ["--slides", str(slide)]
        for annotation in self.annotations:
            given += ["--annotations", str(annotation)]
        if self.slide_mpp is not None:
            given += ["--slide-mpp", f"{self.slide_mpp:g}"]
        if self.label:
            given += ["--label", self.label]
        if self.is_all_outlined:
            given += ["--known-within", "slide"]
        return [*given, "--minutes", f"{self.minutes or 0:g}"]

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
            if not self.slides:
                return "choose a slide or a folder of slides"
            missing = [path for path in (*self.slides, *self.annotations) if not path.exists()]
            if missing:
                return f"{missing[0]} is not there; choose another"
        if self.source == "patches":
            if self.patches is None:
                return "choose a folder of patches"
            absent = [name for name in STORES if not (self.patches / name).is_dir()]
            if absent:
                return (
                    f"{self.patches} holds no {' and no '.join(absent)}; make patches with "
                    "`histosam prepare`, or choose another folder"
                )
        return ""

    def _problem_of_settings(self) -> str:
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            return f"{self.out} is taken; choose another run folder"
        try:
            self._check()
        except ConfigError as error:
            return str(error).removeprefix("settings: ").removeprefix("fine-tuning settings: ")
        return ""

    def _check(self) -> None:
        """Let the command's own settings say what is wrong with these."""
        tuning: dict[str, Any] = {"batch_size": self.batch_size}
        if self.epochs is not None:
            tuning["epochs"] = self.epochs
        for name, value in self.settings.items():
            group, _, member = name.partition(".")
            if member:
                tuning.setdefault(group, {})[member] = value
            else:
                tuning[name] = value
        common: dict[str, Any] = {
            "out": str(self.out),
            "model": self.model,
            "device": self.device,
        }
        if self.scenario:
            common["scenario"] = self.scenario
        if self.kind == "finetune":
            from histosam_core.training.config import TrainConfig

            TrainConfig.from_dict({**tuning, **common, "max_minutes": self.minutes})
        else:
            from histosam_core.improve.settings import ImproveSettings

            slides = self.slides or (Path(),)
            seed = tuning.pop("seed", 0)
            ImproveSettings.from_dict(
                {
                    **common,
                    "slides": slides,
                    "seed": seed,
                    "minutes": self.minutes,
                    "tuning": tuning,
                }
            )


def free_run_folder(model: str, scenario: str | None) -> Path:
    """Return a folder for a new run in the user's data folder; it is not there yet."""
    base = data_folder() / "runs"
    stem = "-".join(filter(None, (Path(model).stem, scenario or "tuned")))
    number = 1
    while (base / f"{stem}-{number}").exists():
        number += 1
    return base / f"{stem}-{number}"
