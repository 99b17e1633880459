"""Repeat a journalled session without anyone clicking; compare what comes of it.

With the model that the journal names every object comes out as it was. With another one the same
clicks give other masks, object by object: a comparison of two models on one person's work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from histosam_core.errors import EmptyMaskError, JournalError
from histosam_core.model import TrainingGeometry
from histosam_core.model.interface import complete
from histosam_core.progress import ProgressCallback, silent
from histosam_core.session.journal.fold import OPERATIONS, Walk, carried_out, fold
from histosam_core.session.objects import AcceptedObject
from histosam_core.session.operations import Accept, Delete, Operation, Reopen, SetClass
from histosam_core.session.session import Session

if TYPE_CHECKING:
    from histosam_core.annotation import AnnotatedRegion
    from histosam_core.embeddings.memory import EmbeddingStore
    from histosam_core.model import InteractiveModel
    from histosam_core.session.apply import State
    from histosam_core.session.as_json import Facts
    from histosam_core.session.header import Header
    from histosam_core.session.journal.file import Event, Journal
    from histosam_core.slide import Slide

KNOWN = OPERATIONS | {"begin", "back", "restore", "export", "end"}
IDENTICAL = 1e-9
"""Share of the area that may differ: rounding in the journal's coordinates."""


@dataclass(frozen=True, slots=True)
class ReplayedObject:
    """One accepted object, in the journal and now: its areas in mm^2, and how both agree.

    Where nothing came of it, area and IoU are 0. `is_identical` allows for rounding.
    """

    id: str
    label: str
    n_prompts: int
    journalled_mm2: float
    area_mm2: float
    iou: float
    is_identical: bool


@dataclass(frozen=True, slots=True, eq=False)
class ReplayReport:
    """What a replay gave.

    Parameters
    ----------
    objects
        Those that the journal ends with, in order.
    regions
        The outlines of the replay, as files take them.
    journalled_models, models
        Names of the models that made the journal, and of those that replayed it.
    is_same_model
        Whether every model was the journal's, by its hash.
    n_operations
        Operations carried out.
    n_open_prompts
        Prompts of an object that was not accepted; it is not compared.
    notes
        What should be known: damaged lines, objects of which nothing came.
    """

    objects: tuple[ReplayedObject, ...]
    regions: tuple[AnnotatedRegion, ...]
    journalled_models: tuple[str, ...]
    models: tuple[str, ...]
    is_same_model: bool
    n_operations: int
    n_open_prompts: int
    notes: tuple[str, ...]

    @property
    def mean_iou(self) -> float | None:
        """Mean over the objects; None without any."""
        return sum(o.iou for o in self.objects) / len(self.objects) if self.objects else None

    @property
    def is_identical(self) -> bool:
        """Whether every object is."""
        return all(one.is_identical for one in self.objects)


def find_slide(journal: Journal) -> Path:
    """Return the slide of a journal: where it was, else beside the journal or its folder.

    Raises
    ------
    JournalError
        It is not there.
    """
    begin = next((event.facts for event in journal.events if event.op == "begin"), None)
    if begin is None:
        raise JournalError(f"{journal.path} holds no session; choose another journal")
    name = begin["slide"]["name"]
    folder = journal.path.absolute().parent
    for path in (Path(begin["slide"]["path"]), folder / name, folder.parent / name):
        if path.is_file():
            return path
    raise JournalError(
        f"the slide {name} is neither at {begin['slide']['path']} nor beside the journal; say "
        "where it is: --slide PATH"
    )


def replay(
    journal: Journal,
    slide: Slide,
    model_for: Callable[[Facts], InteractiveModel],
    *,
    store: EmbeddingStore | None = None,
    progress: ProgressCallback = silent,
) -> ReplayReport:
    """Carry out again what a journal says.

    Parameters
    ----------
    journal
        From `read_journal`.
    slide
        The one that it was recorded on.
    model_for
        Given what the journal says of a model (``name``, ``sha256``, ``decoder``, ``path``),
        returns the model to use in its place: the same one, or another. Another one has the
        windows of its own training.
    store
        Where embeddings are kept.
    progress
        Called with the operations done and in all.

    Raises
    ------
    JournalError
        The journal holds no session, or was recorded on another slide.
    PredictionError, SlideError
        As `Session.click`.
    """
    then, events = fold(journal), carried_out(journal)
    run = _Replay(slide, model_for, store)
    for number, event in enumerate(events):
        progress(number, len(events), event.op)
        run.take(event)
    run.go_back()
    progress(len(events), len(events), "done")
    rows, notes = [], list(then.notes)
    for one in then.objects:
        now = run.find(one.id)
        rows.append(_compared(one, now))
        if now is None:
            notes.append(f"the {one.label} object {one.id} came out empty")
    return ReplayReport(
        objects=tuple(rows),
        regions=tuple(accepted.region for accepted in run.state.objects),
        journalled_models=tuple(dict.fromkeys(run.journalled_models)),
        models=tuple(dict.fromkeys(run.models)),
        is_same_model=run.is_same_model,
        n_operations=len(events),
        n_open_prompts=len(then.prompts),
        notes=tuple(notes),
    )


