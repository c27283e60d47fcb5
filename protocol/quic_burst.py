"""What a burst of opened QUIC packets does to its connection, with the bookkeeping done once.

The usual packet carries the next bytes of a stream, and for it there is a short way; whatever else
a packet says is left to aioquic's own frame handlers, with their own checks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioquic.quic.connection import QuicConnectionError, QuicConnectionState, QuicReceiveContext
from aioquic.quic.events import StreamDataReceived
from aioquic.quic.recovery import MAX_ACK_RANGES, QuicPacketSpace
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch

from protocol.quic_packets import (
    OFFSET_8_BYTES,
    SHORT_STREAM_IDS,
    STREAM_HEAD,
    STREAM_TYPE,
)

if TYPE_CHECKING:
    from protocol.quic_engine import BurstConnection


class ReceivedBurst:
    """Packets of one burst after decryption: their data, and what has to be acknowledged."""

    def __init__(self, connection: BurstConnection, space: QuicPacketSpace, now: float) -> None:
        self._connection = connection
        self._space = space
        self._now = now
        self._stream: QuicStream | None = None
        self._chunks: list[bytes] = []
        self._runs: list[list[int]] = []
        self._is_ack_eliciting = False

    def receive(self, number: int, plain: bytes) -> None:
        """One packet that was not seen before."""
        if self._take_stream_data(plain):
            self._is_ack_eliciting = True
        elif not self._take_frames(plain):
            return
        self._space.received_packets._received.add(number)
        if self._runs and self._runs[-1][1] == number:
            self._runs[-1][1] = number + 1
        else:
            self._runs.append([number, number + 1])

    def _take_stream_data(self, plain: bytes) -> bool:
        """The usual case: one frame with the next bytes of a stream."""
        if len(plain) <= STREAM_HEAD.size:
            return False
        kind, stream_id, offset = STREAM_HEAD.unpack_from(plain)
        stream = self._connection._streams.get(stream_id)
        if kind != STREAM_TYPE or offset < OFFSET_8_BYTES or stream is None:
            return False
        if stream_id >= SHORT_STREAM_IDS:
            return False  # the first byte of a longer id
        offset -= OFFSET_8_BYTES
        receiver, limit = stream.receiver, self._connection._local_max_data
        length = len(plain) - STREAM_HEAD.size
        if (
            receiver.highest_offset != offset
            or receiver._buffer_start != offset
            or receiver.is_finished
            or offset + length > stream.max_stream_data_local
            or limit.used + length > limit.value
        ):
            return False
        receiver.highest_offset = receiver._buffer_start = offset + length
        limit.used += length
        if stream is not self._stream:
            self._flush()
            self._stream = stream
        self._chunks.append(plain[STREAM_HEAD.size :])
        return True

    def _take_frames(self, plain: bytes) -> bool:
        """Anything else: aioquic's own frame handlers, with its own checks."""
        connection = self._connection
        self._flush()
        context = QuicReceiveContext(
            epoch=Epoch.ONE_RTT,
            host_cid=connection.host_cid,
            network_path=connection._network_paths[0],
            quic_logger_frames=None,
            time=self._now,
            version=None,
        )
        try:
            is_ack_eliciting, _ = connection._payload_received(context, plain)
        except QuicConnectionError as error:
            connection.close(
                error_code=error.error_code,
                frame_type=error.frame_type,
                reason_phrase=error.reason_phrase,
            )
            return False
        self._is_ack_eliciting |= is_ack_eliciting
        return True

    def _flush(self) -> None:
        if self._chunks:
            assert self._stream is not None
            assert self._stream.stream_id is not None
            self._connection._events.append(
                StreamDataReceived(
                    data=b"".join(self._chunks), end_stream=False, stream_id=self._stream.stream_id
                )
            )
            self._chunks = []

    def finish(self) -> None:
        """Hands over the data and records what was received."""
        self._flush()
        connection, space, now = self._connection, self._space, self._now
        if not self._runs or connection._state is not QuicConnectionState.CONNECTED:
            return
        for start, stop in self._runs:
            space.ack_queue.add(start, stop)
        largest = max(stop for _, stop in self._runs) - 1
        space.received_packets.add(largest)
        while len(space.ack_queue) > MAX_ACK_RANGES:
            space.ack_queue.shift()
        if largest > space.largest_received_packet:
            space.largest_received_packet = largest
            space.largest_received_time = now
        if self._is_ack_eliciting and space.ack_at is None:
            space.ack_at = now + connection._ack_delay
        connection._close_at = now + connection._idle_timeout()
        connection._ack_eliciting_sent_since_receipt = False
