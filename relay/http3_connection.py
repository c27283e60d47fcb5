"""One visitor's connection of HTTP/3, without I/O, and bounded: aioquic's engines on a short leash.

aioquic lets a sender have twice of whatever it has sent, read or not, and keeps whatever it is
given to send. Here a window grows only by what was read, a frame that is no body has a greatest
length, no table of header fields is kept for anybody, and `unsent_bytes` tells who sends when to
wait. Long answers go the short way of `protocol/quic_engine.py`. It leans on private parts of
aioquic 1.7, for which `tests/relay/test_http3_connection.py` has canaries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aioquic.h3.connection import (
    H3_ALPN,
    ErrorCode,
    H3Connection,
    Setting,
    stream_is_request_response,
)
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import CONNECTION_LIMIT_FRAME_CAPACITY, Limit, QuicConnection
from aioquic.quic.packet import QuicFrameType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream

from protocol.quic import write_stream_window
from protocol.quic_engine import BurstConnection
from protocol.quic_packets import CONNECTION_ID_SIZE

IDLE_TIMEOUT_S: Final = 30.0
STREAMS_MAX: Final = 16
"""Requests at once on one connection; the page has six at most."""
UNIDIRECTIONAL_MAX: Final = 8
"""HTTP/3 has three each way, and browsers open some that mean nothing."""
NARROW_BYTES: Final = 64 << 10
"""What may be on its way to us before anything of it was read."""
WIDE_BYTES: Final = 1 << 20
"""What may be on its way afterwards, in either direction: 20 MB/s at a round trip of 50 ms."""
FRAME_LENGTH_MAX: Final = 16 << 10
"""Of all frames but bodies: they are kept until they are whole."""
FIELDS_LENGTH_MAX: Final = 64 << 10
"""Of all header fields of a request: a byte can stand for a whole field of the static table."""
QPACK_TABLE_MAX: Final = 4_096
"""What we keep of a visitor's wish for a table of our own header fields."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request has begun."""

    stream_id: int
    headers: Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class BodyCame:
    """Some of a request's body."""

    stream_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class BodyEnded:
    """A request is whole."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class BrokenOff:
    """The visitor wants no answer any more."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class IdIssued:
    """Datagrams may come in under this id."""

    connection_id: bytes


