"""Who waits where: rendezvous ids and nameplates, each with the one that it leads to. No I/O.

The first who waits under an id keeps it until it leaves; nobody can take over what another device
registered, and whoever calls proves nothing to us: that is between the two devices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from protocol.errors import LimitReached
from relay.limits import Limits

Target = bytes | int
"""A rendezvous id, or the number of a pairing code."""


@dataclass(slots=True, eq=False)
class Client:
    """A device that has a link to this relay."""

    pseudonym: bytes
    host: str
    """What can be told apart by its address (origins.py); for counting, and never logged."""
    is_admitted: bool = True
    """Whether it may do more than call somebody's pairing code."""
    waits_at: set[Target] = field(default_factory=set)


class Registry:
    """All clients and where they wait."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._clients: dict[bytes, Client] = {}
        self._targets: dict[Target, Client] = {}
        self._nameplates: Counter[str] = Counter()
        self._places: Counter[str] = Counter()
        """Where the devices of one address wait, in all."""
        self._hosts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._clients)

    @property
    def places(self) -> int:
        """At how many places somebody waits."""
        return len(self._targets)

    def __contains__(self, pseudonym: bytes) -> bool:
        return pseudonym in self._clients

    def latest_of_most(self) -> Client:
        """The client that came last from the address that most come from."""
        host, _ = self._hosts.most_common(1)[0]
        return next(client for client in reversed(self._clients.values()) if client.host == host)

    def count_of(self, host: str) -> int:
        """How many clients come from an address."""
        return self._hosts[host]

    def enter(self, client: Client) -> Client | None:
        """Takes in a client; gives the one that it takes the place of, which was its own before."""
        old = self._clients.get(client.pseudonym)
        if old is not None:
            self.leave(old)
        self._clients[client.pseudonym] = client
        self._hosts[client.host] += 1
        return old

    def leave(self, client: Client) -> None:
        """Forgets a client and all that leads to it; nothing if it has left already."""
        if self._clients.get(client.pseudonym) is not client:
            return
        for target in list(client.waits_at):
            self._end(client, target)
        del self._clients[client.pseudonym]
        _count_down(self._hosts, client.host)

    def register(
        self, client: Client, rendezvous: Sequence[bytes], nameplates: Sequence[int]
    ) -> tuple[int, ...]:
        """Lets the client wait at these and nowhere else; gives the nameplates that are not free.

        Raises LimitReached when this relay holds as much as it may.
        """
        wanted: set[Target] = {*rendezvous, *nameplates}
        for target in client.waits_at - wanted:
            self._end(client, target)
        more, limits = len(wanted - client.waits_at), self._limits
        if (
            len(self._targets) + more > limits.waiting_places
            or self._places[client.host] + more > limits.waiting_places_per_address
        ):
            raise LimitReached("this relay has no room for more")
        taken = []
        for target in sorted(wanted - client.waits_at, key=repr):
            is_nameplate = isinstance(target, int)
            is_full = self._nameplates[client.host] >= limits.nameplates_per_address
            if target in self._targets or (is_nameplate and is_full):
                if isinstance(target, int):
                    taken.append(target)
                continue
            self._targets[target] = client
            client.waits_at.add(target)
            self._places[client.host] += 1
            if is_nameplate:
                self._nameplates[client.host] += 1
        return tuple(sorted(taken))

    def find(self, target: Target) -> Client | None:
        """Who waits there."""
        return self._targets.get(target)

    def _end(self, client: Client, target: Target) -> None:
        client.waits_at.discard(target)
        del self._targets[target]
        _count_down(self._places, client.host)
        if isinstance(target, int):
            _count_down(self._nameplates, client.host)


def _count_down(counter: Counter[str], host: str) -> None:
    counter[host] -= 1
    if counter[host] <= 0:
        del counter[host]
