from __future__ import annotations

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.strategies import sampled_from

from protocol.half_open import (
    HALF_OPEN_MAX,
    HALF_OPEN_PER_HOST_MAX,
    VALIDATE_FROM,
    VALIDATE_FROM_PER_HOST,
    HalfOpen,
)

HOSTS = [f"192.0.2.{number}" for number in range(20)]


class HalfOpenMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.half_open = HalfOpen()
        self.held: list[str] = []

    @rule(host=sampled_from(HOSTS))
    def enter(self, host: str) -> None:
        has_room = len(self.held) < HALF_OPEN_MAX and self.held.count(host) < HALF_OPEN_PER_HOST_MAX
        assert self.half_open.enter(host) == has_room
        if has_room:
            self.held.append(host)

    @rule(host=sampled_from(HOSTS))
    def leave(self, host: str) -> None:
        if host in self.held:
            self.held.remove(host)
            self.half_open.leave(host)

    @invariant()
    def counts(self) -> None:
        assert len(self.half_open) == len(self.held)
        for host in HOSTS:
            assert self.half_open.must_validate(host) == (
                len(self.held) >= VALIDATE_FROM or self.held.count(host) >= VALIDATE_FROM_PER_HOST
            )


TestHalfOpen = HalfOpenMachine.TestCase


@pytest.mark.row("A27")
def test_sixty_four_in_all() -> None:
    half_open = HalfOpen()
    assert all(half_open.enter(f"host {number}") for number in range(HALF_OPEN_MAX))
    assert not half_open.enter("one more")
    half_open.leave("host 3")
    assert half_open.enter("one more")


def test_a_place_cannot_be_given_back_twice() -> None:
    half_open = HalfOpen()
    half_open.enter("a")
    half_open.leave("a")
    with pytest.raises(AssertionError):
        half_open.leave("a")
