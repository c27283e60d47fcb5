"""Node records: how writes travel in a changeset's body (SPEC 11).

A record does not repeat what its changeset says: author, seq and Lamport time are the slot's,
label and time stand once in the first record. Only verbatim records (conflict copies, re-emission)
carry full stamps. Everything that a hostile member could put into a record is checked here, before
anything else sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from struct import Struct
from typing import Any, Final, NamedTuple

from crypto.ids import ChunkId, LogId, NodeId
from protocol import wire
from protocol.errors import BadRecord
from protocol.names import check_label, check_name
from protocol.newer import refuse_newer
from protocol.nodes import (
    NEVER_MOVED,
    NO_NODE,
    NO_PREVIOUS,
    ROOT,
    Attributes,
    Content,
    Kind,
    Node,
    Place,
    is_copy,
    join,
    kind_of,
    maximal,
)
from protocol.version_vector import Vector

MANIFEST_ENTRY: Final = Struct(">32sI")
TARGET_LENGTH_MAX: Final = 4096
"""PATH_MAX on Linux; no longer symlink target can be made."""
SIZE_MAX: Final = 1 << 53
"""Larger files exist nowhere; the bound keeps every later sum within 64 bits."""
TIME_MAX: Final = (1 << 63) - 1
VERBATIM_WRITES_MAX: Final = 64
"""Writes of one register in one record: comparing them takes the square of their number. More of
them are told in more records.
"""


class RecordType(IntEnum):
    """The first item of every record."""

    HEADER = 0
    PLACE = 1
    CONTENT = 2
    ATTRIBUTES = 3
    VERBATIM = 4
    SCAN_COMPLETE = 5
    FILE = 6


_NEWEST: Final = max(RecordType)
"""Found once: looking through an enumeration for each record was a 25th of a first sync."""


class Stamp(NamedTuple):
    """What a changeset's slot says of all its records."""

    log: LogId
    seq: int
    lamport: int


class Records(NamedTuple):
    """The checked content of one changeset."""

    nodes: dict[NodeId, Node]
    origins: dict[NodeId, NodeId]
    """For conflict copies that got a record: the node that they are copies of."""
    is_scan_complete: bool


def chunks_of(content: Content) -> list[tuple[ChunkId, int]]:
    """The file's chunks in order, as (id, length in bytes); none for an empty file."""
    if content.manifest:
        return [(ChunkId(i), n) for i, n in MANIFEST_ENTRY.iter_unpack(content.manifest)]
    return [(ChunkId(content.hash), content.size)] if content.size else []


def placed_chunks_of(content: Content) -> Iterator[tuple[ChunkId, int, int]]:
    """The same with where each begins in the file, as (id, offset, length)."""
    offset = 0
    for chunk_id, length in chunks_of(content):
        yield chunk_id, offset, length
        offset += length


def encode_manifest(chunks: Iterable[tuple[bytes, int]]) -> bytes:
    """The manifest of a file of two or more chunks."""
    return b"".join(MANIFEST_ENTRY.pack(i, n) for i, n in chunks)


# ---------------------------------------------------------------- writing


def encode_records(
    nodes: Mapping[NodeId, Node],
    origins: Mapping[NodeId, NodeId],
    stamp: Stamp,
    label: str,
    time_s: int,
    is_scan_complete: bool = False,
) -> list[Any]:
    """The records of a changeset, directories' before those of what is in them as the mapping has
    them.
    """
    records: list[Any] = [[RecordType.HEADER, label, time_s]]
    for node_id, node in nodes.items():
        if _is_new_file(node_id, node, stamp):
            records.append(_file_record(node_id, node))
            continue
        places, contents = [], []
        for place in node.places:
            if _is_own(place, stamp):
                records.append(_place_record(node_id, place, stamp))
            else:
                places.append(place)
        for content in node.contents:
            if _is_own(content, stamp):
                seen = _flat(v for v in content.vector if v[0] != stamp.log)
                records.append(
                    [RecordType.CONTENT, node_id, content.hash, content.size, content.mtime_ns,
                     content.manifest, seen]
                )  # fmt: skip
            else:
                contents.append(content)
        attributes = node.attributes
        if attributes.lamport == stamp.lamport and attributes.author == stamp.log:
            records.append(
                [RecordType.ATTRIBUTES, node_id, attributes.is_executable, attributes.mtime_ns]
            )
            attributes = Attributes()
        if places or contents or attributes.lamport:
            old = encode_writes(Node(tuple(places), tuple(contents), attributes))
            records.append([RecordType.VERBATIM, node_id, origins.get(node_id, NO_NODE), *old])
    if is_scan_complete:
        records.append([RecordType.SCAN_COMPLETE])
    return records


