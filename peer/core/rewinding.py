"""Takes back what turned out not to count: the branch of a forked log that loses, changesets that a
removal voids; and takes in what a better pin brings back (CRYPTO 4.3, 5).

The replica's records of the nodes concerned are computed anew from all stored changesets that
count. What this disk shows (`base`) stays, so that survey and apply bring the disk to the new state
like to any other. What this device itself wrote and what counts no longer is written again in a
log that goes on: nothing that a person saved here is given up.

All is one commit. A crash before it leaves what was: whoever holds the other branch shows it again,
and a log's row says up to where the replica has followed a removal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from crypto.ids import LogId, NodeId
from peer.core.commands import Commit, LoadChangesets, LoadRows
from peer.core.past import READ_BYTES, read_records
from peer.core.relabelling import Author, Lost, write_again
from peer.core.rows import Directories, Row
from peer.core.turn import Turn
from protocol.changesets import Changeset, decode_changeset
from protocol.errors import BadRecord, NewerForm, ProtocolError
from protocol.log_outcomes import (
    Accepted,
    Fault,
    ForkProof,
    Gap,
    Held,
    Quarantined,
    Received,
    Refused,
    VoidChange,
)
from protocol.logs import LogBook
from protocol.nodes import NOTHING, Node, W, join
from protocol.records import Records, Stamp, decode_records
from protocol.version_vector import Vector, is_within

PAGE: Final = 5_000
"""Nodes computed anew at once, a few KB each; every page reads all changesets."""


@dataclass(slots=True)
class Rewound:
    """What came of it."""

    nodes: list[NodeId] = field(default_factory=list)
    """Nodes that the disk does not show as they are now."""
    accepted: int = 0
    waiting: list[Held | Gap] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


async def rewind(
    resident: Directories, book: LogBook, author: Author, received: Iterable[Received]
) -> Rewound:
    """Carries out these proofs of forks and what the ledger voided, and keeps what is aside."""
    out = Rewound()
    for one in received:
        work = _Rewinding(resident, book, author, out)
        await work.settle(one)
        await work.commit()
    for change in book.take_void_changes():
        work = _Rewinding(resident, book, author, out)
        if await work.follow(change):
            await work.commit()
    out.nodes = list(dict.fromkeys(out.nodes))
    return out


class _Rewinding:
    """One log's change, up to its commit."""

    def __init__(self, resident: Directories, book: LogBook, author: Author, out: Rewound) -> None:
        self._resident, self._book, self._author, self._out = resident, book, author, out
        self._affected: set[NodeId] = set()
        self._lost = Lost()
        self._cut: dict[LogId, int] = {}
        self._new: list[Changeset] = []
        """Taken into a log here, and not stored yet."""
        self._aside: list[Changeset] = []

    # ------------------------------------------------------------ forks

    async def settle(self, received: Received) -> None:
        """One changeset that is on another branch than ours, or that stops its log."""
        match received:
            case ForkProof(theirs=theirs, is_theirs_counting=False):
                self._put_aside(theirs, theirs.slot.seq)
            case ForkProof(theirs=theirs):
                again = self._book.receive(theirs.wire)  # the log may have been cut since
                if not isinstance(again, ForkProof):
                    self._take(again)
                elif again.is_theirs_counting:
                    await self._change_branch(again)
                else:
                    self._put_aside(theirs, theirs.slot.seq)
            case Quarantined(changeset=changeset, fault=fault):
                branch = self._book.forks().get(changeset.log_id, changeset.slot.seq)
                self._put_aside(changeset, branch if fault is Fault.FORKED else 0)
            case Refused(changeset=Changeset() as changeset):
                self._put_aside(changeset)
            case _:
                raise AssertionError(received)

    async def _change_branch(self, proof: ForkProof) -> None:
        book, (log_id, fork) = self._book, proof.position
        if self._is_own(log_id) and not self._author.may_write(book):
            return  # nothing is given up before it can be written again; the proof comes again
        await self._each(log_id, fork - 1, lambda changeset: self._note(changeset, fork))
        self._cut[log_id] = fork
        await self._feed(log_id, book.rewind(proof.position) - 1, fork - 1)
        self._take(book.receive(proof.theirs.wire))
        book.note_undone(log_id)

    def _put_aside(self, changeset: Changeset, fork: int = 0) -> None:
        """`fork`: where its branch left the one that counts; 0 if it is no branch."""
        self._aside.append(changeset)
        if fork and self._is_own(changeset.log_id):
            self._note(changeset, fork)

    def _take(self, received: Received, is_stored: bool = False) -> None:
        match received:
            case Accepted(changeset=changeset, body=body, frontier=frontier):
                stamp = Stamp(changeset.log_id, changeset.slot.seq, changeset.slot.lamport)
                try:
                    records = decode_records(body.records, stamp, frontier)
                except (BadRecord, NewerForm) as error:
                    self._take(self._book.freeze(changeset, error))
                    return
                self._book.accept(received)
                if not is_stored:
                    self._affected.update(records.nodes)
                    self._new.append(changeset)
                    self._out.accepted += 1
            case Quarantined(changeset=changeset, fault=Fault.VOID):
                if not is_stored:
                    self._new.append(changeset)  # it holds its place
            case Quarantined(changeset=changeset):
                self._aside.append(changeset)
            case Refused():
                self._out.refused.append(received)
                if received.is_frozen and received.changeset is not None:
                    self._aside.append(received.changeset)
            case Held() | Gap():
                self._out.waiting.append(received)

    async def _feed(self, log_id: LogId, after_seq: int, last: int) -> None:
        """Takes stored changesets into their log again; they pass the checks that they owe."""
        book = self._book

        def feed(changeset: Changeset) -> None:
            if book.seq_of(log_id) + 1 == changeset.slot.seq <= last:
                self._take(book.receive(changeset.wire), is_stored=True)

        await self._each(log_id, after_seq, feed)

    # ------------------------------------------------------------ removals

    async def follow(self, change: VoidChange) -> bool:
        """What the ledger did to one log; False if this device cannot follow it now."""
        book, log_id = self._book, change.log_id
        row = book.log(log_id)
        assert row is not None
        if self._is_own(log_id) and not self._author.may_write(book):
            return False  # removed: what a person saved here stays as it is on this disk
        first = min([n for n in (change.before, row.void_from, change.feed_from) if n], default=0)

        lost_from = row.void_from
        if first:
            await self._each(log_id, first - 1, lambda changeset: self._note(changeset, lost_from))
        await self._feed(log_id, book.seq_of(log_id), 1 << 62)
        book.note_undone(log_id)
        return True

    # ------------------------------------------------------------ what is concerned

    def _is_own(self, log_id: LogId) -> bool:
        device = self._book.device_of(log_id)
        return device is not None and device[0] == self._author.keys.device_id

    def _note(self, changeset: Changeset, lost_from: int) -> None:
        """What this changeset wrote is to be computed anew; from `lost_from` on, if not 0, it is
        lost, and what is our own of it has to be written again.
        """
        try:
            records = read_records(self._book, changeset)
        except ProtocolError:
            return  # it was void from the first, and never looked into
        if records is None:
            return
        self._affected.update(records.nodes)
        if lost_from and changeset.slot.seq >= lost_from and self._is_own(changeset.log_id):
            self._lost.add(changeset.log_id, lost_from, records)

    async def _each(self, log_id: LogId, after_seq: int, see: Callable[[Changeset], None]) -> None:
        while wires := await LoadChangesets(log_id, after_seq, READ_BYTES):
            for wire in wires:
                changeset = decode_changeset(wire)
                after_seq = changeset.slot.seq
                see(changeset)

    # ------------------------------------------------------------ the replica

    async def _counting(self, see: Callable[[Records], None]) -> None:
        """The records of every changeset that counts, as the logs are now."""
        for log_id in self._book.log_ids():
            row = self._book.log(log_id)
            assert row is not None
            # Of its own, what was not given up yet (because it could not be written again) stays.
            void_from = row.undone_from if self._is_own(log_id) else row.void_from
            if 1 < row.start == void_from:
                # What it said before stands below its floor and is not kept here: taken back,
                # files would vanish that nobody removed.
                void_from = row.unchecked_from
            last = void_from - 1 if void_from else row.seq
            stored_until = min(last, self._cut.get(log_id, last + 1) - 1)
            await self._tell(log_id, stored_until, last, see)

    async def _tell(
        self, log_id: LogId, stored_until: int, last: int, see: Callable[[Records], None]
    ) -> None:
        new = {c.slot.seq: c for c in self._new if c.log_id == log_id and c.slot.seq <= last}

        def tell(changeset: Changeset) -> None:
            records = read_records(self._book, changeset)
            if records is not None:
                see(records)

        def tell_stored(changeset: Changeset) -> None:
            if changeset.slot.seq <= stored_until and changeset.slot.seq not in new:
                tell(changeset)

        await self._each(log_id, 0, tell_stored)
        for changeset in new.values():
            tell(changeset)

    async def _recompute(self, ids: set[NodeId]) -> dict[NodeId, Node]:
        states = dict.fromkeys(ids, NOTHING)

        def see(records: Records) -> None:
            for node_id in ids & records.nodes.keys():
                states[node_id] = join(states[node_id], records.nodes[node_id])

        await self._counting(see)
        return states

    async def commit(self) -> None:
        """The replica as it follows from what counts, and all that changed with it."""
        again, authored = write_again(self._book, self._author, self._lost)
        turn = Turn(self._resident)
        ids = sorted(self._affected | again.keys())
        for start in range(0, len(ids), PAGE):
            states = await self._recompute(set(ids[start : start + PAGE]))
            rows = await LoadRows(list(states))
            for node_id, state in states.items():
                state = join(state, again.get(node_id, NOTHING))
                row = rows.get(node_id) or Row(node_id)
                if state != row.state:
                    await turn.load([node_id])
                    turn.rows[node_id].state = state
                    turn.touched.add(node_id)
        await turn.load(self._lost.origins)
        for copy, origin in self._lost.origins.items():
            turn.rows[copy].origin = origin
            turn.touched.add(copy)
        for node_id in turn.touched:
            row = turn.rows[node_id]
            if row.state == NOTHING and row.base == NOTHING:
                turn.removed.add(node_id)
        logs = self._book.take_changed()
        await Commit(
            turn.rows_to_store(), turn.rows_to_delete(), _stored([*self._new, *authored]), logs,
            _stored(self._aside), list(self._cut.items()),
        )  # fmt: skip
        turn.merge()
        self._out.nodes += [i for i in turn.touched if turn.rows[i].is_dirty]


