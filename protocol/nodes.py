"""Nodes and their registers, and how replicas of one join (MERGE 1-8).

A node is a file, directory or symlink with an id that never changes. Its place and content
registers each hold the set of their maximal writes; attributes are plain last-writer-wins. Nothing
here knows of other nodes, so joining is a function of two values; what a whole tree shows is
tree.py's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any, Final, NamedTuple, TypeVar

from crypto.ids import LogId, NodeId
from crypto.primitives import digest
from protocol import version_vector as vv
from protocol.version_vector import Vector


class Kind(IntEnum):
    """What a node is; the low two bits of its id, so no two records can disagree about it (MERGE
    1).
    """

    FILE = 0
    DIRECTORY = 1
    SYMLINK = 2


ROOT: Final = NodeId(bytes(15) + b"\x01")
"""The folder itself: parent of its top level. Its only record is a place whose name is the
folder's name.
"""
NO_NODE: Final = NodeId(b"")
NO_LOG: Final = LogId(b"")
NO_PREVIOUS: Final = (NO_NODE, "")
"""The previous place of what has none."""
NEVER_MOVED: Final = (0, NO_LOG)
"""The `since` of files, which need none (MERGE 9)."""
_COPY_BIT: Final = 4


def kind_of(node_id: NodeId) -> Kind:
    """The kind that the id carries; ValueError for the fourth bit pattern, which is no kind."""
    return Kind(node_id[15] & 3)


def new_node_id(kind: Kind, random: Callable[[int], bytes]) -> NodeId:
    """A fresh random id of this kind, never one of a conflict copy."""
    raw = random(16)
    return NodeId(raw[:15] + bytes([(raw[15] & 0xF8) | kind]))


def is_copy(node_id: NodeId) -> bool:
    """True for the id of a conflict copy: one bit tells, so that nobody has to know its origin."""
    return bool(node_id[15] & _COPY_BIT)


class Place(NamedTuple):
    """One write of a node's place register."""

    vector: Vector
    lamport: int
    author: LogId
    parent: NodeId
    name: str
    previous: tuple[NodeId, str] = NO_PREVIOUS
    """Directories only: where the writer saw it before, for when this edge would close a cycle
    (MERGE 9).
    """
    is_deleted: bool = False
    """A deletion keeps parent and name: that is where an unseen edit brings the node back to
    (MERGE 7).
    """
    is_soft: bool = False
    """Written by a scanner to keep things as shown, wanted by no person (MERGE 12)."""
    saw: Vector = ()
    """Contents of this node up to here are deleted, whatever happens to the place later (MERGE 7).
    """
    since: tuple[int, LogId] = NEVER_MOVED
    """Directories only: (Lamport, author) of the move that set parent and name (MERGE 9)."""
    time_s: int = 0
    label: str = ""
    """The author device's name then, frozen for conflict names (MERGE 11)."""

    @property
    def rank(self) -> int:
        """Live by a person 2, deleted 1, soft 0 (MERGE 6)."""
        return 1 if self.is_deleted else 0 if self.is_soft else 2

    def key(self) -> tuple[Any, ...]:
        """The order in which one of several maximal writes wins."""
        return (self.rank, self.lamport, self.author, self)


class Content(NamedTuple):
    """One write of a file's bytes or a symlink's target."""

    vector: Vector
    lamport: int
    author: LogId
    hash: bytes
    """Keyed BLAKE3 of the whole: equal bytes are no conflict, however they are chunked."""
    size: int
    manifest: bytes = b""
    """Chunk ids and lengths, 36 bytes each; empty when the file is one chunk, whose id is `hash`.
    For a symlink: the target, UTF-8."""
    mtime_ns: int = 0
    time_s: int = 0
    label: str = ""

    def key(self) -> tuple[Any, ...]:
        """The order in which one of several maximal writes is shown."""
        return (self.lamport, self.author, self)


class Attributes(NamedTuple):
    """Executable bit and mtime: last writer wins by (lamport, author)."""

    lamport: int = 0
    author: LogId = NO_LOG
    is_executable: bool = False
    mtime_ns: int = 0


NO_ATTRIBUTES: Final = Attributes()


class Node(NamedTuple):
    """All that is known of one node; writes are sorted, so equal nodes are equal values."""

    places: tuple[Place, ...] = ()
    contents: tuple[Content, ...] = ()
    attributes: Attributes = NO_ATTRIBUTES


NOTHING: Final = Node()

W = TypeVar("W", Place, Content)


def maximal(writes: Iterable[W]) -> tuple[W, ...]:
    """What no other write has seen. Equal vectors of other values (a fork) both stay (MERGE 3)."""
    distinct = sorted(set(writes))
    if len(distinct) < 2:
        return tuple(distinct)
    return tuple(
        write
        for write in distinct
        if not any(
            write.vector != other.vector and vv.is_within(write.vector, other.vector)
            for other in distinct
        )
    )


def join(left: Node, right: Node) -> Node:
    """The least node that has seen both; commutative, associative, idempotent."""
    if left is right or not (right.places or right.contents or right.attributes.lamport):
        return left
    if left == NOTHING:
        return right
    return Node(
        _join_writes(left.places, right.places),
        _join_writes(left.contents, right.contents),
        max(left.attributes, right.attributes),
    )


def _join_writes(left: tuple[W, ...], right: tuple[W, ...]) -> tuple[W, ...]:
    if not right:
        return left
    return maximal(left + right) if left else right


def winning_place(node: Node) -> Place:
    """The place that counts (MERGE 6); the node must have one."""
    places = node.places
    return places[0] if len(places) == 1 else max(places, key=Place.key)


def deleted_contents(node: Node) -> Vector:
    """Up to where this node's contents are deleted: what any deleter saw, while something is left
    (MERGE 7).
    """
    place = winning_place(node)
    if len(node.places) == 1:
        return place.saw
    gone = vv.join(*(p.saw for p in node.places))
    if place.is_deleted or any(not vv.is_within(c.vector, gone) for c in node.contents):
        return gone
    return place.saw


def copy_id(node_id: NodeId, loser: Content) -> NodeId:
    """The id of the conflict copy that this losing write becomes, the same on every device (MERGE
    5).
    """
    seq = vv.seq_of(loser.vector, loser.author)
    raw = digest("conflict", node_id, loser.author, seq.to_bytes(8), loser.hash)[:16]
    return NodeId(raw[:15] + bytes([(raw[15] & 0xF8) | _COPY_BIT | (node_id[15] & 3)]))


def versions(
    node_id: NodeId, node: Node, is_settled: Callable[[NodeId], bool] | None = None
) -> list[Content]:
    """What the node shows, then the losers: concurrent live writes of other bytes (MERGE 5).

    `is_settled(copy id)` says whether a copy has a record of its own; None when no copy has one.
    """
    contents = node.contents
    gone = deleted_contents(node)
    live = [c for c in contents if not vv.is_within(c.vector, gone)] if gone else list(contents)
    if is_settled is not None:
        live = [c for c in live if not is_settled(copy_id(node_id, c))]
    if len(live) < 2:
        return live
    live.sort(key=Content.key, reverse=True)
    return live[:1] + [c for c in live[1:] if c.hash != live[0].hash]


def shown_mtime_ns(content: Content, attributes: Attributes) -> int:
    """The newer of the content's own mtime and one that was set without an edit."""
    if (attributes.lamport, attributes.author) > (content.lamport, content.author):
        return attributes.mtime_ns
    return content.mtime_ns
