import pytest

from crypto.ids import LogId
from protocol.errors import LimitReached
from protocol.held_changesets import HeldChangesets, Position

LOG = LogId(b"\1" * 16)


def test_what_waits_for_a_position_is_ready_when_that_is_told() -> None:
    held = HeldChangesets()
    held.hold(b"a", b"wire a", [Position(LOG, 3), Position(LOG, 4)])
    held.hold(b"b", b"wire b", [Position(LOG, 3)])
    held.told(Position(LOG, 4))
    assert held.take_ready() == []
    held.told(Position(LOG, 3))
    assert held.take_ready() == [b"wire a", b"wire b"]
    assert held.take_ready() == []
    assert len(held) == 0


def test_what_waits_for_positions_below_a_floor_is_ready_when_that_is_known() -> None:
    held = HeldChangesets()
    other = LogId(b"\2" * 16)
    for name, position in ((b"a", Position(LOG, 3)), (b"b", Position(LOG, 4)),
                           (b"c", Position(LOG, 5)), (b"d", Position(other, 3))):  # fmt: skip
        held.hold(name, b"wire " + name, [position])
    held.told_below(LOG, 5)
    assert held.take_ready() == [b"wire a", b"wire b"]
    assert (b"c" in held, b"d" in held) == (True, True)


def test_what_waits_for_a_ledger_is_ready_when_that_grew() -> None:
    held = HeldChangesets()
    held.hold(b"a", b"wire a", [])
    held.told(Position(LOG, 1))
    assert held.take_ready() == []
    assert b"a" in held
    held.ledger_grew()
    assert held.take_ready() == [b"wire a"]
    assert b"a" not in held


def test_the_same_changeset_is_held_once() -> None:
    held = HeldChangesets()
    held.hold(b"a", b"wire a", [])
    held.hold(b"a", b"wire a", [Position(LOG, 1)])
    held.told(Position(LOG, 1))
    held.ledger_grew()
    assert held.take_ready() == [b"wire a"]


@pytest.mark.row("A29")
def test_the_bytes_held_are_bounded_and_freed() -> None:
    held = HeldChangesets(size_max=4000)
    held.hold(b"a", bytes(1000), [])
    held.hold(b"b", bytes(1000), [])
    with pytest.raises(LimitReached):
        held.hold(b"c", bytes(1000), [])
    held.ledger_grew()
    assert len(held.take_ready()) == 2
    held.hold(b"c", bytes(3000), [])
    with pytest.raises(LimitReached):
        held.hold(b"d", b"", [])


def test_many_tiny_ones_are_bounded_too() -> None:
    held = HeldChangesets(size_max=10_000)
    for number in range(19):
        held.hold(bytes([number]), b"", [])
    with pytest.raises(LimitReached):
        held.hold(b"one more", b"", [])
