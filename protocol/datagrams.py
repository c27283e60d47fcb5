"""What goes over the one UDP socket beside QUIC: four small datagrams and a prefix (SPEC 15).

QUIC's packets have the second bit of their first byte set; these have not. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from crypto.datagram_keys import DATAGRAM_TAG_SIZE, ROUND_ID_SIZE, address_mask, datagram_tag
from crypto.primitives import is_equal
from protocol.candidates import pack_host, read_host
from protocol.errors import Malformed

CLIENT_ID_SIZE: Final = 8
PREFIX_SIZE: Final = 8
PREFIX_BITS: Final = 0x80
"""What the first two bits of a prefix are; the other 62 are random."""
PREFIX_MASK: Final = 0xC0
COOKIE_SIZE: Final = 8
NO_COOKIE: Final = bytes(COOKIE_SIZE)
_SIGHT_SIZE: Final = 16 + 2 + COOKIE_SIZE
_SHOW: Final = Struct(f">B{CLIENT_ID_SIZE}sQ{_SIGHT_SIZE}s")
SHOW_SIZE: Final = _SHOW.size + DATAGRAM_TAG_SIZE
_PROBE: Final = Struct(f">B{ROUND_ID_SIZE}sBBB")
PROBE_SIZE: Final = _PROBE.size + DATAGRAM_TAG_SIZE
NO_INDEX: Final = 255
"""In place of a candidate's index: an address that was not told, but came to light."""


class DatagramType(IntEnum):
    """The first byte."""

    SHOW = 1
    """Device to relay: here is where I am."""
    SEEN = 2
    """Relay to device, as long as what it answers: this is the address that I see."""
    PROBE = 3
    """Device to device: does this way work?"""
    ECHO = 4
    """The answer to a probe, as long as it."""


class RelayedAddress(NamedTuple):
    """Another device behind a relay's forwarding; for QUIC it is an address like any other."""

    host: str
    port: int
    prefix: bytes
    """The session's 8 bytes, before each datagram."""


@dataclass(frozen=True, slots=True)
class Show:
    """SHOW and SEEN."""

    type: DatagramType
    client_id: bytes
    counter: int
    """Never the same twice in one direction under one key."""
    masked: bytes
    """A Sight, so that routers find no address in it."""


class Sight(NamedTuple):
    """What the relay sees, and what shows that its answer arrived there."""

    host: str
    port: int
    """`::` and 0 from a device."""
    cookie: bytes
    """Good for one address; zeros from a device that has none yet."""


@dataclass(frozen=True, slots=True)
class Probe:
    """PROBE and ECHO."""

    type: DatagramType
    round_id: bytes
    is_caller: bool
    """Who sent it: nothing that was sent comes back as an answer."""
    index: int
    """Of the candidate that it was sent to, in the order in which they were told; or NO_INDEX."""
    number: int


def read_type(datagram: bytes) -> DatagramType:
    """The type of a datagram; raises Malformed."""
    if not datagram or datagram[0] not in list(DatagramType):
        raise Malformed("a datagram of no type")
    return DatagramType(datagram[0])


def read_show(datagram: bytes) -> Show:
    """A SHOW or a SEEN, whose tag is still to be checked; raises Malformed."""
    if read_type(datagram) > DatagramType.SEEN or len(datagram) != SHOW_SIZE:
        raise Malformed("neither a SHOW nor a SEEN")
    kind, client_id, counter, masked = _SHOW.unpack_from(datagram)
    return Show(DatagramType(kind), client_id, counter, masked)


def write_show(
    key: bytes, kind: DatagramType, client_id: bytes, counter: int, sight: Sight
) -> bytes:
    """A SHOW, or the SEEN that answers it, which is exactly as long."""
    packed = pack_host(sight.host).rjust(16, b"\0") + sight.port.to_bytes(2, "big") + sight.cookie
    body = _SHOW.pack(kind, client_id, counter, _masked(key, kind, counter, packed))
    return body + datagram_tag(key, body)


def read_sight(key: bytes, show: Show) -> Sight:
    """What is in a SHOW or SEEN whose tag is good."""
    packed = _masked(key, show.type, show.counter, show.masked)
    host = packed[12:16] if not any(packed[:12]) and any(packed[12:16]) else packed[:16]
    return Sight(read_host(host), int.from_bytes(packed[16:18], "big"), packed[18:])


def _masked(key: bytes, kind: int, counter: int, packed: bytes) -> bytes:
    mask = address_mask(key, kind, counter, _SIGHT_SIZE)
    return bytes(a ^ b for a, b in zip(packed, mask, strict=True))


def read_probe(datagram: bytes) -> Probe:
    """A PROBE or an ECHO, whose tag is still to be checked; raises Malformed."""
    if read_type(datagram) < DatagramType.PROBE or len(datagram) != PROBE_SIZE:
        raise Malformed("neither a PROBE nor an ECHO")
    kind, round_id, is_caller, index, number = _PROBE.unpack_from(datagram)
    if is_caller not in (0, 1):
        raise Malformed("neither caller nor called")
    return Probe(DatagramType(kind), round_id, bool(is_caller), index, number)


def write_probe(key: bytes, probe: Probe) -> bytes:
    """A PROBE or an ECHO."""
    body = _PROBE.pack(probe.type, probe.round_id, probe.is_caller, probe.index, probe.number)
    return body + datagram_tag(key, body)


def is_authentic(key: bytes, datagram: bytes) -> bool:
    """Whether the tag that ends a datagram is of this key."""
    body, tag = datagram[:-DATAGRAM_TAG_SIZE], datagram[-DATAGRAM_TAG_SIZE:]
    return is_equal(tag, datagram_tag(key, body))


def new_prefix(random8: bytes) -> bytes:
    """A session's prefix from 8 random bytes."""
    assert len(random8) == PREFIX_SIZE
    return bytes((PREFIX_BITS | random8[0] & ~PREFIX_MASK & 0xFF,)) + random8[1:]
