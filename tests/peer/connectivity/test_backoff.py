"""A relay that comes back is not stormed: thousands of devices, and a clock that is a number."""

from __future__ import annotations

import heapq
import random
from collections import Counter

import pytest

from peer.connectivity.backoff import GOOD_AFTER_S, SPANS_S, WAIT_MIN_S, Backoff

DEVICES = 3_000


def test_waits_grow_and_stay_within_their_spans() -> None:
    backoff = Backoff()
    for span_s in (*SPANS_S, SPANS_S[-1]):
        low = backoff.next_wait_s(0.0, 0.0)
        assert low == WAIT_MIN_S
        other = Backoff()
        other._tries = backoff._tries - 1
        high = other.next_wait_s(0.0, 1.0)
        assert high == span_s


def test_what_lasted_was_no_failure() -> None:
    backoff = Backoff()
    for _ in range(10):
        backoff.next_wait_s(1.0, 1.0)
    assert backoff.next_wait_s(GOOD_AFTER_S, 1.0) == SPANS_S[0]
    for _ in range(10):
        backoff.next_wait_s(1.0, 1.0)
    backoff.forget()
    assert backoff.next_wait_s(1.0, 1.0) == SPANS_S[0]


def play(down_s: float, per_second: int, seed: int = 1) -> tuple[Counter[int], float]:
    """All devices lose a relay at 0, which is there again after a while and takes so many in a
    second. Gives how many tried in each second since, and when the last was back.
    """
    rng = random.Random(seed)
    waits = [Backoff() for _ in range(DEVICES)]
    tries = [(waits[n].next_wait_s(GOOD_AFTER_S, rng.random()), n) for n in range(DEVICES)]
    heapq.heapify(tries)
    asked, taken, now = Counter[int](), Counter[int](), 0.0
    while tries:
        now, number = heapq.heappop(tries)
        if now >= down_s:
            second = int(now - down_s)
            asked[second] += 1
            if taken[second] < per_second:
                taken[second] += 1
                continue
        heapq.heappush(tries, (now + waits[number].next_wait_s(0.0, rng.random()), number))
    return asked, now - down_s


@pytest.mark.row("A29")
@pytest.mark.parametrize("down_s", [0.0, 2.0, 30.0, 600.0])
def test_a_relay_that_comes_back_is_not_stormed(down_s: float) -> None:
    """It sees no second with more than its devices spread over half the span in which they wait,
    which is how long they wait on average; and all return.
    """
    asked, last_s = play(down_s, per_second=DEVICES)
    assert max(asked.values()) <= 1.1 * DEVICES / (SPANS_S[0] / 2)
    assert last_s <= SPANS_S[-1]
    if down_s >= 600:
        assert max(asked.values()) <= 1.3 * DEVICES / (SPANS_S[-1] / 2)


@pytest.mark.row("A29")
def test_a_relay_that_can_take_few_at_once_gets_them_all() -> None:
    """Those that it turned away come ever more rarely, and not in step."""
    asked, last_s = play(600.0, per_second=20)
    assert max(asked.values()) <= 1.3 * DEVICES / (SPANS_S[-1] / 2)
    assert last_s <= 4 * DEVICES / 20


def test_a_relay_started_anew_has_its_devices_within_ten_seconds() -> None:
    _, last_s = play(0.5, per_second=DEVICES)
    assert last_s <= 2 * SPANS_S[0]
