"""Registers and their joins: the laws that make a replica the same in whatever order it grew."""

from __future__ import annotations

import random
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import LogId, NodeId
from protocol import version_vector as vv
from protocol.nodes import (
    NO_NODE,
    NOTHING,
    ROOT,
    Attributes,
    Content,
    Kind,
    Node,
    Place,
    copy_id,
    deleted_contents,
    is_copy,
    join,
    kind_of,
    maximal,
    new_node_id,
    shown_mtime_ns,
    versions,
    winning_place,
)
from protocol.version_vector import Vector
from tests.protocol.node_strategies import FILE, LOGS, contents, nodes, places

A, B, C = LOGS
X, Y, Z = (letter * 32 for letter in (b"x", b"y", b"z"))


def place(vector: Vector, lamport: int = 1, log: LogId = A, **fields: Any) -> Place:
    return Place(vector, lamport, log, ROOT, "a")._replace(**fields)


def content(vector: Vector, lamport: int = 1, log: LogId = A, hash_: bytes = X) -> Content:
    return Content(vector, lamport, log, hash_, 1)


# ---------------------------------------------------------------- ids


@given(st.sampled_from(Kind), st.binary(min_size=16, max_size=16))
def test_an_id_carries_its_kind_and_is_no_copy_s(kind: Kind, raw: bytes) -> None:
    node_id = new_node_id(kind, lambda size: raw[:size])
    assert kind_of(node_id) is kind
    assert not is_copy(node_id)
    assert node_id[:15] == raw[:15]
    assert len(node_id) == 16


def test_the_fourth_bit_pattern_is_no_kind() -> None:
    with pytest.raises(ValueError, match="3"):
        kind_of(NodeId(bytes(15) + b"\x03"))
    assert kind_of(ROOT) is Kind.DIRECTORY


@given(st.sampled_from([Kind.FILE, Kind.SYMLINK]), contents, contents)
def test_a_copy_s_id_is_of_its_origin_s_kind_and_follows_from_the_write(
    kind: Kind, one: Content, other: Content
) -> None:
    node_id = new_node_id(kind, random.Random(1).randbytes)
    made = copy_id(node_id, one)
    assert is_copy(made)
    assert kind_of(made) is kind
    assert made == copy_id(node_id, one._replace(label="other", time_s=7))
    same = (one.author, vv.seq_of(one.vector, one.author), one.hash) == (
        other.author, vv.seq_of(other.vector, other.author), other.hash
    )  # fmt: skip
    assert (copy_id(node_id, other) == made) == same


# ---------------------------------------------------------------- joining


@given(*[nodes(Kind.FILE)] * 3)
def test_join_is_a_semilattice(x: Node, y: Node, z: Node) -> None:
    assert join(x, y) == join(y, x)
    assert join(join(x, y), z) == join(x, join(y, z))
    assert join(x, x) == x
    assert join(x, NOTHING) == x
    assert join(NOTHING, x) == x


@given(*[nodes(Kind.FILE)] * 3)
def test_join_never_goes_back(x: Node, y: Node, z: Node) -> None:
    """What a replica has seen stays seen: joining an old state again changes nothing."""
    both = join(x, y)
    assert join(both, x) == both
    assert join(join(both, z), y) == join(both, z)


@given(st.lists(places(Kind.FILE), max_size=5))
def test_maximal_keeps_what_nobody_has_seen_and_loses_only_what_somebody_has(
    writes: list[Place],
) -> None:
    kept = maximal(writes)
    assert kept == maximal(kept)
    assert list(kept) == sorted(kept)
    for write in writes:
        seen = any(vv.is_within(write.vector, k.vector) and write.vector != k.vector for k in kept)
        assert seen != (write in kept)


def test_a_fork_keeps_both_of_its_writes() -> None:
    """Equal vectors, other values (MERGE 3)."""
    one, other = content(((A, 1),), hash_=X), content(((A, 1),), hash_=Y)
    assert maximal([one, other]) == (one, other)


@pytest.mark.row("F15")
def test_three_concurrent_edits_show_the_same_in_every_order() -> None:
    """MERGE 3's example: keeping only a winner with the vectors merged depends on the order."""
    writes = [content(((log, 1),), 1, log, h) for log, h in ((A, X), (B, Y), (C, Z))]
    results = set()
    for order in permutations(writes):
        node = Node(places=(place(((A, 1),)),))
        for write in order:
            node = join(node, Node(contents=(write,)))
        results.add(tuple(versions(FILE, node)))
    assert results == {(writes[2], writes[1], writes[0])}


