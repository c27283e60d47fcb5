"""When a share is lost and whose turn it is: one node for each, the same at all, and no storms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.storage_messages import STANDBY
from relay.node_rows import Holding
from relay.repair import RepairPolicy, has_lost, is_late, is_lost, lost_numbers, turn_of

POLICY = RepairPolicy()
NOW_S = 1_000_000_000
LOST_S, LATE_S = NOW_S - POLICY.lost_s, NOW_S - POLICY.late_s
ID = b"d" * 32


def node(fill: int) -> bytes:
    return bytes([fill]) * 32


def holding(
    fill: int, number: int, missed_s: int | None = None, failing_s: int | None = None
) -> Holding:
    return Holding(fill, node(fill), "", number, missed_s, failing_s)


def test_late_after_four_hours_and_lost_after_a_day() -> None:
    assert POLICY.late_s == 4 * 3600
    assert not is_late(None, NOW_S, POLICY)
    assert not is_late(LATE_S + 1, NOW_S, POLICY)
    assert is_late(LATE_S, NOW_S, POLICY)
    assert not is_lost(LOST_S + 1, NOW_S, POLICY)
    assert is_lost(LOST_S, NOW_S, POLICY)
    assert has_lost(holding(1, 0, failing_s=LATE_S), NOW_S, POLICY)
    assert not has_lost(holding(1, 0, LATE_S, LATE_S + 1), NOW_S, POLICY)


def test_a_share_that_another_node_holds_is_not_lost() -> None:
    held = [holding(1, 0, LOST_S), holding(2, 1), holding(3, 2, failing_s=LATE_S)]
    assert lost_numbers(held, 3, NOW_S, POLICY) == [0, 2]
    assert lost_numbers([*held, holding(4, 0)], 3, NOW_S, POLICY) == [2]
    assert lost_numbers([*held, holding(5, STANDBY, LOST_S)], 3, NOW_S, POLICY) == [0, 2]
    assert lost_numbers(held, 4, NOW_S, POLICY) == [0, 2], "what nobody was to hold is not lost"


@pytest.mark.row("F24")
@given(
    lost=st.sets(st.integers(0, 6)),
    standing_by=st.sets(st.integers(20, 30), max_size=5),
    late=st.sets(st.integers(20, 30)),
    seed=st.binary(min_size=32, max_size=32),
)
def test_each_lost_share_is_one_node_s_turn(
    lost: set[int], standing_by: set[int], late: set[int], seed: bytes
) -> None:
    held = [holding(n, n, LOST_S if n in lost else None) for n in range(7)]
    held += [holding(n, STANDBY, LATE_S if n in late else None) for n in standing_by]
    able = standing_by - late
    turns = {
        n: turn_of(node(n), seed, 7, [h for h in held if h.node != n] + [holding(n, STANDBY)],
                   NOW_S, POLICY)
        for n in able
    }  # fmt: skip
    given_out = [number for number in turns.values() if number is not None]
    assert sorted(given_out) == sorted(lost)[: len(able)]
    for n in range(7):
        assert turn_of(node(n), seed, 7, held, NOW_S, POLICY) is None, "who holds one takes none"


def test_the_order_is_another_for_each_pack() -> None:
    held = [holding(0, 0, LOST_S), holding(1, 1)]
    held += [holding(n, STANDBY) for n in range(20, 24)]
    first = set()
    for pack in range(40):
        turns = {
            turn_of(node(n), bytes([pack]) * 32, 2, held, NOW_S, POLICY): n for n in range(20, 24)
        }
        first.add(turns[0])
    assert first == set(range(20, 24))


@pytest.mark.row("F24")
def test_a_node_that_flaps_moves_nobody() -> None:
    """Away for an hour each two hours, for a week: nobody's turn comes."""
    for hour in range(24 * 7):
        now_s = NOW_S + hour * 3600
        missed_s = now_s - 1800 if hour % 2 else None
        held = [holding(0, 0, missed_s), holding(1, 1), holding(20, STANDBY)]
        assert turn_of(node(20), ID, 2, held, now_s, POLICY) is None


def test_who_was_told_of_a_rebuilt_share_rebuilds_none() -> None:
    held = [holding(0, 0, LOST_S), holding(1, 1), holding(20, STANDBY), holding(21, STANDBY)]
    (turn,) = [n for n in (20, 21) if turn_of(node(n), ID, 2, held, NOW_S, POLICY) == 0]
    other = 41 - turn
    assert turn_of(node(other), ID, 2, held, NOW_S, POLICY) is None
    told = [*held, holding(turn, 0)]
    for n in (20, 21):
        assert turn_of(node(n), ID, 2, told, NOW_S, POLICY) is None
    gone_too = [h._replace(first_missed_s=LATE_S) if h.node == turn else h for h in held]
    assert turn_of(node(other), ID, 2, gone_too, NOW_S, POLICY) == 0
