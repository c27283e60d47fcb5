"""When a folder at rest compacts its log, and when it lets go."""

from __future__ import annotations

from random import Random

import pytest

from peer.core import commands as c
from peer.core.compaction import TELL_AGAIN
from peer.folders.upkeep import DAY_S, Policy, Upkeep
from protocol import version_vector as vv
from protocol.changesets import Changeset
from protocol.nodes import Node
from tests.peer.compaction_stage import NOW_S, Member, Shared
from tests.peer.core.test_compaction import F, file, members, newcomer
from tests.peer.tree_stage import content

EAGER = Policy(changesets_min=10, ratio_min=4, keep_s=30 * DAY_S)


def edit(one: Member, times: int, bytes_: bytes = b"e") -> list[Changeset]:
    """One file, edited so many times."""
    made = []
    for number in range(times):
        at = one.stamp()
        old = one.states()[F].contents
        vector = vv.join(((at.log, at.seq),), *(w.vector for w in old))
        hash_ = bytes_ + number.to_bytes(31)
        made.append(one.write({F: Node((), (content(hash_, vector, at.lamport, at.log),))}, at))
    return made


def started() -> Member:
    one, _ = members()
    one.write({F: file("f", b"1", one.stamp())}, one.stamp())
    return one


def rest(one: Member, upkeep: Upkeep, now_s: int = NOW_S) -> list[Changeset]:
    """All that is to be done."""
    made: list[Changeset] = []
    for _ in range(1000):
        done = c.run(upkeep.step(now_s), one.perform)
        if done is None:
            return made
        made += done
    raise AssertionError("it does not come to rest")


def test_a_log_that_is_edited_often_is_compacted_at_rest() -> None:
    one = started()
    upkeep = one.upkeep(EAGER)
    edit(one, 9)
    assert rest(one, upkeep) == []
    edit(one, 1)
    before = one.states()
    (made,) = rest(one, upkeep)
    assert made.slot.floor == made.slot.seq == 12
    assert one.states() == before
    assert rest(one, upkeep) == []
    assert upkeep.compactions == 1
    late = newcomer()
    late.take_from(one)
    assert len(late.wires) == 1
    assert late.states() == before


