"""QUIC packets with a short header, a burst at a time: the bytes of RFC 9001 section 5.

One call of the cipher makes the header protection of a whole burst, which is most of what
aioquic's way costs in Python. AES only; who talks ChaCha20 goes the slow way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag

CONNECTION_ID_SIZE: Final = 8
TAG_SIZE: Final = 16
NUMBER_SIZE: Final = 2
"""Bytes of the packet number that we send: enough for 32,768 packets in flight."""
FIXED_BIT: Final = 0x40
SPIN_BIT: Final = 0x20
RESERVED_BITS: Final = 0x18
KEY_PHASE_BIT: Final = 0x04
STREAM_HEAD: Final = Struct(">BBQ")
"""The frame of bulk data: type, stream id below 64, offset as an 8-byte integer; no length."""
SHORT_STREAM_IDS: Final = 64
"""Stream ids below it are one byte."""
STREAM_TYPE: Final = 0x0C
OFFSET_8_BYTES: Final = 0xC0 << 56
_PROTECTED_BITS: Final = 0x1F
_SAMPLE_SIZE: Final = 16
_SAMPLE_BEHIND_NUMBER: Final = 4
"""The sample starts where the payload would if the packet number had 4 bytes (RFC 9001, 5.4.2)."""

Seal = Callable[[bytes, bytes, bytes], bytes]
"""(nonce, data, associated data) -> data, both ways."""


@dataclass(frozen=True, slots=True)
class PacketKeys:
    """One direction's keys at one moment."""

    seal: Seal
    """Or open; raises InvalidTag."""
    mask: Callable[[bytes], bytes]
    """AES-ECB of the samples, one after the other."""
    iv: int
    key_phase: int

    def nonce(self, number: int) -> bytes:
        """RFC 9001, 5.3."""
        return (self.iv ^ number).to_bytes(12, "big")


def payload_room(datagram_size: int, connection_id: bytes, head_size: int) -> int:
    """How much stream data one full packet of `seal_burst` carries behind a frame's head."""
    overhead = 1 + len(connection_id) + NUMBER_SIZE + head_size + TAG_SIZE
    return datagram_size - overhead


def seal_burst(
    keys: PacketKeys,
    connection_id: bytes,
    number: int,
    payloads: Sequence[bytes],
    *,
    spin: bool = False,
) -> list[bytes]:
    """Packets `number`, `number + 1` ... with these payloads (4 bytes at least), ready to send."""
    first = FIXED_BIT | SPIN_BIT * spin | KEY_PHASE_BIT * keys.key_phase | NUMBER_SIZE - 1
    prefix = bytes((first,)) + connection_id
    seal, nonce = keys.seal, keys.nonce
    bodies = [
        seal(nonce(each), payload, prefix + (each & 0xFFFF).to_bytes(NUMBER_SIZE, "big"))
        for each, payload in enumerate(payloads, number)
    ]
    start = _SAMPLE_BEHIND_NUMBER - NUMBER_SIZE
    masks = keys.mask(b"".join([body[start : start + _SAMPLE_SIZE] for body in bodies]))
    datagrams: list[bytes] = []
    for at, body in zip(range(0, len(masks), _SAMPLE_SIZE), bodies, strict=True):
        head = bytes((first ^ (masks[at] & _PROTECTED_BITS),))
        hidden = (number & 0xFFFF) ^ (masks[at + 1] << 8 | masks[at + 2])
        datagrams.append(b"".join((head, connection_id, hidden.to_bytes(2, "big"), body)))
        number += 1
    return datagrams


@dataclass(slots=True)
class OpenedBurst:
    """What came out of a burst."""

    packets: list[tuple[int, bytes]]
    """Packet number and plain payload."""
    rest: list[bytes]
    """Datagrams for other keys or connection ids, or that break a rule: untouched."""
    expected: int
    """The next packet number, to open the next burst with."""


def open_burst(
    keys: PacketKeys, connection_id: bytes, datagrams: Sequence[bytes], expected: int
) -> OpenedBurst:
    """Opens the packets that are for these keys; what does not open is dropped."""
    number_at = 1 + len(connection_id)
    sample_at = number_at + _SAMPLE_BEHIND_NUMBER
    shortest = sample_at + _SAMPLE_SIZE
    ours: list[bytes] = []
    burst = OpenedBurst([], [], expected)
    for datagram in datagrams:
        is_short = datagram[0] < 0x80 and datagram[1:number_at] == connection_id
        (ours if is_short and len(datagram) >= shortest else burst.rest).append(datagram)
    masks = keys.mask(b"".join([datagram[sample_at:shortest] for datagram in ours]))
    for at, datagram in zip(range(0, len(masks), _SAMPLE_SIZE), ours, strict=True):
        first = datagram[0] ^ (masks[at] & _PROTECTED_BITS)
        size = (first & 3) + 1
        if first & RESERVED_BITS or bool(first & KEY_PHASE_BIT) != keys.key_phase:
            burst.rest.append(datagram)  # an error to close for, or an update of keys
            continue
        body_at = number_at + size
        hidden = int.from_bytes(datagram[number_at:body_at], "big")
        truncated = hidden ^ int.from_bytes(masks[at + 1 : at + 1 + size], "big")
        number = full_number(truncated, size, burst.expected)
        header = b"".join((bytes((first,)), connection_id, truncated.to_bytes(size, "big")))
        try:
            plain = keys.seal(keys.nonce(number), datagram[body_at:], header)
        except InvalidTag:
            continue
        burst.expected = max(burst.expected, number + 1)
        burst.packets.append((number, plain))
    return burst


def full_number(truncated: int, size: int, expected: int) -> int:
    """The packet number nearest to the expected one that ends in these bytes (RFC 9000, A.3)."""
    window = 1 << 8 * size
    number = (expected & -window) | truncated
    if number <= expected - window // 2 and number < (1 << 62) - window:
        return number + window
    if number > expected + window // 2 and number >= window:
        return number - window
    return number
