"""One byte far out gives its sender nothing: a stream's window follows what was read (A28)."""

from __future__ import annotations

import pytest

from protocol.quic import EARLY_WINDOW_BYTES, WINDOW_BYTES
from protocol.quic_packets import seal_burst
from tests.protocol.quic_pair import BULK, QuicPair, packet_keys
from tests.protocol.test_quic import stream_frame


@pytest.mark.parametrize("is_admitted", [False, True])
def test_a_byte_at_the_far_end_opens_no_window(is_admitted: bool) -> None:
    pair = QuicPair(is_admitted=is_admitted)
    window = WINDOW_BYTES if is_admitted else EARLY_WINDOW_BYTES
    keys, cid = packet_keys(pair.client), pair.client._peer_cid.cid
    pair.client._get_or_create_stream_for_send(BULK)  # it will be told of its window

    def send(offset: int, data: bytes) -> int:
        """What the other side then lets us send on this stream."""
        frame = stream_frame(BULK, offset, data)
        pair.inject(pair.server, seal_burst(keys, cid, pair.client._packet_number, [frame]))
        pair.client._packet_number += 1
        pair.run(0.1)
        assert pair.server_heard.ended == []
        return pair.server._streams[BULK].max_stream_data_local

    first = send(0, b"begin")
    assert first <= window + len(b"begin")
    assert send(first - 1, b"x") == first
    assert send(first // 2, b"x") == first
