"""The places of connections that have not shown yet what they are: few, and never all one's own.

When all are taken, whoever has the most gives one up to an address that has fewer, its oldest: so a
flood is paid for by those who make it, unless it comes from as many addresses as there are places.
"""

from __future__ import annotations

from collections.abc import Callable


class Place:
    """One connection's place; `evict` is set by who holds it."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.evict: Callable[[], object] | None = None


class Doorway:
    """All of them."""

    def __init__(self, count_max: int, per_host_max: int) -> None:
        self._count_max, self._per_host_max = count_max, per_host_max
        self._hosts: dict[str, dict[Place, None]] = {}
        """The places of each address, the oldest first."""
        self._count = 0
        self.evicted = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, host: str) -> Place | None:
        """Takes a place; None if there is none for this address."""
        own = len(self._hosts.get(host, ()))
        if own >= self._per_host_max:
            return None
        if self._count >= self._count_max and not self._make_room(own):
            return None
        place = Place(host)
        self._hosts.setdefault(host, {})[place] = None
        self._count += 1
        return place

    def leave(self, place: Place) -> None:
        """Gives a place back; nothing if it has left already."""
        places = self._hosts.get(place.host)
        if places is None or place not in places:
            return
        del places[place]
        self._count -= 1
        if not places:
            del self._hosts[place.host]

    def _make_room(self, own: int) -> bool:
        most = max(self._hosts.values(), key=len)
        if len(most) <= own + 1:  # else two addresses would take each other's place for ever
            return False
        oldest = next(iter(most))
        self.leave(oldest)
        self.evicted += 1
        if oldest.evict is not None:
            oldest.evict()
        return True
