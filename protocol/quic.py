"""The connection of a QUIC link: bounded receive windows, and a listener that hears of it.

Receive windows grow with what was consumed, never with offsets that a sender names (ATTACKS A28).
With `quic_engine.py`, `quic_burst.py` and `quic_door.py` the only importer of aioquic here.
"""

from __future__ import annotations

import ssl
from typing import Any, Final, Protocol

from aioquic.quic import events
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.connection import (
    CONNECTION_LIMIT_FRAME_CAPACITY,
    MAX_STREAM_DATA_FRAME_CAPACITY,
    Limit,
    NetworkAddress,
    QuicConnection,
    QuicConnectionState,
)
from aioquic.quic.packet import QuicFrameType, QuicProtocolVersion
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.certificates import ALPN, LinkCertificate
from protocol.errors import ErrorCode
from protocol.quic_engine import BurstConnection
from protocol.quic_packets import CONNECTION_ID_SIZE

IDLE_TIMEOUT_S: Final = 60.0
UNANSWERED_MAX_S: Final = 10.0
"""Where something waits for an acknowledgement the other side is gone after this much silence."""
EARLY_WINDOW_BYTES: Final = 64 << 10
"""What may be on its way to us before the other side is authenticated."""
WINDOW_BYTES: Final = 4 << 20
"""What may be on its way to us afterwards: 40 MB/s at 100 ms, and all that A28 can take."""
CONTROL_STREAM: Final = 0
"""The client's first bidirectional stream."""
BULK_STREAMS: Final = 3
"""Unidirectional streams each way, so that one lost packet does not hold up every answer."""


class Listener(Protocol):
    """What a connection tells its owner, in order, when `dispatch` is called."""

    def established(self) -> None:
        """The handshake of TLS is done; the other side's certificate is known."""

    def stream_data(self, stream_id: int, data: bytes) -> None:
        """The next bytes of a stream."""

    def connection_id_issued(self, connection_id: bytes) -> None:
        """Datagrams may come in under this id from now on."""

    def connection_id_retired(self, connection_id: bytes) -> None:
        """No more datagrams under this id."""

    def terminated(self, code: int | None) -> None:
        """The connection is over; the other side's code if it gave one."""


def server_configuration(certificate: LinkCertificate) -> QuicConfiguration:
    """The configuration of every connection that a listener accepts."""
    configuration = client_configuration()
    configuration.is_client = False
    configuration.certificate = certificate.certificate
    configuration.private_key = certificate.private_key
    return configuration


def client_configuration() -> QuicConfiguration:
    """Any certificate will do: the handshake signs the one that was met. It must own its key."""
    return QuicConfiguration(
        alpn_protocols=[ALPN],
        connection_id_length=CONNECTION_ID_SIZE,
        idle_timeout=IDLE_TIMEOUT_S,
        max_data=EARLY_WINDOW_BYTES,
        max_stream_data=EARLY_WINDOW_BYTES,
        max_datagram_size=SMALLEST_MAX_DATAGRAM_SIZE,
        supported_versions=[QuicProtocolVersion.VERSION_1],
        verify_mode=ssl.CERT_NONE,
    )


def write_stream_window(
    connection: QuicConnection, builder: QuicPacketBuilder, stream: QuicStream, window: int
) -> None:
    """Tells the other side that so much behind what was read of a stream may come, once there is a
    quarter more of it to tell.
    """
    end = stream.receiver.starting_offset() + window
    if end - stream.max_stream_data_local_sent < window // 4:
        return
    end = max(end, stream.max_stream_data_local)
    buffer = builder.start_frame(
        QuicFrameType.MAX_STREAM_DATA,
        capacity=MAX_STREAM_DATA_FRAME_CAPACITY,
        handler=connection._on_max_stream_data_delivery,
        handler_args=(stream,),
    )
    assert stream.stream_id is not None
    buffer.push_uint_var(stream.stream_id)
    buffer.push_uint_var(end)
    stream.max_stream_data_local = stream.max_stream_data_local_sent = end


