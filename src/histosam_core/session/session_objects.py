"""The accepted objects of a session: accept, relabel, delete, import, save."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from histosam_core.annotation import write_geojson
from histosam_core.errors import EmptyMaskError
from histosam_core.session.accepted import Accepted, Ended
from histosam_core.session.history import History
from histosam_core.session.journal.record import object_record
from histosam_core.session.objects import AcceptedObject, Provenance
from histosam_core.session.overlap import OverlapRule, check_rule, without
from histosam_core.session.reading import SessionReading

if TYPE_CHECKING:
    from histosam_core.annotation import AnnotatedRegion
    from histosam_core.model import InteractiveModel
    from histosam_core.slide import Slide

__all__ = ["SessionObjects"]

DEFAULT_LABEL = "Tumor"
Color = tuple[int, int, int]


class SessionObjects(SessionReading):
    """The part of `Session` that keeps what was outlined."""

    slide: Slide
    model: InteractiveModel
    mask_threshold: float

    def accept(
        self,
        label: str | None = None,
        *,
        min_island_px: int = 0,
        overlap: OverlapRule = "allow",
        color: Color | None = None,
    ) -> AcceptedObject:
        """Keep the object at hand and start a new one.

        A reopened object keeps its id and its place among the accepted ones.

        Parameters
        ----------
        label
            Its class; None: "Tumor", or what a reopened object had.
        min_island_px
            Islands of fewer window pixels are left out.
        overlap
            What becomes of places that accepted objects cover: "allow", both keep them;
            "keep_earlier", the new object is cut; "keep_later", the accepted ones are, and one
            of which nothing is left is removed.
        color
            (red, green, blue), 0 to 255; None: the class's usual colour.

        Raises
        ------
        EmptyMaskError
            Nothing is left to accept; the object at hand stays.
        ConfigError
            There is no such rule.
        """
        check_rule(overlap)
        geometry = self._accepted_geometry(min_island_px, overlap)
        old, quality = self.reopened, self.quality
        if label is None:
            label = DEFAULT_LABEL if old is None else old.label
        if color is None and old is not None and label == old.label:
            color = old.region.color
        before = () if old is None else old.windows
        one = AcceptedObject.make(
            geometry,
            label=label,
            color=color,
            prompts=self.prompts,
            windows=tuple(dict.fromkeys((*before, *self.windows))),
            quality=old.quality if quality is None and old is not None else quality,
            provenance=self._provenance(),
            origin=self._outline.state.start.origin,
            replaces=old,
        )
        accepted = self._accepted.closed(one)
        changed: list[AcceptedObject] = []
        removed: list[AcceptedObject] = []
        if overlap == "keep_later":
            accepted, changed, removed = accepted.cut(one)
        self._record.write(
            "accept",
            object=object_record(one),
            overlap=overlap,
            min_island_px=min_island_px,
            changed=[object_record(other) for other in changed],
            removed=[other.id for other in removed],
        )
        self._end("accept", accepted)
        return one

    def relabel(
        self, accepted: AcceptedObject, label: str, color: Color | None = None
    ) -> AcceptedObject:
        """Give an accepted object another class; return it as it now is, of the same id.

        Parameters
        ----------
        accepted
            One of `objects`; its id counts.
        label
            The new class.
        color
            (red, green, blue), 0 to 255; None: the class's usual colour.

        Raises
        ------
        ConfigError
            The object is not one of `objects`.
        """
        place = self._accepted.place_of(accepted.id)
        changed = self.objects[place].with_class(label, color)
        properties = object_record(changed)["feature"]["properties"]
        self._record.write("relabel", id=changed.id, properties=properties)
        self._change(self._accepted.changed(changed))
        return changed

    def delete(self, accepted: AcceptedObject) -> None:
        """Remove an accepted object, known by its id.

        Raises
        ------
        ConfigError
            The object is not one of `objects`.
        """
        left = self._accepted.deleted(accepted.id)
        self._record.write("delete", id=accepted.id)
        self._change(left)

    def add_objects(self, regions: Iterable[AnnotatedRegion]) -> tuple[AcceptedObject, ...]:
        """Add outlines from a file to the accepted objects.

        Where this tool wrote them, their clicks come with them. An outline whose id is there
        already replaces that object.

        Parameters
        ----------
        regions
            As `read_geojson` and the other readers give them.

        Returns
        -------
        tuple of AcceptedObject
            The new ones, in order.

        Raises
        ------
        ConfigError
            One is the object that is being corrected.
        """
        new = tuple(AcceptedObject.imported(region, self.slide_mpp) for region in regions)
        merged = self._accepted.merged(new)
        self._record.write("import", objects=[object_record(one) for one in new])
        self._change(merged)
        return new

    def save_geojson(self, path: str | os.PathLike[str]) -> Path:
        """Write the accepted objects as a FeatureCollection that QuPath opens; return the path.

        Raises
        ------
        EmptyMaskError
            Nothing has been accepted yet.
        OutputWriteError
            The file cannot be written.
        """
        if not self.objects:
            raise EmptyMaskError("no object has been accepted; call accept() before saving")
        written = write_geojson(path, [accepted.region for accepted in self.objects])
        self._record.write("export", path=str(written), objects=len(self.objects))
        return written

    def _accepted_geometry(self, min_island_px: int, overlap: OverlapRule) -> Any:
        geometry = self.geometry(min_island_px=min_island_px)
        if geometry.is_empty:
            raise EmptyMaskError(
                "the mask is empty, so there is nothing to accept; click on the object, or undo"
            )
        if overlap == "keep_earlier":
            island = min_island_px * self.grid.downsample**2
            others = [one.geometry for one in self.objects]
            geometry = without(geometry, others, min_area_px=island)
            if geometry.is_empty:
                raise EmptyMaskError(
                    "accepted objects cover the whole mask and keep what they have, so nothing is "
                    "left to accept; allow overlaps, or delete one of them"
                )
        return geometry

    def _end(self, how: Literal["accept", "drop"], accepted: Accepted) -> None:
        """Begin the next object; `undo` can take this back."""
        ended = Ended(how, self._accepted, self._outline.history)
        self._set(accepted, History())
        self._ended = ended

    def _change(self, accepted: Accepted) -> None:
        """Change the accepted objects; an accept or drop before it cannot be undone any more."""
        self._accepted, self._ended = accepted, None

    def _set(self, accepted: Accepted, history: History) -> None:
        """Make this the state."""
        self._change(accepted)
        self._outline.begin(history)

    def _provenance(self) -> Provenance:
        info = getattr(self.model, "info", None)
        return Provenance(
            model=getattr(info, "name", type(self.model).__name__),
            sha256=getattr(info, "sha256", ""),
            decoder=getattr(info, "decoder", ""),
            window_mpp=self.grid.mpp,
            window_px=self.grid.window_px,
            scale=self.scale,
            mask_threshold=self.mask_threshold,
            slide=self.slide.path.name,
        )
