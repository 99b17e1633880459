"""Settings of `histosam evaluate`, each declared once; see `histosam_core.settings`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from histosam_core.clicks.users import User, UserKind
from histosam_core.dataset.settings import ExtractionSettings
from histosam_core.errors import ConfigError
from histosam_core.model.registry.model_choice import parse_model
from histosam_core.settings import JobSettings, Problems, like, setting

SETTINGS_FILE = "evaluate.json"
"""In the results folder."""
DEFAULT_MIN_AREA_MM2 = 0.01
"""A square of 100 um: what is smaller has too few pixels at 5x for an IoU to mean much."""


class EvaluateSettings(JobSettings):
    """Everything that decides what `histosam evaluate` counts: on patches, or on whole slides."""

    title: ClassVar[str] = "evaluation settings"
    has_absolute_paths: ClassVar[bool] = True

    models: tuple[str, ...] = setting(..., "Models", group="Data", option="model", path="model")
    """A model's name or a checkpoint's path; NAME@sam or NAME@refining takes that one of its
    decoders, LABEL=NAME gives it another name in the report. Repeat it to compare models."""
    patches: tuple[Path, ...] = setting((), "Patches", path="folder")
    """A patch store that `histosam prepare` wrote. May be repeated."""
    out: Path = setting(..., "Results folder", path="folder")
    """Folder for the rows and the report; made if missing."""
    target_iou: float = setting(0.9, "Target IoU", group="Clicks", gt=0)
    """Stop clicking at this IoU; above 1 means never."""
    max_clicks: int = setting(20, "Clicks", ge=1)
    """Clicks per patch or region at most."""
    limit: int | None = setting(None, "Limit", ge=1)
    """Patches per store, or regions, at most, spread evenly."""
    user: UserKind = setting("ideal", "User")
    """Who clicks: ideal (the middle of the deepest error), jitter (aims there and misses), region
    (anywhere in that error)."""
    sigma_px: float = setting(8.0, "Jitter", unit="px", option="sigma", gt=0)
    """With --user jitter: how far it misses, SD in patch pixels; on slides, in pixels at the
    model's resolution."""
    repeats: int = setting(None, "Repeats", default_text="5; ideal: 1", ge=1)
    """Times such a user clicks on each patch or region."""
    seed: int = setting(0, "Seed", ge=0, advanced=True)
    """Seed of such a user's draws."""
    slides: Path | None = setting(None, "Slides", group="Slides", path="slides")
    """Folder of annotated slides, or one slide: whole tumour regions instead of patches."""
    annotations: Path | None = setting(
        None, "Annotations", default_text="by the slides", path="folder"
    )
    """With --slides: folder of their annotations."""
    slide_mpp: float | None = like(
        ExtractionSettings,
        "slide_mpp",
        None,
        help="With --slides: micrometres per level-0 pixel, where slides state none.",
        group="Slides",
        option=("mpp", "slide-mpp"),
    )
    labels: tuple[str, ...] | None = like(
        ExtractionSettings,
        "labels",
        None,
        help="With --slides: a class that counts as tumour; may be repeated.",
        group="Slides",
    )
    min_area_mm2: float = setting(
        DEFAULT_MIN_AREA_MM2, "Least area", unit="mm2", option="min-area", ge=0, advanced=True
    )
    """With --slides: smaller regions are left out."""
    grow_windows: int = setting(0, "Grow", unit="windows", option="grow", ge=0)
    """With --slides: windows that the object may grow into after each click; 0: it does not."""
    batch_size: int = setting(8, "Batch size", unit="patches", group="Machine", ge=1)
    """Patches that advance together."""
    device: str = setting("auto", "Device", suggestions=("auto", "cpu", "cuda", "mps"))
    """Where it computes: auto, cpu, cuda, cuda:1, mps."""
    embeddings: Path | None = setting(None, "Folder of embeddings", path="folder", advanced=True)
    """Folder that keeps embeddings for other runs with the same encoder."""
    scheduler: str | None = setting(None, "Scheduler", advanced=True)
    """Address of a dask scheduler whose workers do the clicking."""

    def complete(self) -> None:
        """Let a user that draws click five times, the ideal one once."""
        if "repeats" not in self.model_fields_set:
            self.decide("repeats", 1 if self.user == "ideal" else 5)

    def check(self, wrong: Problems) -> None:
        """Check that there is one kind of data, what goes with it, the models and the user."""
        if not self.models:
            wrong.add("no model is named; give one or more (--model)", "models")
        if bool(self.patches) == (self.slides is not None):
            text = "give patch stores (--patches) or a folder of slides (--slides), one of them"
            wrong.add(text, "patches", "slides")
        of_slides = (self.annotations, self.slide_mpp, self.labels)
        if self.patches and (any(of_slides) or self.min_area_mm2 != DEFAULT_MIN_AREA_MM2):
            wrong.add(
                "--annotations, --mpp, --label and --min-area go with --slides, not --patches"
            )
        if self.patches and self.grow_windows:
            wrong.add("--grow goes with --slides, not --patches")
        if self.embeddings is not None and self.slides is not None:
            wrong.add("--embeddings goes with --patches, not --slides")
        if self.embeddings is not None and self.scheduler is not None:
            wrong.add("--embeddings goes with runs on this machine, not with --scheduler")
        for check in (self.simulated_user, self.labelled_models):
            try:
                check()
            except ConfigError as error:
                wrong.add(str(error))

    def simulated_user(self) -> User:
        """Return who clicks."""
        return User(self.user, self.sigma_px, self.repeats, self.seed)

    def labelled_models(self) -> dict[str, str]:
        """Return label -> name or path, with the decoder where one was asked for.

        Raises
        ------
        CheckpointError
            A model does not have the decoder.
        """
        return labelled(self.models)


def labelled(models: Sequence[str]) -> dict[str, str]:
    """Return label -> name or path; labels are short, and different for different models.

    Raises
    ------
    ConfigError
        Two labels are the same, or there is no such decoder.
    CheckpointError
        A model does not have the decoder.
    """
    found: dict[str, str] = {}
    for text in models:
        label, separator, source = text.partition("=")
        choice = parse_model(source if separator else text)
        if not separator:
            label = choice.long_title if choice.is_plain or choice.title in found else choice.title
            source = text
        if not label or not source or label in found:
            raise ConfigError(
                f"--model {text}: the label {label!r} is empty or taken; write LABEL=NAME"
            )
        found[label] = source
    return found
