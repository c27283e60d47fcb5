"""PCP (RFC 6887), the part that opens a UDP port of an IPv4 router. No I/O.

One datagram of 60 bytes each way. A nonce, fresh for each mapping, keeps others from closing or
answering for it who do not see the datagrams.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from struct import Struct
from typing import Final

from protocol.errors import Malformed
from protocol.mapped_port import PortRefused

VERSION: Final = 2
MAP: Final = 1
ANNOUNCE: Final = 0
ANSWER: Final = 0x80
UDP: Final = 17
NONCE_SIZE: Final = 12
ANSWER_LENGTH_MAX: Final = 1100
UNSUPPORTED_VERSION: Final = 1
_REQUEST: Final = Struct("!BBHI16s12sB3xHH16s")
_HEAD: Final = Struct("!BBBBII12x")
_BODY: Final = Struct("!12sB3xHH16s")
REFUSALS: Final = {
    2: "the router lets nobody open ports",
    3: "the router does not understand the request",
    4: "the router knows no such request",
    7: "the router is not connected itself",
    8: "the router has no port left",
    11: "the router cannot give an outside address",
    12: "another router is between this device and the one that answers",
}


@dataclass(frozen=True, slots=True)
class Mapped:
    """A port that was opened; its lifetime is 0 when it was closed."""

    epoch_s: int
    lifetime_s: int
    nonce: bytes
    internal_port: int
    external_port: int
    host: str


@dataclass(frozen=True, slots=True)
class OtherVersion:
    """The router speaks NAT-PMP only, or a PCP that we do not."""


def map_request(
    nonce: bytes, client: str, internal_port: int, external_port: int, lifetime_s: int
) -> bytes:
    """Asks for a port for `client`, the IPv4 address this is sent from; 0 seconds closes it."""
    own, anywhere = (IPv6Address(f"::ffff:{host}").packed for host in (client, "0.0.0.0"))  # noqa: S104 - "any"
    return _REQUEST.pack(
        VERSION, MAP, 0, lifetime_s, own, nonce, UDP, internal_port, external_port, anywhere
    )


def read_answer(datagram: bytes) -> Mapped | OtherVersion:
    """What a router says to a request; raises Malformed, or PortRefused if it says no."""
    if len(datagram) >= 4 and datagram[0] == 0 and datagram[1] & ANSWER:
        return OtherVersion()  # RFC 6887, appendix A: a router that knows NAT-PMP alone
    if not _HEAD.size <= len(datagram) <= ANSWER_LENGTH_MAX or len(datagram) % 4:
        raise Malformed("no answer of PCP")
    version, operation, _, code, lifetime_s, epoch_s = _HEAD.unpack_from(datagram)
    if code == UNSUPPORTED_VERSION:
        return OtherVersion()
    if version != VERSION or operation != ANSWER | MAP or len(datagram) < _HEAD.size + _BODY.size:
        raise Malformed("no answer of PCP")
    nonce, protocol, internal, external, host = _BODY.unpack_from(datagram, _HEAD.size)
    if protocol != UDP:
        raise Malformed("an answer for another protocol")
    if code:
        raise PortRefused(REFUSALS.get(code, f"the router says error {code}"))
    address = IPv6Address(host).ipv4_mapped
    if address is None:
        raise Malformed("not an IPv4 address")
    return Mapped(epoch_s, lifetime_s, nonce, internal, external, str(address))


def read_announcement(datagram: bytes) -> int:
    """The epoch that a router announces after it has restarted; raises Malformed. NAT-PMP's too."""
    if len(datagram) == 12 and datagram[0] == 0 and datagram[1] == 128:
        return int.from_bytes(datagram[4:8], "big")
    if not _HEAD.size <= len(datagram) <= ANSWER_LENGTH_MAX:
        raise Malformed("no announcement")
    version, operation, _, code, _, epoch_s = _HEAD.unpack_from(datagram)
    if version != VERSION or operation != ANSWER | ANNOUNCE or code:
        raise Malformed("no announcement")
    epoch: int = epoch_s
    return epoch