def _is_new_file(node_id: NodeId, node: Node, stamp: Stamp) -> bool:
    """Whether this is a file or symlink as its maker writes it: nothing had been before."""
    if len(node.places) != 1 or len(node.contents) != 1 or node_id[15] & 3 == Kind.DIRECTORY:
        return False
    place, content, attributes = node.places[0], node.contents[0], node.attributes
    own = ((stamp.log, stamp.seq),)
    return (
        place.vector == content.vector == own
        and place.lamport == content.lamport == stamp.lamport
        and place.author == content.author == stamp.log
        and not (place.is_deleted or place.is_soft or place.saw)
        and (
            not attributes.lamport
            or attributes == (stamp.lamport, stamp.log, True, content.mtime_ns)
        )
    )


def _file_record(node_id: NodeId, node: Node) -> list[Any]:
    place, content = node.places[0], node.contents[0]
    return [
        RecordType.FILE, node_id, place.parent, place.name, content.hash, content.size,
        content.mtime_ns, content.manifest, node.attributes.is_executable,
    ]  # fmt: skip


def _is_own(write: Place | Content, stamp: Stamp) -> bool:
    is_ours = write.author == stamp.log and (stamp.log, stamp.seq) in write.vector
    return is_ours and write.lamport == stamp.lamport


def _place_record(node_id: NodeId, place: Place, stamp: Stamp) -> list[Any]:
    since = None
    if place.since not in ((stamp.lamport, stamp.log), NEVER_MOVED):
        since = list(place.since)
    return [
        RecordType.PLACE,
        node_id,
        place.parent,
        place.name,
        place.is_deleted | place.is_soft << 1,
        _flat(v for v in place.vector if v[0] != stamp.log),
        _flat(place.saw),
        list(place.previous) if place.previous[0] else None,
        since,
    ]


def _flat(vector: Iterable[tuple[LogId, int]]) -> list[bytes | int]:
    return [part for entry in vector for part in entry]


# ---------------------------------------------------------------- reading


def decode_records(records: list[Any], stamp: Stamp, frontier: Mapping[LogId, int]) -> Records:
    """Checks and decodes a changeset's records (CRYPTO 5, check 10); raises BadRecord or BadName,
    and NewerForm where a record is of a type that only a later version knows.

    `frontier` is how far the author had seen each log, its own up to seq - 1.
    """
    try:
        return _Reader(stamp, frontier).read(records)
    except BadRecord:
        raise
    except (ValueError, TypeError, IndexError, AttributeError, UnicodeError) as error:
        raise BadRecord("a record has the wrong shape") from error


