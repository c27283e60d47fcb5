"""How long the index keeps changesets that stand below their log's floor.

A removal can void what superseded them, and then they count again: so they stay for a month after
this device learned that they are told again (MERGE 17). After that, they go; a newcomer never asks
for them. A clock that jumps forward shortens the time, one that jumps back begins it anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from crypto.ids import LogId
from peer.core.commands import Commit, DropChangesets
from protocol import wire
from protocol.logs import LogBook

NOTES: Final = "superseded"
"""The value that the notes are kept in."""
NOTES_MAX: Final = 64
"""Floors of one log whose time runs; more than one a day has nobody who compacts in good order."""
DROPPED_AT_ONCE: Final = 2_000
"""Changesets deleted in one transaction: some 2 MB, a few ms."""


class Note(NamedTuple):
    """When a floor was noticed here."""

    floor: int
    since_s: int


@dataclass(slots=True)
class Retention:
    """The floors of all logs of one folder that something is still kept below."""

    notes: dict[LogId, list[Note]] = field(default_factory=dict)
    """Of each log by floor."""
    leftover: set[LogId] = field(default_factory=set)
    """Logs that may have stored changesets below their first position."""

    @classmethod
    def load(cls, data: bytes, book: LogBook) -> Retention:
        """From the value of an earlier run; empty for none."""
        notes = {
            LogId(log_id): [Note(*note) for note in found]
            for log_id, found in (wire.decode(data, len(data), len(data)) if data else ())
        }
        return cls(notes, set(book.log_ids()))

    def encode(self) -> bytes:
        """The notes as the value that is kept."""
        rows = [[log_id, [list(note) for note in found]] for log_id, found in self.notes.items()]
        return wire.encode(rows)

    def note(self, book: LogBook, now_s: int) -> bool:
        """Takes up the floors that there are now; False if that changes nothing."""
        before, self.notes = self.notes, {}
        for log_id in book.log_ids():
            floor, start = book.floor_of(log_id)[0], book.start_of(log_id)
            # A floor that a fork or a removal took back is none any more.
            found = [note for note in before.get(log_id, ()) if start < note.floor <= floor]
            if floor > start and floor not in [note.floor for note in found]:
                # Of too many, one goes with the next: what is kept for it stays a little longer.
                found = [*found[: NOTES_MAX - 1], Note(floor, now_s)]
            if found:
                self.notes[log_id] = [n._replace(since_s=min(n.since_s, now_s)) for n in found]
        return self.notes != before

    def due(self, now_s: int, keep_s: int) -> dict[LogId, int]:
        """Below which positions the time is over."""
        due: dict[LogId, int] = {}
        for log_id, found in self.notes.items():
            over = [note.floor for note in found if note.since_s + keep_s <= now_s]
            if over:
                due[log_id] = max(over)
        return due

    async def forget(self, book: LogBook, due: dict[LogId, int]) -> None:
        """From now on these logs begin at these floors."""
        for log_id, floor in due.items():
            book.drop_below(log_id, floor)
        self.leftover.update(due)
        await Commit(values=book.take_changed())

    async def sweep(self, book: LogBook) -> None:
        """Deletes some of what is stored below a log's first position.

        Only what the log's row does not speak of any more: a crash leaves nothing but more of that.
        """
        log_id = min(self.leftover)
        dropped = await DropChangesets(log_id, book.start_of(log_id), DROPPED_AT_ONCE)
        if dropped < DROPPED_AT_ONCE:
            self.leftover.discard(log_id)
