"""What a session writes into its journal: prompts, outlines and objects as JSON, and back.

Outlines are GeoJSON in the coordinates of files (pixel corners at whole numbers), as everywhere in
files; prompts are level-0 pixels as the session takes them, to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from histosam_core.annotation import AnnotatedRegion, feature_of
from histosam_core.annotation.formats.geojson import region_of
from histosam_core.clicks import Box, Click, Lasso, Prompt
from histosam_core.errors import JournalError
from histosam_core.geometry import Region
from histosam_core.session.journal.file import JOURNAL_FORMAT, read_journal
from histosam_core.session.journal.fold import open_object_record
from histosam_core.session.journal.summary import holding_of, holding_record
from histosam_core.session.objects import AcceptedObject
from histosam_core.version import __version__

if TYPE_CHECKING:
    from histosam_core.session.journal import JournalWriter
    from histosam_core.session.journal.restore import RestoredState
    from histosam_core.session.session import Session
    from histosam_core.slide import Slide

__all__ = [
    "Record",
    "begin_record",
    "geometry_in",
    "geometry_record",
    "is_of_slide",
    "object_in",
    "object_record",
    "prompt_in",
    "prompt_record",
    "start_record",
]

Facts = Mapping[str, Any]


class Record:
    """A session's journal, or none.

    Parameters
    ----------
    journal
        Where operations go; None: nowhere.

    Attributes
    ----------
    journal
        As given; None after a line could not be written.
    note
        Why nothing is recorded any more; empty while all is well.
    """

    def __init__(self, journal: JournalWriter | None = None) -> None:
        self.journal = journal
        self.note = ""

    def write(self, op: str, **facts: Any) -> int:
        """Write one operation; return its number, 0 without a journal.

        Raises
        ------
        JournalError
            The line cannot be written. It is raised once; from then on nothing is recorded and
            `note` says so, so that the user can go on, export and see to the disk.
        """
        if self.journal is None:
            return 0
        try:
            if op == "begin":
                self.journal.owner = self
            elif self.journal.owner is not self:
                # Another session had begun in this journal, but came to nothing.
                self.journal.write("back")
                self.journal.owner = self
            return self.journal.write(op, **facts)
        except JournalError as error:
            self.journal = None
            self.note = f"clicks are not recorded any more: {error}"
            raise

    def begin(self, session: Session) -> None:
        """Write what the session is; its objects in full where the journal is new."""
        if self.journal is None:
            return
        facts = begin_record(session)
        if self.journal.n_events == 0 and session.objects:
            facts["records"] = [object_record(accepted) for accepted in session.objects]
        self.write("begin", **facts)

    def end(self) -> None:
        """Write that the session is over, and what its journal then holds."""
        if self.journal is None or self.journal.owner is not self:
            return
        with suppress(JournalError):  # nothing is lost without this line
            self.write("end", holds=holding_record(holding_of(read_journal(self.journal.path))))

    def restored(self, state: RestoredState, *, is_same_model: bool) -> None:
        """Write that a session goes on; in full where it was in another journal."""
        facts: dict[str, Any] = {"is_same_model": is_same_model, "from": str(state.path)}
        if self.journal is not None and self.journal.path.absolute() != state.path.absolute():
            there = state.journalled
            open_object = there.open if is_same_model else there.open.collapsed()
            facts |= {"objects": list(there.objects), "open": open_object_record(open_object)}
        self.write("restore", **facts)

    @contextmanager
    def ahead(self, op: str, **facts: Any) -> Iterator[None]:
        """Write an operation, then let it be carried out; where it raises, write that too."""
        n = self.write(op, **facts)
        try:
            yield
        except BaseException as error:
            with suppress(JournalError):  # the operation's own error counts
                self.write("failed", of=n, error=f"{type(error).__name__}: {error}")
            raise


def begin_record(session: Session) -> dict[str, Any]:
    """Return which slide, which model and which settings a session has, as JSON values."""
    slide, info = session.slide, session.model.info
    return {
        "format": JOURNAL_FORMAT,
        "version": __version__,
        "slide": {
            "path": str(slide.path.absolute()),
            "name": slide.path.name,
            "fingerprint": slide.fingerprint,
            "content": slide.content_fingerprint,
            "size_wh": list(slide.size_wh),
            "mpp": session.scale.mpp,
            "mpp_source": session.scale.source,
        },
        "model": {
            "name": info.name,
            "sha256": info.sha256,
            "decoder": info.decoder,
            "path": info.path,
        },
        "geometry": {"mpp": session.grid.mpp, "patch_size_px": session.grid.window_px},
        "threshold": session.mask_threshold,
        "objects": [accepted.id for accepted in session.objects],
    }


def is_of_slide(record: Facts, slide: Slide) -> bool:
    """Whether a journal's ``slide`` is this file, or one that this is a copy of."""
    return (
        record["fingerprint"] == slide.fingerprint
        or record.get("content") == slide.content_fingerprint
    )


