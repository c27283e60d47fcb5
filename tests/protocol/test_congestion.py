from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.congestion import INITIAL_PACKETS, MINIMUM_PACKETS, WINDOW_MAX_BYTES, Cubic, Pacer

SIZE = 1_450


@dataclass
class Packet:
    sent_bytes: int
    sent_time: float | None


def fill(cubic: Cubic, now: float) -> list[Packet]:
    packets = []
    while cubic.bytes_in_flight + SIZE <= cubic.congestion_window:
        packets.append(Packet(SIZE, now))
        cubic.on_packet_sent(packet=packets[-1])
    return packets


def round_trip(cubic: Cubic, now: float, rtt_s: float, *, loses: bool = False) -> float:
    """Sends a whole window and has it acknowledged, but for the first packet if it is lost."""
    packets = fill(cubic, now)
    now += rtt_s
    if loses:
        cubic.on_packets_lost(now=now, packets=[packets.pop(0)])
    for packet in packets:
        cubic.on_packet_acked(now=now, packet=packet)
    cubic.on_rtt_measurement(now=now, rtt=rtt_s)
    cubic.grow(now)
    assert cubic.bytes_in_flight == 0
    return now


def test_slow_start_doubles_each_round_trip() -> None:
    cubic, now = Cubic(max_datagram_size=SIZE), 0.0
    assert cubic.congestion_window == INITIAL_PACKETS * SIZE
    for expected in (20, 40, 80, 160):
        now = round_trip(cubic, now, 0.05)
        assert cubic.congestion_window == expected * SIZE


def test_a_loss_takes_three_tenths_once_a_round_trip() -> None:
    cubic, now = Cubic(max_datagram_size=SIZE), 1.0
    for _ in range(4):
        now = round_trip(cubic, now, 0.05)
    packets = fill(cubic, now)
    before = cubic.congestion_window
    cubic.on_packets_lost(now=now + 0.05, packets=packets[:3])
    after = cubic.congestion_window
    assert after == int(before * 0.7)
    cubic.on_packets_lost(now=now + 0.051, packets=packets[3:6])
    assert cubic.congestion_window == after


def test_after_a_loss_the_old_window_is_reached_again_and_passed() -> None:
    cubic, now = Cubic(max_datagram_size=SIZE), 1.0
    for _ in range(6):
        now = round_trip(cubic, now, 0.05)
    before = cubic.congestion_window
    now = round_trip(cubic, now, 0.05, loses=True)
    begin = now
    while cubic.congestion_window < before:
        now = round_trip(cubic, now, 0.05)
        assert now - begin < 20
    plateau = cubic.congestion_window
    for _ in range(200):
        now = round_trip(cubic, now, 0.05)
    assert cubic.congestion_window > plateau * 1.2


def test_slow_start_ends_when_round_trips_grow() -> None:
    cubic, now = Cubic(max_datagram_size=SIZE), 1.0
    for number in range(12):
        packets = fill(cubic, now)
        rtt_s = 0.05 if number < 3 else 0.05 + 0.01 * number
        now += rtt_s
        for packet in packets:
            cubic.on_packet_acked(now=now, packet=packet)
            cubic.on_rtt_measurement(now=now, rtt=rtt_s)
        cubic.grow(now)
    assert cubic.ssthresh is not None


def test_an_unused_window_does_not_grow() -> None:
    cubic = Cubic(max_datagram_size=SIZE)
    for number in range(50):
        packet = Packet(SIZE, float(number))
        cubic.on_packet_sent(packet=packet)
        cubic.on_packet_acked(now=number + 0.05, packet=packet)
        cubic.grow(number + 0.05)
    assert cubic.congestion_window == INITIAL_PACKETS * SIZE


def test_after_silence_the_path_is_learned_again() -> None:
    cubic, now = Cubic(max_datagram_size=SIZE), 1.0
    for _ in range(6):
        now = round_trip(cubic, now, 0.05)
    cubic.on_packet_sent(packet=Packet(SIZE, now + 3.0))
    assert cubic.congestion_window == INITIAL_PACKETS * SIZE


@given(st.lists(st.tuples(st.booleans(), st.floats(0.001, 0.5)), max_size=60))
def test_the_window_stays_between_its_bounds(rounds: list[tuple[bool, float]]) -> None:
    cubic, now = Cubic(max_datagram_size=SIZE), 1.0
    for loses, rtt_s in rounds:
        now = round_trip(cubic, now, rtt_s, loses=loses)
        assert MINIMUM_PACKETS * SIZE <= cubic.congestion_window <= 2 * WINDOW_MAX_BYTES
    cubic.on_persistent_congestion()
    assert cubic.congestion_window == MINIMUM_PACKETS * SIZE
    expired = fill(cubic, now)
    cubic.on_packets_expired(packets=expired)
    assert cubic.bytes_in_flight == 0


@given(st.integers(10_000, 4_000_000), st.floats(0.002, 0.5))
def test_the_pacer_lets_through_what_the_window_gives_and_a_quarter_more(
    window: int, rtt_s: float
) -> None:
    pacer, now, sent = Pacer(max_datagram_size=SIZE), 10.0, 0
    pacer.update_rate(window, rtt_s)
    pacer.packets(now)
    pacer.spend(10_000)
    while now < 11.0:
        at = pacer.next_send_time(now)
        if at is None:
            count = pacer.packets(now)
            pacer.spend(count)
            sent += count
        else:
            assert at > now
            now = at
    rate = sent * SIZE
    assert rate == pytest.approx(1.25 * window / rtt_s, rel=0.2) or rate > 100_000_000


def test_without_a_measurement_the_pacer_holds_nothing_back() -> None:
    pacer = Pacer(max_datagram_size=SIZE)
    assert pacer.next_send_time(0.0) is None
    assert pacer.packets(0.0) > 100