def test_attributes_are_last_writer_wins() -> None:
    old, new = Attributes(1, B, True, 5), Attributes(2, A, False, 6)
    tie = Attributes(2, B, True, 7)
    assert join(Node(attributes=old), Node(attributes=new)).attributes == new
    assert join(Node(attributes=tie), Node(attributes=new)).attributes == tie


# ---------------------------------------------------------------- places


def test_live_by_a_person_beats_deleted_beats_soft() -> None:
    live = place(((A, 1),), 1)
    deleted = place(((B, 1),), 5, B, is_deleted=True)
    soft = place(((C, 1),), 9, C, is_soft=True)
    for order in permutations((live, deleted, soft)):
        assert winning_place(Node(maximal(order))) == live
    assert winning_place(Node(maximal((soft, deleted)))) == deleted


@given(st.lists(places(Kind.DIRECTORY), min_size=1, max_size=4))
def test_the_winning_place_does_not_depend_on_order(writes: list[Place]) -> None:
    kept = maximal(writes)
    assert winning_place(Node(kept)) == winning_place(Node(kept[::-1]))
    best = max((w.rank, w.lamport, w.author) for w in kept)
    winner = winning_place(Node(kept))
    assert (winner.rank, winner.lamport, winner.author) == best


# ---------------------------------------------------------------- what is shown


@pytest.mark.row("F16")
def test_an_edit_that_the_deleter_had_not_seen_stays() -> None:
    """MERGE 7: and with it the node."""
    gone = place(((A, 2),), is_deleted=True, saw=((A, 1),))
    seen, unseen = content(((A, 1),)), content(((A, 1), (B, 1)), 2, B, Y)
    assert versions(FILE, Node((gone,), (seen,))) == []
    assert versions(FILE, Node((gone,), maximal((seen, unseen)))) == [unseen]


@pytest.mark.row("F16")
def test_a_live_place_and_a_concurrent_deletion_of_all_contents_keep_the_contents() -> None:
    """A move beats a concurrent delete, so there must be something to show."""
    moved = place(((B, 1),), 1, B)
    gone = place(((A, 2),), 2, A, is_deleted=True, saw=((A, 1),))
    node = Node(maximal((moved, gone)), (content(((A, 1),)),))
    assert deleted_contents(node) == ()
    assert versions(FILE, node) == [content(((A, 1),))]


@pytest.mark.row("F16")
def test_what_was_deleted_stays_so_when_a_revived_node_is_renamed() -> None:
    """MERGE 7, why `saw` is inherited: else the deleted content comes back."""
    seen, unseen = content(((A, 1),), hash_=X), content(((B, 1),), 1, B, Y)
    renamed = place(((A, 2), (B, 2)), 3, B, saw=((A, 1),))
    assert versions(FILE, Node((renamed,), maximal((seen, unseen)))) == [unseen]


def test_equal_bytes_are_no_conflict() -> None:
    one, other = content(((A, 1),), 1, A, X), content(((B, 1),), 1, B, X)
    node = Node((place(((A, 1),)),), maximal((one, other)))
    assert versions(FILE, node) == [other]


def test_a_settled_loser_is_not_shown_twice() -> None:
    one, other = content(((A, 1),), 1, A, X), content(((B, 1),), 2, B, Y)
    node = Node((place(((A, 1),)),), maximal((one, other)))
    assert versions(FILE, node) == [other, one]
    assert versions(FILE, node, lambda copy: copy == copy_id(FILE, one)) == [other]
    assert versions(FILE, node, lambda copy: copy == copy_id(FILE, other)) == [one]


@given(nodes(Kind.FILE).filter(lambda n: bool(n.places)))
def test_no_concurrent_content_is_lost_without_a_deleter_who_saw_it(node: Node) -> None:
    shown = versions(FILE, node)
    gone = vv.join(*(p.saw for p in node.places), ())
    for write in node.contents:
        if not vv.is_within(write.vector, gone):
            assert write.hash in {s.hash for s in shown}
    assert len(shown) < 2 or shown[0].hash not in {s.hash for s in shown[1:]}
    if node.contents and not winning_place(node).is_deleted and not winning_place(node).saw:
        assert shown


def test_the_newer_mtime_is_shown() -> None:
    write = Content(((A, 1),), 3, A, X, 1, mtime_ns=7)
    assert shown_mtime_ns(write, Attributes()) == 7
    assert shown_mtime_ns(write, Attributes(2, C, True, 9)) == 7
    assert shown_mtime_ns(write, Attributes(3, B, True, 9)) == 9


def test_defaults_name_nothing() -> None:
    assert NOTHING == Node((), (), Attributes())
    assert Place((), 0, A, ROOT, "a").previous == (NO_NODE, "")
