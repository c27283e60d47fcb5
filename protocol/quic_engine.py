"""The QUIC engine: aioquic's connection without I/O, made fast; for links and for HTTP/3.

Once a connection is established, full packets of stream data are built and read a burst at a time,
with one header-protection call a burst and without aioquic's packet builder, frame table and event
per packet; everything else - handshake, ACK frames, loss, migration, closing - goes through aioquic
as it is. Measured on loopback between two processes, datagrams of 1,450 bytes: 22 MB/s without, 50
to 60 with. What may be on its way to us, and whom that is told, is for who inherits from it.

This leans on private parts of aioquic 1.7; `tests/protocol/test_quic_engine.py` has canaries for
each of them.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final

from aioquic.buffer import Buffer, encode_uint_var  # type: ignore[attr-defined]
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.connection import (
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
    pull_quic_transport_parameters,
)
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder, QuicSentPacket
from aioquic.quic.stream import QuicStreamSender
from aioquic.tls import Epoch

from protocol.congestion import Cubic, Pacer
from protocol.quic_burst import ReceivedBurst
from protocol.quic_packets import (
    OFFSET_8_BYTES,
    STREAM_TYPE,
    PacketKeys,
    open_burst,
    payload_room,
    seal_burst,
)

# aioquic logs what any prober sends; what is worth knowing reaches us as an event.
logging.getLogger("quic").setLevel(logging.CRITICAL)

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
OFFSET_SIZE: Final = 8


class BurstConnection(ABC, QuicConnection):
    """One connection; time comes in, datagrams go out."""

    def __init__(self, configuration: QuicConfiguration, **server: Any) -> None:
        super().__init__(configuration=configuration, **server)
        self._size_candidates = list(DATAGRAM_SIZES)
        self._size_probes_left = SIZE_PROBES
        self._is_probing_size = False
        self._key_update_at = KEY_PACKETS_MAX
        self._acked: tuple[QuicStreamSender, int, int] | None = None
        self._cubic = Cubic(max_datagram_size=self._max_datagram_size)
        self._pacer = Pacer(max_datagram_size=self._max_datagram_size)
        self._loss._cc = self._cubic  # type: ignore[assignment]
        self._loss._pacer = self._pacer  # type: ignore[assignment]

    @property
    def datagram_size(self) -> int:
        """What the path is known to carry."""
        return self._max_datagram_size

    @property
    def round_trip_s(self) -> float | None:
        """The smoothed round trip; None before the first."""
        return self._loss._rtt_smoothed if self._loss._rtt_initialized else None

    # For who inherits from it

    @abstractmethod
    def has_window_to_give(self) -> bool:
        """Whether so much was read that the other side should be told."""

    @abstractmethod
    def may_probe_size(self) -> bool:
        """Whether the other side is worth longer datagrams, by now."""

    # Sending

    def take_datagrams(self, now: float) -> list[tuple[list[bytes], NetworkAddress]]:
        """Everything that may be sent now, by address, in order."""
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
        if self._size_candidates and not self._is_probing_size and self.may_probe_size():
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
        has_room = room >= self._max_datagram_size
        for stream in self._streams_queue:
            if stream.is_finished:
                return True  # aioquic lets go of it there
            if has_room and (
                stream.receiver.stop_pending
                or stream.sender.reset_pending
                or stream.sender._pending_eof
                or _may_send(stream.sender)
            ):
                # As aioquic does it; so it is not asked only to say that it is too early.
                self._pacing_at = self._pacer.next_send_time(now)
                return self._pacing_at is None
        return False

    def _stream_datagrams(self, now: float) -> list[bytes]:
        """Full packets of stream data, as many as windows and pacing allow."""
        room = self._cubic.congestion_window - self._cubic.bytes_in_flight
        size = self._max_datagram_size
        count = min(room // size, self._pacer.packets(now))
        datagrams: list[bytes] = []
        queue = self._streams_queue
        for stream in queue:
            if count <= 0:
                break
            sender = stream.sender
            if stream.is_blocked or not _may_send(sender):
                continue
            pending = sender._pending[0]
            stop = min(
                pending.stop,
                stream.max_stream_data_remote,
                sender.highest_offset + self._remote_max_data - self._remote_max_data_used,
            )
            assert stream.stream_id is not None
            head = bytes((STREAM_TYPE,)) + encode_uint_var(stream.stream_id)
            payload = payload_room(size, self._peer_cid.cid, len(head) + OFFSET_SIZE)
            packets = min(count, (stop - pending.start) // payload)
            if packets > 0:
                datagrams += self._seal_burst(sender, head, pending.start, payload, packets, now)
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
        self, sender: QuicStreamSender, head: bytes, start: int, room: int, packets: int, now: float
    ) -> list[bytes]:
        """Builds and registers packets that carry [start, start + room * packets) of a stream;
        `head` is what their frames begin with, before the offset.
        """
        number = self._packet_number
        stop, at = start + room * packets, start - sender._buffer_start
        with memoryview(sender._buffer)[at : at + room * packets] as data:
            payloads = [
                head
                + (OFFSET_8_BYTES | start + offset).to_bytes(OFFSET_SIZE, "big")
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

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        super()._parse_transport_parameters(data, from_session_ticket)
        longest = pull_quic_transport_parameters(Buffer(data=data)).max_udp_payload_size
        if longest is not None:  # browsers name what an Ethernet carries
            self._size_candidates = [size for size in self._size_candidates if size <= longest]

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


def _may_send(sender: QuicStreamSender) -> bool:
    """Whether a stream has data to send. One that was reset says that its buffer is empty, and
    keeps what nobody is sent any more.
    """
    return not sender.buffer_is_empty and len(sender._pending) > 0


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
