"""Which datagrams are carried where, and how many."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from protocol.udp import SocketAddress
from relay.ferries import BURST_S, IDLE_MAX_S, Bucket, Ferries
from relay.limits import MIB, Limits
from relay.registry import Client
from relay.sightings import Sightings

FERRIES_PER_CLIENT_MAX = Limits().datagram_sessions_per_device
ONE, OTHER, THIEF = ("192.0.2.1", 1), ("192.0.2.2", 2), ("192.0.2.3", 3)


def always(clients: tuple[Client, ...], count: int) -> bool:
    return True


def stage(
    limits: Limits | None = None,
    carry: Callable[[tuple[Client, ...], int], bool] = always,
) -> tuple[Ferries, Client, Client]:
    limits = limits or Limits()
    sightings = Sightings(os.urandom, limits.shows_per_minute)
    clients = []
    places: list[SocketAddress] = [ONE, OTHER]
    for name, address in zip((b"one", b"other"), places, strict=True):
        sighting = sightings.begin(name)
        assert sighting is not None
        sighting.address = address
        clients.append(Client(name, address[0]))
    return Ferries(sightings, os.urandom, carry, limits), clients[0], clients[1]


def test_what_comes_from_one_goes_to_the_other() -> None:
    ferries, one, other = stage()
    prefix = ferries.begin(one, other, 0.0)
    assert ferries.route(prefix, ONE, 100, 0.0) == OTHER
    assert ferries.route(prefix, OTHER, 100, 0.0) == ONE
    assert ferries.bytes == 200


@pytest.mark.row("A33")
def test_what_comes_from_elsewhere_or_with_another_prefix_goes_nowhere() -> None:
    ferries, one, other = stage()
    prefix = ferries.begin(one, other, 0.0)
    assert ferries.route(prefix, THIEF, 100, 0.0) is None
    assert ferries.route(prefix[::-1], ONE, 100, 0.0) is None
    assert ferries.route(b"", ONE, 100, 0.0) is None
    assert ferries.refused == 3
    assert ferries.bytes == 0


def test_prefixes_are_not_to_be_guessed() -> None:
    ferries, one, other = stage()
    prefixes = {ferries.begin(one, other, 0.0) for _ in range(FERRIES_PER_CLIENT_MAX)}
    assert len(prefixes) == FERRIES_PER_CLIENT_MAX
    assert len({prefix[4:] for prefix in prefixes}) == FERRIES_PER_CLIENT_MAX


@pytest.mark.row("A29")
def test_the_oldest_of_one_s_own_sessions_ends_for_a_new_one() -> None:
    ferries, one, other = stage()
    first = ferries.begin(one, other, 0.0)
    for number in range(FERRIES_PER_CLIENT_MAX):
        ferries.begin(one, other, 1.0 + number)
    assert len(ferries) == FERRIES_PER_CLIENT_MAX
    assert ferries.route(first, ONE, 100, 99.0) is None
    kept = ferries.begin(other, one, 0.0)
    assert ferries.route(kept, ONE, 100, 99.0) == OTHER, "another's is not touched"


@pytest.mark.row("A29")
def test_more_than_the_rate_is_lost() -> None:
    rate = MIB
    ferries, one, other = stage(Limits(datagram_mib_per_second=1))
    prefix = ferries.begin(one, other, 0.0)
    carried = sum(
        1000 for step in range(10_000) if ferries.route(prefix, ONE, 1000, step / 1000) is not None
    )
    assert carried <= rate * (10 + BURST_S)
    assert carried >= rate * 9


def test_there_are_so_many_sessions_in_all_and_none_if_it_is_switched_off() -> None:
    ferries, one, other = stage(Limits(datagram_sessions=2))
    prefixes = [ferries.begin(one, other, 0.0) for _ in range(3)]
    assert [bool(prefix) for prefix in prefixes] == [True, True, False]
    ferries, one, other = stage(Limits(datagram_sessions=0))
    assert ferries.begin(one, other, 0.0) == b"", "a call goes by TCP then"


def test_what_is_carried_counts_for_both_and_ends_when_there_is_no_more() -> None:
    counted: list[tuple[tuple[bytes, ...], int]] = []

    def carry(clients: tuple[Client, ...], count: int) -> bool:
        counted.append((tuple(client.pseudonym for client in clients), count))
        return len(counted) < 3

    ferries, one, other = stage(carry=carry)
    prefix = ferries.begin(one, other, 0.0)
    routed = [ferries.route(prefix, ONE, 100, 0.0) for _ in range(5)]
    assert routed == [OTHER, OTHER, OTHER, None, None]
    assert counted == [((b"one", b"other"), 100)] * 3
    assert len(ferries) == 0


def test_a_bucket_fills_up_to_its_burst() -> None:
    bucket = Bucket(1000.0, 0.0)
    assert bucket.take(250, 0.0)
    assert not bucket.take(1, 0.0)
    assert bucket.take(100, 0.1)
    assert not bucket.take(251, 1000.0)
    assert bucket.take(250, 1000.0)


def test_a_session_ends_when_nothing_moves() -> None:
    ferries, one, other = stage()
    prefix = ferries.begin(one, other, 0.0)
    ferries.route(prefix, ONE, 100, 100.0)
    ferries.expire(100.0 + IDLE_MAX_S - 1)
    assert len(ferries) == 1
    ferries.expire(100.0 + IDLE_MAX_S)
    assert len(ferries) == 0


def test_who_shows_no_udp_is_not_forwarded_to() -> None:
    ferries, one, _ = stage()
    assert ferries.begin(one, Client(b"third", "192.0.2.9"), 0.0) == b""
    assert ferries.begin(Client(b"third", "192.0.2.9"), one, 0.0) == b""
