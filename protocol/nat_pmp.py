"""NAT-PMP (RFC 6886), the part that opens a UDP port. No I/O.

Two datagrams of at most 16 bytes, fixed in every field; anything else is Malformed.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from struct import Struct
from typing import Final

from protocol.errors import Malformed
from protocol.mapped_port import PortRefused

PORT: Final = 5351
"""Of the router; PCP's too."""
ANNOUNCED_AT: Final = ("224.0.0.1", 5350)
"""Where a router says that it has restarted or has another address."""
VERSION: Final = 0
EXTERNAL: Final = 0
MAP_UDP: Final = 1
ANSWER: Final = 128
_MAP: Final = Struct("!BBHHHI")
_HEAD: Final = Struct("!BBHI")
_EXTERNAL_ANSWER: Final = Struct("!BBHI4s")
_MAP_ANSWER: Final = Struct("!BBHIHHI")
REFUSALS: Final = {
    1: "the router speaks another version",
    2: "opening ports is switched off in the router",
    3: "the router is not connected itself",
    4: "the router has no port left",
    5: "the router knows no such request",
}


@dataclass(frozen=True, slots=True)
class External:
    """The router's outside address."""

    epoch_s: int
    host: str


@dataclass(frozen=True, slots=True)
class Mapped:
    """A port that was opened; its lifetime is 0 when it was closed."""

    epoch_s: int
    internal_port: int
    external_port: int
    lifetime_s: int


def external_request() -> bytes:
    """Asks for the router's outside address."""
    return bytes((VERSION, EXTERNAL))


def map_request(internal_port: int, external_port: int, lifetime_s: int) -> bytes:
    """Asks for a port; a lifetime of 0 closes it."""
    return _MAP.pack(VERSION, MAP_UDP, 0, internal_port, external_port, lifetime_s)


def read_answer(datagram: bytes) -> External | Mapped:
    """What a router says; raises Malformed, or PortRefused if it says no."""
    if len(datagram) < _HEAD.size or datagram[0] != VERSION:
        raise Malformed("no answer of NAT-PMP")
    _, operation, code, epoch_s = _HEAD.unpack_from(datagram)
    if code:
        raise PortRefused(REFUSALS.get(code, f"the router says error {code}"))
    if operation == ANSWER + EXTERNAL and len(datagram) == _EXTERNAL_ANSWER.size:
        return External(epoch_s, str(IPv4Address(_EXTERNAL_ANSWER.unpack(datagram)[4])))
    if operation == ANSWER + MAP_UDP and len(datagram) == _MAP_ANSWER.size:
        _, _, _, _, internal, external, lifetime_s = _MAP_ANSWER.unpack(datagram)
        return Mapped(epoch_s, internal, external, lifetime_s)
    raise Malformed("no answer of NAT-PMP")
