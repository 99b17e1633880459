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

__all__ = ["DEFAULT_MIN_AREA_MM2", "SETTINGS_FILE", "EvaluateSettings", "labelled"]

SETTINGS_FILE = "evaluate.json"
"""In the results folder."""
DEFAULT_MIN_AREA_MM2 = 0.01
"""A square of 100 um: what is smaller has too few pixels at 5x for an IoU to mean much."""
DATA, SLIDES, CLICKS, MACHINE = "Data", "Slides", "Clicks", "Machine"


class EvaluateSettings(JobSettings):
    """Everything that decides what `histosam evaluate` counts: on patches, or on whole slides."""

    title: ClassVar[str] = "evaluation settings"

    models: tuple[str, ...] = setting(
        caption="Models",
        help="A model's name or a checkpoint's path; NAME@sam or NAME@refining takes that one of "
        "its decoders, LABEL=NAME gives it another name in the report. Repeat it to compare "
        "models.",
        group=DATA,
        option="model",
        path="model",
    )
    patches: tuple[Path, ...] = setting(
        (),
        caption="Patches",
        help="A patch store that `histosam prepare` wrote. May be repeated.",
        group=DATA,
        path="folder",
    )
    out: Path = setting(
        caption="Results folder",
        help="Folder for the rows and the report; made if missing.",
        group=DATA,
        path="folder",
    )
    target_iou: float = setting(
        0.90,
        caption="Target IoU",
        help="Stop clicking at this IoU; above 1 means never.",
        group=CLICKS,
        gt=0,
    )
    max_clicks: int = setting(
        20, caption="Clicks", help="Clicks per patch or region at most.", group=CLICKS, ge=1
    )
    limit: int | None = setting(
        None,
        caption="Limit",
        help="Patches per store, or regions, at most, spread evenly.",
        group=CLICKS,
        ge=1,
    )
    user: UserKind = setting(
        "ideal",
        caption="User",
        help="Who clicks: ideal (the middle of the deepest error), jitter (aims there and misses), "
        "region (anywhere in that error).",
        group=CLICKS,
    )
    sigma_px: float = setting(
        8.0,
        caption="Jitter",
        help="With --user jitter: how far it misses, SD in patch pixels; on slides, in pixels at "
        "the model's resolution.",
        unit="px",
        group=CLICKS,
        option="sigma",
        gt=0,
    )
    repeats: int = setting(
        None,
        caption="Repeats",
        help="Times such a user clicks on each patch or region.",
        default_text="5; ideal: 1",
        group=CLICKS,
        ge=1,
    )
    seed: int = setting(
        0, caption="Seed", help="Of such a user's draws.", group=CLICKS, ge=0, advanced=True
    )
    slides: Path | None = setting(
        None,
        caption="Slides",
        help="Folder of annotated slides, or one slide: whole tumour regions instead of patches.",
        group=SLIDES,
        path="slides",
    )
    annotations: Path | None = setting(
        None,
        caption="Annotations",
        help="With --slides: folder of their annotations.",
        default_text="by the slides",
        group=SLIDES,
        path="folder",
    )
    slide_mpp: float | None = like(
        ExtractionSettings,
        "slide_mpp",
        None,
        help="With --slides: micrometres per level-0 pixel, where slides state none.",
        group=SLIDES,
        option=("mpp", "slide-mpp"),
    )
    labels: tuple[str, ...] | None = like(
        ExtractionSettings,
        "labels",
        None,
        help="With --slides: a class that counts as tumour; may be repeated.",
        group=SLIDES,
    )
    min_area_mm2: float = setting(
        DEFAULT_MIN_AREA_MM2,
        caption="Least area",
        help="With --slides: smaller regions are left out.",
        unit="mm2",
        group=SLIDES,
        option="min-area",
        ge=0,
        advanced=True,
    )
    batch_size: int = setting(
        8,
        caption="Batch size",
        help="Patches that advance together.",
        unit="patches",
        group=MACHINE,
        ge=1,
    )
    device: str = setting(
        "auto",
        caption="Device",
        help="auto, cpu, cuda, cuda:1, mps.",
        suggestions=("auto", "cpu", "cuda", "mps"),
        group=MACHINE,
    )
    embeddings: Path | None = setting(
        None,
        caption="Folder of embeddings",
        help="Folder that keeps embeddings for other runs with the same encoder.",
        group=MACHINE,
        path="folder",
        advanced=True,
    )
    scheduler: str | None = setting(
        None,
        caption="Scheduler",
        help="Address of a dask scheduler whose workers do the clicking.",
        group=MACHINE,
        advanced=True,
    )

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
        if self.embeddings is not None and self.slides is not None:
            wrong.add("--embeddings go with --patches, not --slides")
        if self.embeddings is not None and self.scheduler is not None:
            wrong.add("--embeddings are kept here and do not help a scheduler's workers")
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
