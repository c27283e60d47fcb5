"""One round of looking for a direct way: both sides probe each other's addresses at once. No I/O.

A router lets in what answers something that went out; so both send, and what comes first opens the
other's way. The caller takes the best way that has answered. Everything is bounded: a device that
was told a stranger's address sends it seven small datagrams, and no more in this round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from crypto.datagram_keys import round_id
from protocol.candidates import CANDIDATES_MAX, Candidate, CandidateKind
from protocol.datagrams import (
    NO_INDEX,
    DatagramType,
    Probe,
    is_authentic,
    read_probe,
    write_probe,
)
from protocol.errors import ProtocolError

PROBE_TIMES_S: Final = (0.0, 0.05, 0.15, 0.35, 0.75, 1.5, 2.5)
"""After the start: quick, for most ways open with the first two, and long enough for a lost one."""
ROUND_S: Final = 3.5
GRACE_S: Final = 0.05
"""How long a way that answered waits for a better one."""
UNTOLD_MAX: Final = 4
"""Addresses that come to light by their probes: a router that gives each destination a new port."""
ECHOES_MAX: Final = 64

Place = tuple[str, int]


@dataclass(slots=True)
class _Target:
    index: int
    candidate: Candidate
    began_at: float
    sent: int = 0

    def next_at(self) -> float | None:
        if self.sent >= len(PROBE_TIMES_S):
            return None
        return self.began_at + PROBE_TIMES_S[self.sent]


class Punch:
    """One side of a round; `is_caller` decides in the end."""

    def __init__(
        self,
        key: bytes,
        *,
        is_caller: bool,
        own: Sequence[Candidate],
        theirs: Sequence[Candidate],
        may_probe: Callable[[Place], bool],
        now: float,
    ) -> None:
        self.round_id = round_id(key)
        self.is_caller = is_caller
        self._key, self._may_probe = key, may_probe
        self.own, self.theirs = own, theirs[:CANDIDATES_MAX]
        self._ends_at = now + ROUND_S
        self._targets: dict[Place, _Target] = {}
        self._untold = 0
        self._echoes = 0
        self._out: list[tuple[bytes, Place]] = []
        self._answered: dict[Place, Candidate] = {}
        self._first_answer_at: float | None = None
        self.mapped: set[Place] = set()
        """Places of the other side that an open port of a router leads to, or from."""
        for index, candidate in enumerate(self.theirs):
            place = (candidate.host, candidate.port)
            if place not in self._targets and may_probe(place):
                self._targets[place] = _Target(index, candidate, now)

    @property
    def targets(self) -> int:
        """How many addresses are tried."""
        return len(self._targets)

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Place]]:
        """Echoes, and the probes that are due."""
        out, self._out = self._out, []
        if now >= self._ends_at:
            return out
        for place, target in self._targets.items():
            at = target.next_at()
            if at is not None and at <= now:
                target.sent += 1
                out.append((self._probe(DatagramType.PROBE, target.index, target.sent), place))
        return out

    def receive(self, datagram: bytes, place: Place, now: float) -> None:
        """Takes in a datagram of this round; what is not the other side's changes nothing."""
        try:
            probe = read_probe(datagram)
        except ProtocolError:
            return
        if (
            probe.round_id != self.round_id
            or probe.is_caller == self.is_caller
            or not is_authentic(self._key, datagram)
            or now >= self._ends_at
        ):
            return
        if probe.type is DatagramType.PROBE:
            self._probed(probe, place, now)
        elif probe.type is DatagramType.ECHO:
            target = self._targets.get(place)
            if target is not None and 1 <= probe.number <= target.sent:
                self._answered.setdefault(place, target.candidate)
                if target.candidate.kind == CandidateKind.MAPPED:
                    self.mapped.add(place)
                if self._first_answer_at is None:
                    self._first_answer_at = now

    def _probed(self, probe: Probe, place: Place, now: float) -> None:
        if self._echoes >= ECHOES_MAX:
            return
        self._echoes += 1
        if place not in self._targets and self._untold < UNTOLD_MAX and self._may_probe(place):
            # A datagram of the other side came from there, so it is hardly a stranger's address.
            self._untold += 1
            candidate = Candidate(CandidateKind.OBSERVED, *place)
            self._targets[place] = _Target(NO_INDEX, candidate, now)
        if place not in self._targets:
            return
        self._out.append((self._probe(DatagramType.ECHO, probe.index, probe.number), place))
        if probe.index < len(self.own) and self.own[probe.index].kind == CandidateKind.MAPPED:
            self.mapped.add(place)

    def found(self, now: float) -> list[Candidate]:
        """The ways that answered, the best first, as soon as it is time to take one."""
        if self._first_answer_at is None:
            return []
        ways = sorted(self._answered.values(), key=lambda candidate: candidate.preference)
        best = min((t.candidate for t in self._targets.values()), key=lambda c: c.preference)
        is_best = ways[0].preference <= best.preference
        return ways if is_best or now >= self._first_answer_at + GRACE_S else []

    def is_over(self, now: float) -> bool:
        """Whether nothing more is to be hoped for."""
        return now >= self._ends_at

    def next_deadline(self) -> float:
        """When to look again, if nothing comes before."""
        deadlines = [self._ends_at]
        if self._first_answer_at is not None and self.is_caller:
            deadlines.append(self._first_answer_at + GRACE_S)
        for target in self._targets.values():
            if (at := target.next_at()) is not None:
                deadlines.append(at)
        return min(deadlines)

    def _probe(self, kind: DatagramType, index: int, number: int) -> bytes:
        return write_probe(self._key, Probe(kind, self.round_id, self.is_caller, index, number))
