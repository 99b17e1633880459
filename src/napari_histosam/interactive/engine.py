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

from histosam_core.clicks import Click
from histosam_core.errors import ClickOutsideSlideError, ConfigError, EmptyMaskError, JournalError
from histosam_core.progress import ProgressCallback, silent
from napari_histosam.interactive.drawn_objects import DrawnObjects
from napari_histosam.interactive.view import Setup, View
from napari_histosam.torch_beside_opengl import import_torch

if TYPE_CHECKING:
    from histosam_core.clicks.journal_folder import JournalSummary
    from histosam_core.inference import (
        AcceptedObject,
        ClickResult,
        OverlapRule,
        Session,
        TieredStore,
    )
    from histosam_core.model import SamModel
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

    def __init__(self, slide: Slide, load: Callable[..., SamModel] | None = None) -> None:
        self.slide = slide
        self._load = load
        self._setup: Setup | None = None
        self._model: SamModel | None = None
        self._session: Session | None = None
        self._store: TieredStore | None = None
        self._journal: Any = None
        self._journal_note = ""
        self._offers: tuple[JournalSummary, ...] = ()
        self._drawn: DrawnObjects | None = None

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
        from histosam_core.inference import Session

        model = self._loaded(setup, progress)
        geometry = model.info.geometry
        if setup.window_mpp is not None:
            geometry = replace(geometry, mpp=setup.window_mpp)
        old = self._session
        if self._journal is None:
            self._begin_journal()
        session = Session(
            self.slide,
            model,
            mpp=setup.slide_mpp,
            geometry=geometry,
            store=self._store_for(model),
            objects=() if old is None else old.objects,
            journal=self._journal,
        )
        if old is not None:
            session.take_over(old)
        self._setup, self._model, self._session = setup, model, session
        self._drawn = DrawnObjects(session.grid)
        return self.view()

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

    def remove(self, click_indices: Sequence[int]) -> View:
        """Take clicks out, by their numbers among the clicks."""
        places = self._click_places()
        return self.view(self.session.remove_prompts([places[i] for i in click_indices]))

    def move(self, click_index: int, xy: tuple[float, float]) -> View:
        """Move a click, by its number among the clicks."""
        return self.view(self.session.move_click(self._click_places()[click_index], xy))

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
        """Keep the object at hand."""
        self.session.accept(label, overlap=overlap, color=color)
        return self.view()

    def reopen(self, object_id: str) -> View:
        """Take an accepted object back to correct it."""
        self.session.reopen(self._object(object_id))
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
        """Add the objects of an annotation file: GeoJSON, OME-Zarr labels, XML, mask TIFF."""
        from histosam_core.annotation import read_annotations

        annotation = read_annotations(path).fitted(self.slide.size_wh, self.slide.path.name)
        self.session.add_objects(annotation.regions)
        return self.view()

    def export_file(self, path: Path, progress: ProgressCallback = silent) -> View:
        """Write the accepted objects: GeoJSON, or OME-Zarr labels where the name ends so.

        Raises
        ------
        EmptyMaskError
            Nothing has been accepted.
        OutputExistsError, OutputWriteError
            The folder exists, or the file cannot be written.
        """
        session = self.session
        if path.suffix.lower() != ".zarr":
            session.save_geojson(path)
            return self.view()
        from histosam_core.annotation import write_label_zarr

        if not session.objects:
            raise EmptyMaskError("no object has been accepted; accept one (C) before exporting")
        write_label_zarr(
            path,
            [accepted.region for accepted in session.objects],
            slide_wh=self.slide.size_wh,
            slide_mpp=session.slide_mpp,
            slide_name=self.slide.path.name,
            progress=progress,
        )
        return self.view()

    def resume(self, path: Path) -> View:
        """Go on with an earlier session on this slide, from its journal.

        Raises
        ------
        JournalError
            Another window works on it, or this session holds clicks of its own.
        """
        from histosam_core.clicks.journal_folder import resume_journal
        from histosam_core.inference import fold, read_journal

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
        if session is not None:
            session.end()
        self._discard_empty_journal()
        self._journal = None
        if self._store is not None:
            self._store.close()
        self.slide.close()

    def view(self, answer: ClickResult | None = None) -> View:
        """Return what there is to show."""
        session, setup, model, drawn = self.session, self._setup, self._model, self._drawn
        if setup is None or model is None or drawn is None:
            raise ConfigError("no session is open; press Start")
        drawn.update(session.objects)
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
            labels=drawn.labels,
            pyramid=drawn.pyramid,
            reopened=session.reopened,
            can_undo=session.can_undo,
            can_redo=session.can_redo,
            answer=answer,
            notes=notes,
            offers=self._offers,
            journal=None if self._journal is None else self._journal.path,
        )

    def _loaded(self, setup: Setup, progress: ProgressCallback) -> SamModel:
        import_torch()
        from histosam_core.model import load_model

        is_same = self._setup is not None and (setup.model, setup.device) == (
            self._setup.model,
            self._setup.device,
        )
        if self._model is not None and is_same:
            return self._model
        return (self._load or load_model)(setup.model, setup.device, progress=progress)

    def _store_for(self, model: SamModel) -> TieredStore:
        """Return the store of the model in use; the one of another model is written out."""
        from histosam_core.inference import TieredStore

        if self._store is None or self._model is not model:
            if self._store is not None:
                self._store.close()
            self._store = TieredStore(model=model)
        return self._store

    def _begin_journal(self) -> None:
        from histosam_core.clicks.journal_folder import find_journals, new_journal

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

    def _click_places(self) -> list[int]:
        return [i for i, p in enumerate(self.session.prompts) if isinstance(p, Click)]

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
    from napari_histosam.slide_of_layer import slide_of_layer

    tag = tag_of_slide(image)
    return Engine(slide_of_layer(image) if tag is None else open_slide(tag.slide.path))