def prompt_record(prompt: Prompt) -> dict[str, Any]:
    """Return a prompt as JSON values."""
    if isinstance(prompt, Click):
        return {"xy": list(prompt.xy), "is_positive": prompt.is_positive}
    if isinstance(prompt, Lasso):
        return {"points": [list(p) for p in prompt.points_xy], "is_positive": prompt.is_positive}
    return {"xyxy": list(prompt.xyxy)}


def prompt_in(record: Facts) -> Prompt:
    """Read what `prompt_record` wrote."""
    if "xyxy" in record:
        x0, y0, x1, y1 = record["xyxy"]
        return Box((x0, y0, x1, y1))
    if "points" in record:
        return Lasso(tuple((x, y) for x, y in record["points"]), record["is_positive"])
    x, y = record["xy"]
    return Click((x, y), record["is_positive"])


def geometry_record(geometry: Any) -> dict[str, Any] | None:
    """Return an outline (level-0 pixels, or None) as a GeoJSON geometry."""
    if geometry is None or geometry.is_empty:
        return None
    found: dict[str, Any] = feature_of(AnnotatedRegion(geometry))["geometry"]
    return found


def geometry_in(record: Facts | None) -> Any:
    """Read what `geometry_record` wrote."""
    if record is None:
        return None
    region, _ = region_of({"type": "Feature", "geometry": record, "properties": {}})
    return None if region is None else region.geometry


def start_record(geometry: Any, prompts: Sequence[Prompt], origin: Any) -> dict[str, Any]:
    """Return what an object begins from; see `Start`."""
    return {
        "geometry": geometry_record(geometry),
        "prompts": [prompt_record(prompt) for prompt in prompts],
        "origin": geometry_record(origin),
    }


def object_record(accepted: AcceptedObject) -> dict[str, Any]:
    """Return an accepted object as JSON values, nothing left out."""
    return {
        "feature": feature_of(accepted.region),
        "prompts": [prompt_record(prompt) for prompt in accepted.prompts],
        "origin": geometry_record(accepted.origin),
        "windows": [[*w.location_xy, *w.size_wh, w.mpp] for w in accepted.windows],
        "quality": accepted.quality,
        "slide_mpp": accepted.slide_mpp,
        "area_mm2": accepted.area_mm2,
    }


def object_in(record: Facts) -> AcceptedObject:
    """Read what `object_record` wrote.

    Raises
    ------
    JournalError
        Its outline has no area.
    """
    region, _ = region_of(record["feature"])
    if region is None:
        raise JournalError("an accepted object in the journal has no area; leave that line out")
    return AcceptedObject(
        region=region,
        prompts=tuple(prompt_in(one) for one in record["prompts"]),
        windows=tuple(Region((x, y), (w, h), mpp) for x, y, w, h, mpp in record["windows"]),
        area_mm2=record["area_mm2"],
        quality=record["quality"],
        slide_mpp=record["slide_mpp"],
        origin=geometry_in(record["origin"]),
    )
