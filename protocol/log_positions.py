"""What is known of one log: the hash and Lamport time of each position, and where it stops.

40 bytes a changeset in two flat arrays, so that a folder with a million changesets costs 40 MB and
a look-up is an index. It judges nothing; that is for `logs`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from crypto.ids import DeviceId, EntryId, LogId
from crypto.primitives import HASH_SIZE
from protocol import wire
from protocol.changesets import FULL_FRONTIER_EVERY, NO_CHANGESET, FrontierEntry, Slot

FLOORS_MAX: Final = 64
"""Of one log, remembered with where they were declared: a compaction a day for two months. A device
that raises its floor with every changeset costs others no more.
"""


class LogRow(NamedTuple):
    """The state of one log, to be stored beside its changesets; all of it plain values."""

    log_id: LogId
    device_id: DeviceId
    incarnation: bytes
    start: int
    seq: int
    floor: int
    head_floor: int
    void_from: int
    stopped_at: int
    forked_at: int
    knowledge: tuple[tuple[int, tuple[EntryId, ...]], ...]
    frontier: tuple[tuple[LogId, int], ...] | None
    unchecked_from: int
    undone_from: int = 0
    declared_at: int = 0
    floors: tuple[tuple[int, int], ...] = ()

    def encode(self) -> bytes:
        """The row as bytes, for a store that has one column for it."""
        runs = [[seq, list(heads)] for seq, heads in self.knowledge]
        frontier = None if self.frontier is None else [list(entry) for entry in self.frontier]
        floors = [list(run) for run in self.floors]
        return wire.encode([*self[:10], runs, frontier, *self[12:15], floors])

    @classmethod
    def decode(cls, data: bytes) -> LogRow:
        """A row from its bytes, which are our own."""
        row = wire.decode(data, len(data), len(data))
        row[10] = tuple((seq, tuple(heads)) for seq, heads in row[10])
        if row[11] is not None:
            row[11] = tuple((log_id, seq) for log_id, seq in row[11])
        if len(row) > 15:  # rows of before there were floors have none
            row[15] = tuple((seq, floor) for seq, floor in row[15])
        return cls(*row)


@dataclass(slots=True)
class Log:
    """One log from `start` up to its head; a place where something is wrong is 0 if nothing is."""

    log_id: LogId
    device_id: DeviceId
    incarnation: bytes
    start: int = 1
    """The first position held; above 1 if this replica began at a floor."""
    floor: int = 1
    """The highest floor that the author has declared, and signed, at any position."""
    head_floor: int = 1
    """The floor that the head declares."""
    declared_at: int = 0
    """The first position known to declare `floor`: up to it all that is below is told again."""
    floors: list[tuple[int, int]] = field(default_factory=list)
    """(position, floor) for each held position that raised the floor; a few in a log's life."""
    void_from: int = 0
    """From here on the log is quarantined: written by somebody who had been removed."""
    unchecked_from: int = 0
    """From here on positions were taken without a look into their bodies, since they were void."""
    undone_from: int = 0
    """From here on the replica holds nothing of this log: `void_from` as it was last carried out.
    """
    stopped_at: int = 0
    """Nothing is accepted here: the author signed something that no honest device signs."""
    forked_at: int = 0
    """The author signed two changesets here; the one of the smaller hash counts."""
    knowledge: list[tuple[int, tuple[EntryId, ...]]] = field(default_factory=list)
    """(first position, heads) for each run of positions with the same heads; they change rarely."""
    frontier: dict[LogId, int] | None = field(default_factory=dict)
    """How far the author had seen the other logs; None until the next full frontier says it."""
    hashes: bytearray = field(default_factory=bytearray, repr=False)
    lamports: array[int] = field(default_factory=lambda: array("Q"), repr=False)

    @property
    def seq(self) -> int:
        """The head's position; start - 1 if there is none."""
        return self.start + len(self.lamports) - 1

    @property
    def hash(self) -> bytes:
        """The head's hash."""
        return bytes(self.hashes[-HASH_SIZE:]) if self.lamports else NO_CHANGESET

    @property
    def head(self) -> FrontierEntry:
        """The log's entry in this replica's frontier; only for a log that has a position."""
        return FrontierEntry(self.log_id, self.seq, self.hash)

    def hash_at(self, seq: int) -> bytes | None:
        """The hash at a position; None if it is not held."""
        if not self.start <= seq <= self.seq:
            return None
        offset = (seq - self.start) * HASH_SIZE
        return bytes(self.hashes[offset : offset + HASH_SIZE])

    def lamport_at(self, seq: int) -> int:
        """The Lamport time at a position that is held."""
        return self.lamports[seq - self.start]

    def heads_at(self, seq: int) -> tuple[EntryId, ...]:
        """The ledger heads that a held position cites; none for a log without positions."""
        run = bisect_right(self.knowledge, seq, key=lambda known: known[0]) - 1
        return self.knowledge[run][1] if run >= 0 else ()

    @property
    def is_closed(self) -> bool:
        """Whether its author has to go on in another log."""
        return bool(self.stopped_at or self.forked_at or self.void_from) or self.frontier is None

    def is_hard(self, seq: int) -> bool:
        """Whether the Lamport time at a held position is one that every replica has checked."""
        return not (0 < self.void_from <= seq or 0 < self.unchecked_from <= seq)

    def append(self, slot: Slot, hash_: bytes) -> None:
        """Takes the next position."""
        assert slot.seq == self.seq + 1
        self.hashes += hash_
        self.lamports.append(slot.lamport)
        self.note_floor(slot)
        if slot.floor > (self.floors[-1][1] if self.floors else 1):
            # Without the oldest, who has nothing is told more than need be, and never less.
            self.floors = [*self.floors[1 - FLOORS_MAX :], (slot.seq, slot.floor)]
        self.head_floor = slot.floor
        if not self.knowledge or self.knowledge[-1][1] != slot.heads:
            self.knowledge.append((slot.seq, slot.heads))

    def note_floor(self, slot: Slot) -> bool:
        """Takes up what a signed position says of the floor; True if it is higher than before."""
        if slot.floor == self.floor and slot.seq < self.declared_at:
            self.declared_at = slot.seq
        if slot.floor <= self.floor:
            return False
        self.floor, self.declared_at = slot.floor, slot.seq
        return True

    @property
    def counting_floor(self) -> tuple[int, int]:
        """The highest floor that a position declares which is held and counts, and that position;
        (1, 0) if none does. What somebody declared after a removal is none.
        """
        last = self.void_from - 1 if self.void_from else self.seq
        return next(((floor, at) for at, floor in reversed(self.floors) if at <= last), (1, 0))

    @property
    def is_whole(self) -> bool:
        """False while this log is being taken up from a floor on, and what stood below it has not
        been told again completely.
        """
        if self.seq + 1 < self.floor:
            return False
        return not 1 < self.start == self.floor or self.seq >= self.declared_at

    def drop_below(self, seq: int) -> None:
        """Forgets the positions before this one, which is held."""
        assert self.start <= seq <= self.seq
        del self.hashes[: (seq - self.start) * HASH_SIZE]
        del self.lamports[: seq - self.start]
        heads = self.heads_at(seq)
        self.knowledge = [(seq, heads), *(known for known in self.knowledge if known[0] > seq)]
        self.start = seq

    def begin_at(self, seq: int) -> None:
        """Forgets all positions: the next one is `seq`, where the author's floor is."""
        self.start = seq
        self.hashes.clear()
        del self.lamports[:]
        self.knowledge.clear()
        self.floors.clear()
        self.frontier = None

    def cut(self, seq: int) -> int:
        """Drops positions so that `seq` can be told anew; gives the first one to be fed again.

        That is the last full frontier before it: deltas are of use only after a whole one.
        """
        first = max(self.start, (seq - 1) // FULL_FRONTIER_EVERY * FULL_FRONTIER_EVERY)
        del self.hashes[(first - self.start) * HASH_SIZE :]
        del self.lamports[first - self.start :]
        self.knowledge = [known for known in self.knowledge if known[0] < first]
        self.frontier = {} if first == 1 else None
        # What a position declares that does not count is no floor; those that do say it again.
        self.floors = [run for run in self.floors if run[0] < first]
        self.declared_at, self.floor = self.floors[-1] if self.floors else (0, 1)
        self.head_floor = self.floor
        if self.unchecked_from >= first:
            self.unchecked_from = 0
        if self.void_from >= first:
            self.void_from = 0
        return first

    def row(self) -> LogRow:
        """The state to be stored."""
        frontier = None if self.frontier is None else tuple(sorted(self.frontier.items()))
        return LogRow(
            self.log_id, self.device_id, self.incarnation, self.start, self.seq, self.floor,
            self.head_floor, self.void_from, self.stopped_at, self.forked_at,
            tuple(self.knowledge), frontier, self.unchecked_from, self.undone_from,
            self.declared_at, tuple(self.floors),
        )  # fmt: skip

    @classmethod
    def of_row(cls, row: LogRow, positions: Sequence[tuple[int, bytes, int]]) -> Log:
        """The log of a stored row, with (seq, hash, Lamport time) of each position in order."""
        log = cls(row.log_id, row.device_id, row.incarnation, row.start, row.floor, row.head_floor)
        log.void_from, log.unchecked_from = row.void_from, row.unchecked_from
        log.stopped_at, log.forked_at = row.stopped_at, row.forked_at
        log.undone_from = row.undone_from
        log.declared_at, log.floors = row.declared_at, list(row.floors)
        log.knowledge = list(row.knowledge)
        log.frontier = None if row.frontier is None else dict(row.frontier)
        kept = [position for position in positions if row.start <= position[0] <= row.seq]
        assert [seq for seq, _, _ in kept] == list(range(row.start, row.seq + 1))
        log.hashes = bytearray().join(hash_ for _, hash_, _ in kept)
        log.lamports = array("Q", (lamport for _, _, lamport in kept))
        return log
