"""A device shows itself: how often, what it believes, and how it notices that nothing comes."""

from __future__ import annotations

import os

from protocol.datagrams import (
    NO_COOKIE,
    DatagramType,
    Sight,
    is_authentic,
    read_show,
    read_sight,
    write_show,
)
from protocol.showing import RETRY_S, SHOW_INTERVAL_S, Showing

KEY, ID = b"k" * 32, b"client-1"
HERE, THERE = ("192.0.2.7", 4000), ("192.0.2.7", 4001)


def showing() -> Showing:
    return Showing(ID, KEY, 0.0)


def seen(datagram: bytes, place: tuple[str, int], cookie: bytes = b"cookie-1") -> bytes:
    assert is_authentic(KEY, datagram)
    return write_show(
        KEY, DatagramType.SEEN, ID, read_show(datagram).counter, Sight(*place, cookie)
    )


def test_it_is_seen_once_it_has_given_the_cookie_back() -> None:
    device = showing()
    (first,) = device.datagrams_to_send(0.0, 0.5)
    assert read_sight(KEY, read_show(first)).cookie == NO_COOKIE
    assert not device.receive(seen(first, HERE), 0.1, 0.5)
    assert device.observed is None
    (second,) = device.datagrams_to_send(0.1, 0.5)
    assert read_sight(KEY, read_show(second)).cookie == b"cookie-1"
    assert device.receive(seen(second, HERE), 0.2, 0.5)
    assert device.observed == HERE
    assert device.datagrams_to_send(0.2, 0.5) == []
    assert 0.75 * SHOW_INTERVAL_S <= device.next_deadline - 0.2 <= SHOW_INTERVAL_S


def test_a_new_address_is_told_once() -> None:
    device = showing()
    moved = []
    now = 0.0
    for place in (HERE, HERE, HERE, THERE, THERE):
        (datagram,) = device.datagrams_to_send(now, 0.5)
        moved.append(device.receive(seen(datagram, place), now, 0.5))
        now = device.next_deadline
    assert moved == [False, True, False, True, False]


def test_what_is_not_answered_is_shown_again_and_then_believed_to_be_blocked() -> None:
    device = showing()
    now, sent = 0.0, 0
    while not device.is_blocked:
        sent += len(device.datagrams_to_send(now, 0.5))
        now = device.next_deadline
    assert sent == len(RETRY_S) + 1
    device.datagrams_to_send(now, 0.5)
    assert device.next_deadline - now >= 0.75 * SHOW_INTERVAL_S
    (datagram,) = device.datagrams_to_send(device.next_deadline, 0.5)
    device.receive(seen(datagram, HERE), now, 0.5)
    assert not device.is_blocked


def test_what_a_liar_answers_is_not_believed() -> None:
    device = showing()
    (datagram,) = device.datagrams_to_send(0.0, 0.5)
    good = seen(datagram, HERE)
    rubbish = [
        b"", b"\x02", datagram, os.urandom(len(good)), good[:-1] + bytes((good[-1] ^ 1,)),
        write_show(b"x" * 32, DatagramType.SEEN, ID, 1, Sight(*HERE, b"c" * 8)),
        write_show(KEY, DatagramType.SEEN, b"client-2", 1, Sight(*HERE, b"c" * 8)),
        write_show(KEY, DatagramType.SEEN, ID, 2, Sight(*HERE, b"c" * 8)),
    ]  # fmt: skip
    for answer in rubbish:
        assert not device.receive(answer, 0.1, 0.5)
    assert device.datagrams_to_send(0.1, 0.5) == []


def test_an_answer_counts_once() -> None:
    device = showing()
    (datagram,) = device.datagrams_to_send(0.0, 0.5)
    device.receive(seen(datagram, HERE), 0.0, 0.5)
    (datagram,) = device.datagrams_to_send(0.0, 0.5)
    assert device.receive(seen(datagram, HERE), 0.0, 0.5)
    assert not device.receive(seen(datagram, THERE), 0.0, 0.5)
    assert device.observed == HERE


def test_another_network_is_shown_at_once() -> None:
    device = showing()
    (datagram,) = device.datagrams_to_send(0.0, 0.5)
    device.receive(seen(datagram, HERE), 0.0, 0.5)
    device.datagrams_to_send(0.0, 0.5)
    device.hurry(3.0)
    assert len(device.datagrams_to_send(3.0, 0.5)) == 1
