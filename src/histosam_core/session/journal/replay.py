"""Repeat a journalled session without anyone clicking; compare what comes of it.

With the model that the journal names every object comes out as it was. With another one the same
clicks give other masks, object by object: a comparison of two models on one person's work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from histosam_core.errors import EmptyMaskError, JournalError
from histosam_core.model import TrainingGeometry
from histosam_core.model.interface import complete
from histosam_core.progress import ProgressCallback, silent
from histosam_core.session.as_json import Facts, object_from_json
from histosam_core.session.journal.fold import (
    OPERATIONS,
    RestoredState,
    carried_out,
    current_from_json,
    fold,
)
from histosam_core.session.journal.header import Header
from histosam_core.session.objects import AcceptedObject
from histosam_core.session.operations import (
    Accept,
    Delete,
    Import,
    Operation,
    Reopen,
    SetClass,
    TakeOver,
    from_json,
)
from histosam_core.session.session import Session

if TYPE_CHECKING:
    from histosam_core.annotation import AnnotatedRegion
    from histosam_core.embeddings.memory import EmbeddingStore
    from histosam_core.model import InteractiveModel
    from histosam_core.session.journal.file import Event, Journal
    from histosam_core.slide import Slide

__all__ = ["ReplayReport", "ReplayedObject", "replay"]

IDENTICAL = 1e-9
"""Share of the area that may differ: rounding in the journal's coordinates."""


