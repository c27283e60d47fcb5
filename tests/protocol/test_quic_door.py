from __future__ import annotations

from random import Random

import pytest
from aioquic.quic.connection import QuicConnection
from hypothesis import given
from hypothesis import strategies as st

from protocol.quic import Connection, client_configuration
from protocol.quic_door import Initial, destination_id, read_initial
from tests.protocol.quic_pair import CLIENT, DOOR, SERVER

ELSEWHERE = ("198.51.100.7", 1)
NEW_ID = b"retry-id"


def first_flight() -> tuple[QuicConnection, bytes, Initial]:
    client = Connection(client_configuration())
    client.connect(SERVER, 0.0)
    ((datagram, _),) = client.datagrams_to_send(0.0)
    initial = read_initial(datagram)
    assert initial is not None
    return client, datagram, initial


def with_token(now: float = 0.0) -> tuple[bytes, Initial]:
    """What a client sends after it was asked to show its address."""
    client, _, initial = first_flight()
    client.receive_datagram(DOOR.retry(initial, CLIENT, NEW_ID, now), SERVER, now)
    ((datagram, _),) = client.datagrams_to_send(now)
    again = read_initial(datagram)
    assert again is not None
    return datagram, again


def test_a_first_packet_is_read_and_named_by_its_id() -> None:
    _, datagram, initial = first_flight()
    assert len(datagram) == 1_200
    assert initial.token == b""
    assert destination_id(datagram) == initial.destination_id
    assert destination_id(b"\x40abcdefghxyz") == b"abcdefgh"
    assert DOOR.negotiate(initial) is None
    assert read_initial(datagram[:1_199]) is None


@pytest.mark.parametrize(("size", "is_read"), [(0, False), (7, False), (8, True), (20, True)])
def test_a_first_packet_is_for_an_id_that_nobody_else_has(size: int, is_read: bool) -> None:
    """Shorter ones no client sends, and an empty one is that of all that is no QUIC."""
    _, datagram, initial = first_flight()
    rest = datagram[6 + len(initial.destination_id) :]
    other = datagram[:5] + bytes([size]) + bytes(size) + rest
    assert (read_initial(other.ljust(1_200, b"\0")) is not None) is is_read


def test_an_unknown_version_gets_ours_in_fewer_bytes_than_it_sent() -> None:
    _, datagram, _ = first_flight()
    odd = datagram[:1] + b"\x1a\x2a\x3a\x4a" + datagram[5:]
    initial = read_initial(odd)
    if initial is not None:
        answer = DOOR.negotiate(initial)
        assert answer is not None
        assert len(answer) < 60


def test_a_retry_token_is_good_for_its_address_its_id_and_a_short_time() -> None:
    datagram, initial = with_token()
    assert initial.destination_id == NEW_ID
    assert DOOR.accept(initial, CLIENT, 1.0) is not None
    assert DOOR.accept(initial, ELSEWHERE, 1.0) is None
    assert DOOR.accept(initial, CLIENT, 31.0) is None
    other = Initial(b"other-id", initial.source_id, initial.version, initial.token)
    assert DOOR.accept(other, CLIENT, 1.0) is None
    server = DOOR.accept(initial, CLIENT, 1.0)
    assert server is not None
    server.receive([datagram], CLIENT, 1.0)
    assert server.take_datagrams(1.0)


def test_a_forged_token_is_refused() -> None:
    _, initial = with_token()
    for at in range(0, len(initial.token), 7):
        token = bytearray(initial.token)
        token[at] ^= 1
        forged = Initial(initial.destination_id, b"", initial.version, bytes(token))
        assert DOOR.accept(forged, CLIENT, 1.0) is None


@pytest.mark.row("A27")
def test_a27_an_address_that_is_not_shown_gets_three_times_what_it_sent_at_most() -> None:
    _, datagram, initial = first_flight()
    server = DOOR.accept(initial, CLIENT, 0.0)
    assert server is not None
    server.receive([datagram], CLIENT, 0.0)
    sent, now = 0, 0.0
    for _ in range(40):
        for datagrams, _ in server.take_datagrams(now):
            sent += sum(map(len, datagrams))
        at = server.get_timer()
        if at is None:
            break
        now = at
        server.handle_timer(now)
    assert 0 < sent <= 3 * len(datagram)
    assert len(DOOR.retry(initial, CLIENT, NEW_ID, 0.0)) < len(datagram) // 3


@given(st.binary(min_size=1, max_size=1_400))
def test_any_bytes_are_read_or_not(data: bytes) -> None:
    destination_id(data)
    initial = read_initial(b"\xc0\0\0\0\1" + data)
    if initial is not None:
        DOOR.accept(initial, CLIENT, 0.0)


def test_a_connection_that_read_nothing_has_nothing_to_send() -> None:
    _, datagram, initial = first_flight()
    server = DOOR.accept(initial, CLIENT, 0.0)
    assert server is not None
    assert server.take_datagrams(0.0) == []
    damaged = datagram[:100] + Random(1).randbytes(len(datagram) - 100)
    server.receive([damaged], CLIENT, 0.0)
    assert server.take_datagrams(0.0) == []
