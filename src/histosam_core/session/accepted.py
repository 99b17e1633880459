"""The accepted objects, in order, and the one of them that is being corrected."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from histosam_core.errors import ConfigError
from histosam_core.session.overlap import cut_objects

if TYPE_CHECKING:
    from histosam_core.session.history import History
    from histosam_core.session.objects import AcceptedObject

__all__ = ["Accepted", "Ended"]


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """What was accepted at one moment; operations return another.

    Parameters
    ----------
    objects
        In order, without the one that is being corrected.
    reopened
        The one that is being corrected, as it was.
    place
        Where that one was among the objects.
    """

    objects: tuple[AcceptedObject, ...] = ()
    reopened: AcceptedObject | None = None
    place: int = 0

    def place_of(self, key: str) -> int:
        """Return an object's place by its id.

        Raises
        ------
        ConfigError
            No object has that id.
        """
        for place, one in enumerate(self.objects):
            if one.id == key:
                return place
        raise ConfigError("the object is not one of this session's; pass one of its objects")

    def opened(self, key: str) -> Accepted:
        """Take an object out to correct it."""
        place = self.place_of(key)
        left = self.objects[:place] + self.objects[place + 1 :]
        return Accepted(left, self.objects[place], place)

    def closed(self, accepted: AcceptedObject | None = None) -> Accepted:
        """Put an object in: last, or where the one was that is being corrected.

        Without an object that one goes back as it was.
        """
        one = accepted or self.reopened
        if one is None:
            return self
        place = len(self.objects) if self.reopened is None else self.place
        return Accepted((*self.objects[:place], one, *self.objects[place:]))

    def cut(
        self, by: AcceptedObject
    ) -> tuple[Accepted, list[AcceptedObject], list[AcceptedObject]]:
        """Take away from all others what one object covers; see `cut_objects`.

        Returns
        -------
        accepted
            Without those of which nothing is left.
        changed, removed
            Those that became smaller, as they now are, and those that are gone.
        """
        changed, removed = cut_objects(
            [one for one in self.objects if one.id != by.id], by.geometry
        )
        now, gone = {one.id: one for one in changed}, {one.id for one in removed}
        kept = tuple(now.get(one.id, one) for one in self.objects if one.id not in gone)
        return replace(self, objects=kept), changed, removed

    def changed(self, accepted: AcceptedObject) -> Accepted:
        """Put an object in the place of the one of its id."""
        place = self.place_of(accepted.id)
        return replace(self, objects=(*self.objects[:place], accepted, *self.objects[place + 1 :]))

    def deleted(self, key: str) -> Accepted:
        """Leave an object out."""
        place = self.place_of(key)
        return Accepted(
            self.objects[:place] + self.objects[place + 1 :],
            self.reopened,
            self.place - (self.reopened is not None and place < self.place),
        )

    def merged(self, new: Iterable[AcceptedObject]) -> Accepted:
        """Add objects; one whose id is there takes that one's place.

        Raises
        ------
        ConfigError
            One is the object that is being corrected.
        """
        added = {one.id: one for one in new}
        if self.reopened is not None and self.reopened.id in added:
            raise ConfigError(
                "the object that is being corrected is among those to add; accept or drop it first"
            )
        held = {one.id for one in self.objects}
        kept = tuple(added.get(one.id, one) for one in self.objects)
        return replace(self, objects=kept + tuple(o for k, o in added.items() if k not in held))


@dataclass(frozen=True, slots=True, eq=False)
class Ended:
    """What undo brings back when the object at hand has nothing to undo.

    Parameters
    ----------
    how
        What ended the object.
    accepted
        What was accepted before.
    history
        The object that was at hand.
    """

    how: Literal["accept", "drop"]
    accepted: Accepted
    history: History
