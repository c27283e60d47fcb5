"""A window follows what its peer was measured to give."""

from __future__ import annotations

import pytest

from protocol.transfer_window import (
    REST_MAX_S,
    REST_S,
    WINDOW_MAX_BYTES,
    WINDOW_MIN_BYTES,
    WINDOW_START_BYTES,
    TransferWindow,
)


def run(window: TransferWindow, rate: float, seconds: float, now: float = 0.0) -> float:
    """Keeps the window full of 64 KiB chunks that come at a rate; the time when it ends."""
    chunk = 64 << 10
    end = now + seconds
    while now < end:
        if room := window.room_bytes:
            window.asked(room, now)
        now += chunk / rate
        window.received(min(chunk, window.in_flight_bytes), now)
        window.measure(now)
    return now


@pytest.mark.parametrize("rate", [100_000.0, 3_000_000.0, 300_000_000.0])
def test_the_window_is_a_second_of_the_rate_within_bounds(rate: float) -> None:
    window = TransferWindow()
    run(window, rate, 20.0)
    expected = min(max(rate, WINDOW_MIN_BYTES), WINDOW_MAX_BYTES)
    assert window.size_bytes == pytest.approx(expected, rel=0.1)
    assert window.rate == pytest.approx(rate, rel=0.1)


def test_a_few_small_chunks_say_nothing() -> None:
    window = TransferWindow()
    for tenth in range(100):
        window.asked(1000, tenth / 10)
        window.received(1000, tenth / 10 + 0.05)
        window.measure(tenth / 10 + 0.06)
    assert window.size_bytes == WINDOW_START_BYTES


def test_a_burst_within_one_moment_is_no_division_by_nothing() -> None:
    window = TransferWindow()
    window.asked(WINDOW_START_BYTES, 1.0)
    window.received(WINDOW_START_BYTES, 1.0)
    assert window.size_bytes == WINDOW_START_BYTES


def test_asks_wait_until_a_quarter_is_free() -> None:
    window = TransferWindow()
    window.asked(WINDOW_START_BYTES, 0.0)
    window.received(WINDOW_START_BYTES // 4 - 1, 0.0)
    assert window.room_bytes == 0
    window.received(1, 0.0)
    assert window.room_bytes == WINDOW_START_BYTES // 4


def test_who_is_late_rests_ever_longer_until_it_delivers() -> None:
    window = TransferWindow()
    rests = []
    for _ in range(7):
        window.late(0.0)
        rests.append(window.rests_until)
    assert rests[:2] == [REST_S, 2 * REST_S]
    assert rests[-1] == REST_MAX_S
    assert window.size_bytes == WINDOW_MIN_BYTES
    now = run(window, 1_000_000.0, 10.0)
    window.late(now)
    assert window.rests_until == now + REST_S
