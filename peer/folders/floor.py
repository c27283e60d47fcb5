"""How far this device was told of a folder's logs, or held them: a state below that is an old one
(ATTACKS A12).

It is kept in the home's database, so that it outlives the folder's index: a new device begins with
what the device that let it in held; later it is what was in sync here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from crypto.ids import DeviceId, LogId
from protocol import wire
from protocol.changesets import FrontierEntry
from protocol.logs import LogBook


class Source(IntEnum):
    """How a position is known."""

    TOLD = 0
    """The device that let this one in held it."""
    HELD = 1
    """It was held here, and is somebody else's."""
    OWN = 2
    """It was held here, and written here: perhaps nobody else has it."""


class Mark(NamedTuple):
    """How far one log was known."""

    seq: int
    source: Source


@dataclass(slots=True)
class Floor:
    """The highest position known of each log."""

    marks: dict[LogId, Mark] = field(default_factory=dict)

    @classmethod
    def told(cls, frontier: Iterable[FrontierEntry]) -> Floor:
        """What a new device is given along with the folder."""
        return cls({entry.log_id: Mark(entry.seq, Source.TOLD) for entry in frontier})

    @classmethod
    def decode(cls, data: bytes) -> Floor:
        """A floor from its bytes, which are our own."""
        rows = wire.decode(data, len(data), len(data)) if data else []
        return cls(
            {LogId(log_id): Mark(seq, Source(source[0] if source else 0))
             for log_id, seq, *source in rows}
        )  # fmt: skip

    def encode(self) -> bytes:
        """The floor as bytes, for a store that has one value for it."""
        return wire.encode([[log_id, *map(int, mark)] for log_id, mark in self.marks.items()])

    def lacking(self, book: LogBook) -> int:
        """How many changesets are missing that others must have, if they have not gone back.

        What only this device wrote is no reason to wait: it may have told nobody.
        """
        return sum(
            max(0, wanted - book.seq_of(log_id))
            for log_id, wanted in self._wanted(book).items()
            if self.marks[log_id].source is not Source.OWN
        )

    def is_above(self, book: LogBook) -> bool:
        """Whether more was held here than the index holds: then it is an older state of itself."""
        return any(
            self.marks[log_id].source is not Source.TOLD and book.seq_of(log_id) < wanted
            for log_id, wanted in self._wanted(book).items()
        )

    def _wanted(self, book: LogBook) -> Mapping[LogId, int]:
        forks = book.forks()  # a fork may have cut a log back to just below it
        return {
            log_id: min(mark.seq, forks.get(log_id, mark.seq + 1) - 1)
            for log_id, mark in self.marks.items()
        }

    def rise(self, book: LogBook, own: DeviceId) -> bool:
        """Takes up how far the logs are held now; False if that changes nothing."""
        wanted = self._wanted(book)
        before = dict(self.marks)
        for log_id, seq, _ in book.frontier():
            device = book.device_of(log_id)
            source = Source.OWN if device is not None and device[0] == own else Source.HELD
            self.marks[log_id] = Mark(max(seq, wanted.get(log_id, 0)), source)
        return self.marks != before

    def index_lost(self) -> None:
        """The index is gone: what others have has to come again, what only this one had cannot."""
        self.marks = {
            log_id: Mark(mark.seq, Source.TOLD)
            for log_id, mark in self.marks.items()
            if mark.source is not Source.OWN
        }

    def settle_for(self, book: LogBook) -> None:
        """A person wants what there is: it is waited for no longer."""
        for log_id, mark in list(self.marks.items()):
            self.marks[log_id] = mark._replace(seq=min(mark.seq, book.seq_of(log_id)))