class Connection(BurstConnection):
    """One connection; time comes in, datagrams go out, and a Listener hears what happened."""

    def __init__(self, configuration: QuicConfiguration, **server: Any) -> None:
        super().__init__(configuration=configuration, **server)
        self.consumed_bytes = 0
        """Set by the owner: stream data that takes no more room here."""
        self._is_end_told = False
        self._window = EARLY_WINDOW_BYTES
        self._local_max_streams_bidi = Limit(
            QuicFrameType.MAX_STREAMS_BIDI, "max_streams_bidi", 0 if self._is_client else 1
        )
        self._local_max_streams_uni = Limit(
            QuicFrameType.MAX_STREAMS_UNI, "max_streams_uni", BULK_STREAMS
        )

    # What the owner uses

    @property
    def peer_certificate(self) -> bytes:
        """The server's certificate in DER, for a client; the one accessor of a private part."""
        certificate = self.tls._peer_certificate
        assert certificate is not None, "asked before the handshake, or of a server"
        return certificate.public_bytes(Encoding.DER)

    @property
    def address(self) -> NetworkAddress:
        """Where the other side is now."""
        return self._network_paths[0].addr

    def admit(self) -> None:
        """The other side is authenticated: the full window."""
        self._window = WINDOW_BYTES

    def unsent_bytes(self, stream_id: int) -> int:
        """What was written to a stream and has never been sent."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.sender._buffer_stop - stream.sender.highest_offset

    def unacknowledged_bytes(self, stream_id: int) -> int:
        """What was written to a stream and may not have arrived."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.sender._buffer_stop - stream.sender._buffer_start

    def dispatch(self, listener: Listener) -> None:
        """Tells everything that has happened."""
        while (event := self.next_event()) is not None:
            match event:
                case events.StreamDataReceived(data=data, end_stream=False, stream_id=stream_id):
                    listener.stream_data(stream_id, data)
                case events.HandshakeCompleted():
                    assert not event.early_data_accepted
                    assert not event.session_resumed
                    listener.established()
                case events.ConnectionIdIssued(connection_id=connection_id):
                    listener.connection_id_issued(connection_id)
                case events.ConnectionIdRetired(connection_id=connection_id):
                    listener.connection_id_retired(connection_id)
                case events.ConnectionTerminated():
                    self._tell_end(listener, event)
                case (
                    events.StreamDataReceived()
                    | events.StreamReset()
                    | events.StopSendingReceived()
                ):
                    self.close(
                        error_code=ErrorCode.UNEXPECTED
                    )  # our streams last as long as the connection

        if self._state is QuicConnectionState.DRAINING and self._close_event is not None:
            # The other side closed; aioquic would tell when the draining period ends.
            self._tell_end(listener, self._close_event)

    def _tell_end(self, listener: Listener, event: events.ConnectionTerminated) -> None:
        if not self._is_end_told:
            self._is_end_told = True
            listener.terminated(event.error_code if event.frame_type is None else None)

    # Limits: windows follow what was consumed

    def has_window_to_give(self) -> bool:
        """Whether the owner consumed enough that the other side should be told."""
        grown = self.consumed_bytes + self._window - self._local_max_data.sent
        return grown >= self._window // 4

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        limit = self._local_max_data
        if not self.has_window_to_give():
            return
        value = max(self.consumed_bytes + self._window, limit.value)
        buffer = builder.start_frame(
            QuicFrameType.MAX_DATA,
            capacity=CONNECTION_LIMIT_FRAME_CAPACITY,
            handler=self._on_connection_limit_delivery,
            handler_args=(limit,),
        )
        buffer.push_uint_var(value)
        limit.value = limit.sent = value

    def _write_stream_limits(
        self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream
    ) -> None:
        if not stream.max_stream_data_local:
            return  # a stream that only we send on
        write_stream_window(self, builder, stream, self._window)

    def may_probe_size(self) -> bool:
        """Once the other side is known."""
        return self._window == WINDOW_BYTES

    # Sending

    def take_datagrams(self, now: float) -> list[tuple[list[bytes], NetworkAddress]]:
        """Everything that may be sent now; an answer to it is waited for a short while."""
        was_waiting = self._ack_eliciting_sent_since_receipt
        batches = super().take_datagrams(now)
        is_waiting = self._ack_eliciting_sent_since_receipt and not was_waiting
        if is_waiting and self._state is QuicConnectionState.CONNECTED:
            # aioquic has begun its idle timeout anew; whatever comes in begins it once more.
            assert self._close_at is not None
            limit_s = max(UNANSWERED_MAX_S, 3 * self._loss.get_probe_timeout())
            self._close_at = min(self._close_at, now + limit_s)
        return batches
