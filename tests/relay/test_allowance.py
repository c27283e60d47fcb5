"""So many a minute for each, in bounded memory."""

from __future__ import annotations

from relay import allowance as module
from relay.allowance import WINDOW_S, Allowance


def test_each_key_has_its_own_and_a_minute_later_again() -> None:
    allowance = Allowance(2)
    assert [allowance.take("a", 0.0) for _ in range(3)] == [True, True, False]
    assert allowance.take("b", 1.0)
    assert not allowance.take("a", WINDOW_S - 0.1)
    assert allowance.take("a", WINDOW_S)


def test_a_flood_of_keys_takes_bounded_memory() -> None:
    allowance = Allowance(1)
    for key in range(module.KEYS_MAX + 1000):
        allowance.take(key, 0.0)
    assert len(allowance._used) == module.KEYS_MAX
    assert not allowance.take("late", 0.0)
    assert allowance.take("late", WINDOW_S)


def test_what_is_left_can_be_asked_without_taking_it() -> None:
    allowance = Allowance(1)
    assert allowance.has("a", 0.0)
    assert allowance.take("a", 0.5)
    assert not allowance.has("a", 1.0)
    assert allowance.has("b", 1.0)
    assert allowance.seconds_left(1.0) == 59
    assert allowance.seconds_left(59.99) == 1
    assert allowance.has("a", WINDOW_S)
