"""Changesets that wait: for a position, for what they rest on, for a ledger or a key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from crypto.ids import LogId
from protocol.errors import LimitReached

HELD_SIZE_MAX: Final = 64 << 20
"""A folder (CRYPTO 5). Beyond it changesets are refused, and asked for again by frontier."""
_OVERHEAD: Final = 512
"""What a held changeset costs beside its bytes, so that small ones are bounded too."""


class Position(NamedTuple):
    """A changeset's place in a log."""

    log_id: LogId
    seq: int


class HeldChangesets:
    """Wire bytes by what they wait for, and in the order in which they came."""

    def __init__(self, size_max: int = HELD_SIZE_MAX) -> None:
        self._size_max = size_max
        self._size = 0
        self._wires: dict[bytes, bytes] = {}
        self._by_position: defaultdict[Position, list[bytes]] = defaultdict(list)
        self._by_ledger: list[bytes] = []
        self._ready: list[bytes] = []

    def __len__(self) -> int:
        return len(self._wires)

    def __contains__(self, hash_: bytes) -> bool:
        return hash_ in self._wires

    def hold(self, hash_: bytes, data: bytes, waits_for: Iterable[Position]) -> None:
        """Keeps a changeset until the first of these positions is told; without one, the ledger.

        Raises LimitReached when too much is held.
        """
        if hash_ in self._wires:
            return
        if self._size + len(data) + _OVERHEAD > self._size_max:
            raise LimitReached("too many changesets wait for something")
        self._wires[hash_] = data
        self._size += len(data) + _OVERHEAD
        # One position is enough: when it is there the changeset is tried again, and names the next.
        position = next(iter(waits_for), None)
        (self._by_ledger if position is None else self._by_position[position]).append(hash_)

    def told(self, position: Position) -> None:
        """This position is there now."""
        if hashes := self._by_position.pop(position, None):
            self._ready += hashes

    def told_below(self, log_id: LogId, floor: int) -> None:
        """All positions of this log below a floor count as there now."""
        below = [p for p in self._by_position if p.log_id == log_id and p.seq < floor]
        for position in below:
            self.told(position)

    def ledger_grew(self) -> None:
        """An entry, a user's ledger or a key came: what waits for one is to be tried again."""
        self._ready += self._by_ledger
        self._by_ledger.clear()

    def take_ready(self) -> list[bytes]:
        """The wire bytes of what may go on now; they are no longer held."""
        wires = [self._wires.pop(hash_) for hash_ in self._ready]
        self._ready.clear()
        self._size -= sum(len(data) + _OVERHEAD for data in wires)
        return wires
