"""A round of probes, played without a network: through routers of each kind, and by the hostile."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

import pytest

from crypto.datagram_keys import round_id
from protocol.candidates import Candidate, CandidateKind
from protocol.datagrams import DatagramType, Probe, read_probe, write_probe
from protocol.punch import ECHOES_MAX, GRACE_S, PROBE_TIMES_S, ROUND_S, UNTOLD_MAX, Place, Punch

KEY = b"k" * 32
LATENCY_S = 0.02


class Router:
    """What stands between a device and the others; without one, everything comes in."""

    def __init__(
        self, outside: str, *, by_destination: bool = False, is_strict: bool = True
    ) -> None:
        self.outside, self.by_destination, self.is_strict = outside, by_destination, is_strict
        self.ports: dict[Place | None, int] = {}
        self.allowed: set[tuple[int, Place]] = set()

    def out(self, destination: Place) -> Place:
        key = destination if self.by_destination else None
        port = self.ports.setdefault(key, 40_000 + len(self.ports))
        self.allowed.add((port, destination))
        return self.outside, port

    def lets_in(self, source: Place, port: int) -> bool:
        if not self.is_strict:
            return port in self.ports.values()
        return (port, source) in self.allowed


class World:
    """Two devices behind routers; datagrams take some time."""

    def __init__(self, caller: Router | None, called: Router | None) -> None:
        self.routers = [caller, called]
        self.inside: list[Place] = [("10.0.0.1", 22330), ("10.0.1.1", 22330)]
        if caller is None:
            self.inside[0] = ("198.51.100.1", 22330)
        if called is None:
            self.inside[1] = ("198.51.100.2", 22330)
        own = [self._candidates(side) for side in (0, 1)]
        self.punches = [
            Punch(KEY, is_caller=side == 0, own=own[side], theirs=own[1 - side],
                  may_probe=lambda place: True, now=0.0)
            for side in (0, 1)
        ]  # fmt: skip
        self.under_way: list[tuple[float, int, Place, bytes]] = []
        self.sent: Counter[Place] = Counter()

    def _candidates(self, side: int) -> list[Candidate]:
        found = [Candidate(CandidateKind.LOCAL, *self.inside[side])]
        router = self.routers[side]
        if router is not None:
            observed = router.out(("203.0.113.99", 443))  # as the relay sees it
            found.append(Candidate(CandidateKind.OBSERVED, *observed))
        return found

    def run(self) -> tuple[list[Candidate], float]:
        """The ways that the caller found, and when."""
        now = 0.0
        while now < ROUND_S:
            for side, punch in enumerate(self.punches):
                for datagram, place in punch.datagrams_to_send(now):
                    self.sent[place] += 1
                    router = self.routers[side]
                    source = self.inside[side] if router is None else router.out(place)
                    self._deliver(side, source, place, datagram, now)
            for at, side, source, datagram in list(self.under_way):
                if at <= now:
                    self.under_way.remove((at, side, source, datagram))
                    self.punches[side].receive(datagram, source, now)
            if found := self.punches[0].found(now):
                return found, now
            now += 0.005
        return [], now

    def _deliver(self, side: int, source: Place, to: Place, datagram: bytes, now: float) -> None:
        other, router = 1 - side, self.routers[1 - side]
        if router is None:
            arrives = to == self.inside[other]
        else:
            arrives = to[0] == router.outside and router.lets_in(source, to[1])
        if arrives:
            self.under_way.append((now + LATENCY_S, other, source, datagram))


def cone(outside: str) -> Router:
    return Router(outside, is_strict=False)


def strict(outside: str) -> Router:
    return Router(outside)


def symmetric(outside: str) -> Router:
    return Router(outside, by_destination=True)


ONE, OTHER = "198.51.100.10", "198.51.100.20"


@pytest.mark.parametrize("caller", [None, cone(ONE), strict(ONE), symmetric(ONE)])
@pytest.mark.parametrize("called", [None, cone(OTHER), strict(OTHER), symmetric(OTHER)])
def test_a_way_is_found_wherever_there_is_one(caller: Router | None, called: Router | None) -> None:
    caller = caller and Router(
        ONE, by_destination=caller.by_destination, is_strict=caller.is_strict
    )
    called = called and Router(
        OTHER, by_destination=called.by_destination, is_strict=called.is_strict
    )
    found, took_s = World(caller, called).run()
    both = [router for router in (caller, called) if router is not None]
    is_hopeless = len(both) == 2 and any(r.by_destination for r in both) and all(
        r.is_strict for r in both
    )  # fmt: skip
    assert bool(found) is not is_hopeless
    if found:
        assert took_s <= 0.3


def test_ipv6_is_taken_where_both_answer() -> None:
    six = Candidate(CandidateKind.LOCAL, "2001:db8::7", 22330)
    four = Candidate(CandidateKind.LOCAL, "192.0.2.7", 22330)
    punch = caller_of(four, six)
    sent = {place: datagram for datagram, place in punch.datagrams_to_send(0.0)}
    punch.receive(echo_of(sent["192.0.2.7", 22330]), ("192.0.2.7", 22330), 0.01)
    assert punch.found(0.01) == []
    punch.receive(echo_of(sent["2001:db8::7", 22330]), ("2001:db8::7", 22330), 0.02)
    assert punch.found(0.02) == [six, four]


def test_a_better_way_is_not_waited_for_long() -> None:
    six = Candidate(CandidateKind.LOCAL, "2001:db8::7", 22330)
    four = Candidate(CandidateKind.LOCAL, "192.0.2.7", 22330)
    punch = caller_of(four, six)
    sent = {place: datagram for datagram, place in punch.datagrams_to_send(0.0)}
    punch.receive(echo_of(sent["192.0.2.7", 22330]), ("192.0.2.7", 22330), 0.01)
    assert punch.next_deadline() <= 0.01 + GRACE_S
    assert punch.found(0.01 + GRACE_S) == [four]


def test_a_probe_to_a_mapped_port_is_remembered() -> None:
    own = [Candidate(CandidateKind.MAPPED, "192.0.2.7", 40_000)]
    punch = Punch(KEY, is_caller=False, own=own, theirs=[], may_probe=yes, now=0.0)
    punch.receive(probe(True, 0, 1), ("198.51.100.1", 5000), 0.1)
    punch.receive(probe(True, 255, 1), ("198.51.100.2", 5000), 0.1)
    assert punch.mapped == {("198.51.100.1", 5000)}


def test_an_answer_from_a_mapped_port_is_remembered() -> None:
    theirs = Candidate(CandidateKind.MAPPED, "192.0.2.7", 40_000)
    observed = Candidate(CandidateKind.OBSERVED, "192.0.2.7", 5000)
    punch = caller_of(theirs, observed)
    for datagram, place in punch.datagrams_to_send(0.0):
        punch.receive(echo_of(datagram), place, 0.1)
    assert punch.mapped == {("192.0.2.7", 40_000)}


# ---------------------------------------------------------------- the hostile


def yes(place: Place) -> bool:
    return True


def caller_of(*theirs: Candidate, may_probe: Callable[[Place], bool] = yes) -> Punch:
    return Punch(KEY, is_caller=True, own=[], theirs=theirs, may_probe=may_probe, now=0.0)


def probe(
    is_caller: bool, index: int, number: int, kind: DatagramType = DatagramType.PROBE
) -> bytes:
    return write_probe(KEY, Probe(kind, round_id(KEY), is_caller, index, number))


def echo_of(datagram: bytes) -> bytes:
    asked = read_probe(datagram)
    return probe(not asked.is_caller, asked.index, asked.number, DatagramType.ECHO)


@pytest.mark.row("A33")
def test_a_stranger_s_address_gets_seven_small_datagrams_and_no_more() -> None:
    theirs = [Candidate(CandidateKind.OBSERVED, f"192.0.2.{n}", 2000) for n in range(1, 100)]
    punch = caller_of(*theirs, *theirs)
    sent: Counter[Place] = Counter()
    size = 0
    for step in range(1000):
        for datagram, place in punch.datagrams_to_send(step / 100):
            sent[place] += 1
            size += len(datagram)
    assert len(sent) == 12
    assert set(sent.values()) == {len(PROBE_TIMES_S)}
    assert size <= 12 * 7 * 28


@pytest.mark.row("A33")
def test_what_may_not_be_probed_is_not() -> None:
    theirs = [Candidate(CandidateKind.OBSERVED, "192.0.2.1", 2000)]
    punch = caller_of(*theirs, may_probe=lambda place: False)
    punch.receive(probe(False, 255, 1), ("192.0.2.9", 2000), 0.0)
    assert punch.datagrams_to_send(0.0) == []
    assert (punch.targets, len(punch.theirs)) == (0, 1)


@pytest.mark.row("A27")
def test_probes_from_ever_new_addresses_have_few_answered() -> None:
    """Somebody on the way sends one good probe again from other people's addresses."""
    punch = caller_of()
    for number in range(1000):
        punch.receive(probe(False, 255, 1), (f"192.0.2.{number % 250}", 2000 + number), 0.0)
    places = {place for _, place in punch.datagrams_to_send(0.0)}
    assert len(places) <= UNTOLD_MAX
    punch = caller_of()
    for _ in range(1000):
        punch.receive(probe(False, 255, 1), ("192.0.2.1", 2000), 0.0)
    assert len(punch.datagrams_to_send(0.0)) <= ECHOES_MAX + 1


