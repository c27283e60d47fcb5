"""Before there is a connection of HTTP/3: versions, Retry, tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from aioquic.quic.connection import QuicConnection

from protocol.quic_door import Initial, read_initial
from relay.http3_connection import server_configuration
from relay.http3_door import Http3Door
from relay.web_server import Certificate
from tests.relay.http3_visitor import client_configuration
from tests.relay.relay_stage import LOOPBACK

SERVER, CLIENT, ELSEWHERE = (LOOPBACK, 1), (LOOPBACK, 2), ("198.51.100.7", 2)
NEW_ID = b"retry-id"


@pytest.fixture
def door(tmp_path: Path) -> Http3Door:
    certificate = Certificate.self_signed(tmp_path, LOOPBACK)
    return Http3Door(server_configuration(certificate.certificate, certificate.key))


def first_flight(client: QuicConnection) -> Initial:
    (datagram, _), *_ = client.datagrams_to_send(0.0)
    initial = read_initial(datagram)
    assert initial is not None
    return initial


def begun() -> tuple[QuicConnection, Initial]:
    client = QuicConnection(configuration=client_configuration())
    client.connect(SERVER, 0.0)
    return client, first_flight(client)


def test_other_versions_are_told_ours(door: Http3Door) -> None:
    _, initial = begun()
    assert door.negotiate(initial) is None
    answer = door.negotiate(replace(initial, version=0x1A2A3A4A))
    assert answer is not None
    assert (1).to_bytes(4, "big") in answer


def test_a_token_is_good_for_its_address_its_id_and_a_short_time(door: Http3Door) -> None:
    client, initial = begun()
    assert door.accept(initial, CLIENT, 0.0) is not None
    client.receive_datagram(door.retry(initial, CLIENT, NEW_ID, 0.0), SERVER, 0.0)
    again = first_flight(client)
    assert again.token
    assert again.destination_id == NEW_ID
    assert door.accept(again, CLIENT, 1.0) is not None
    assert door.accept(again, ELSEWHERE, 1.0) is None
    assert door.accept(again, CLIENT, 60.0) is None
    assert door.accept(replace(again, destination_id=b"another1"), CLIENT, 1.0) is None
    assert door.accept(replace(again, token=b"no token of ours"), CLIENT, 1.0) is None
