"""What the session's thread works on: slide, model, session, journal, label pyramid.

An `Engine` is used from one thread (the controller's `SerialWorker`) and knows neither Qt nor
napari. Every request returns a `View`: everything the interface shows, none of it ever changed
afterwards, so that it can be painted while the next request is already running.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.errors import ClickOutsideSlideError, ConfigError, JournalError
from histosam_core.progress import ProgressCallback, silent
from napari_histosam.interactive.object_files import read_objects, write_objects
from napari_histosam.interactive.view import Setup, View
from napari_histosam.viewer.label_pyramid import LabelPyramid
from napari_histosam.viewer.torch_beside_opengl import import_torch

if TYPE_CHECKING:
    from histosam_core.clicks import Click, Prompt
    from histosam_core.model.load import Model
    from histosam_core.session import (
        AcceptedObject,
        ClickResult,
        OverlapRule,
        Session,
        TieredStore,
    )
    from histosam_core.session.journal.folder import JournalSummary
    from histosam_core.slide import Slide

__all__ = ["Engine", "engine_of_layer"]


class Engine:
    """One session on one slide, request by request.

    Parameters
    ----------
    slide
        From `open_slide` or `open_array`; the engine's own, closed with it.
    load
        Called with name or path, device and ``progress``; None: `load_model`.
    """

    def __init__(self, slide: Slide, load: Callable[..., Model] | None = None) -> None:
        self.slide = slide
        self._load = load
        self._setup: Setup | None = None
        self._model: Model | None = None
        self._session: Session | None = None
        self._store: TieredStore | None = None
        self._journal: Any = None
        self._journal_note = ""
        self._offers: tuple[JournalSummary, ...] = ()
        self._pyramid: LabelPyramid | None = None

    @property
    def session(self) -> Session:
        """The session.

        Raises
        ------
        ConfigError
            None has been opened.
        """
        if self._session is None:
            raise ConfigError("no session is open; choose an image and a model, and press Start")
        return self._session

    def open(self, setup: Setup, progress: ProgressCallback = silent) -> View:
        """Load the model and begin a session, or go on with another model in the same one.

        The accepted objects stay, and the object at hand with its clicks.

        Raises
        ------
        HistoSamError
            The model, the device or the scale cannot be had; what was open stays open.
        """
        import pandas  # noqa: F401 - napari's first layer would, and hold the window

        model = self._loaded(setup, progress)
        geometry = model.info.geometry
        if setup.window_mpp is not None:
            geometry = replace(geometry, mpp=setup.window_mpp)
        old, store = self._session, self._store_for(model)
        if self._journal is None:
            self._begin_journal()
        try:
            session = self._begun(
                model,
                mpp=setup.slide_mpp,
                geometry=geometry,
                store=store,
                objects=() if old is None else old.objects,
            )
            if old is not None:
                session.take_over(old)
        except BaseException:
            if store is not self._store:
                store.close()
            raise
        if self._store is not None and self._store is not store:
            self._store.close()
        self._setup, self._model, self._session, self._store = setup, model, session, store
        self._pyramid = LabelPyramid(session.grid.size_wh, session.grid.frame)
        return self.view()

    def _begun(self, model: Model, **settings: Any) -> Session:
        """Begin a session; where its journal cannot be written, one without, and a note."""
        from histosam_core.session import Session

        if self._journal is not None:
            try:
                return Session(self.slide, model, journal=self._journal, **settings)
            except JournalError as error:
                self._journal_note = f"clicks are not recorded: {error}"
                self._journal.close()
                self._journal = None
        return Session(self.slide, model, journal=None, **settings)

    def is_ready_at(self, xy: tuple[float, float]) -> bool:
        """Whether a click there finds its window encoded; True off the slide, where none is."""
        try:
            region = self.session.window_for(xy)
        except ClickOutsideSlideError:
            return True
        return self.session.predictor.is_ready(region)

    def click(self, xy: tuple[float, float], is_positive: bool) -> View:
        """Answer a click; level-0 pixels."""
        return self.view(self.session.click(xy, is_positive))

    def box(self, xyxy: tuple[float, float, float, float]) -> View:
        """Answer a box; level-0 pixels."""
        return self.view(self.session.box(xyxy))

    def lasso(self, points_xy: Sequence[tuple[float, float]], is_positive: bool) -> View:
        """Set or clear an area drawn by hand; level-0 pixels."""
        return self.view(self.session.lasso(points_xy, is_positive))

    def remove(self, prompts: Sequence[Prompt]) -> View:
        """Take clicks and boxes out.

        Raises
        ------
        ConfigError
            One is not there any more.
        """
        return self.view(self.session.remove_prompts([self._place(one) for one in prompts]))

    def move(self, click: Click, xy: tuple[float, float]) -> View:
        """Move a click.

        Raises
        ------
        ConfigError
            It is not there any more.
        """
        return self.view(self.session.move_click(self._place(click), xy))

    def undo(self) -> View:
        """Undo the last click, box or edit; with none left, the last accept or drop."""
        return self.view(self.session.undo())

    def redo(self) -> View:
        """Put back what was undone last."""
        return self.view(self.session.redo())

    def drop(self) -> View:
        """Forget the object at hand; a reopened one goes back as it was."""
        self.session.drop()
        return self.view()

    def accept(self, label: str, color: tuple[int, int, int] | None, overlap: OverlapRule) -> View:
        """Keep the object at hand; one that is corrected keeps its colour with its class."""
        session = self.session
        is_as_it_was = session.reopened is not None and session.reopened.label == label
        session.accept(label, overlap=overlap, color=None if is_as_it_was else color)
        return self.view()

    def reopen(self, object_id: str) -> View:
        """Take an accepted object back to correct it.

        Raises
        ------
        ConfigError
            There is an object at hand, or that one is not there any more.
        """
        session = self.session
        if session.prompts or session.reopened is not None or session.canvas_snapshot:
            raise ConfigError("accept (C) or drop (Esc) the object at hand, then open another")
        session.reopen(self._object(object_id))
        return self.view()

    def relabel(
        self, object_id: str, label: str, color: tuple[int, int, int] | None = None
    ) -> View:
        """Give an accepted object another class."""
        self.session.relabel(self._object(object_id), label, color)
        return self.view()

    def delete(self, object_id: str) -> View:
        """Remove an accepted object."""
        self.session.delete(self._object(object_id))
        return self.view()

    def import_file(self, path: Path) -> View:
        """Add the objects of an annotation file; see `read_objects`."""
        return self.view(told=read_objects(path, self.session))

    def export_file(self, path: Path, progress: ProgressCallback = silent) -> View:
        """Write the accepted objects; see `write_objects`."""
        return self.view(told=write_objects(path, self.session, progress))

    def resume(self, path: Path) -> View:
        """Go on with an earlier session on this slide, from its journal.

        Raises
        ------
        JournalError
            Another window works on it, or this session holds clicks of its own.
        """
        from histosam_core.session import fold, read_journal
        from histosam_core.session.journal.folder import resume_journal

        if self.session.objects or self.session.prompts:
            raise JournalError(
                "this session has clicks or objects of its own, which restoring would replace; "
                "export them, or open the slide in another window, and restore there"
            )
        journal = resume_journal(path)
        try:
            self.session.restore(fold(read_journal(path)), journal=journal)
        except BaseException:
            journal.close()
            raise
        self._discard_empty_journal()
        self._journal = journal
        self._offers = ()
        return self.view()

    def dismiss_offers(self) -> View:
        """Stop offering earlier sessions; their journals stay where they are."""
        self._offers = ()
        return self.view()

    def close(self) -> None:
        """End the session's record, write embeddings out, close the engine's slide."""
        session, self._session = self._session, None
        try:
            if session is not None:
                session.end()
        finally:
            self._discard_empty_journal()
            self._journal = None
            if self._store is not None:
                self._store.close()
            self.slide.close()

    def view(self, answer: ClickResult | None = None, told: str = "") -> View:
        """Return what there is to show, and what a request has to tell besides."""
        session, setup, model, pyramid = self.session, self._setup, self._model, self._pyramid
        if setup is None or model is None or pyramid is None:
            raise ConfigError("no session is open; press Start")
        notes = session.notes + ((self._journal_note,) if self._journal_note else ())
        return View(
            setup=setup,
            device=str(model.device),
            checkpoint=model.info.name,
            grid=session.grid,
            slide_wh=self.slide.size_wh,
            slide_mpp=session.slide_mpp,
            slide_name=self.slide.path.name,
            predictor=session.predictor,
            prompts=session.prompts,
            canvas=session.canvas_snapshot,
            area_mm2=session.area_mm2,
            quality=session.quality,
            objects=session.objects,
            labels=pyramid.update({one.id: one.geometry for one in session.objects}),
            pyramid=pyramid,
            reopened=session.reopened,
            can_undo=session.can_undo,
            can_redo=session.can_redo,
            answer=answer,
            notes=notes,
            offers=self._offers,
            journal=None if self._journal is None else self._journal.path,
            told=told,
        )

    def _loaded(self, setup: Setup, progress: ProgressCallback) -> Model:
        import_torch()
        from histosam_core.model import load_model

        is_same = self._setup is not None and (setup.model, setup.device) == (
            self._setup.model,
            self._setup.device,
        )
        if self._model is not None and is_same:
            return self._model
        return (self._load or load_model)(setup.model, setup.device, progress=progress)

    def _store_for(self, model: Model) -> TieredStore:
        """Return the store of the model in use, or a new one for another."""
        from histosam_core.session import TieredStore

        is_same = self._store is not None and self._model is model
        return self._store if is_same and self._store else TieredStore(model=model)

    def _begin_journal(self) -> None:
        from histosam_core.session.journal.folder import find_journals, new_journal

        try:
            found = find_journals(self.slide)
            self._offers = tuple(one for one in found if not one.is_locked)
            self._journal = new_journal(self.slide)
        except (JournalError, OSError) as error:  # clicking goes on without
            self._journal_note = f"clicks are not recorded: {error}"

    def _discard_empty_journal(self) -> None:
        journal = self._journal
        if journal is None:
            return
        journal.close()
        with suppress(OSError):
            journal.discard_if_empty()

    def _place(self, prompt: Prompt) -> int:
        """Return a prompt's place; of two that are equal, the later one's."""
        for place, other in reversed(list(enumerate(self.session.prompts))):
            if other == prompt:
                return place
        raise ConfigError("that click or box is not there any more; what is shown is what counts")

    def _object(self, object_id: str) -> AcceptedObject:
        for accepted in self.session.objects:
            if accepted.id == object_id:
                return accepted
        raise ConfigError("that object is not there any more; choose one of the list")


def engine_of_layer(image: Any) -> Engine:
    """Open the slide behind a layer, on the session's thread.

    A slide that our reader shows gets a second handle, so that removing its layer closes nothing
    that the session reads from.
    """
    from histosam_core.slide import open_slide
    from napari_histosam.reader import tag_of_slide
    from napari_histosam.viewer.slide_of_layer import slide_of_layer

    tag = tag_of_slide(image)
    return Engine(slide_of_layer(image) if tag is None else open_slide(tag.slide.path))