class _Replay(Walk):
    """Carries out with a model what the journal says, on the state that the model has led to."""

    def __init__(
        self,
        slide: Slide,
        model_for: Callable[[Facts], InteractiveModel],
        store: EmbeddingStore | None,
    ) -> None:
        super().__init__()
        self.slide = slide
        self.journalled_models: list[str] = []
        self.models: list[str] = []
        self.is_same_model = True
        self._model_for = model_for
        self._store = store
        self._sessions: list[tuple[Header, Session]] = []
        self._journalled: dict[str, AcceptedObject] = {}

    def find(self, key: str) -> AcceptedObject | None:
        """Return what came of a journalled object, which has its id."""
        return next((one for one in self.state.objects if one.id == key), None)

    def take(self, event: Event) -> None:
        """Follow one line; JournalError for one that this program does not know."""
        if event.op not in KNOWN:
            raise JournalError(
                f"the journal holds {event.op!r}, which this program does not know; "
                "update napari-histosam"
            )
        super().take(event)
        if event.op == "begin" and self.header is not None:
            self._begin_session(self.header)

    def carry_out(self, operation: Operation) -> State:
        """Return what an operation makes of the state, by the model in use."""
        session = next(one for header, one in self._sessions if header == self.header)
        session.go_to(self.state)
        match operation:
            case Accept(object=AcceptedObject() as then):
                self._journalled[then.id] = then
                self._accept(session, operation, then)
            case Reopen(key) if self.find(key) is None:
                # Another model had made nothing of it: its prompts are given again.
                session.drop()
                one = self._journalled.get(key) or self._known[key]
                for prompt in one.prompts:
                    session.apply(prompt)
            case SetClass(key) | Delete(key) if self.find(key) is None:
                pass
            case _:
                session.apply(operation)
        return session.state

    def _accept(self, session: Session, operation: Accept, then: AcceptedObject) -> None:
        try:
            now = session.accept(
                operation.label,
                min_island_px=operation.min_island_px,
                overlap=operation.overlap,
                color=operation.color,
            )
        except EmptyMaskError:
            return session.drop()
        named = replace(now, region=replace(now.region, id=then.id))
        objects = tuple(named if one is now else one for one in session.objects)
        return session.go_to(replace(session.state, objects=objects))

    def _begin_session(self, header: Header) -> None:
        if not header.is_of(self.slide):
            raise JournalError(
                f"the journal was recorded on {header.slide['path']}, and {self.slide.path} is "
                "neither that file nor a copy of it; give the one it was recorded on: --slide PATH"
            )
        model = complete(self._model_for(header.model))
        is_same = all(getattr(model.info, k) == header.model[k] for k in ("sha256", "decoder"))
        self.is_same_model = self.is_same_model and is_same
        self.journalled_models.append(header.model["name"])
        self.models.append(model.info.name)
        if all(known != header for known, _ in self._sessions):
            session = Session(
                self.slide,
                model,
                mpp=header.slide["mpp"],
                mask_threshold=header.threshold,
                geometry=TrainingGeometry(**header.geometry) if is_same else None,
                store=self._store,
            )
            self._sessions.append((header, session))


def _compared(then: AcceptedObject, now: AcceptedObject | None) -> ReplayedObject:
    iou, is_identical = 0.0, False
    if now is not None:
        union = then.geometry.union(now.geometry).area
        iou = then.geometry.intersection(now.geometry).area / union
        is_identical = then.geometry.symmetric_difference(now.geometry).area <= IDENTICAL * union
    return ReplayedObject(
        id=then.id,
        label=then.label,
        n_prompts=len(then.prompts),
        journalled_mm2=then.area_mm2,
        area_mm2=0.0 if now is None else now.area_mm2,
        iou=1.0 if is_identical else float(iou),
        is_identical=is_identical,
    )