@dataclass(frozen=True, slots=True)
class ReplayedObject:
    """One accepted object, then and now.

    Parameters
    ----------
    id, label
        As the journal has them.
    n_prompts
        Its clicks and boxes.
    journalled_mm2, area_mm2
        Area in square millimetres, in the journal and now; 0 where nothing came of it.
    iou
        Overlap of the two outlines.
    is_identical
        Whether they are the same but for rounding.
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
    run = _Replay(journal, slide, model_for, store)
    for number, event in enumerate(events):
        progress(number, len(events), event.op)
        run.take(event)
    progress(len(events), len(events), "done")
    rows, notes = [], list(then.notes)
    for one in then.objects:
        now = run.find(one.id)
        rows.append(_compared(one, now))
        if now is None:
            notes.append(f"nothing came of the {one.label} object {one.id}")
    return ReplayReport(
        objects=tuple(rows),
        regions=tuple(accepted.region for accepted in run.end().objects),
        journalled_models=tuple(dict.fromkeys(run.journalled_models)),
        models=tuple(dict.fromkeys(run.models)),
        is_same_model=run.is_same_model,
        n_operations=len(events),
        n_open_prompts=len(then.prompts),
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Begun:
    """A session of the replay, and what the journal says of the one that it repeats."""

    session: Session
    header: Header
    is_same_model: bool


class _Replay:
    """The session as it goes on; a journal may hold several, one after another."""

    def __init__(
        self,
        journal: Journal,
        slide: Slide,
        model_for: Callable[[Facts], InteractiveModel],
        store: EmbeddingStore | None,
    ) -> None:
        self.journal = journal
        self.slide = slide
        self.journalled_models: list[str] = []
        self.models: list[str] = []
        self.is_same_model = True
        self._models: dict[int, InteractiveModel] = {}
        self._model_for = model_for
        self._store = store
        self._now: _Begun | None = None
        self._before: _Begun | None = None
        self._ids: dict[str, str] = {}
        self._known: dict[str, AcceptedObject] = {}

    def end(self) -> Session:
        """Return the session at the end: where one had only begun, the one before it."""
        begun = self._before or self._now
        if begun is None:
            raise JournalError("the journal holds no session; choose another one")
        return begun.session

    def find(self, key: str) -> AcceptedObject | None:
        """Return what came of a journalled object."""
        wanted = self._ids.get(key, key)
        return next((one for one in self.end().objects if one.id == wanted), None)

    def take(self, event: Event) -> None:
        """Follow one line."""
        now, facts = self._now, event.facts
        if event.op == "begin":
            self._begin(facts)
        elif now is None or event.op in ("export", "end"):
            return
        elif event.op == "back":
            self._now, self._before = self._before or now, None
        elif event.op == "restore":
            self._restore(now, facts)
        elif event.op in OPERATIONS:
            self._take_operation(now.session, from_json({"op": event.op, **facts}))
        else:
            raise JournalError(
                f"the journal holds {event.op!r}, which this program does not know; "
                "update napari-histosam"
            )

    def _begin(self, facts: Facts) -> None:
        header = Header.read(facts)
        if not header.is_of(self.slide):
            raise JournalError(
                f"the journal was recorded on {header.slide['path']}, and {self.slide.path} is "
                "neither that file nor a copy of it; give the one it was recorded on: --slide PATH"
            )
        own = self._model_for(header.model)
        model = self._models.setdefault(id(own), complete(own))
        is_same = all(getattr(model.info, k) == header.model[k] for k in ("sha256", "decoder"))
        self.is_same_model = self.is_same_model and is_same
        self.journalled_models.append(header.model["name"])
        self.models.append(model.info.name)
        held = {} if self._now is None else {one.id: one for one in self._now.session.objects}
        held |= self._learn(map(object_from_json, facts.get("records", ())))
        carried = [self._ids.get(key, key) for key in facts["objects"]]
        self._before = self._before or self._now
        self._now = self._new(model, header, is_same, [held[key] for key in carried if key in held])

    def _new(
        self,
        model: InteractiveModel,
        header: Header,
        is_same_model: bool,
        objects: Sequence[AcceptedObject],
    ) -> _Begun:
        session = Session(
            self.slide,
            model,
            mpp=header.slide["mpp"],
            mask_threshold=header.threshold,
            geometry=TrainingGeometry(**header.geometry) if is_same_model else None,
            store=self._store,
            objects=objects,
        )
        return _Begun(session, header, is_same_model)

    def _restore(self, now: _Begun, facts: Facts) -> None:
        before, self._before = self._before, None
        model = now.session.model
        if "open" in facts:
            learnt = self._learn(map(object_from_json, facts["objects"]))
            state = current_from_json(facts["open"], tuple(learnt.values()))
            now.session.restore(RestoredState(self.journal, now.header, state, 0, None))
        elif before is None:
            return
        elif facts["is_same_model"] and before.session.model is model:
            self._now = before
        else:
            objects = before.session.objects
            self._now = self._new(model, now.header, now.is_same_model, objects)
            self._now.session.take_over(before.session)

    def _take_operation(self, session: Session, operation: Operation) -> None:
        before, self._before = self._before, None
        match operation:
            case TakeOver() if before is not None:
                session.take_over(before.session)
            case Accept(object=AcceptedObject() as then):
                self._learn((then, *operation.changed))
                self._accept(session, operation, then)
            case Reopen(key) if self.find(key) is None:
                # Another model had made nothing of it: its prompts are given again.
                session.drop()
                for prompt in self._known[key].prompts:
                    session.apply(prompt)
            case Reopen(key):
                session.apply(Reopen(self._ids.get(key, key)))
            case SetClass(key) | Delete(key):
                if self.find(key) is not None:
                    session.apply(replace(operation, id=self._ids.get(key, key)))
            case Import(objects):
                self._learn(objects)
                # One that stands for an accepted object must stand for what became of that here.
                session.apply(Import(tuple(map(self._as_here, objects))))
            case _:
                session.apply(operation)

    def _accept(self, session: Session, operation: Accept, then: AcceptedObject) -> None:
        try:
            now = session.accept(
                operation.label,
                min_island_px=operation.min_island_px,
                overlap=operation.overlap,
                color=operation.color,
            )
        except EmptyMaskError:
            session.drop()
        else:
            self._ids[then.id] = now.id

    def _as_here(self, one: AcceptedObject) -> AcceptedObject:
        return replace(one, region=replace(one.region, id=self._ids.get(one.id, one.id)))

    def _learn(self, objects: Iterable[AcceptedObject]) -> dict[str, AcceptedObject]:
        learnt = {one.id: one for one in objects}
        self._known |= learnt
        return learnt


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
