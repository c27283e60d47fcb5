"""What a device and a relay say to each other: whole, bounded, and refused otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import wire
from protocol.errors import Malformed, ProtocolError, TooLong, Unexpected
from protocol.relay_messages import (
    FORMS,
    NAMEPLATES_MAX,
    RELAY_FRAME_LENGTH_MAX,
    RENDEZVOUS_MAX,
    STREAM_MAGIC,
    STREAM_PREFIX_SIZE,
    Admission,
    Admit,
    Call,
    Called,
    CallOutcome,
    Incoming,
    Register,
    Registered,
    RelayAsk,
    RelayKeys,
    RelayMessage,
    RelayNumber,
    RelayPing,
    RelayPong,
    UdpAsk,
    UdpKey,
    decode,
    encode,
    read_stream_prefix,
    stream_prefix,
)

PREFIX = b"\x80" + b"p" * 7

SAMPLES: list[RelayMessage] = [
    RelayAsk(1, b"p" * 32),
    RelayKeys(1, b"s" * 32, b"d" * 32),
    Register(1, (b"r" * 16,) * 3, (7, 9999)),
    Registered(1, (7,)),
    Call(2, b"r" * 16),
    Call(2, 7),
    Called(2, CallOutcome.CONNECTED, b"t" * 32, b""),
    Called(2, CallOutcome.CONNECTED, b"t" * 32, PREFIX),
    Called(2, CallOutcome.NOT_THERE, b"", b""),
    Incoming(b"t" * 32, PREFIX),
    UdpAsk(3),
    UdpKey(3, b"c" * 8, b"k" * 32),
    Admit(b"a" * 16),
    Admission(2),
    RelayPing((1 << 64) - 1),
    RelayPong(0),
]


@pytest.mark.parametrize("message", SAMPLES, ids=repr)
def test_a_message_is_read_as_it_was_written(message: RelayMessage) -> None:
    assert decode(*encode(message)) == message


def test_every_message_has_a_sample() -> None:
    assert {type(message) for message in SAMPLES} == {form.type for form in FORMS.values()}
    assert list(FORMS) == list(RelayNumber)


def test_the_longest_registration_fits_a_frame() -> None:
    longest = Register((1 << 32) - 1, (b"r" * 16,) * RENDEZVOUS_MAX, (9999,) * NAMEPLATES_MAX)
    number, payload = encode(longest)
    assert len(payload) <= RELAY_FRAME_LENGTH_MAX
    assert decode(number, payload) == longest


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (RelayNumber.RELAY_ASK, [2, b"p" * 32]),
        (RelayNumber.RELAY_KEYS, [1, b"s" * 31, b"d" * 32]),
        (RelayNumber.REGISTER, [1, [b"r" * 15], []]),
        (RelayNumber.REGISTER, [1, [], [0]]),
        (RelayNumber.REGISTER, [1, [], [10_000]]),
        (RelayNumber.REGISTER, [1, [], [True]]),
        (RelayNumber.REGISTER, [1, [], [7] * (NAMEPLATES_MAX + 1)]),
        (RelayNumber.REGISTER, [1, [b"r" * 16] * (RENDEZVOUS_MAX + 1), []]),
        (RelayNumber.REGISTER, [1 << 32, [], []]),
        (RelayNumber.CALL, [1, b"r" * 32]),
        (RelayNumber.CALL, [1, 0]),
        (RelayNumber.CALL, [1, "7"]),
        (RelayNumber.CALLED, [1, 0, b"", b""]),
        (RelayNumber.CALLED, [1, 1, b"t" * 32, b""]),
        (RelayNumber.CALLED, [1, 4, b"", b""]),
        (RelayNumber.CALLED, [1, 0, b"t", b""]),
        (RelayNumber.CALLED, [1, 0, b"t" * 32, b"p" * 7]),
        (RelayNumber.CALLED, [1, 0, b"t" * 32, b"\xc0" + b"p" * 7]),
        (RelayNumber.INCOMING, [b"", b""]),
        (RelayNumber.INCOMING, [b"t" * 32, 1]),
        (RelayNumber.UDP_ASK, []),
        (RelayNumber.ADMIT, [b"a" * 15]),
        (RelayNumber.ADMISSION, [3]),
        (RelayNumber.UDP_KEY, [1, b"c" * 7, b"k" * 32]),
        (RelayNumber.RELAY_PING, [-1]),
        (RelayNumber.RELAY_PONG, []),
    ],
)
def test_what_is_not_of_the_schema_is_refused(number: int, value: object) -> None:
    with pytest.raises((Malformed, TooLong)):
        decode(number, wire.encode(value))


def test_other_numbers_and_longer_frames_are_refused() -> None:
    for number in (0, 1, 16, 47, 63, 255):
        with pytest.raises(Unexpected):
            decode(number, wire.encode([]))
    with pytest.raises(TooLong):
        decode(RelayNumber.REGISTER, bytes(RELAY_FRAME_LENGTH_MAX + 1))


@pytest.mark.row("A33")
@given(number=st.integers(0, 255), payload=st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_protocol_error(number: int, payload: bytes) -> None:
    try:
        message = decode(number, payload)
    except ProtocolError:
        return
    assert encode(message) == (number, payload)


def test_a_stream_begins_with_its_ticket_and_not_like_tls() -> None:
    prefix = stream_prefix(b"t" * 32)
    assert len(prefix) == STREAM_PREFIX_SIZE
    assert prefix[0] != 0x16, "a TLS handshake begins with it"
    assert read_stream_prefix(prefix) == b"t" * 32
    for wrong in (b"", prefix[:-1], prefix + b"x", b"HFR2" + b"t" * 32, STREAM_MAGIC):
        with pytest.raises(Malformed):
            read_stream_prefix(wrong)
