"""Forwarding of datagrams between two devices, by the 8 bytes before each. No I/O.

A datagram is carried if it comes from where one of the two was seen and goes to where the other
was; its bytes are not looked at, and go on as they came. What is more than its share is lost, as on
any full line: what is inside slows down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from protocol.datagrams import PREFIX_SIZE, new_prefix
from protocol.udp import SocketAddress
from relay.limits import MIB, Limits
from relay.registry import Client
from relay.sightings import Sightings

IDLE_MAX_S: Final = 120.0
"""Devices say something every 15 s."""
BURST_S: Final = 0.25
"""How long more than the rate may flow at once."""


class Bucket:
    """So many bytes a second, with some saved up."""

    def __init__(self, bytes_s: float, now: float) -> None:
        self._bytes_s, self._left, self._at = bytes_s, bytes_s * BURST_S, now

    def take(self, size: int, now: float) -> bool:
        """Takes as much; False if there is not so much left."""
        self._left = min(self._bytes_s * BURST_S, self._left + (now - self._at) * self._bytes_s)
        self._at = now
        if size > self._left:
            return False
        self._left -= size
        return True


@dataclass(slots=True, eq=False)
class Ferry:
    """One session of two devices; `one` called."""

    prefix: bytes
    one: Client
    other: Client
    bucket: Bucket
    moved_at: float


@dataclass(slots=True)
class _Shares:
    """The buckets of devices and addresses, made when they are needed."""

    buckets: dict[bytes | str, Bucket] = field(default_factory=dict)

    def take(self, key: bytes | str, size: int, rate_bytes_s: float, now: float) -> bool:
        bucket = self.buckets.get(key)
        if bucket is None:
            bucket = self.buckets[key] = Bucket(rate_bytes_s, now)
        return bucket.take(size, now)


class Ferries:
    """All sessions of datagrams."""

    def __init__(
        self,
        sightings: Sightings,
        random: Callable[[int], bytes],
        carry: Callable[[tuple[Client, ...], int], bool],
        limits: Limits,
    ) -> None:
        """`carry` is told of all bytes, and answers whether their session may go on."""
        self._sightings, self._random, self._limits = sightings, random, limits
        self._rate_bytes_s = limits.datagram_mib_per_second * MIB
        self._carry = carry
        self._ferries: dict[bytes, Ferry] = {}
        self._shares = _Shares()
        self.bytes = 0
        """Carried since the start."""
        self.refused = 0
        """Runs of datagrams that were not carried."""

    def __len__(self) -> int:
        return len(self._ferries)

    def begin(self, one: Client, other: Client, now: float) -> bytes:
        """The prefix of a new session; empty if one of them shows no UDP, or there is no room."""
        for client in (one, other):
            if self._sightings.address_of(client.pseudonym) is None:
                return b""
        own = [f for f in self._ferries.values() if f.one.pseudonym == one.pseudonym]
        if len(own) >= self._limits.datagram_sessions_per_device:
            del self._ferries[min(own, key=lambda ferry: ferry.moved_at).prefix]
        if len(self._ferries) >= self._limits.datagram_sessions:
            return b""
        prefix = new_prefix(self._random(PREFIX_SIZE))
        bucket = Bucket(self._rate_bytes_s, now)
        self._ferries[prefix] = Ferry(prefix, one, other, bucket, now)
        return prefix

    def route(
        self, prefix: bytes, source: SocketAddress, size: int, now: float
    ) -> SocketAddress | None:
        """Where so many bytes of a session go; None if they go nowhere."""
        ferry = self._ferries.get(prefix)
        if ferry is None:
            self.refused += 1
            return None
        address_of = self._sightings.address_of
        one, other = address_of(ferry.one.pseudonym), address_of(ferry.other.pseudonym)
        sender, destination = (ferry.one, other) if source == one else (ferry.other, one)
        rate, take = self._rate_bytes_s, self._shares.take
        if (
            source not in (one, other)
            or destination is None
            or not ferry.bucket.take(size, now)
            or not take(sender.pseudonym, size, rate, now)
            or not take(source[0], size, rate, now)
        ):
            self.refused += 1
            return None
        ferry.moved_at = now
        self.bytes += size
        if not self._carry((ferry.one, ferry.other), size):
            del self._ferries[prefix]
        return destination

    def expire(self, now: float) -> None:
        """Ends the sessions in which nothing moves any more."""
        for ferry in list(self._ferries.values()):
            if now - ferry.moved_at >= IDLE_MAX_S:
                del self._ferries[ferry.prefix]
        self._shares.buckets.clear()  # each is full again, or nearly so, by the next time
