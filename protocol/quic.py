"""The QUIC engine: aioquic's connection without I/O, bounded and made fast.

Bounded: receive windows grow with what was consumed, never with offsets that a sender names
(ATTACKS A28). Fast: once a connection is established, full packets of stream data are built and
read a burst at a time, with one header-protection call a burst and without aioquic's packet
builder, frame table and event per packet; everything else - handshake, ACK frames, loss,
migration, closing - goes through aioquic as it is. Measured on loopback between two processes,
datagrams of 1,450 bytes: 22 MB/s without, 50 to 60 with. With `quic_door.py` the only importer of
aioquic.

This leans on private parts of aioquic 1.7; `tests/protocol/test_quic.py` has canaries for each of
them.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from typing import Any, Final, Protocol

from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic import events
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.connection import (
    CONNECTION_LIMIT_FRAME_CAPACITY,
    MAX_STREAM_DATA_FRAME_CAPACITY,
    Limit,
    NetworkAddress,
    QuicConnection,
    QuicConnectionError,
    QuicConnectionState,
    QuicReceiveContext,
)
from aioquic.quic.crypto import CryptoContext
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicPacketType,
    QuicProtocolVersion,
)
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder, QuicSentPacket
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream, QuicStreamSender
from aioquic.tls import Epoch
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.certificates import ALPN, LinkCertificate
from protocol.congestion import Cubic, Pacer
from protocol.errors import ErrorCode
from protocol.quic_burst import ReceivedBurst
from protocol.quic_packets import (
    CONNECTION_ID_SIZE,
    OFFSET_8_BYTES,
    STREAM_HEAD,
    STREAM_TYPE,
    PacketKeys,
    open_burst,
    payload_room,
    seal_burst,
)

# aioquic logs what any prober sends; what is worth knowing reaches us as an event.
logging.getLogger("quic").setLevel(logging.CRITICAL)

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
DATAGRAM_SIZES: tuple[int, ...] = (1_450, 8_900)
"""Tried in turn once the other side is known: what most of the Internet carries, jumbo frames."""
SIZE_PROBES: Final = 3
BLACK_HOLE_TIMEOUTS: Final = 3
"""After this many probe timeouts in a row the path may have shrunk: back to 1,200 bytes."""
ACK_RANGES_MAX: Final = 256
"""In one frame; we tell 64. aioquic's work grows with their square: a datagram full of them took a
quarter of a second (A28).
"""
KEY_PACKETS_MAX: Final = 1 << 22
"""Half of what one AES-GCM key may protect (RFC 9001, 6.6); then the keys are updated."""


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


class Connection(QuicConnection):
    """One connection; time comes in, datagrams go out, and a Listener hears what happened."""

    def __init__(self, configuration: QuicConfiguration, **server: Any) -> None:
        super().__init__(configuration=configuration, **server)
        self.consumed_bytes = 0
        """Set by the owner: stream data that takes no more room here."""
        self._is_end_told = False
        self._window = EARLY_WINDOW_BYTES
        self._size_candidates = list(DATAGRAM_SIZES)
        self._size_probes_left = SIZE_PROBES
        self._is_probing_size = False
        self._key_update_at = KEY_PACKETS_MAX
        self._acked: tuple[QuicStreamSender, int, int] | None = None
        self._cubic = Cubic(max_datagram_size=self._max_datagram_size)
        self._pacer = Pacer(max_datagram_size=self._max_datagram_size)
        self._loss._cc = self._cubic  # type: ignore[assignment]
        self._loss._pacer = self._pacer  # type: ignore[assignment]
        self._local_max_streams_bidi = Limit(
            QuicFrameType.MAX_STREAMS_BIDI, "max_streams_bidi", 0 if self._is_client else 1
        )
        self._local_max_streams_uni = Limit(
            QuicFrameType.MAX_STREAMS_UNI, "max_streams_uni", BULK_STREAMS
        )

    # What the owner uses

    @property
    def datagram_size(self) -> int:
        """What the path is known to carry."""
        return self._max_datagram_size

    @property
    def round_trip_s(self) -> float | None:
        """The smoothed round trip; None before the first."""
        return self._loss._rtt_smoothed if self._loss._rtt_initialized else None

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

    # Sending

    def take_datagrams(self, now: float) -> list[tuple[list[bytes], NetworkAddress]]:
        """Everything that may be sent now, by address, in order."""
        was_waiting = self._ack_eliciting_sent_since_receipt
        batches = self._take_datagrams(now)
        is_waiting = self._ack_eliciting_sent_since_receipt and not was_waiting
        if is_waiting and self._state is QuicConnectionState.CONNECTED:
            # aioquic has begun its idle timeout anew; whatever comes in begins it once more.
            assert self._close_at is not None
            limit_s = max(UNANSWERED_MAX_S, 3 * self._loss.get_probe_timeout())
            self._close_at = min(self._close_at, now + limit_s)
        return batches

    def _take_datagrams(self, now: float) -> list[tuple[list[bytes], NetworkAddress]]:
        if not self._network_paths:
            return []  # a server's connection that has not read its first packet yet
        space = self._spaces[Epoch.ONE_RTT]
        if space.ack_at is not None and space.ack_at <= now:
            space.ack_at = 0.0  # aioquic lets pacing hold back an ACK that is due this very moment
        if self._state is not QuicConnectionState.CONNECTED or not self._is_plain():
            return _by_address(self.datagrams_to_send(now))
        path = self._network_paths[0]
        batches: list[tuple[list[bytes], NetworkAddress]] = []
        self._pacing_at = None
        if datagrams := self._stream_datagrams(now):
            path.bytes_sent += sum(map(len, datagrams))
            batches.append((datagrams, path.addr))
        if self._needs_builder(now):
            batches += _by_address(self.datagrams_to_send(now))
        if self._size_candidates and not self._is_probing_size and self._window == WINDOW_BYTES:
            batches.append(([self._size_probe(now)], path.addr))
        return batches

    def _is_plain(self) -> bool:
        """Whether stream packets can be built without aioquic's builder."""
        pair = self._cryptos[Epoch.ONE_RTT]
        return (
            self._handshake_confirmed
            and not self._close_pending
            and not pair._update_key_requested
            and self._network_paths[0].is_validated
            and _is_aes(pair.send)
        )

    def _needs_builder(self, now: float) -> bool:
        """Whether there is anything to send that is not a full packet of stream data."""
        space = self._spaces[Epoch.ONE_RTT]
        if (
            (space.ack_at is not None and space.ack_at <= now)
            or self._probe_pending
            or self._ping_pending
            or self._handshake_done_pending
            or self._retire_connection_ids
            or self._streams_blocked_pending
            or len(self._network_paths) > 1
            or not self._crypto_streams[Epoch.ONE_RTT].sender.buffer_is_empty
            or self._network_paths[0].remote_challenges
            or self.has_window_to_give()
            or not all(connection_id.was_sent for connection_id in self._host_cids)
        ):
            return True
        room = self._cubic.congestion_window - self._cubic.bytes_in_flight
        return room >= self._max_datagram_size and any(
            len(stream.sender._pending) or stream.sender.reset_pending
            for stream in self._streams_queue
        )

    def _stream_datagrams(self, now: float) -> list[bytes]:
        """Full packets of stream data, as many as windows and pacing allow."""
        room = self._cubic.congestion_window - self._cubic.bytes_in_flight
        size = self._max_datagram_size
        count = min(room // size, self._pacer.packets(now))
        payload = payload_room(size, self._peer_cid.cid)
        datagrams: list[bytes] = []
        queue = self._streams_queue
        for stream in queue:
            if count <= 0:
                break
            sender = stream.sender
            if stream.is_blocked or sender.reset_pending or not len(sender._pending):
                continue
            pending = sender._pending[0]
            stop = min(
                pending.stop,
                stream.max_stream_data_remote,
                sender.highest_offset + self._remote_max_data - self._remote_max_data_used,
            )
            packets = min(count, (stop - pending.start) // payload)
            if packets > 0:
                datagrams += self._seal_burst(stream, pending.start, payload, packets, now)
                count -= packets
        if len(queue) > 2:
            self._streams_queue = [queue[0], *queue[2:], queue[1]]
        if datagrams:
            self._pacer.spend(len(datagrams))
            if not self._ack_eliciting_sent_since_receipt:
                self._close_at = now + self._idle_timeout()
                self._ack_eliciting_sent_since_receipt = True
            if self._packet_number >= self._key_update_at:
                self._key_update_at = self._packet_number + KEY_PACKETS_MAX
                self.request_key_update()
        return datagrams

    def _seal_burst(
        self, stream: QuicStream, start: int, room: int, packets: int, now: float
    ) -> list[bytes]:
        """Builds and registers packets that carry [start, start + room * packets) of a stream."""
        sender, stream_id, number = stream.sender, stream.stream_id, self._packet_number
        stop, at = start + room * packets, start - sender._buffer_start
        with memoryview(sender._buffer)[at : at + room * packets] as data:
            payloads = [
                STREAM_HEAD.pack(STREAM_TYPE, stream_id, OFFSET_8_BYTES | start + offset)
                + data[offset : offset + room]
                for offset in range(0, room * packets, room)
            ]
        pair = self._cryptos[Epoch.ONE_RTT]
        keys = _packet_keys(pair.send, pair.key_phase, is_sealing=True)
        datagrams = seal_burst(keys, self._peer_cid.cid, number, payloads, spin=self._spin_bit)
        space = self._spaces[Epoch.ONE_RTT]
        size, on_delivery = len(datagrams[0]), self._on_burst_delivery
        for offset in range(start, stop, room):
            packet = QuicSentPacket(
                Epoch.ONE_RTT, True, True, False, number, QuicPacketType.ONE_RTT,
                now, size, [(on_delivery, (sender, offset, offset + room))],
            )  # fmt: skip
            space.sent_packets[number] = packet
            self._cubic.on_packet_sent(packet=packet)
            number += 1
        space.ack_eliciting_in_flight += packets
        self._loss._time_of_last_sent_ack_eliciting_packet = now
        self._packet_number = number
        sender._pending.subtract(start, stop)
        if stop > sender.highest_offset:
            self._remote_max_data_used += stop - sender.highest_offset
            sender.highest_offset = stop
        return datagrams

    def _on_burst_delivery(
        self, delivery: QuicDeliveryState, sender: QuicStreamSender, start: int, stop: int
    ) -> None:
        """Collects acknowledged neighbours, so that a burst costs the sender one step."""
        if delivery is not QuicDeliveryState.ACKED:
            sender.on_data_delivery(delivery, start, stop, False)
        elif self._acked is not None and self._acked[0] is sender and self._acked[2] == start:
            self._acked = (sender, self._acked[1], stop)
        else:
            self._flush_acked()
            self._acked = (sender, start, stop)

    def _flush_acked(self) -> None:
        if self._acked is not None:
            sender, start, stop = self._acked
            self._acked = None
            sender.on_data_delivery(QuicDeliveryState.ACKED, start, stop, False)

    def _handle_ack_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        begin = buf.tell()
        buf.pull_uint_var()  # the largest
        buf.pull_uint_var()  # its delay
        if buf.pull_uint_var() > ACK_RANGES_MAX:
            raise QuicConnectionError(
                QuicErrorCode.PROTOCOL_VIOLATION, frame_type, "too many ranges in one ACK frame"
            )
        buf.seek(begin)
        super()._handle_ack_frame(context, frame_type, buf)
        self._flush_acked()
        self._cubic.grow(context.time)

    # The size of datagrams (RFC 8899, without its search: two sizes are tried)

    def _size_probe(self, now: float) -> bytes:
        """A padded PING of the next size; its loss says nothing about congestion."""
        size = self._size_candidates[0]
        self._is_probing_size = True
        builder = QuicPacketBuilder(
            host_cid=self.host_cid,
            is_client=self._is_client,
            max_datagram_size=size,
            packet_number=self._packet_number,
            peer_cid=self._peer_cid.cid,
            version=self._version or QuicProtocolVersion.VERSION_1,
        )
        builder.start_packet(QuicPacketType.ONE_RTT, self._cryptos[Epoch.ONE_RTT])
        builder.start_frame(
            QuicFrameType.PING, handler=self._on_size_probe_delivery, handler_args=(size,)
        )
        builder._datagram_needs_padding = True
        (datagram,), (packet,) = builder.flush()
        self._packet_number = builder.packet_number
        packet.sent_time = now
        packet.in_flight = False
        self._loss.on_packet_sent(packet=packet, space=self._spaces[Epoch.ONE_RTT])
        return datagram

    def _on_size_probe_delivery(self, delivery: QuicDeliveryState, size: int) -> None:
        self._is_probing_size = False
        if not self._size_candidates or self._size_candidates[0] != size:
            return
        if delivery is QuicDeliveryState.ACKED:
            del self._size_candidates[0]
            self._size_probes_left = SIZE_PROBES
            self._set_datagram_size(size)
        else:
            self._size_probes_left -= 1
            if not self._size_probes_left:
                self._size_candidates.clear()

    def _set_datagram_size(self, size: int) -> None:
        self._max_datagram_size = size
        self._cubic.datagram_size = self._pacer.datagram_size = size

    def handle_timer(self, now: float) -> None:
        """Handles the timer; a path that stopped carrying long datagrams is noticed here."""
        super().handle_timer(now)
        if (
            self._loss._pto_count >= BLACK_HOLE_TIMEOUTS
            and self._max_datagram_size > SMALLEST_MAX_DATAGRAM_SIZE
        ):
            self._size_candidates.clear()
            self._set_datagram_size(SMALLEST_MAX_DATAGRAM_SIZE)

    # Receiving

    def receive(self, datagrams: Sequence[bytes], address: NetworkAddress, now: float) -> None:
        """Takes in what came from one address in one go."""
        if self._can_read_bursts(address):
            datagrams = self._receive_burst(datagrams, now)
        for datagram in datagrams:
            self.receive_datagram(datagram, address, now)

    def _can_read_bursts(self, address: NetworkAddress) -> bool:
        return (
            self._handshake_confirmed
            and self._state is QuicConnectionState.CONNECTED
            and not self._close_pending
            and self._network_paths[0].addr == address
            and self._network_paths[0].is_validated
            and _is_aes(self._cryptos[Epoch.ONE_RTT].recv)
        )

    def _receive_burst(self, datagrams: Sequence[bytes], now: float) -> list[bytes]:
        """Handles packets of the current keys and connection id; gives back the rest."""
        crypto = self._cryptos[Epoch.ONE_RTT].recv
        space = self._spaces[Epoch.ONE_RTT]
        keys = _packet_keys(crypto, crypto.key_phase, is_sealing=False)
        opened = open_burst(keys, self.host_cid, datagrams, space.expected_packet_number)
        space.expected_packet_number = opened.expected
        burst = ReceivedBurst(self, space, now)
        for number, plain in opened.packets:
            if number in space.received_packets:
                continue
            burst.receive(number, plain)
            if self._close_pending or self._state is not QuicConnectionState.CONNECTED:
                break
        burst.finish()
        return opened.rest


def _packet_keys(crypto: CryptoContext, key_phase: int, *, is_sealing: bool) -> PacketKeys:
    aead, protection = crypto.aead, crypto.hp
    assert aead is not None
    assert protection is not None
    cipher = aead._aead
    seal = cipher.encrypt if is_sealing else cipher.decrypt
    return PacketKeys(seal, protection._encryptor.update, aead._iv, key_phase)


def _is_aes(crypto: CryptoContext) -> bool:
    return crypto.hp is not None and not crypto.hp._is_chacha20


def _by_address(
    datagrams: Sequence[tuple[bytes, NetworkAddress]],
) -> list[tuple[list[bytes], NetworkAddress]]:
    batches: list[tuple[list[bytes], NetworkAddress]] = []
    for datagram, address in datagrams:
        if not batches or batches[-1][1] != address:
            batches.append(([], address))
        batches[-1][0].append(datagram)
    return batches
