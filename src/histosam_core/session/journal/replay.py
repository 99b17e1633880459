"""Repeat a journalled session without anyone clicking; compare what comes of it.

With the model that the journal names every object comes out as it was. With another one the same
clicks give other masks, object by object: a comparison of two models on one person's work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from histosam_core.annotation.formats.geojson import region_of
from histosam_core.clicks import Box, Lasso, Prompt
from histosam_core.errors import EmptyMaskError, JournalError
from histosam_core.model import TrainingGeometry
from histosam_core.model.interface import complete
from histosam_core.progress import ProgressCallback, silent
from histosam_core.session.journal.fold import PROMPT_OPS, JournalState, open_object_in
from histosam_core.session.journal.record import geometry_in, is_of_slide, object_in, prompt_in
from histosam_core.session.journal.restore import RestoredState, fold
from histosam_core.session.session import Session

if TYPE_CHECKING:
    from histosam_core.annotation import AnnotatedRegion
    from histosam_core.embeddings.memory import EmbeddingStore
    from histosam_core.model import InteractiveModel
    from histosam_core.session.journal import Event, Journal
    from histosam_core.session.objects import AcceptedObject
    from histosam_core.slide import Slide

__all__ = ["ReplayReport", "ReplayedObject", "find_slide", "replay"]

IDENTICAL = 1e-9
"""Share of the area that may differ: rounding in the journal's coordinates."""

Facts = Mapping[str, Any]
_BEGINNINGS = frozenset(("begin", "back", "restore", "take_over", "failed", "export", "end"))


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
    then = fold(journal)
    failed = {event.facts.get("of") for event in journal.events if event.op == "failed"}
    events = [e for e in journal.events if e.op != "failed" and e.n not in failed]
    run = _Replay(slide, model_for, store)
    for number, event in enumerate(events):
        progress(number, len(events), event.op)
        run.take(event)
    progress(len(events), len(events), "done")
    session = run.session
    rows, notes = [], list(then.notes)
    for one in then.objects:
        now = run.find(one.id)
        rows.append(_compared(one, now))
        if now is None:
            notes.append(f"nothing came of the {one.label} object {one.id}")
    return ReplayReport(
        objects=tuple(rows),
        regions=tuple(accepted.region for accepted in session.objects),
        journalled_models=tuple(dict.fromkeys(run.journalled_models)),
        models=tuple(dict.fromkeys(run.models)),
        is_same_model=run.is_same_model,
        n_operations=len(events),
        n_open_prompts=len(then.prompts),
        notes=tuple(notes),
    )


