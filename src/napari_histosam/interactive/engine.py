"""What the session's thread works on: slide, model, session, journal, label pyramid.

An `Engine` is used from one thread and knows neither Qt nor napari. Every request returns a `View`:
everything the interface shows, none of it ever changed afterwards, so that it can be painted while
the next request is already running.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.errors import ClickOutsideSlideError, ConfigError, JournalError
from histosam_core.progress import ProgressCallback, silent
from histosam_core.session.operations import (
    Accept,
    Delete,
    MoveClick,
    Operation,
    RemovePrompts,
    Reopen,
    SetClass,
)
from napari_histosam.interactive.object_files import read_objects, write_objects
from napari_histosam.interactive.view import Setup, View
from napari_histosam.viewer.label_pyramid import LabelPyramid
from napari_histosam.viewer.torch_beside_opengl import import_torch

if TYPE_CHECKING:
    from histosam_core.clicks import Click, Prompt
    from histosam_core.model.load import Model
    from histosam_core.session import ClickResult, Session, TieredStore
    from histosam_core.session.journal.holding import JournalSummary
    from histosam_core.slide import Slide


@dataclass(frozen=True, slots=True, eq=False)
class _Opened:
    """A session and what it works with."""

    setup: Setup
    model: Model
    session: Session
    store: TieredStore
    pyramid: LabelPyramid


class Engine:
    """One session on one slide, request by request.

    Parameters
    ----------
    open_slide
        Opens the slide, with `open` and on its thread; the engine's own, closed with it.
    load
        Called with name or path, device and ``progress``; None: `load_model`.
    """

    def __init__(
        self, open_slide: Callable[[], Slide], load: Callable[..., Model] | None = None
    ) -> None:
        self._open_slide = open_slide
        self._slide: Slide | None = None
        self._load = load
        self._opened: _Opened | None = None
        self._journal: Any = None
        self._journal_note = ""
        self._offers: tuple[JournalSummary, ...] = ()

    @property
    def slide(self) -> Slide:
        """The slide, open."""
        if self._slide is None:
            self._slide = self._open_slide()
        return self._slide

    @property
    def session(self) -> Session:
        """The session that is open."""
        return self._open().session

    def open(self, setup: Setup, progress: ProgressCallback = silent) -> View:
        """Load the model and begin a session, or go on with another model in the same one.

        The accepted objects stay, and the current object with its clicks.

        Raises
        ------
        HistoSamError
            The model, the device or the scale cannot be had; what was open stays open.
        """
        import pandas  # noqa: F401 - napari's first layer would, and hold the window

        try:
            self._opened = self._with(setup, progress)
        except BaseException:
            if self._opened is None:
                self.close()
            raise
        return self.view()

    def _with(self, setup: Setup, progress: ProgressCallback) -> _Opened:
        """Open a session with a setup that takes over what is in the one that is open."""
        from histosam_core.session import TieredStore

        old, slide = self._opened, self.slide  # refused before a model is loaded
        model = self._loaded(setup, progress)
        store = old.store if old is not None and old.model is model else TieredStore(model=model)
        geometry = model.info.geometry
        if setup.window_mpp is not None:
            geometry = replace(geometry, mpp=setup.window_mpp)
        if self._journal is None:
            self._begin_journal()
        try:
            session = self._begun(
                slide,
                model,
                mpp=setup.slide_mpp,
                geometry=geometry,
                store=store,
                objects=() if old is None else old.session.objects,
            )
            if old is not None:
                session.take_over(old.session)
        except BaseException:
            if old is None or store is not old.store:
                store.close()
            raise
        if old is not None and store is not old.store:
            old.store.close()
        pyramid = LabelPyramid(session.grid.size_wh, session.grid.frame)
        return _Opened(setup, model, session, store, pyramid)

    def is_ready_at(self, xy: tuple[float, float]) -> bool:
        """Whether a click there finds its window encoded; True off the slide, where none is."""
        try:
            region = self.session.window_for(xy)
        except ClickOutsideSlideError:
            return True
        return self.session.predictor.is_ready(region)

    def apply(self, operation: Operation) -> View:
        """Carry out what a user did.

        Raises
        ------
        ConfigError
            What it is about is not there any more, or it would drop the current object unasked.
        HistoSamError
            As for `Session.apply`; the session is unchanged.
        """
        session = self.session
        match operation:
            case Reopen(key) | SetClass(key) | Delete(key) if not self._has_object(key):
                raise ConfigError("that object no longer exists; choose one from the list")
            case Reopen() if session.prompts or session.reopened or session.canvas_snapshot:
                raise ConfigError("accept (C) or drop (Esc) the current object, then open another")
            case Accept(label) if session.reopened is not None and label == session.reopened.label:
                operation = replace(operation, color=None)  # it keeps its own
        return self.view(session.apply(operation))

    def remove(self, prompts: Sequence[Prompt]) -> View:
        """Take prompts out, known by their values.

        Raises
        ------
        ConfigError
            One is not there any more.
        """
        return self.apply(RemovePrompts(tuple(self._place(one) for one in prompts)))

    def move(self, click: Click, xy: tuple[float, float]) -> View:
        """Move a click, known by its value.

        Raises
        ------
        ConfigError
            It is not there any more.
        """
        return self.apply(MoveClick(self._place(click), xy))

    def import_file(self, path: Path) -> View:
        """Add the objects of an annotation file; see `read_objects`."""
        return self.view(message=read_objects(path, self.session))

    def export_file(self, path: Path, progress: ProgressCallback = silent) -> View:
        """Write the accepted objects; see `write_objects`."""
        return self.view(message=write_objects(path, self.session, progress))

    def resume(self, path: Path) -> View:
        """Go on with an earlier session on this slide, from its journal.

        Raises
        ------
        JournalError
            Another window works on it, or this session holds clicks of its own.
        """
        from histosam_core.session import fold, read_journal
        from histosam_core.session.journal.slide_journals import resume_journal

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

    def close(self) -> None:
        """End the session's record, write embeddings out, close the engine's slide."""
        opened, self._opened = self._opened, None
        try:
            if opened is not None:
                opened.session.end()
        finally:
            self._discard_empty_journal()
            self._journal = None
            if opened is not None:
                opened.store.close()
            slide, self._slide = self._slide, None
            if slide is not None:
                slide.close()

    def view(self, answer: ClickResult | None = None, message: str = "") -> View:
        """Return what there is to show, and what a request has done besides."""
        opened = self._open()
        session, growth = opened.session, opened.session.growth
        return View(
            setup=opened.setup,
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
            labels=opened.pyramid.update({one.id: one.geometry for one in session.objects}),
            pyramid=opened.pyramid,
            reopened=session.reopened,
            can_undo=session.can_undo,
            can_redo=session.can_redo,
            can_grow=session.can_grow,
            n_grown=0 if growth is None else growth.n_windows,
            n_to_grow=0 if growth is None else len(growth.first) + len(growth.waiting),
            answer=answer,
            notes=session.notes + ((self._journal_note,) if self._journal_note else ()),
            offers=self._offers,
            journal=None if self._journal is None else self._journal.path,
            message=message,
        )

    def _open(self) -> _Opened:
        if self._opened is None:
            raise ConfigError("no session is open; choose an image and a model, and press Start")
        return self._opened

    def _loaded(self, setup: Setup, progress: ProgressCallback) -> Model:
        import_torch()
        from histosam_core.model import load_model

        old = self._opened
        if old is not None and (setup.model, setup.device) == (old.setup.model, old.setup.device):
            return old.model
        return (self._load or load_model)(setup.model, setup.device, progress=progress)

    def _begun(self, slide: Slide, model: Model, **settings: Any) -> Session:
        """Begin a session; where its journal cannot be written, one without, and a note."""
        from histosam_core.session import Session

        if self._journal is not None:
            try:
                return Session(slide, model, journal=self._journal, **settings)
            except JournalError as error:
                self._journal_note = f"clicks are not recorded: {error}"
                self._journal.close()
                self._journal = None
        return Session(slide, model, journal=None, **settings)

    def _begin_journal(self) -> None:
        from histosam_core.session.journal.slide_journals import find_journals, new_journal

        try:
            found = find_journals(self.slide)
            self._offers = tuple(one for one in found if not one.is_locked)
            self._journal = new_journal(self.slide)
        except (JournalError, OSError) as error:  # clicking goes on without
            self._journal_note = f"clicks are not recorded: {error}"

    def _discard_empty_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
            with suppress(OSError):
                self._journal.discard_if_empty()

    def _place(self, prompt: Prompt) -> int:
        """Return a prompt's place; of two that are equal, the later one's."""
        for place, other in reversed(list(enumerate(self.session.prompts))):
            if other == prompt:
                return place
        raise ConfigError("that click or box no longer exists; the view shows those that do")

    def _has_object(self, key: str) -> bool:
        return any(accepted.id == key for accepted in self.session.objects)


def engine_of_layer(image: Any) -> Engine:
    """Return an engine for the slide behind a layer.

    A slide that our reader shows gets a second handle, so that removing its layer closes nothing
    that the session reads from.
    """

    def open_behind() -> Slide:
        from histosam_core.slide import open_slide
        from napari_histosam.reader import tag_of_slide
        from napari_histosam.viewer.slide_of_layer import slide_of_layer

        tag = tag_of_slide(image)
        return slide_of_layer(image) if tag is None else open_slide(tag.slide.path)

    return Engine(open_behind)