def test_a_log_of_which_most_counts_is_left_alone() -> None:
    one = started()
    for number in range(30):
        at = one.stamp()
        where = {F[:14] + bytes([number, 0]): file(f"f{number}", b"1", at)}
        one.write(where, at)  # type: ignore[arg-type]
    size = c.run(measure(one), one.perform)
    assert rest(one, one.upkeep(Policy(10, size.bytes // size.live_bytes + 1))) == []
    assert rest(one, one.upkeep(Policy(10, size.bytes // size.live_bytes)))


def test_what_a_compaction_wrote_is_no_reason_for_another() -> None:
    """In pieces so small that the log is as large as before, and told again without end."""
    one = started()
    for number in range(30):
        at = one.stamp()
        one.write({F[:14] + bytes([number, 0]): file(f"f{number}", b"1", at)}, at)  # type: ignore[dict-item]
    upkeep = one.upkeep(Policy(10, 1, 20, piece_bytes=50))
    made = rest(one, upkeep)
    assert len(made) > 10
    assert rest(one, upkeep, NOW_S + 20) == []
    edit(one, 10)
    assert len(rest(one, upkeep, NOW_S + 40)) > 10


async def measure(one: Member) -> c.LogSize:
    return await c.MeasureLog(one.log_id, 1)


def test_it_is_measured_once_a_day() -> None:
    one = started()
    upkeep = one.upkeep(Policy(10, 1 << 40))
    edit(one, 20)
    asked: list[c.Command[object]] = []

    def perform(command: c.Command[object]) -> object:
        asked.append(command)
        return one.perform(command)

    for now_s in (NOW_S, NOW_S + 1, NOW_S + DAY_S - 1, NOW_S + DAY_S, NOW_S - 5):
        while c.run(upkeep.step(now_s), perform) is not None:
            pass
    assert sum(isinstance(command, c.MeasureLog) for command in asked) == 3


def test_what_is_superseded_goes_after_its_time() -> None:
    one = started()
    upkeep = one.upkeep(EAGER)
    edit(one, 20)
    rest(one, upkeep)
    assert len(one.wires) == 22
    rest(one, upkeep, NOW_S + 30 * DAY_S - 1)
    assert len(one.wires) == 22
    upkeep = Upkeep(one.engine, EAGER, one.index.values)  # the time goes on over a restart
    rest(one, upkeep, NOW_S + 30 * DAY_S)
    assert len(one.wires) == 1
    for day in range(200):
        edit(one, 5)
        rest(one, upkeep, NOW_S + (40 + day) * DAY_S)
    assert len(one.wires) < 10 + 30 * 5 + 20  # a month of edits, and what is not worth a compaction


def test_a_compaction_that_was_cut_short_begins_anew() -> None:
    one = started()
    edit(one, 20)
    before = one.states()
    one.crash_at = 1
    with pytest.raises(KeyboardInterrupt):
        rest(one, one.upkeep(EAGER))
    again = one.restarted()
    assert again.states() == before
    assert rest(again, again.upkeep(EAGER))
    assert again.engine.book.floor_of(again.log_id)[0] > 1


def test_who_may_not_write_waits_and_lets_go_nevertheless() -> None:
    shared = Shared()
    bert = shared.bert
    bert.act(Random(3))
    shared.one.act(Random(4))
    shared.one.compact_all()
    bert.take_from(shared.one)
    upkeep = bert.upkeep(Policy(keep_s=0))
    shared.remove(())
    upkeep.compact_now()
    assert rest(bert, upkeep) == []
    assert upkeep.compactions == 0


# ---------------------------------------------------------------- what comes back


def test_what_a_removal_brings_back_is_told_again_for_newcomers() -> None:
    """A member's edit supersedes the owner's, the owner compacts, and then the edit is void."""
    shared = Shared()
    one, sister, bert = shared.one, shared.sister, shared.bert
    first = one.stamp()
    one.write({F: file("f", b"1", first)}, first)
    bert.take_from(one)
    bert.look()
    pins = shared.pins()
    edit(bert, 1, b"b")
    one.take_from(bert)
    one.compact_all()
    sister.take_from(one)
    assert sister.states() == one.states()
    upkeep = one.upkeep(EAGER)
    shared.remove(pins)
    assert one.states()[F] == file("f", b"1", first)
    assert not sister.states()[F].contents  # it began at the floor
    assert one.index.values[TELL_AGAIN]
    assert len(rest(one, upkeep)) == 1
    assert not one.index.values[TELL_AGAIN]
    sister.take_from(one)
    assert sister.states() == one.states()


def test_what_is_owed_is_not_forgotten_over_a_restart() -> None:
    one = started()
    one.compact_all()
    one.index.values[TELL_AGAIN] = b"1"
    assert len(rest(one, one.upkeep(Policy()))) == 1
    assert rest(one, one.upkeep(Policy())) == []


def test_a_removal_with_pins_below_what_is_kept_takes_nothing_from_the_disk() -> None:
    shared = Shared()
    one, bert = shared.one, shared.bert
    first = bert.stamp()
    bert.write({F: file("f", b"1", first)}, first)
    one.take_from(bert)
    pins = shared.pins()
    edit(bert, 3, b"b")
    bert.compact_all()
    one.take_from(bert)
    one.forget()
    before = one.states()
    late = edit(bert, 1, b"l")
    shared.remove(pins)
    assert one.states() == before
    # What comes from there on is void as ever.
    one.ingest([changeset.wire for changeset in late])
    assert one.states() == before
    one.act(Random(5))
    assert one.restarted().states() == one.states()