class _Reader:
    def __init__(self, stamp: Stamp, frontier: Mapping[LogId, int]) -> None:
        self.stamp, self.frontier = stamp, frontier
        self.own = (stamp.log, stamp.seq)
        self.own_vector: Vector = (self.own,)
        self.label, self.time_s = "", 0

    def read(self, records: list[Any]) -> Records:
        if not records or _number_of(records[0]) != RecordType.HEADER or len(records[0]) != 3:
            raise BadRecord("no header record")
        _, self.label, self.time_s = records[0]
        check_label(self.label)
        _check_int(self.time_s, TIME_MAX)
        nodes: dict[NodeId, Node] = {}
        origins: dict[NodeId, NodeId] = {}
        is_scan_complete = False
        for record in records[1:]:
            number = _number_of(record)
            if number == RecordType.SCAN_COMPLETE and len(record) == 1:
                is_scan_complete = True
                continue
            refuse_newer(number, _NEWEST)
            node_id = _checked_id(record[1])
            if number == RecordType.FILE:
                node = self._file(node_id, record)
            elif number == RecordType.PLACE:
                node = Node(places=(self._place(node_id, record),))
            elif number == RecordType.CONTENT:
                node = Node(contents=(self._content(node_id, record),))
            elif number == RecordType.ATTRIBUTES:
                node = self._attributes(record)
            elif number == RecordType.VERBATIM:
                node = self._verbatim(node_id, record)
                if record[2] != NO_NODE:
                    origins[node_id] = _checked_origin(node_id, record[2])
            else:
                raise BadRecord(f"record type {number}")
            if node_id == ROOT and (node.contents or node.attributes.lamport):
                raise BadRecord("the root has a name and nothing else")
            old = nodes.get(node_id)
            nodes[node_id] = node if old is None else join(old, node)
        return Records(nodes, origins, is_scan_complete)

    def _vector(self, flat: list[Any]) -> Vector:
        """A vector from the wire plus the changeset's own position."""
        vector = _unflat(flat)
        if not vector:
            return self.own_vector
        self._check_seen(vector)
        if any(log == self.stamp.log for log, _ in vector):
            raise BadRecord("the author's own position is not written out")
        return tuple(sorted((*vector, self.own)))

    def _check_seen(self, vector: Vector, own: bool = False) -> None:
        for log, seq in vector:
            known = self.frontier.get(log, 0)
            if log == self.stamp.log:
                known = self.stamp.seq if own else self.stamp.seq - 1
            if seq > known:
                raise BadRecord("a vector beyond what its author had seen")

    def _place(self, node_id: NodeId, record: list[Any]) -> Place:
        _, _, parent, name, flags, seen, saw, previous, since = record
        if type(flags) is not int or not 0 <= flags <= 2:
            raise BadRecord("place flags")
        for pair in (previous, since):
            if pair is not None and (type(pair) is not list or len(pair) != 2):
                raise BadRecord("neither a pair nor nothing")
        stamp = self.stamp
        place = Place(
            self._vector(seen), stamp.lamport, stamp.log, parent, name,
            (previous[0], previous[1]) if previous is not None else NO_PREVIOUS,
            bool(flags & 1), bool(flags & 2), _unflat(saw),
            ((since[0], since[1]) if since is not None else (stamp.lamport, stamp.log))
            if node_id[15] & 3 == Kind.DIRECTORY else NEVER_MOVED,
            self.time_s, self.label,
        )  # fmt: skip
        if place.saw:
            self._check_seen(place.saw, own=True)
        _check_place(node_id, place)
        return place

    def _content(self, node_id: NodeId, record: list[Any]) -> Content:
        _, _, hash_, size, mtime_ns, manifest, seen = record
        content = Content(
            self._vector(seen), self.stamp.lamport, self.stamp.log, hash_, size, manifest,
            mtime_ns, self.time_s, self.label,
        )  # fmt: skip
        _check_content(node_id, content)
        return content

    def _file(self, node_id: NodeId, record: list[Any]) -> Node:
        """Place, content and perhaps attributes of what was not before."""
        _, _, parent, name, hash_, size, mtime_ns, manifest, is_executable = record
        stamp, vector = self.stamp, self.own_vector
        place = Place(
            vector, stamp.lamport, stamp.log, parent, name, time_s=self.time_s, label=self.label
        )
        content = Content(
            vector, stamp.lamport, stamp.log, hash_, size, manifest, mtime_ns, self.time_s,
            self.label,
        )  # fmt: skip
        _check_place(node_id, place)
        _check_content(node_id, content)
        if is_executable is False:
            return Node((place,), (content,))
        if is_executable is not True:
            raise BadRecord("executable bit")
        return Node((place,), (content,), Attributes(stamp.lamport, stamp.log, True, mtime_ns))

    def _attributes(self, record: list[Any]) -> Node:
        _, _, is_executable, mtime_ns = record
        if type(is_executable) is not bool:
            raise BadRecord("executable bit")
        _check_int(mtime_ns, TIME_MAX, -TIME_MAX)
        return Node(
            attributes=Attributes(self.stamp.lamport, self.stamp.log, is_executable, mtime_ns)
        )

    def _verbatim(self, node_id: NodeId, record: list[Any]) -> Node:
        _, _, _, places, contents, attributes = record
        if max(len(places), len(contents)) > VERBATIM_WRITES_MAX:
            raise BadRecord("more writes than one record may hold")
        written = [places, contents, attributes]
        node = decode_writes(written)
        # One spelling for each value, or what sorts and compares them meets types of a stranger's
        # choice.
        if wire.encode(encode_writes(node)) != wire.encode(written):
            raise BadRecord("writes that are not written as they are read")
        if (node.places, node.contents) != (maximal(node.places), maximal(node.contents)):
            raise BadRecord("writes that are not maximal and in order")
        for place in node.places:
            _check_place(node_id, place)
            self._check_stamp(place)
            self._check_seen(place.saw, own=True)
        for content in node.contents:
            _check_content(node_id, content)
            self._check_stamp(content)
        if node.attributes.lamport:
            lamport, author, is_executable, mtime_ns = node.attributes
            _check_int(lamport, self.stamp.lamport)
            _check_int(mtime_ns, TIME_MAX, -TIME_MAX)
            if type(is_executable) is not bool or type(author) is not bytes or len(author) != 16:
                raise BadRecord("attributes")
        return node

    def _check_stamp(self, write: Place | Content) -> None:
        _check_int(write.lamport, self.stamp.lamport)
        _check_int(write.time_s, TIME_MAX)
        if write.label != "":
            check_label(write.label)
        if type(write.author) is not bytes or len(write.author) not in (0, 16):
            raise BadRecord("author")
        self._check_seen(write.vector, own=True)


def _number_of(record: Any) -> Any:
    if type(record) is not list or type(record[0]) is bool:
        raise BadRecord("not a record")
    return record[0]


