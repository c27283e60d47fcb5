"""What is taken up from a floor is not shown before it is whole, but not waited for for ever."""

from __future__ import annotations

from peer.folders.wholeness import STALLED_MAX_S, Wholeness
from tests.peer.compaction_stage import Member
from tests.peer.core.test_compaction import file, members, newcomer
from tests.peer.tree_stage import file_id


def compacted() -> Member:
    one, _ = members()
    at = one.stamp()
    one.write({file_id(n): file(f"f{n}", b"1", at) for n in range(4, 40)}, at)
    return one


def test_logs_without_floors_are_whole() -> None:
    one = compacted()
    wholeness = Wholeness()
    assert wholeness.is_whole(one.engine.book, 5.0)
    assert wholeness.deadline == float("inf")


def test_it_waits_while_something_comes() -> None:
    one, late, wholeness = compacted(), newcomer(), Wholeness()
    made = one.compact_all()
    late.ingest([made[-1].wire])
    now = 0.0
    for changeset in made[:-1]:
        assert not wholeness.is_whole(late.engine.book, now)
        assert wholeness.is_waiting
        assert wholeness.deadline == now + STALLED_MAX_S
        now += STALLED_MAX_S - 1
        assert not wholeness.is_whole(late.engine.book, now)
        late.ingest([changeset.wire])
    assert wholeness.is_whole(late.engine.book, now)
    assert not wholeness.is_waiting


def test_it_gives_up_for_good_when_nothing_comes() -> None:
    one, late, wholeness = compacted(), newcomer(), Wholeness()
    made = one.compact_all()
    late.ingest([made[-1].wire])
    assert not wholeness.is_whole(late.engine.book, 0.0)
    assert not wholeness.is_whole(late.engine.book, STALLED_MAX_S - 1)
    assert wholeness.is_whole(late.engine.book, STALLED_MAX_S)
    late.ingest([made[0].wire])
    assert wholeness.is_whole(late.engine.book, STALLED_MAX_S + 1)
    # Not for a floor that is declared later.
    again = one.compact_all()
    late.ingest([again[-1].wire])
    assert not wholeness.is_whole(late.engine.book, STALLED_MAX_S + 2)
