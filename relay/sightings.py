"""Where devices are, as this relay's own UDP socket sees them. No I/O.

A device shows itself by a small datagram whose tag only it can make; it is answered by one of the
same length, so nobody can have more sent to somebody else than they send. Who has no key is never
answered. The source of a datagram can be a lie: nothing is forwarded to an address before the
device has shown that it received an answer there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from crypto.primitives import KEY_SIZE, is_equal
from protocol.datagrams import (
    CLIENT_ID_SIZE,
    COOKIE_SIZE,
    NO_COOKIE,
    DatagramType,
    Sight,
    is_authentic,
    read_show,
    read_sight,
    write_show,
)
from protocol.errors import Malformed
from protocol.udp import SocketAddress
from relay.allowance import Allowance

KEPT_S: Final = 120.0
"""How long a device that left stays known: what is forwarded to it goes on while it comes back."""
SIGHTINGS_MAX: Final = 8192
"""Twice the devices that a relay serves: those that are here, and those that just left."""


@dataclass(slots=True, eq=False)
class Sighting:
    """One device's key, and where it was seen with it."""

    pseudonym: bytes
    client_id: bytes
    key: bytes
    counter: int = 0
    address: SocketAddress | None = None
    """Where it receives, as it has shown."""
    asked: SocketAddress | None = None
    cookie: bytes = NO_COOKIE
    """What was sent to the last address that it showed itself at."""
    left_at: float | None = None


class Sightings:
    """All devices that may show themselves."""

    def __init__(self, random: Callable[[int], bytes], shows_per_minute: int) -> None:
        self._random = random
        self._by_id: dict[bytes, Sighting] = {}
        self._by_pseudonym: dict[bytes, Sighting] = {}
        self._shows = Allowance(shows_per_minute)

    def __len__(self) -> int:
        return len(self._by_id)

    def begin(self, pseudonym: bytes) -> Sighting | None:
        """A new key for a device, which makes the old one worthless; None if there are too many."""
        old = self._by_pseudonym.get(pseudonym)
        if old is None and len(self._by_id) >= SIGHTINGS_MAX:
            return None
        sighting = Sighting(pseudonym, self._random(CLIENT_ID_SIZE), self._random(KEY_SIZE))
        if old is not None:
            del self._by_id[old.client_id]
            # It is there until it shows itself elsewhere.
            sighting.address, sighting.asked, sighting.cookie = old.address, old.asked, old.cookie
        self._by_id[sighting.client_id] = self._by_pseudonym[pseudonym] = sighting
        return sighting

    def leave(self, pseudonym: bytes, now: float) -> None:
        """The device's link has ended."""
        sighting = self._by_pseudonym.get(pseudonym)
        if sighting is not None:
            sighting.left_at = now

    def expire(self, now: float) -> None:
        """Forgets who left and did not come back."""
        for sighting in list(self._by_id.values()):
            if sighting.left_at is not None and now - sighting.left_at >= KEPT_S:
                del self._by_id[sighting.client_id]
                del self._by_pseudonym[sighting.pseudonym]

    def address_of(self, pseudonym: bytes) -> SocketAddress | None:
        """Where datagrams for a device go."""
        sighting = self._by_pseudonym.get(pseudonym)
        return None if sighting is None else sighting.address

    def receive(self, datagram: bytes, address: SocketAddress, now: float) -> bytes | None:
        """Takes in a datagram; gives the answer, if its sender deserves one."""
        try:
            show = read_show(datagram)
        except Malformed:
            return None
        sighting = self._by_id.get(show.client_id)
        if (
            sighting is None
            or show.type is not DatagramType.SHOW
            or show.counter <= sighting.counter  # a replay, perhaps from elsewhere
            or not is_authentic(sighting.key, datagram)
            or not self._shows.take(sighting.pseudonym, now)
        ):
            return None
        sighting.counter = show.counter
        cookie = read_sight(sighting.key, show).cookie
        if address == sighting.asked and is_equal(cookie, sighting.cookie):
            sighting.address = address
        else:
            sighting.asked, sighting.cookie = address, self._random(COOKIE_SIZE)
        sight = Sight(address[0].partition("%")[0], address[1], sighting.cookie)
        return write_show(sighting.key, DatagramType.SEEN, sighting.client_id, show.counter, sight)
