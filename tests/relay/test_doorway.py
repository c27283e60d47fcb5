"""A flood takes no place from who does not flood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.doorway import Doorway, Place


def entered(doorway: Doorway, host: str, evicted: list[Place]) -> Place | None:
    place = doorway.enter(host)
    if place is not None:
        place.evict = lambda: evicted.append(place)
    return place


@pytest.mark.row("A27")
def test_who_has_the_most_gives_its_oldest_up() -> None:
    doorway, evicted = Doorway(8, 4), list[Place]()
    floods = [entered(doorway, host, evicted) for host in "aaabbbbb"]
    assert floods[-1] is None, "an address has its share and no more"
    assert entered(doorway, "c", evicted) is not None
    assert entered(doorway, "honest", evicted) is not None
    assert evicted == [floods[3]]
    assert len(doorway) == 8


def test_equals_do_not_take_each_other_s_place() -> None:
    doorway, evicted = Doorway(2, 4), list[Place]()
    for host in "ab":
        assert entered(doorway, host, evicted) is not None
    assert entered(doorway, "c", evicted) is None
    assert not evicted


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=60))
def test_the_count_is_right_whatever_happens(acts: list[tuple[str, bool]]) -> None:
    doorway, evicted, held = Doorway(5, 3), list[Place](), list[Place]()
    for host, is_entering in acts:
        if is_entering:
            place = entered(doorway, host, evicted)
            if place is not None:
                held.append(place)
        elif held:
            place = held.pop(0)
            doorway.leave(place)
            doorway.leave(place)
        held = [each for each in held if each not in evicted]
        assert len(doorway) == len(held) <= 5
        hosts = [place.host for place in held]
        assert max(map(hosts.count, hosts), default=0) <= 3
    for place in held:
        doorway.leave(place)
    assert not doorway._hosts
