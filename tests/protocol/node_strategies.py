"""Nodes for the tests of what joins, sends and stores them."""

from __future__ import annotations

from hypothesis import strategies as st

from crypto.ids import LogId, NodeId
from protocol.nodes import (
    NO_LOG,
    NO_NODE,
    ROOT,
    Attributes,
    Content,
    Kind,
    Node,
    Place,
    maximal,
)

LOGS = [LogId(bytes([65 + i]) * 16) for i in range(3)]
DIRECTORY = NodeId(b"\x01" * 15 + b"\x01")
FILE = NodeId(b"\x02" * 15 + b"\x00")
SYMLINK = NodeId(b"\x03" * 15 + b"\x02")
COPY = NodeId(b"\x04" * 15 + b"\x04")

logs = st.sampled_from(LOGS)
vectors = st.dictionaries(logs, st.integers(1, 4), min_size=1).map(
    lambda d: tuple(sorted(d.items()))
)
names = st.sampled_from(["a", "b.txt", "é", "a (conflict A 1970-01-01 0000)"])
parents = st.sampled_from([ROOT, DIRECTORY])
labels = st.sampled_from(["A", "Laptop"])
times = st.integers(0, 1 << 40)


def places(kind: Kind) -> st.SearchStrategy[Place]:
    def build(place: Place) -> Place:
        if kind is not Kind.DIRECTORY:
            return place._replace(previous=(NO_NODE, ""), since=(0, NO_LOG))
        return place._replace(since=(min(place.since[0], place.lamport), place.since[1]))

    flags = st.sampled_from([(False, False), (True, False), (False, True)])
    return st.builds(
        lambda flags, rest: build(Place(*rest[:6], *flags, *rest[6:])),
        flags,
        st.tuples(
            vectors, st.integers(1, 9), logs, parents, names,
            st.one_of(st.just((NO_NODE, "")), st.tuples(parents, names)),
            st.one_of(st.just(()), vectors), st.tuples(st.integers(1, 9), logs), times, labels,
        ),
    )  # fmt: skip


contents = st.builds(
    Content, vectors, st.integers(1, 9), logs,
    st.sampled_from([b"x" * 32, b"y" * 32, b"z" * 32]), st.integers(0, 1000), st.just(b""),
    st.integers(-5, 1 << 62), times, labels,
)  # fmt: skip
targets = contents.map(lambda c: c._replace(manifest=b"to/there"))
attributes = st.one_of(
    st.just(Attributes()),
    st.builds(Attributes, st.integers(1, 9), logs, st.booleans(), st.integers(-5, 1 << 62)),
)


def nodes(kind: Kind) -> st.SearchStrategy[Node]:
    """Any node of this kind as a replica may hold it."""
    some = {
        Kind.FILE: st.lists(contents, max_size=4),
        Kind.SYMLINK: st.lists(targets, max_size=4),
        Kind.DIRECTORY: st.just([]),
    }[kind]
    return st.builds(
        lambda p, c, a: Node(maximal(p), maximal(c), a),
        st.lists(places(kind), max_size=4),
        some,
        st.just(Attributes()) if kind is Kind.SYMLINK else attributes,
    )
