"""The short way for stream data must do what aioquic's own way does."""

from __future__ import annotations

from random import Random

from aioquic.tls import Epoch
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import quic_engine
from protocol.quic import Connection
from protocol.quic_packets import OFFSET_8_BYTES, STREAM_HEAD, STREAM_TYPE, seal_burst
from tests.protocol.quic_pair import CLIENT, QuicPair

DATA = Random(4).randbytes(60_000)
STREAMS = (2, 6, 10)

Piece = tuple[int, int, int]
"""Stream, start, length."""
pieces = st.lists(
    st.tuples(st.sampled_from(STREAMS), st.integers(0, 30), st.integers(1, 3)), max_size=40
)


def state(connection: Connection) -> object:
    space = connection._spaces[Epoch.ONE_RTT]
    return (
        [
            (each.stream_id, each.receiver.highest_offset, each.receiver.starting_offset())
            for each in connection._streams.values()
        ],
        connection._local_max_data.used,
        list(space.ack_queue),
        space.largest_received_packet,
        connection._close_event,
    )


def deliver(drawn: list[Piece], sizes: list[int], *, is_fast: bool) -> object:
    pair = QuicPair()
    keys = quic_engine._packet_keys(pair.client._cryptos[Epoch.ONE_RTT].send, 0, is_sealing=True)
    payloads = [
        STREAM_HEAD.pack(STREAM_TYPE, stream_id, OFFSET_8_BYTES | start * 100)
        + DATA[start * 100 : (start + count) * 100]
        for stream_id, start, count in drawn
    ]
    number = pair.client._packet_number
    datagrams = seal_burst(keys, pair.client._peer_cid.cid, number, payloads) if payloads else []
    while datagrams:
        size = sizes.pop() if sizes else 5
        burst, datagrams = datagrams[:size], datagrams[size:]
        burst += burst[:1]  # and one of them twice
        if is_fast:
            pair.server.receive(burst, CLIENT, pair.now)
        else:
            for datagram in burst:
                pair.server.receive_datagram(datagram, CLIENT, pair.now)
    pair.server.dispatch(pair.server_heard)
    return state(pair.server), pair.server_heard.streams, pair.server_heard.ended


@given(pieces, st.lists(st.integers(1, 20), max_size=20))
@settings(max_examples=25, deadline=None)
def test_both_ways_end_in_one_state(drawn: list[Piece], sizes: list[int]) -> None:
    fast = deliver(drawn, list(sizes), is_fast=True)
    assert fast == deliver(drawn, list(sizes), is_fast=False)


def test_in_order_data_of_a_burst_is_one_piece() -> None:
    pair = QuicPair()
    heard: list[int] = []
    original = pair.server_heard.stream_data

    def count(stream_id: int, data: bytes) -> None:
        heard.append(len(data))
        original(stream_id, data)

    pair.server_heard.stream_data = count  # type: ignore[method-assign]
    pair.client.send_stream_data(2, DATA)
    pair.run(2.0)
    assert bytes(pair.server_heard.streams[2]) == DATA
    assert len(heard) <= len(DATA) // 1_200 * 2 // 3  # the first bursts are short
