"""Lost writes of this device, written again so that everybody takes them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.changesets import seal_body
from crypto.errors import TooLongError
from crypto.ids import LogId, NodeId
from peer.core.relabelling import NODES_AT_ONCE, Author, Lost, write_again
from protocol import changesets as changesets_module
from protocol import version_vector as vv
from protocol.errors import TooLong
from protocol.folder_actions import Remove
from protocol.log_outcomes import Accepted
from protocol.nodes import ROOT, Attributes, Node, Place, copy_id
from protocol.records import Records, Stamp, decode_records
from protocol.version_vector import Vector
from tests.peer.tree_stage import content, directory_id, file_id, place
from tests.protocol.people import Place as Member
from tests.protocol.test_logs import log_of, pair

D, F = directory_id(1), file_id(2)


def author_of(member: Member) -> Author:
    return Author(member.keys, member.incarnation, "L", member.random)


def lost_of(log: LogId, lost_from: int, **nodes: Node) -> Lost:
    lost = Lost()
    lost.add(
        log, lost_from, Records({D if n == "d" else F: v for n, v in nodes.items()}, {}, False)
    )
    return lost


VECTORS = st.dictionaries(st.sampled_from([0, 1, 2]), st.integers(1, 40), max_size=3)


@given(VECTORS, VECTORS, st.integers(1, 60), st.booleans(), st.booleans(), st.integers(2, 9))
@settings(max_examples=40, deadline=None)
def test_whatever_was_written_others_take_it(
    seen: dict[int, int], saw: dict[int, int], lamport: int, is_deleted: bool, is_own: bool,
    lost_from: int,
) -> None:  # fmt: skip
    one, two = pair()
    mine, theirs, unknown = log_of(one), log_of(two), LogId(b"?" * 16)
    names = [mine, theirs, unknown]

    def vector(by: dict[int, int]) -> Vector:
        return vv.make((names[i], n) for i, n in by.items())

    log = mine if is_own else theirs
    where = place(ROOT, "d", vector(seen), lamport, log, is_deleted=is_deleted, saw=vector(saw))
    where = where._replace(since=(lamport, log))
    what = content(b"x" * 32, vector(seen), lamport, log)
    file = Node(
        (where._replace(since=(0, LogId(b""))),), (what,), Attributes(lamport, log, True, 5)
    )
    lost = lost_of(mine, lost_from, d=Node((where,)), f=file)
    nodes, changesets = write_again(one.book, author_of(one), lost)
    assert nodes.keys() == {D, F}
    (changeset,) = changesets
    received = two.book.receive(changeset.wire)
    assert isinstance(received, Accepted)
    stamp = Stamp(changeset.log_id, changeset.slot.seq, changeset.slot.lamport)
    assert decode_records(received.body.records, stamp, received.frontier).nodes == nodes
    assert nodes[F].contents[0].hash == what.hash
    assert nodes[D].places[0].is_deleted == is_deleted
    assert vv.seq_of(nodes[F].contents[0].vector, unknown) == 0
    assert vv.seq_of(nodes[F].places[0].saw, mine) < lost_from


def test_the_last_of_several_lost_writes_is_the_one_that_is_written() -> None:
    one, _ = pair()
    mine = log_of(one)
    first = content(b"1" * 32, ((mine, 2),), 2, mine)
    second = content(b"2" * 32, ((mine, 3),), 3, mine)
    lost = lost_of(mine, 2, f=Node((place(ROOT, "f", ((mine, 2),), 2, mine),), (first,)))
    lost.add(mine, 2, Records({F: Node((), (second,))}, {}, False))
    nodes, _ = write_again(one.book, author_of(one), lost)
    assert [c.hash for c in nodes[F].contents] == [b"2" * 32]


def test_a_copy_s_record_keeps_what_makes_it_that_copy() -> None:
    """Somebody else's losing write, told verbatim but for what cannot be said any more."""
    one, two = pair()
    theirs = content(b"1" * 32, ((log_of(two), 1),), 1, log_of(two))
    copy = copy_id(F, theirs)
    lost = Lost()
    where = Place((), 0, LogId(b""), ROOT, "f (conflict)", is_soft=True)
    lost.add(log_of(one), 2, Records({copy: Node((where,), (theirs,))}, {copy: F}, False))
    nodes, _ = write_again(one.book, author_of(one), lost)
    assert nodes[copy] == Node((where,), (theirs,))


def test_a_closed_log_is_left_for_a_new_one_and_many_nodes_for_many_changesets() -> None:
    one, two = pair()
    other = one.fork(one.keys)
    other.sync(one)
    left, right = one.write([["left"]]), other.draft_and_seal([["right"]])
    one.book.receive(right.changeset.wire)
    assert one.book.is_closed(left.changeset.log_id)
    author = author_of(one)
    log = left.changeset.log_id
    lost = Lost()
    for number in range(NODES_AT_ONCE + 1):
        node_id = file_id(2)[:10] + number.to_bytes(5) + b"\0"
        node = Node((place(ROOT, f"{number}", ((log, 2),), 2, log),))
        lost.nodes[NodeId(node_id)] = node
    lost.logs[left.changeset.log_id] = 2
    nodes, changesets = write_again(one.book, author, lost)
    assert len(nodes) == NODES_AT_ONCE + 1
    assert [c.slot.seq for c in changesets] == [1, 2]
    assert {c.slot.incarnation for c in changesets} == {author.incarnation}
    assert author.incarnation != left.changeset.slot.incarnation
    two.sync(one)


def test_what_is_too_long_for_one_changeset_goes_into_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two thousand large files have more chunks than a changeset can list."""
    one, two = pair()
    two.sync(one)
    seal = seal_body

    def small(key: bytes, slot: bytes, raw: bytes, random: bytes) -> bytes:
        if len(raw) > 600:
            raise TooLongError
        return seal(key, slot, raw, random)

    monkeypatch.setattr(changesets_module, "seal_body", small)
    log, lost = log_of(one), Lost()
    for number in range(40):
        node_id = NodeId(file_id(2)[:10] + number.to_bytes(5) + b"\0")
        lost.nodes[node_id] = Node((place(ROOT, f"{number}", ((log, 2),), 2, log),))
    lost.logs[log] = 2
    nodes, changesets = write_again(one.book, author_of(one), lost)
    assert nodes.keys() == lost.nodes.keys()
    assert len(changesets) > 2
    first = changesets[0].slot.seq
    assert [c.slot.seq for c in changesets] == [first + i for i in range(len(changesets))]
    for changeset in changesets:
        received = two.book.receive(changeset.wire)
        assert isinstance(received, Accepted)
        two.book.accept(received)
    monkeypatch.setattr(
        changesets_module, "seal_body", lambda *_: small(b"", b"", bytes(2_000), b"")
    )
    with pytest.raises(TooLong):
        write_again(one.book, author_of(one), lost)


@pytest.mark.parametrize("is_removed", [False, True])
def test_who_may_not_write_writes_nothing(is_removed: bool) -> None:
    one, two = pair()
    lost = lost_of(log_of(two), 1, f=Node((), (content(b"1" * 32, (), 1, log_of(two)),)))
    author = author_of(two)
    if is_removed:
        user_id = one.ledger.devices()[two.keys.device_id][0]
        one.rotate(Remove(user_id, one.book.pins([two.keys.device_id])))
        two.learn(one)
    assert author.may_write(two.book) != is_removed
    nodes, changesets = write_again(two.book, author, lost)
    assert bool(nodes) == bool(changesets) != is_removed
