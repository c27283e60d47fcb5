"""Where devices are seen: only they can say so, and only where they receive."""

from __future__ import annotations

import os

import pytest

from protocol.datagrams import NO_COOKIE, DatagramType, Sight, read_show, read_sight, write_show
from relay import sightings as module
from relay.limits import Limits
from relay.sightings import KEPT_S, SIGHTINGS_MAX, Sighting, Sightings

SHOWS_PER_MINUTE = Limits().shows_per_minute
HERE, THERE = ("192.0.2.7", 4000), ("198.51.100.7", 4001)


class Stage:
    def __init__(self) -> None:
        self.sightings = Sightings(os.urandom, SHOWS_PER_MINUTE)
        sighting = self.sightings.begin(b"one")
        assert sighting is not None
        self.sighting: Sighting = sighting
        self.counter = 0

    def show(self, place: tuple[str, int], cookie: bytes, now: float = 0.0) -> Sight | None:
        self.counter += 1
        one = self.sighting
        show = write_show(
            one.key, DatagramType.SHOW, one.client_id, self.counter, Sight("::", 0, cookie)
        )
        answer = self.sightings.receive(show, place, now)
        assert answer is None or len(answer) == len(show)
        return None if answer is None else read_sight(one.key, read_show(answer))


@pytest.mark.row("A27")
def test_an_address_counts_when_the_device_has_shown_that_it_receives_there() -> None:
    stage = Stage()
    seen = stage.show(HERE, NO_COOKIE)
    assert seen is not None
    assert (seen.host, seen.port) == HERE
    assert stage.sightings.address_of(b"one") is None
    again = stage.show(HERE, seen.cookie)
    assert again is not None
    assert again.cookie == seen.cookie
    assert stage.sightings.address_of(b"one") == HERE
    elsewhere = stage.show(THERE, seen.cookie)
    assert elsewhere is not None
    assert stage.sightings.address_of(b"one") == HERE, "a cookie is good for one address"
    stage.show(THERE, elsewhere.cookie)
    assert stage.sightings.address_of(b"one") == THERE
    assert stage.sightings.address_of(b"other") is None


@pytest.mark.row("A29")
def test_a_device_is_answered_so_often_and_no_more() -> None:
    stage = Stage()
    answered = [stage.show(HERE, NO_COOKIE, 1.0) for _ in range(SHOWS_PER_MINUTE + 50)]
    assert sum(answer is not None for answer in answered) == SHOWS_PER_MINUTE


@pytest.mark.row("A29")
def test_there_is_room_for_so_many_and_one_key_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SIGHTINGS_MAX >= 4096
    monkeypatch.setattr(module, "SIGHTINGS_MAX", 3)
    sightings = Sightings(os.urandom, SHOWS_PER_MINUTE)
    for number in range(10):
        sightings.begin(bytes([number % 3]))
    assert len(sightings) == 3
    assert sightings.begin(b"fourth") is None


def test_who_leaves_is_known_for_a_while_and_who_returns_is_where_it_was() -> None:
    stage = Stage()
    seen = stage.show(HERE, NO_COOKIE)
    assert seen is not None
    stage.show(HERE, seen.cookie)
    stage.sightings.leave(b"one", 100.0)
    stage.sightings.expire(100.0 + KEPT_S - 1)
    assert stage.sightings.address_of(b"one") == HERE
    assert stage.sightings.begin(b"one") is not None
    stage.sightings.expire(100.0 + KEPT_S)
    assert stage.sightings.address_of(b"one") == HERE
    stage.sightings.leave(b"one", 200.0)
    stage.sightings.expire(200.0 + KEPT_S)
    assert stage.sightings.address_of(b"one") is None
    assert len(stage.sightings) == 0


def test_an_ipv4_address_in_ipv6_s_clothes_is_told_as_what_it_is() -> None:
    stage = Stage()
    seen = stage.show(("::ffff:192.0.2.7", 4000), NO_COOKIE)
    assert seen is not None
    assert seen.host == "192.0.2.7"
