"""What a session is opened with, and everything that the interface shows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from histosam_core.clicks import Click
from histosam_core.model.registry.registry import BUNDLED
from histosam_core.settings import JobSettings, setting

if TYPE_CHECKING:
    from histosam_core.annotation import AnnotatedRegion
    from histosam_core.clicks import Prompt
    from histosam_core.geometry import Region
    from histosam_core.session import (
        AcceptedObject,
        CanvasSnapshot,
        ClickResult,
        Predictor,
        WindowGrid,
    )
    from histosam_core.session.journal.holding import JournalSummary
    from napari_histosam.viewer.label_pyramid import LabelPyramid


class Setup(JobSettings):
    """What a session is opened with."""

    title: ClassVar[str] = "session settings"

    model: str = setting(BUNDLED, "Model", path="model")
    "A name of `histosam models`, or a checkpoint's path."
    device: str = setting("auto", "Device", suggestions=("auto", "cpu", "cuda", "mps"))
    "Where the model computes."
    window_mpp: float | None = setting(
        None, "Windows", unit="um per pixel", suggestions=(4.0, 2.0, 1.0, 0.5, 0.25), gt=0
    )
    """The scale of the windows that the model sees. It works best at the one it was trained at; a
    coarser one takes in more of the slide."""
    slide_mpp: float | None = setting(None, "Slide", unit="um per pixel", gt=0)
    """Micrometres per pixel of the slide at full resolution, where the file states none or a wrong
    one; 40x is about 0.25, 20x about 0.5."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What there is to show after a request."""

    setup: Setup  # what the session was opened with
    grid: WindowGrid  # the windows and their pixel grid
    # Of the slide; mpp as it is used.
    slide_wh: tuple[int, int]
    slide_mpp: float
    slide_name: str
    predictor: Predictor  # for the look-ahead; safe to use from another thread
    prompts: tuple[Prompt, ...]  # of the current object, in order, level-0 pixels
    canvas: CanvasSnapshot  # its mask
    # Of it; quality is the model's own estimate of the IoU.
    area_mm2: float
    quality: float | None
    objects: tuple[AcceptedObject, ...]  # what has been accepted, in order
    labels: Mapping[str, int]  # an object's id -> its label in `pyramid`
    pyramid: LabelPyramid  # the accepted objects as label tiles
    reopened: AcceptedObject | None  # the accepted object that is being corrected
    # Whether there is something to.
    can_undo: bool
    can_redo: bool
    can_grow: bool
    # Windows that the current object has grown into since its last click, and that wait.
    n_grown: int
    n_to_grow: int
    answer: ClickResult | None  # What the last click, undo ... said; None after other requests.
    notes: tuple[str, ...]  # what the user should know of this slide with this model
    # Earlier sessions on this slide that can be continued, newest first.
    offers: tuple[JournalSummary, ...]
    journal: Path | None  # where this session is recorded; None where it could not be
    message: str = ""  # what the request has done, where the rest does not show it; else empty

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks among the prompts."""
        return tuple(p for p in self.prompts if isinstance(p, Click))

    def regions(self) -> tuple[AnnotatedRegion, ...]:
        """Return the accepted objects as a writer takes them (`writer.AnnotationSource`)."""
        return tuple(accepted.region for accepted in self.objects)

    def object_at(self, xy: tuple[float, float]) -> str | None:
        """Return the id of the topmost accepted object at a level-0 point."""
        label = self.pyramid.label_at(xy)
        return next((key for key, one in self.labels.items() if one == label), None)

    def regions_around(self, rect: tuple[float, float, float, float], count: int) -> list[Region]:
        """Return windows in a rectangle (x0, y0, x1, y1) of level 0, from its middle outwards."""
        centre = (rect[0] + rect[2]) / 2, (rect[1] + rect[3]) / 2
        return [self.grid.region(w) for w in self.grid.around(centre, rect, count)]
