"""Writes of this device that count no longer, written again in a log of its own that goes on.

The same values, with vectors that say what can still be said: own positions below the fork, and of
the others what the new changeset's author has seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from crypto.ids import LogId, NodeId
from crypto.keys import DeviceKeys
from peer.core.turn import is_directory
from protocol import version_vector as vv
from protocol.changesets import INCARNATION_SIZE, Changeset
from protocol.errors import ProtocolError, TooLong
from protocol.log_outcomes import Draft
from protocol.logs import LogBook
from protocol.nodes import NOTHING, Attributes, Content, Node, Place, join
from protocol.records import Records, Stamp, decode_records, encode_records
from protocol.version_vector import Vector

NODES_AT_ONCE: Final = 2_000
"""In one changeset, as a scan has them."""
W = TypeVar("W", Place, Content)


@dataclass(slots=True)
class Author:
    """This device as it signs; its incarnation is replaced when its log is closed."""

    keys: DeviceKeys
    incarnation: bytes
    label: str
    random: Callable[[int], bytes]

    def draft(self, book: LogBook) -> Draft:
        """The next position of a log that goes on; raises what LogBook.draft raises."""
        if book.is_closed(book.log_id(self.keys.device_id, self.incarnation)):
            self.incarnation = self.random(INCARNATION_SIZE)
        return book.draft(self.keys.device_id, self.incarnation)

    def may_write(self, book: LogBook) -> bool:
        """Whether this device can write in the folder now."""
        try:
            self.draft(book)
        except ProtocolError:
            return False
        return True


@dataclass(slots=True)
class Lost:
    """What this device wrote where it does not count."""

    nodes: dict[NodeId, Node] = field(default_factory=dict)
    """As of the lost branch: the last writes of each register."""
    origins: dict[NodeId, NodeId] = field(default_factory=dict)
    logs: dict[LogId, int] = field(default_factory=dict)
    """From where on each log does not count."""

    def add(self, log_id: LogId, lost_from: int, records: Records) -> None:
        """One changeset more."""
        self.logs[log_id] = min(lost_from, self.logs.get(log_id, lost_from))
        self.origins.update(records.origins)
        for node_id, node in records.nodes.items():
            self.nodes[node_id] = join(self.nodes.get(node_id, NOTHING), node)


def write_again(
    book: LogBook, author: Author, lost: Lost
) -> tuple[dict[NodeId, Node], list[Changeset]]:
    """The lost writes as new ones, and the changesets that carry them, which are in their log.

    Nothing if the device may not write: then they are kept aside.
    """
    written: dict[NodeId, Node] = {}
    changesets: list[Changeset] = []
    if not lost.nodes or not author.may_write(book):
        return written, changesets
    parts = deque(_parts(lost.nodes, NODES_AT_ONCE))
    while parts:
        part = parts.popleft()
        draft = author.draft(book)
        slot = draft.slot
        stamp = Stamp(slot.log_id, slot.seq, slot.lamport)
        time_s = max(w.time_s for node in part.values() for w in _writes(node))
        again = _Relabel(stamp, lost.logs, draft.seen, author.label, time_s)
        nodes = {node_id: again.node(node_id, node) for node_id, node in part.items()}
        records = encode_records(nodes, lost.origins, stamp, author.label, time_s)
        # What others would refuse must never be signed: it would stop this log too.
        assert decode_records(records, stamp, draft.seen).nodes == nodes
        try:
            sealed = book.seal(author.keys, draft, records, author.random)
        except TooLong:  # large files, whose chunk lists are long
            if len(part) == 1:
                raise
            parts.extendleft(reversed([*_parts(part, (len(part) + 1) // 2)]))
            continue
        book.accept(sealed)
        changesets.append(sealed.changeset)
        written |= nodes
    return written, changesets


def _parts(nodes: Mapping[NodeId, Node], size: int) -> Iterator[dict[NodeId, Node]]:
    ids = list(nodes)
    for start in range(0, len(ids), size):
        yield {node_id: nodes[node_id] for node_id in ids[start : start + size]}


def _writes(node: Node) -> Iterator[Place | Content | _NoTime]:
    yield from node.places
    yield from node.contents
    yield _NoTime()


class _NoTime:
    time_s = 0


@dataclass(frozen=True, slots=True)
class _Relabel:
    stamp: Stamp
    lost_from: Mapping[LogId, int]
    seen: Mapping[LogId, int]
    label: str
    time_s: int

    def node(self, node_id: NodeId, node: Node) -> Node:
        places = tuple(self._place(node_id, p) for p in node.places)
        contents = tuple(self._content(c) for c in node.contents)
        attributes = node.attributes
        if attributes.lamport:
            attributes = Attributes(
                self.stamp.lamport, self.stamp.log, attributes.is_executable, attributes.mtime_ns
            )
        # Joined, since what were two writes of a branch may be one now.
        return join(Node((), (), attributes), Node(places, contents))

    def _place(self, node_id: NodeId, place: Place) -> Place:
        is_lost = self._is_lost(place)
        again = (self._new(place) if is_lost else self._old(place))._replace(
            saw=self._seen(place.saw)
        )
        if is_directory(node_id) and is_lost and not place.is_deleted:
            return again._replace(since=(self.stamp.lamport, self.stamp.log))
        return again._replace(since=(min(place.since[0], again.lamport), place.since[1]))

    def _content(self, content: Content) -> Content:
        return self._new(content) if self._is_lost(content) else self._old(content)

    def _is_lost(self, write: Place | Content) -> bool:
        log = write.author
        return log in self.lost_from and vv.seq_of(write.vector, log) >= self.lost_from[log]

    def _new(self, write: W) -> W:
        stamp = self.stamp
        return write._replace(
            vector=vv.join(self._seen(write.vector), ((stamp.log, stamp.seq),)),
            lamport=stamp.lamport, author=stamp.log, label=self.label, time_s=self.time_s,
        )  # fmt: skip

    def _old(self, write: W) -> W:
        """Somebody else's, told again (a conflict copy's)."""
        lamport = min(write.lamport, self.stamp.lamport)
        return write._replace(vector=self._seen(write.vector), lamport=lamport)

    def _seen(self, vector: Vector) -> Vector:
        known = (
            (log, min(seq, self.seen.get(log, 0), self.lost_from.get(log, seq + 1) - 1))
            for log, seq in vector
        )
        return tuple((log, seq) for log, seq in known if seq > 0)
