"""The short way of sending and reading, and what it must do as aioquic's own way does."""

from __future__ import annotations

import ssl

import pytest
from aioquic.quic import packet_builder
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.recovery import QuicPacketRecovery
from aioquic.quic.stream import QuicStreamReceiver, QuicStreamSender
from aioquic.tls import Epoch

from protocol import quic_engine, quic_packets
from protocol.quic import Connection, client_configuration
from tests.protocol.quic_pair import BULK, DATA, QuicPair, move


def test_keys_are_updated_before_they_are_worn_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quic_engine, "KEY_PACKETS_MAX", 200)
    pair = QuicPair()
    first = pair.client._cryptos[Epoch.ONE_RTT].send.secret
    phases = set()
    for start in range(0, len(DATA), 1 << 18):
        pair.client.send_stream_data(BULK, DATA[start : start + (1 << 18)])
        pair.run(2.0)
        phases.add(pair.client._cryptos[Epoch.ONE_RTT].key_phase)
    assert bytes(pair.server_heard.streams[BULK]) == DATA
    assert phases == {0, 1}
    assert pair.client._cryptos[Epoch.ONE_RTT].send.secret != first


# Sizes of datagrams


def test_datagrams_grow_to_what_the_path_carries() -> None:
    for length_max, expected in ((65_535, 8_900), (1_500, 1_450), (1_400, 1_200)):
        pair = QuicPair(length_max=length_max)
        move(pair, DATA[: 256 << 10])
        pair.run(5.0)
        assert pair.client.datagram_size == expected


def test_lost_size_probes_do_not_slow_the_sender_down() -> None:
    pair = QuicPair(length_max=1_300)
    move(pair)
    assert pair.client._cubic.ssthresh is None


def test_a_path_that_shrinks_is_noticed() -> None:
    pair = QuicPair()
    move(pair, DATA[: 128 << 10])
    pair.run(1.0)
    assert pair.client.datagram_size == 8_900
    pair.length_max = 1_250
    received = pair.server_heard.streams[BULK]
    pair.client.send_stream_data(BULK, DATA[: 64 << 10])
    pair.run(30.0, until=lambda: len(received) == 192 << 10)
    assert len(received) == 192 << 10
    assert pair.client.datagram_size == 1_200


def test_nothing_is_probed_before_the_other_side_is_known() -> None:
    pair = QuicPair(is_admitted=False)
    pair.run(2.0)
    assert pair.client.datagram_size == pair.server.datagram_size == 1_200


def test_datagrams_are_no_longer_than_the_other_side_takes() -> None:
    for longest, expected in ((1_472, 1_450), (1_300, 1_200)):
        pair = QuicPair(takes=longest)
        move(pair, DATA[: 256 << 10])
        pair.run(5.0)
        assert pair.client.datagram_size == expected


def test_canary_the_private_parts_that_we_lean_on() -> None:
    """Fails first when aioquic moves something; then read its changes before raising the pin."""
    connection = Connection(client_configuration())
    for name in (
        "_ack_delay _ack_eliciting_sent_since_receipt _close_at _close_event _close_pending"
        " _cryptos _crypto_streams _events _handshake_confirmed _handshake_done_pending _host_cids"
        " _local_max_data _local_max_streams_bidi _local_max_streams_uni _loss _max_datagram_size"
        " _network_paths _pacing_at _packet_number _peer_cid _ping_pending _probe_pending"
        " _remote_max_data _remote_max_data_used _retire_connection_ids _spaces _spin_bit _state"
        " _streams _streams_blocked_pending _streams_queue"
    ).split():
        assert name in vars(connection), name
    for name in (
        "_handle_ack_frame _idle_timeout _on_connection_limit_delivery _on_max_stream_data_delivery"
        " _parse_transport_parameters _payload_received _serialize_transport_parameters"
        " _write_connection_limits _write_stream_limits"
    ).split():
        assert callable(getattr(QuicConnection, name)), name
    assert {"_cc", "_pacer", "_pto_count"} <= vars(connection._loss).keys()
    assert callable(QuicPacketRecovery.on_packet_sent)
    sender, receiver = QuicStreamSender(0, True), QuicStreamReceiver(0, True)
    assert {"_buffer", "_buffer_start", "_buffer_stop", "_pending", "_pending_eof"} <= vars(
        sender
    ).keys()
    assert {"_buffer", "_buffer_start", "highest_offset"} <= vars(receiver).keys()
    sender.write(b"what is reset is sent to nobody")
    sender.reset(0)
    assert sender.buffer_is_empty
    assert len(sender._pending)
    fields = list(QuicSentPacket.__dataclass_fields__)
    assert fields[:9] == [
        "epoch", "in_flight", "is_ack_eliciting", "is_crypto_packet", "packet_number",
        "packet_type", "sent_time", "sent_bytes", "delivery_handlers",
    ]  # fmt: skip
    assert packet_builder.PACKET_NUMBER_SEND_SIZE == quic_packets.NUMBER_SIZE
    assert client_configuration().verify_mode == ssl.CERT_NONE
    assert isinstance(client_configuration(), QuicConfiguration)