def _stored(changesets: Iterable[Changeset]) -> list[tuple[LogId, int, bytes, int, bytes]]:
    return [(c.log_id, c.slot.seq, c.hash, c.slot.lamport, c.wire) for c in changesets]


# ---------------------------------------------------------------- what the disk shows meanwhile


def next_base(row: Row, node: Node) -> Node:
    """What the disk shows when `node` is applied: with what a scan has found since it was surveyed,
    so that nobody's act is undone, and without what does not count any more.
    """
    base, state = row.synced, row.state
    if node is state:
        return node  # it has seen all that the disk shows
    joined = join(base, node)
    if joined == state:
        return joined
    shown = Node(
        tuple(p for p in node.places if p in base.places or _counts(p, state.places)),
        tuple(c for c in node.contents if c in base.contents or _counts(c, state.contents)),
        node.attributes,
    )
    kept = Node(
        tuple(p for p in base.places if _counts(p, state.places)),
        tuple(c for c in base.contents if _counts(c, state.contents)),
        min(base.attributes, state.attributes),
    )
    return join(kept, shown)


def _counts(write: W, state: tuple[W, ...]) -> bool:
    """Whether the replica holds this write, or one that has seen it."""
    return any(
        write == other or (write.vector != other.vector and is_within(write.vector, other.vector))
        for other in state
    )


def as_seen(node: Node, state: Node, forks: Mapping[LogId, int]) -> Node:
    """What the disk shows of a node, as a new write may say that it has seen it: what is of a
    branch that does not count has not seen what stands at the same positions of the other.
    """
    return node._replace(
        places=tuple(
            p if _counts(p, state.places) else p._replace(vector=cut_back(p.vector, forks))
            for p in node.places
        ),
        contents=tuple(
            c if _counts(c, state.contents) else c._replace(vector=cut_back(c.vector, forks))
            for c in node.contents
        ),
    )


def cut_back(vector: Vector, forks: Mapping[LogId, int]) -> Vector:
    """The vector without the positions from these on."""
    below = ((log, min(seq, forks.get(log, seq + 1) - 1)) for log, seq in vector)
    return tuple((log, seq) for log, seq in below if seq)
