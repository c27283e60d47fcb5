"""Compaction: a device tells again, unchanged, what of its own log still counts, and then raises
the log's floor, so that a newcomer need not read the rest (MERGE 17, CRYPTO 5).

What counts is every maximal write of every register: the losers of conflicts and tombstones too. It
is found in the replica and not in the log: what its author wrote bears the log's id, and of
conflict copies, whose records repeat the writes of others, all are told again. So each write is
told once, however often it was told before, and memory does not grow with the folder.

Crash-safe by its order: the floor is raised by the last changeset, in which or before which all is
told again. Cut short, it has told a few things twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from crypto.ids import LogId, NodeId
from peer.core.commands import Commit, LoadAuthored
from peer.core.relabelling import Author
from peer.core.rows import Row
from protocol import version_vector as vv
from protocol import wire
from protocol.changesets import Changeset
from protocol.log_outcomes import Draft
from protocol.logs import LogBook
from protocol.nodes import NO_NODE, NOTHING, Attributes, Content, Node, Place, is_copy
from protocol.records import (
    VERBATIM_WRITES_MAX,
    RecordType,
    Stamp,
    decode_records,
    encode_writes,
)

ROWS_AT_ONCE: Final = 500
"""Rows read at once, some 2 KB each."""
RECORDS_BYTES: Final = 512 << 10
"""Records in one changeset, some 1,500 of them: sealed and stored in 20 ms, in which nothing else
of the folder goes on, and far below what a changeset may hold.
"""
TELL_AGAIN: Final = "tell again"
"""The value that says that a compaction is owed: something came back that may stand below the floor
only.
"""


@dataclass(slots=True)
class Compaction:
    """One compaction on its way; a piece of it is one changeset."""

    log_id: LogId
    floor: int
    """The position that it began at, and the floor that it ends with."""
    lamport: int
    """The log's time below the floor: attributes know no position."""
    after: int = 0
    """Nodes up to this number are told."""
    piece_bytes: int = RECORDS_BYTES
    rows_at_once: int = ROWS_AT_ONCE
    is_begun: bool = False
    is_done: bool = False

    @classmethod
    def of(cls, book: LogBook, log_id: LogId) -> Compaction | None:
        """A compaction of one's own log as it is; None for one that is empty or closed."""
        seq = book.seq_of(log_id)
        if not seq or book.is_closed(log_id):
            return None
        return cls(log_id, seq + 1, book.lamport_of(log_id))

    async def step(self, book: LogBook, author: Author) -> list[Changeset]:
        """Writes, stores and gives the next changeset. Raises what LogBook.draft raises.

        Only while nothing that counted has been taken back since the compaction began.
        """
        draft = book.draft(author.keys.device_id, author.incarnation)
        told: dict[NodeId, Node] = {}
        records: list[Any] = [[RecordType.HEADER, author.label, 0]]
        size = 0
        is_last = False
        while size < self.piece_bytes and not is_last:
            rows = await LoadAuthored(self.log_id, self.after, self.rows_at_once)
            for number, row in rows:
                if size >= self.piece_bytes:
                    break
                owed = self._owed(row, draft)
                for record in _records(row, owed):
                    records.append(record)
                    size += len(wire.encode(record))
                if owed != NOTHING:
                    told[row.id] = owed
                self.after = number
            is_last = len(rows) < self.rows_at_once and (not rows or self.after == rows[-1][0])
        draft = book.draft(
            author.keys.device_id, author.incarnation, self.floor if is_last else 0,
            is_full=not self.is_begun,
        )  # fmt: skip
        # What others would refuse must never be signed: it would stop this log.
        stamp = Stamp(draft.slot.log_id, draft.slot.seq, draft.slot.lamport)
        assert decode_records(records, stamp, draft.seen).nodes == told
        sealed = book.seal(author.keys, draft, records, author.random)
        book.accept(sealed)
        made = sealed.changeset
        logs = book.take_changed()
        stored = (made.log_id, made.slot.seq, made.hash, made.slot.lamport, made.wire)
        values = [*logs, (TELL_AGAIN, b"")] if is_last else logs
        await Commit(changesets=[stored], values=values)
        self.is_begun, self.is_done = True, is_last
        return [made]

    def _owed(self, row: Row, draft: Draft) -> Node:
        """What of a node's record is to be told again."""
        state = row.state
        attributes = state.attributes
        is_own = attributes.author == self.log_id and attributes.lamport <= self.lamport
        return Node(
            tuple(p for p in state.places if self._is_owed(row, p, draft)),
            tuple(c for c in state.contents if self._is_owed(row, c, draft)),
            attributes if is_own else Attributes(),
        )

    def _is_owed(self, row: Row, write: Place | Content, draft: Draft) -> bool:
        if write.author == self.log_id and vv.seq_of(write.vector, self.log_id) < self.floor:
            return True
        # Somebody else's, that a record of ours may have kept as a copy. If one did, it rests on
        # nothing that we had not seen.
        known = {**draft.seen, self.log_id: self.floor - 1}
        rests_on = vv.join(write.vector, write.saw if isinstance(write, Place) else ())
        return (
            is_copy(row.id)
            and write.lamport <= draft.slot.lamport
            and all(seq <= known.get(log, 0) for log, seq in rests_on)
        )


def _records(row: Row, node: Node) -> Iterator[list[Any]]:
    """Records of at most so many writes, and so many bytes, as one may have."""
    origin = row.origin if is_copy(row.id) else NO_NODE
    part = Node(attributes=node.attributes)
    writes: list[Place | Content] = [*node.places, *node.contents]
    for write in writes:
        size = sum(len(c.manifest) for c in part.contents)
        is_full = len(part.places) + len(part.contents) == VERBATIM_WRITES_MAX
        if is_full or size >= RECORDS_BYTES:
            yield [RecordType.VERBATIM, row.id, origin, *encode_writes(part)]
            part = NOTHING
        match write:
            case Place():
                part = part._replace(places=(*part.places, write))
            case Content():
                part = part._replace(contents=(*part.contents, write))
    if part != NOTHING:
        yield [RecordType.VERBATIM, row.id, origin, *encode_writes(part)]