@pytest.mark.row("A33")
def test_nothing_of_another_key_round_or_side_counts() -> None:
    punch = caller_of(Candidate(CandidateKind.LOCAL, "192.0.2.7", 22330))
    place = ("192.0.2.7", 22330)
    ((sent, _),) = punch.datagrams_to_send(0.0)
    good = echo_of(sent)
    other = write_probe(b"x" * 32, Probe(DatagramType.ECHO, round_id(KEY), False, 0, 1))
    others = [
        sent, other, good[:-1] + bytes((good[-1] ^ 1,)), os.urandom(28), b"",
        probe(False, 0, 2, DatagramType.ECHO), probe(True, 0, 1, DatagramType.ECHO),
    ]  # fmt: skip
    for datagram in others:
        punch.receive(datagram, place, 0.1)
    punch.receive(good, ("192.0.2.8", 22330), 0.1)  # from where nothing was sent to
    assert punch.found(1.0) == []
    punch.receive(good, place, 0.1)
    assert punch.found(1.0)


def test_a_round_ends_and_is_deaf_then() -> None:
    punch = caller_of(Candidate(CandidateKind.LOCAL, "192.0.2.7", 22330))
    ((sent, place),) = punch.datagrams_to_send(0.0)
    assert not punch.is_over(ROUND_S - 0.1)
    assert punch.is_over(ROUND_S)
    punch.receive(echo_of(sent), place, ROUND_S)
    assert punch.found(ROUND_S) == []
    assert punch.datagrams_to_send(ROUND_S) == []
    assert punch.next_deadline() <= ROUND_S
