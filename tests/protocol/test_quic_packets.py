"""Our bursts against aioquic's own packets, both ways."""

from __future__ import annotations

from random import Random

from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicProtocolVersion, decode_packet_number
from aioquic.tls import CipherSuite
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.quic_engine import _packet_keys
from protocol.quic_packets import (
    CONNECTION_ID_SIZE,
    STREAM_HEAD,
    TAG_SIZE,
    full_number,
    open_burst,
    payload_room,
    seal_burst,
)

CID = b"12345678"
RANDOM = Random(2)


def crypto_pair(suite: CipherSuite = CipherSuite.AES_256_GCM_SHA384) -> CryptoPair:
    pair = CryptoPair()
    for side in (pair.send, pair.recv):
        side.setup(cipher_suite=suite, secret=b"s" * 48, version=int(QuicProtocolVersion.VERSION_1))
    return pair


PAIR = crypto_pair()
SEALING = _packet_keys(PAIR.send, 0, is_sealing=True)
OPENING = _packet_keys(PAIR.recv, 0, is_sealing=False)
payload_lists = st.lists(st.binary(min_size=4, max_size=1_400), min_size=1, max_size=10)
numbers = st.integers(0, (1 << 40) - 1)


@given(payload_lists, numbers, st.booleans())
def test_aioquic_opens_what_we_seal(payloads: list[bytes], number: int, spin: bool) -> None:
    for datagram, payload in zip(
        seal_burst(SEALING, CID, number, payloads, spin=spin), payloads, strict=True
    ):
        header, plain, found = PAIR.decrypt_packet(datagram, 1 + len(CID), number)
        assert (plain, found) == (payload, number)
        assert header[1:9] == CID
        assert bool(header[0] & 0x20) == spin
        number += 1


@given(payload_lists, numbers)
def test_we_open_what_aioquic_seals(payloads: list[bytes], number: int) -> None:
    datagrams = []
    for index, payload in enumerate(payloads):
        each = number + index
        header = b"\x41" + CID + (each & 0xFFFF).to_bytes(2, "big")
        datagrams.append(PAIR.encrypt_packet(header, payload, each))
    opened = open_burst(OPENING, CID, datagrams, number)
    assert opened.packets == list(enumerate(payloads, number))
    assert opened.rest == []
    assert opened.expected == number + len(payloads)


@given(payload_lists, numbers, st.randoms())
def test_a_damaged_packet_is_dropped_or_left_alone_and_the_others_open(
    payloads: list[bytes], number: int, random: Random
) -> None:
    datagrams = seal_burst(SEALING, CID, number, payloads)
    at = random.randrange(len(datagrams))
    place = random.randrange(len(datagrams[at]))
    broken = bytearray(datagrams[at])
    broken[place] ^= 1 << random.randrange(8)
    opened = open_burst(
        OPENING, CID, [*datagrams[:at], bytes(broken), *datagrams[at + 1 :]], number
    )
    good = [(number + index, each) for index, each in enumerate(payloads) if index != at]
    assert opened.packets == good
    assert opened.rest in ([], [bytes(broken)])


def test_what_is_not_ours_is_left_as_it_came() -> None:
    payload = b"x" * 30
    (other_id,) = seal_burst(SEALING, b"87654321", 5, [payload])
    other_phase = _packet_keys(PAIR.send, 1, is_sealing=True)
    (update,) = seal_burst(other_phase, CID, 5, [payload])
    long_header = b"\xc0" + CID + bytes(40)
    short = b"\x40" + CID + bytes(10)
    (good,) = seal_burst(SEALING, CID, 5, [payload])
    opened = open_burst(OPENING, CID, [other_id, update, good, long_header, short], 5)
    assert opened.packets == [(5, payload)]
    assert sorted(opened.rest) == sorted([other_id, update, long_header, short])
    assert open_burst(OPENING, CID, [], 5).packets == []


def test_full_packets_fill_the_datagram() -> None:
    for size in (1_200, 1_450, 8_900):
        payload = STREAM_HEAD.pack(0x0C, 2, 0) + bytes(payload_room(size, CID, STREAM_HEAD.size))
        (datagram,) = seal_burst(SEALING, CID, 0, [payload])
        assert len(datagram) == size
    assert len(CID) == CONNECTION_ID_SIZE
    assert TAG_SIZE == 16


@given(st.integers(0, (1 << 62) - 1), st.integers(1, 4), st.data())
@settings(max_examples=300)
def test_packet_numbers_are_completed_as_the_standard_says(
    expected: int, size: int, data: st.DataObject
) -> None:
    truncated = data.draw(st.integers(0, (1 << 8 * size) - 1))
    number = full_number(truncated, size, expected)
    assert number == decode_packet_number(truncated, 8 * size, expected)
    assert number % (1 << 8 * size) == truncated
