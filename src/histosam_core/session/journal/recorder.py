"""A session's side of its journal: a line ahead of every operation, and one where that failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from histosam_core.errors import JournalError
from histosam_core.session.as_json import object_to_json
from histosam_core.session.journal.file import JOURNAL_FORMAT, JournalWriter, read_journal
from histosam_core.session.journal.fold import current_to_json
from histosam_core.session.journal.holding import holding_of, holding_to_json
from histosam_core.session.operations import to_json

if TYPE_CHECKING:
    from pathlib import Path

    from histosam_core.session.apply import State
    from histosam_core.session.header import Header
    from histosam_core.session.objects import AcceptedObject
    from histosam_core.session.operations import Operation


class Recorder:
    """Writes what a session does, or nothing where there is no journal.

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

    @contextmanager
    def ahead(self, operation: Operation) -> Iterator[None]:
        """Write an operation, then let it be carried out; where it raises, write that too."""
        n = 0 if self.journal is None else self.write(**to_json(operation))
        try:
            yield
        except BaseException as error:
            with suppress(JournalError):  # the operation's own error counts
                self.write("failed", of=n, error=f"{type(error).__name__}: {error}")
            raise

    def begin(self, header: Header, objects: Sequence[AcceptedObject]) -> None:
        """Write what the session is; its objects in full where the journal is new."""
        if self.journal is None:
            return
        facts = {"format": JOURNAL_FORMAT, **header.to_json(), "objects": [o.id for o in objects]}
        if self.journal.n_events == 0 and objects:
            facts["records"] = [object_to_json(one) for one in objects]
        self.write("begin", **facts)

    def restored(self, source: Path, state: State, *, is_same_model: bool) -> None:
        """Write that a session goes on; in full where it was in another journal."""
        if self.journal is None:
            return
        facts: dict[str, Any] = {"is_same_model": is_same_model, "from": str(source)}
        if self.is_elsewhere(source):
            facts["objects"] = [object_to_json(one) for one in state.objects]
            facts["open"] = current_to_json(state)
        self.write("restore", **facts)

    def is_elsewhere(self, source: Path) -> bool:
        """Whether a journal is another one than this session's."""
        return self.journal is not None and self.journal.path.absolute() != source.absolute()

    def end(self) -> None:
        """Write that the session is over, and what its journal then holds."""
        if self.journal is None or self.journal.owner is not self:
            return
        with suppress(JournalError):  # nothing is lost without this line
            self.write("end", holds=holding_to_json(holding_of(read_journal(self.journal.path))))

    def write(self, op: str, **facts: Any) -> int:
        """Write a line; return its number, 0 without a journal.

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
            self.note = f"clicks are no longer recorded: {error}"
            raise
