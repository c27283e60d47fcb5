"""A log that is compacted: the same tree for everybody, at every moment, whatever crashes."""

from __future__ import annotations

from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.core import commands as c
from peer.core.rows import Row
from protocol import version_vector as vv
from protocol.changesets import Changeset, decode_changeset
from protocol.nodes import ROOT, Attributes, Node, copy_id
from protocol.records import VERBATIM_WRITES_MAX, Stamp
from tests.peer.compaction_stage import Member, exchange, places
from tests.peer.core.test_rewinding import Replica, counting, shown
from tests.peer.tree_stage import content, directory_id, file_id, place
from tests.protocol.people import Place

D = directory_id(1)
F, G = file_id(4), file_id(5)


@cache
def stage() -> list[Place]:
    return places(3)


def members(count: int = 2) -> list[Member]:
    """Fresh devices of one folder."""
    return [Member(at.fork(at.keys)) for at in stage()[:count]]


def newcomer() -> Member:
    """A further reader, who holds nothing yet."""
    return Member(stage()[2].fork(stage()[2].keys))


# ---------------------------------------------------------------- any history


@given(st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_any_history_compacted_anywhere_is_the_same_tree_for_all(random: Random) -> None:
    devices = members(3)
    told: list[Changeset] = []
    for _ in range(random.randint(5, 40)):
        number = random.randrange(3)
        one = devices[number]
        match random.choice(["act"] * 6 + ["take"] * 4 + ["look"] * 2
                            + ["compact", "compact", "forget", "crash", "newcomer"]):  # fmt: skip
            case "act":
                told.append(one.act(random))
            case "take":
                one.take_from(random.choice([d for d in devices if d is not one]))
            case "look":
                one.settle()
            case "compact":
                told += one.compact() if random.random() < 0.3 else one.compact_all()
            case "forget":
                one.forget()
            case "newcomer":
                late = newcomer()
                late.take_from(one)
                if not late.engine.book.unfinished():
                    assert late.states() == one.states()
            case "crash":
                one.crash_at = random.randint(1, 3)
                try:
                    made = one.compact_all()
                except KeyboardInterrupt:
                    devices[number] = one.restarted()
                else:
                    one.crash_at = 0
                    told += made
    kept = {
        (w.log_id, w.slot.seq): w for d in devices for w in map(decode_changeset, d.wires.values())
    }
    told += kept.values()
    exchange(devices)
    late = newcomer()
    late.take_from(random.choice(devices))
    expected = counting(devices[0].place, told)
    for one in (*devices, late):
        assert not one.engine.book.unfinished()
        assert one.states() == expected
        one.apply()
        assert one.tree() == shown(expected)


# ---------------------------------------------------------------- what is told again


def again(one: Member) -> Replica:
    """What a compaction of this log tells."""
    return counting(one.place, one.compact_all())


def test_only_what_counts_of_its_own_is_told_again() -> None:
    one, two = members()
    first = one.stamp()
    one.write(
        {D: directory("d", first), F: file("f", b"1", first), G: file("g", b"1", first)}, first
    )
    two.take_from(one)
    two.look()
    second = two.stamp()
    over = two.base[F].contents[0].vector
    newer = content(
        b"2" * 32, vv.join(over, ((second.log, second.seq),)), second.lamport, second.log
    )
    two.write({F: Node((), (newer,))}, second)
    one.take_from(two)
    told = again(one)
    assert told.keys() == {D, F, G}
    assert told[F].places
    assert not told[F].contents  # the other device's is in its own log
    assert again(two) == {F: Node((), (newer,))}


def test_the_losers_of_a_conflict_and_tombstones_are_told_again() -> None:
    one, two = members()
    first = one.stamp()
    one.write({F: file("f", b"1", first), G: file("g", b"1", first)}, first)
    two.take_from(one)
    two.look()
    for device, bytes_ in ((one, b"2"), (two, b"3")):
        at = device.stamp()
        (old,) = device.base[F].contents
        edit = content(bytes_ * 32, vv.join(old.vector, ((at.log, at.seq),)), at.lamport, at.log)
        if device is one:
            edit = edit._replace(vector=((at.log, at.seq),))
        device.write({F: Node((), (edit,))}, at)
    last = one.stamp()
    (gone,) = one.base[G].places
    (saw,) = one.base[G].contents
    gone = gone._replace(
        vector=((last.log, last.seq),), lamport=last.lamport, is_deleted=True, saw=saw.vector
    )
    one.write({G: Node((gone,))}, last)
    exchange([one, two])
    one.compact_all()
    two.compact_all()
    exchange([one, two])
    late = newcomer()
    late.take_from(one)
    assert len(late.states()[F].contents) == 2
    assert late.states()[G] == Node((gone,), (saw,))
    assert late.states() == one.states() == two.states()
    assert one.engine.book.floor_of(one.log_id)[0] > 1


def test_a_copy_that_it_recorded_is_told_again_with_its_origin() -> None:
    one, two = members()
    two.write({F: file("f", b"1", two.stamp())}, two.stamp())
    one.take_from(two)
    (theirs,) = one.states()[F].contents
    copy = copy_id(F, theirs)
    kept = Node((place(ROOT, "copy", (), theirs.lamport, theirs.author),), (theirs,))
    one.write({copy: kept}, one.stamp(), {copy: F})
    assert again(one)[copy] == kept
    late = newcomer()
    late.take_from(one)
    assert late.index.rows[copy].origin == F


def test_what_rests_on_what_the_author_never_saw_is_not_told_by_it() -> None:
    one, _ = members()
    one.write({F: file("f", b"1", one.stamp())}, one.stamp())
    strange = content(b"9" * 32, ((b"Z" * 16, 7),), 1, b"Z" * 16)  # type: ignore[arg-type]
    copy = copy_id(F, strange)
    one.index.perform(c.Commit([Row(copy, Node((), (strange,)), origin=F)]))
    assert again(one).keys() == {F}


def test_more_writes_than_a_record_may_have_are_told_in_several() -> None:
    one, _ = members()
    one.write({F: file("f", b"1", one.stamp())}, one.stamp())
    row = one.index.rows[F]
    log, count = one.log_id, VERBATIM_WRITES_MAX + 3
    contents = sorted(content(n.to_bytes(32), ((log, 1),), 1, log) for n in range(count))
    row.state = Node(row.state.places, tuple(contents))
    assert again(one)[F] == row.state


def test_attributes_are_told_again_by_their_author() -> None:
    one, two = members()
    at = one.stamp()
    bit = Node(attributes=Attributes(at.lamport, at.log, True, 5))
    one.write({F: bit}, at)
    two.take_from(one)
    two.write({G: file("g", b"1", two.stamp())}, two.stamp())
    assert again(one) == {F: bit}
    assert F not in again(two)


def test_an_empty_log_is_not_compacted() -> None:
    one, _ = members()
    assert one.compact() == []


# ---------------------------------------------------------------- pieces


def test_a_compaction_is_told_in_pieces_and_ends_with_the_floor() -> None:
    one, two = members()
    first = one.stamp()
    every = {file_id(n): file(f"f{n}", b"1", first) for n in range(4, 40)}
    one.write(every, first)
    made = one.compact_all()
    assert len(made) > 5
    assert [m.slot.floor for m in made] == [1] * (len(made) - 1) + [2]
    assert counting(one.place, made) == every
    two.take_from(one)
    assert two.states() == every
    # Once more: everything once, though it was told twice before.
    assert counting(one.place, one.compact_all()) == every
    one.piece_bytes = 1 << 20
    (whole,) = one.compact_all()
    assert counting(one.place, [whole]) == every
    assert whole.slot.floor == whole.slot.seq


def test_what_is_written_meanwhile_is_above_the_floor() -> None:
    one, _ = members()
    first = one.stamp()
    one.write({F: file("f", b"1", first), G: file("g", b"1", first)}, first)
    one.piece_bytes = 1
    one.compact()
    at = one.stamp()
    (old,) = one.base[F].contents
    edit = content(b"2" * 32, vv.join(old.vector, ((at.log, at.seq),)), at.lamport, at.log)
    one.write({F: Node((), (edit,))}, at)
    while one.work is not None:
        one.compact()
    one.forget()
    late = newcomer()
    late.take_from(one)
    assert late.states() == one.states()
    assert late.states()[F].contents == (edit,)


def test_a_newcomer_is_not_whole_before_the_last_piece() -> None:
    one, _ = members()
    first = one.stamp()
    one.write({file_id(n): file(f"f{n}", b"1", first) for n in range(4, 40)}, first)
    made = one.compact_all()
    late = newcomer()
    late.ingest([made[-1].wire])
    assert late.engine.book.unfinished() == [(one.log_id, 2)]
    for changeset in made[:-1]:
        assert late.engine.book.unfinished()
        late.ingest([changeset.wire])
    assert not late.engine.book.unfinished()
    assert late.states() == one.states()


def test_what_is_told_again_changes_no_row() -> None:
    one, two = members()
    one.write({F: file("f", b"1", one.stamp())}, one.stamp())
    two.take_from(one)
    made = one.compact_all()
    commits: list[c.Commit] = []

    def perform(command: c.Command[object]) -> object:
        if isinstance(command, c.Commit):
            commits.append(command)
        return two.perform(command)

    c.run(two.engine.ingest([m.wire for m in made]), perform)
    assert [(len(k.rows), len(k.changesets)) for k in commits] == [(0, len(made))]


def directory(name: str, at: Stamp) -> Node:
    where = place(ROOT, name, ((at.log, at.seq),), at.lamport, at.log)
    return Node((where._replace(since=(at.lamport, at.log)),))


def file(name: str, bytes_: bytes, at: Stamp) -> Node:
    own = ((at.log, at.seq),)
    what = content(bytes_ * 32, own, at.lamport, at.log)
    return Node((place(ROOT, name, own, at.lamport, at.log),), (what,))


# ---------------------------------------------------------------- forks


@pytest.mark.parametrize("seed", range(6))
def test_a_fork_below_the_floor_loses_nothing(seed: int) -> None:
    """A clone goes on from an old state, the device itself compacts beyond it; then they meet."""
    one, other = members()
    first = one.stamp()
    one.write({F: file("f", b"1", first), G: file("g", b"1", first)}, first)
    clone = Member(stage()[0].fork(stage()[0].keys))
    clone.place.random = Random(seed).randbytes
    clone.take_from(one)
    other.take_from(one)
    clone.look()
    theirs = clone.write({D: directory("of the clone", clone.stamp())}, clone.stamp())
    mine = one.stamp()
    edit = content(b"2" * 32, one.base[F].contents[0].vector, mine.lamport, mine.log)
    edit = edit._replace(vector=vv.join(edit.vector, ((mine.log, mine.seq),)))
    one.write({F: Node((), (edit,))}, mine)
    one.compact_all()
    other.take_from(one)
    branch = list(one.wires.values())
    for reader, wires in ((other, [theirs.wire]), (one, [theirs.wire]), (clone, branch)):
        reader.ingest(wires)
        assert not reader.ingest(wires).refused
    assert one.engine.incarnation != clone.engine.incarnation
    rest = [*one.wires.values(), *clone.wires.values()]
    rest += [wire for reader in (one, clone) for _, wire in reader.index.aside.values()]
    for reader in (other, one, clone):
        for _ in range(3):
            reader.ingest(rest)
    assert other.states() == one.states() == clone.states()
    (shown_now,) = {c.hash for c in one.states()[F].contents}
    assert shown_now == b"2" * 32
    assert one.states()[D].places
    # Whoever was in the wrong, the logs can be compacted, and a newcomer has the same.
    one.work = None
    one.compact_all()
    other.take_from(one)
    late = newcomer()
    late.take_from(other)
    assert late.states() == other.states()
