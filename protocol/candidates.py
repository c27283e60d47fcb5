"""Addresses at which a device may be reached, as one device tells another. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final, NamedTuple, Protocol

from protocol.errors import Malformed

CANDIDATES_MAX: Final = 12
"""Told at once; each is probed, so it bounds what a lying device can have sent to others."""
PORT_MIN: Final = 1024
"""Below are the services of other machines, and no port that a device listens on by itself."""


class CandidateKind(IntEnum):
    """How a device knows an address of its own."""

    LOCAL = 1
    """One of the machine's own."""
    OBSERVED = 2
    """What a relay saw of it: the outside of a router."""
    MAPPED = 3
    """A port of a router that was opened for it."""


class Candidate(NamedTuple):
    """One address of one's own, in the order of the wire."""

    kind: int
    host: str
    """Numeric; IPv6 without brackets and zone."""
    port: int

    @property
    def preference(self) -> tuple[bool, int]:
        """The smaller the better: IPv6 first, where no router has to remember anything."""
        return ":" not in self.host, self.kind


class CandidateSource(Protocol):
    """Whoever knows addresses of this device that no interface and no relay shows.

    A port mapping is one. It is asked each time that addresses are told, and must not wait; when it
    knows more than before it calls `Punching.addresses_changed`.
    """

    def candidates(self) -> Sequence[Candidate]:
        """The addresses that are good now."""


def is_probeable(host: str, port: int, *, may_be_loopback: bool) -> bool:
    """Whether anything may be sent to an address that somebody else named.

    Never to many machines at once, nor to this one, unless this device listens on nothing else.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if not PORT_MIN <= port <= 65535 or address.is_multicast or address.is_unspecified:
        return False
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address.is_link_local):
        return False  # the one is another way to name an IPv4 address, the other needs a zone
    if isinstance(address, IPv4Address) and (address.packed[0] in (0, 255) or address.is_reserved):
        return False
    return may_be_loopback or not address.is_loopback


def check_host(value: Any) -> str:
    """A host as it stands in a message: numeric, in its one shortest spelling; raises Malformed."""
    try:
        if type(value) is str and str(ip_address(value)) == value and "%" not in value:
            return value
    except ValueError:
        pass
    raise Malformed("not the address of a host")


def pack_host(host: str) -> bytes:
    """Four or sixteen bytes."""
    return ip_address(host).packed


def read_host(packed: bytes) -> str:
    """The inverse of `pack_host`; an IPv4 address in IPv6's clothes is told as what it is."""
    if len(packed) not in (4, 16):
        raise Malformed("neither an IPv4 nor an IPv6 address")
    address = ip_address(packed)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)