def _unflat(flat: Any) -> Vector:
    if type(flat) is not list:
        raise BadRecord("not a vector")
    if not flat:
        return ()
    vector = tuple(zip(flat[::2], flat[1::2], strict=True))
    last = b""
    for log, seq in vector:
        if type(log) is not bytes or len(log) != 16 or log <= last:
            raise BadRecord("a vector names its logs once each, in order")
        if type(seq) is not int or not 1 <= seq < 1 << 62:
            raise BadRecord("a vector counts from 1")
        last = log
    return vector


def _checked_id(value: Any) -> NodeId:
    if type(value) is not bytes or len(value) != 16 or value[15] & 3 == 3:
        raise BadRecord("not a node id")
    return NodeId(value)


def _checked_origin(copy: NodeId, value: Any) -> NodeId:
    origin = _checked_id(value)
    if not is_copy(copy) or kind_of(copy) is not kind_of(origin):
        raise BadRecord("not a copy of that")
    return origin


def _check_int(value: Any, most: int, least: int = 0) -> None:
    if type(value) is not int or not least <= value <= most:
        raise BadRecord("a number out of range")


def _check_place(node_id: NodeId, place: Place) -> None:
    parent = _checked_id(place.parent)
    if parent[15] & 3 != Kind.DIRECTORY:
        raise BadRecord("the parent is no directory")
    if type(place.name) is not str:
        raise BadRecord("the name is no text")
    check_name(place.name)
    if place.previous is not NO_PREVIOUS and place.previous != NO_PREVIOUS:
        if node_id[15] & 3 != Kind.DIRECTORY:
            raise BadRecord("only a directory has a previous place")
        if _checked_id(place.previous[0])[15] & 3 != Kind.DIRECTORY:
            raise BadRecord("the previous parent is no directory")
        if type(place.previous[1]) is not str:
            raise BadRecord("the previous name is no text")
        check_name(place.previous[1])
    if place.since is NEVER_MOVED:
        return
    _check_int(place.since[0], place.lamport)
    if type(place.since[1]) is not bytes or len(place.since[1]) not in (0, 16):
        raise BadRecord("since")


def _check_content(node_id: NodeId, content: Content) -> None:
    kind = node_id[15] & 3
    if kind == Kind.DIRECTORY:
        raise BadRecord("a directory has no content")
    if type(content.hash) is not bytes or len(content.hash) != 32:
        raise BadRecord("not a hash")
    _check_int(content.size, SIZE_MAX)
    _check_int(content.mtime_ns, TIME_MAX, -TIME_MAX)
    manifest = content.manifest
    if type(manifest) is not bytes:
        raise BadRecord("not a manifest")
    if kind == Kind.SYMLINK:
        if not 0 < len(manifest) <= TARGET_LENGTH_MAX or b"\0" in manifest:
            raise BadRecord("not a symlink target")
        manifest.decode()
    elif manifest:
        if len(manifest) % MANIFEST_ENTRY.size:
            raise BadRecord("not a manifest")
        lengths = [length for _, length in MANIFEST_ENTRY.iter_unpack(manifest)]
        if len(lengths) < 2 or sum(lengths) != content.size or 0 in lengths:
            raise BadRecord("the chunks are not the file")
        if max(lengths) > wire.CHUNK_LENGTH_MAX:
            raise BadRecord("a chunk is too long")
    elif content.size > wire.CHUNK_LENGTH_MAX:
        raise BadRecord("the one chunk is too long")


# ---------------------------------------------------------------- verbatim


def encode_writes(node: Node) -> list[Any]:
    """A node as three CBOR items, with every stamp written out."""
    attributes = node.attributes
    return [
        [
            [_flat(p.vector), p.lamport, p.author, p.parent, p.name, *p.previous,
             p.is_deleted | p.is_soft << 1, _flat(p.saw), *p.since, p.time_s, p.label]
            for p in node.places
        ],
        [
            [_flat(c.vector), c.lamport, c.author, c.hash, c.size, c.manifest, c.mtime_ns,
             c.time_s, c.label]
            for c in node.contents
        ],
        list(attributes) if attributes.lamport else None,
    ]  # fmt: skip


def decode_writes(value: list[Any]) -> Node:
    """The inverse of encode_writes; vectors are checked for form, the rest by the caller."""
    places, contents, attributes = value
    return Node(
        tuple(
            Place(_unflat(p[0]), p[1], p[2], p[3], p[4], (p[5], p[6]), bool(p[7] & 1),
                  bool(p[7] & 2), _unflat(p[8]), (p[9], p[10]), p[11], p[12])
            for p in places
        ),
        tuple(
            Content(_unflat(c[0]), c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8])
            for c in contents
        ),
        Attributes(*attributes) if attributes else Attributes(),
    )  # fmt: skip