class _Replay:
    """The session as it goes on; a journal may hold several, one after another."""

    def __init__(
        self,
        slide: Slide,
        model_for: Callable[[Facts], InteractiveModel],
        store: EmbeddingStore | None,
    ) -> None:
        self.slide = slide
        self.journalled_models: list[str] = []
        self.models: list[str] = []
        self._models: dict[int, InteractiveModel] = {}
        self.is_same_model = True
        self._model_for = model_for
        self._store = store
        self._session: Session | None = None
        self._before: Session | None = None
        self._begin_before: tuple[Facts, bool] = {}, True
        self._begin: Facts = {}
        self._is_same = True
        self._ids: dict[str, str] = {}
        self._records: dict[str, Facts] = {}

    @property
    def session(self) -> Session:
        """The session at hand: where one had only begun, the one before it."""
        session = self._before or self._session
        if session is None:
            raise JournalError("the journal holds no session; choose another one")
        return session

    def find(self, key: str) -> AcceptedObject | None:
        """Return what came of a journalled object."""
        wanted = self._ids.get(key, key)
        return next((one for one in self.session.objects if one.id == wanted), None)

    def take(self, event: Event) -> None:
        """Carry one operation out."""
        facts = event.facts
        if event.op == "begin":
            return self._take_begin(facts)
        if event.op == "restore":
            return self._restore(facts)
        session = self._session
        if session is None:
            return None
        if event.op == "back":
            self._session, self._before = self._before or session, None
            self._begin, self._is_same = self._begin_before
        if event.op == "take_over":
            self._take_over(session, facts)
        if event.op in _BEGINNINGS:
            return None
        self._before = None
        if event.op in PROMPT_OPS:
            _give(session, prompt_in(facts))
        else:
            self._handler(event.op)(session, facts)
        return None

    def _handler(self, op: str) -> Callable[[Session, Facts], None]:
        handler = getattr(self, f"_{op}", None)
        if handler is None:
            raise JournalError(
                f"the journal holds {op!r}, which this program does not know; "
                "update napari-histosam"
            )
        return cast("Callable[[Session, Facts], None]", handler)

    def _take_begin(self, facts: Facts) -> None:
        of_slide, of_model = facts["slide"], facts["model"]
        if not is_of_slide(of_slide, self.slide):
            raise JournalError(
                f"the journal was recorded on {of_slide['path']}, and {self.slide.path} is neither "
                "that file nor a copy of it; give the one it was recorded on: --slide PATH"
            )
        own = self._model_for(of_model)
        model = self._models.setdefault(id(own), complete(own))
        info = model.info
        is_same = (info.sha256, info.decoder) == (of_model["sha256"], of_model["decoder"])
        self.is_same_model = self.is_same_model and is_same
        self.journalled_models.append(of_model["name"])
        self.models.append(info.name)
        self._learn(facts.get("records", ()))
        if self._before is None:
            self._before, self._begin_before = self._session, (self._begin, self._is_same)
        held = () if self._session is None else self.session.objects
        objects = {one.id: one for one in held}
        for record in facts.get("records", ()):
            objects[record["feature"]["id"]] = object_in(record)
        carried = [self._ids.get(key, key) for key in facts["objects"]]
        kept = [objects[key] for key in carried if key in objects]
        self._begin, self._is_same = facts, is_same
        self._session = self._new(model, facts, kept)

    def _new(
        self, model: InteractiveModel, facts: Facts, objects: Sequence[AcceptedObject]
    ) -> Session:
        return Session(
            self.slide,
            model,
            mpp=facts["slide"]["mpp"],
            mask_threshold=facts["threshold"],
            geometry=TrainingGeometry(**facts["geometry"]) if self._is_same else None,
            store=self._store,
            objects=objects,
        )

    def _restore(self, facts: Facts) -> None:
        session, before, self._before = self._session, self._before, None
        if session is None:
            return
        if "open" in facts:
            self._learn(facts["objects"])
            session.restore(self._state_in(facts))
        elif before is not None and facts["is_same_model"] and before.model is session.model:
            self._session = before
        elif before is not None:
            self._session = self._new(session.model, self._begin, before.objects)
            self._session.take_over(before)

    def _take_over(self, session: Session, facts: Facts) -> None:
        before, self._before = self._before, None
        if before is not None:
            session.take_over(before)
            return
        if facts["start"]["geometry"] is not None:
            self._refine(session, facts)
        for record in facts["prompts"]:
            _give(session, prompt_in(record))

    def _state_in(self, facts: Facts) -> RestoredState:
        """Read what a journal has of a session that was in another journal."""
        there = open_object_in(facts["open"])
        return RestoredState(
            path=Path(facts["from"]),
            objects=tuple(object_in(record) for record in facts["objects"]),
            reopened=None if there.reopened is None else object_in(there.reopened),
            place=there.place,
            prompts=tuple(prompt_in(record) for record in there.prompts),
            notes=(),
            journalled=JournalState(self._begin, tuple(facts["objects"]), there, 0),
        )

    def _remove(self, session: Session, facts: Facts) -> None:
        session.remove_prompts(facts["indices"])

    def _move(self, session: Session, facts: Facts) -> None:
        x, y = facts["xy"]
        session.move_click(facts["index"], (x, y))

    def _undo(self, session: Session, facts: Facts) -> None:
        session.undo()

    def _redo(self, session: Session, facts: Facts) -> None:
        session.redo()

    def _drop(self, session: Session, facts: Facts) -> None:
        session.drop()

    def _accept(self, session: Session, facts: Facts) -> None:
        record = facts["object"]
        then = object_in(record)
        self._learn([record, *facts["changed"]])
        try:
            now = session.accept(
                then.label,
                min_island_px=facts["min_island_px"],
                overlap=facts["overlap"],
                color=then.region.color,
            )
        except EmptyMaskError:
            session.drop()
        else:
            self._ids[then.id] = now.id

    def _reopen(self, session: Session, facts: Facts) -> None:
        found = self.find(facts["id"])
        if found is not None:
            session.reopen(found)
            return
        # Another model had made nothing of it: its prompts are given again.
        session.drop()
        for record in self._records[facts["id"]]["prompts"]:
            _give(session, prompt_in(record))

    def _refine(self, session: Session, facts: Facts) -> None:
        start = facts["start"]
        given = [prompt_in(record) for record in start["prompts"]]
        session.refine(geometry_in(start["geometry"]), given)

    def _relabel(self, session: Session, facts: Facts) -> None:
        found = self.find(facts["id"])
        if found is not None:
            feature = {**self._records[facts["id"]]["feature"], "properties": facts["properties"]}
            region, _ = region_of(feature)
            if region is not None:
                session.relabel(found, region.label, region.color)

    def _delete(self, session: Session, facts: Facts) -> None:
        found = self.find(facts["id"])
        if found is not None:
            session.delete(found)

    def _import(self, session: Session, facts: Facts) -> None:
        self._learn(facts["objects"])
        regions = [object_in(record).region for record in facts["objects"]]
        # One that stands for an accepted object must stand for what became of that here.
        session.add_objects(
            [replace(region, id=self._ids.get(region.id, region.id)) for region in regions]
        )

    def _learn(self, records: Any) -> None:
        self._records.update({record["feature"]["id"]: record for record in records})


def _give(session: Session, prompt: Prompt) -> None:
    if isinstance(prompt, Box):
        session.box(prompt.xyxy)
    elif isinstance(prompt, Lasso):
        session.lasso(prompt.points_xy, prompt.is_positive)
    else:
        session.click(prompt.xy, prompt.is_positive)


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
