"""What is said of a link's speed follows what goes over it."""

from __future__ import annotations

import pytest

from peer.connectivity.rates import SPAN_S, STEP_S, Rates


def test_a_steady_link_shows_its_rate_and_one_that_rests_none() -> None:
    rates = Rates(100.0)
    for tick in range(1, 201):  # 20 s at a megabyte a second, and a tenth of it back
        rates.note(100_000 * tick, 10_000 * tick, 100 + tick / 10)
    assert rates.sent_bytes_s == pytest.approx(1e6, rel=0.01)
    assert rates.received_bytes_s == pytest.approx(1e5, rel=0.01)
    rates.note(100_000 * 200, 10_000 * 200, 120 + 5 * SPAN_S)
    assert rates.sent_bytes_s < 1e6 / 50


def test_frames_of_one_moment_are_counted_once_and_none_is_lost() -> None:
    rates = Rates(0.0)
    for number in range(1, 100):
        rates.note(number * 1_000, 0, STEP_S / 200 * number)
    assert rates.sent_bytes_s == 0.0
    rates.note(100_000, 0, 1.0)
    assert 0 < rates.sent_bytes_s <= 100_000


def test_who_looks_seldom_sees_the_average_of_meanwhile() -> None:
    rates = Rates(0.0)
    rates.note(60_000_000, 0, 60.0)
    assert rates.sent_bytes_s == pytest.approx(1e6, rel=0.01)