@dataclass(frozen=True, slots=True)
class IdRetired:
    """No more datagrams come under this id."""

    connection_id: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The connection is over."""


Event = Asked | BodyCame | BodyEnded | BrokenOff | IdIssued | IdRetired | Ended


def server_configuration(certificate: Path, key: Path) -> QuicConfiguration:
    """The configuration of all connections; raises OSError."""
    configuration = QuicConfiguration(
        is_client=False,
        alpn_protocols=H3_ALPN,
        connection_id_length=CONNECTION_ID_SIZE,
        idle_timeout=IDLE_TIMEOUT_S,
        max_data=NARROW_BYTES,
        max_stream_data=NARROW_BYTES,
    )
    configuration.load_cert_chain(certificate, key)
    return configuration


class Http3Connection(BurstConnection):
    """One connection; time comes in, datagrams go out, and `take_events` says what happened."""

    def __init__(self, configuration: QuicConfiguration, **server: Any) -> None:
        super().__init__(configuration=configuration, **server)
        self.window = NARROW_BYTES
        """Set by the owner: how much may be on its way to us, and unread."""
        self.unread_bytes = 0
        """Set by the owner: what was told by `take_events` and takes room yet."""
        self._http: _Http | None = None
        self._done: set[int] = set()
        """Streams of requests that are answered, whose rest is for nobody."""
        self._local_max_streams_bidi = Limit(
            QuicFrameType.MAX_STREAMS_BIDI, "max_streams_bidi", STREAMS_MAX
        )
        self._local_max_streams_uni = Limit(
            QuicFrameType.MAX_STREAMS_UNI, "max_streams_uni", UNIDIRECTIONAL_MAX
        )

    # Receiving

    def take_events(self) -> Iterator[Event]:
        """What has happened, in order."""
        while (event := self.next_event()) is not None:
            match event:
                case events.ProtocolNegotiated():
                    self._http = _Http(self)
                case events.ConnectionIdIssued(connection_id=connection_id):
                    yield IdIssued(connection_id)
                case events.ConnectionIdRetired(connection_id=connection_id):
                    yield IdRetired(connection_id)
                case events.ConnectionTerminated():
                    yield Ended()
                case events.StreamReset(stream_id=stream_id):
                    self._hand_on(event)
                    if stream_is_request_response(stream_id):
                        yield BrokenOff(stream_id)
                case events.StopSendingReceived(stream_id=stream_id):
                    self._hand_on(event)
                    if stream_is_request_response(stream_id):
                        yield BrokenOff(stream_id)
                case events.StreamDataReceived(stream_id=stream_id):
                    if stream_id not in self._done:
                        yield from self._received(event)
        self._done.intersection_update(self._streams)

    def _received(self, event: events.StreamDataReceived) -> Iterator[Event]:
        http = self._http
        if http is None:
            return
        for each in http.handle_event(event):
            match each:
                case HeadersReceived(headers=headers, stream_id=stream_id):
                    if sum(len(name) + len(value) for name, value in headers) > FIELDS_LENGTH_MAX:
                        self.close(error_code=ErrorCode.H3_EXCESSIVE_LOAD)
                        return
                    if stream_id not in http.asked:  # else they are trailers
                        http.asked.add(stream_id)
                        yield Asked(stream_id, headers)
                    if each.stream_ended:
                        yield BodyEnded(stream_id)
                case DataReceived(data=data, stream_id=stream_id):
                    if data:
                        yield BodyCame(stream_id, data)
                    if each.stream_ended:
                        yield BodyEnded(stream_id)
        if http.buffered(event.stream_id) > FRAME_LENGTH_MAX:
            self.close(error_code=ErrorCode.H3_EXCESSIVE_LOAD)

    def _hand_on(self, event: events.QuicEvent) -> None:
        if self._http is not None:
            self._http.handle_event(event)

    # Answering

    def unsent_bytes(self) -> int:
        """What is kept of answers because it may not have arrived."""
        return sum(
            stream.sender._buffer_stop - stream.sender._buffer_start
            for stream in self._streams.values()
        )

    def is_delivered(self, stream_id: int) -> bool:
        """Whether all of an answer has arrived."""
        stream = self._streams.get(stream_id)
        return stream is None or stream.sender.is_finished

    def answer(self, stream_id: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The head of an answer."""
        assert self._http is not None
        self._http.send_headers(stream_id, headers)

    def send(self, stream_id: int, data: bytes, *, is_last: bool) -> None:
        """Some of an answer's body."""
        assert self._http is not None
        self._http.send_data(stream_id, data, is_last)

    def break_off(self, stream_id: int) -> None:
        """Ends an answer so that nobody takes it for whole."""
        if stream_id in self._streams:
            self.reset_stream(stream_id, ErrorCode.H3_INTERNAL_ERROR)

    def forget(self, stream_id: int) -> None:
        """Nothing of a request is wanted any more."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._done.add(stream_id)
            if not stream.receiver.is_finished:
                self.stop_stream(stream_id, ErrorCode.H3_NO_ERROR)
        if self._http is not None:
            self._http.forget(stream_id)

    # Windows follow what was read

    def has_window_to_give(self) -> bool:
        """Whether so much was read that the visitor should be told."""
        return self._window_end() - self._local_max_data.sent >= self.window // 4

    def may_probe_size(self) -> bool:
        """Where an answer is long enough to be worth it."""
        return self.window > NARROW_BYTES

    def _window_end(self) -> int:
        held = sum(
            stream.receiver.highest_offset - stream.receiver.starting_offset()
            for stream in self._streams.values()
            if not stream.receiver.is_finished
        )
        return self._local_max_data.used - held - self.unread_bytes + self.window

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        data = self._local_max_data
        if self.has_window_to_give():
            data.value = max(data.value, self._window_end())
        for limit in (data, self._local_max_streams_bidi, self._local_max_streams_uni):
            if limit.value == limit.sent:
                continue
            buffer = builder.start_frame(
                limit.frame_type,
                capacity=CONNECTION_LIMIT_FRAME_CAPACITY,
                handler=self._on_connection_limit_delivery,
                handler_args=(limit,),
            )
            buffer.push_uint_var(limit.value)
            limit.sent = limit.value

    def _write_stream_limits(
        self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream
    ) -> None:
        if not stream.max_stream_data_local or stream.receiver.is_finished:
            return  # one that we alone send on, or that has come to its end
        write_stream_window(self, builder, stream, self.window)


class _Http(H3Connection):
    """HTTP/3 without tables of header fields that visitors fill."""

    def __init__(self, quic: QuicConnection) -> None:
        super().__init__(quic)
        self.asked: set[int] = set()

    def _init_connection(self) -> None:
        self._max_table_capacity = self._blocked_streams = 0
        self._decoder = type(self._decoder)(0, 0)
        super()._init_connection()

    def _validate_settings(self, settings: dict[int, int]) -> None:
        super()._validate_settings(settings)
        wish = settings.get(Setting.QPACK_MAX_TABLE_CAPACITY, 0)
        settings[Setting.QPACK_MAX_TABLE_CAPACITY] = min(wish, QPACK_TABLE_MAX)
        wish = settings.get(Setting.QPACK_BLOCKED_STREAMS, 0)
        settings[Setting.QPACK_BLOCKED_STREAMS] = min(wish, STREAMS_MAX)

    def buffered(self, stream_id: int) -> int:
        """What is kept of a frame that is not whole."""
        stream = self._stream.get(stream_id)
        return 0 if stream is None else len(stream.buffer)

    def forget(self, stream_id: int) -> None:
        """Keeps nothing of a request."""
        self._stream.pop(stream_id, None)
        self.asked.discard(stream_id)
