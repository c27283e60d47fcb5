"""What a router does to UDP, found out from outside (RFC 5780's tests): mapping and filtering."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.nat.lab import WORLD, WORLD6
from tests.nat.namespaces import Namespace

ANSWER_TIMEOUT_S: Final = 0.15
"""Within one kernel a datagram takes some 0.1 ms; what has not come then was dropped."""
PORTS: Final = (7001, 7002)
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """In the words of RFC 4787; `none` where nothing comes through."""

    mapping: str
    filtering: str


NONE: Final = Behaviour("none", "none")


def behaviour(world: Namespace, host: Namespace, port: int, *, is_ipv6: bool) -> Behaviour:
    """Writes from this port to three places in the world, and back from three."""
    hosts = (f"{WORLD6}2", f"{WORLD6}3") if is_ipv6 else (f"{WORLD}.2", f"{WORLD}.3")
    with _sockets(world, [(h, p) for h in hosts for p in PORTS], is_ipv6=is_ipv6) as servers:
        first, other_port, other_host, _ = servers
        with _sockets(host, [("::" if is_ipv6 else "0.0.0.0", port)], is_ipv6=is_ipv6) as (own,):
            seen = [_seen_at(own, first)]
            if seen[0] is None:
                return NONE
            lets_in = [_comes(server, own, seen[0]) for server in (first, other_port, other_host)]
            seen += [_seen_at(own, server) for server in (other_port, other_host)]
    mapping = {(True, True): "endpoint-independent", (True, False): "address-dependent"}.get(
        (seen[0] == seen[1], seen[0] == seen[2]), "address and port-dependent"
    )
    assert lets_in[0], "what answers comes through"
    filtering = {(True, True): "endpoint-independent", (True, False): "address-dependent"}.get(
        (lets_in[1], lets_in[2]), "address and port-dependent"
    )
    return Behaviour(mapping, filtering)


@contextlib.contextmanager
def _sockets(
    space: Namespace, places: list[Place], *, is_ipv6: bool
) -> Iterator[list[socket.socket]]:
    def make() -> list[socket.socket]:
        made = []
        for place in places:
            each = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
            each.settimeout(ANSWER_TIMEOUT_S)
            made.append(each)
            each.bind(place)
        return made

    made = space.call(make)
    try:
        yield made
    finally:
        for each in made:
            each.close()


def _seen_at(own: socket.socket, server: socket.socket) -> Place | None:
    """From where the server sees a datagram come; None if it does not."""
    with contextlib.suppress(OSError):
        own.sendto(b"hello", server.getsockname()[:2])
        place: Place = server.recvfrom(100)[1][:2]
        return place
    return None


def _comes(server: socket.socket, own: socket.socket, place: Place) -> bool:
    with contextlib.suppress(OSError):
        server.sendto(b"answer", place)
        return own.recvfrom(100)[0] == b"answer"
    return False
