"""One visitor by HTTP/2, as a browser is: many requests on one connection."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import h2.config
import h2.connection
import h2.events

from tests.relay.relay_stage import LOOPBACK


class Http2:
    """A connection; blocking."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection
        configuration = h2.config.H2Configuration(
            header_encoding="utf-8", validate_outbound_headers=False
        )
        self._engine = h2.connection.H2Connection(configuration)
        self._engine.initiate_connection()
        self._next = 1
        self.statuses: dict[int, int] = {}
        self.bodies: dict[int, bytes] = {}
        self._ended: set[int] = set()
        self._is_closed = False

    def begin(self, request: list[tuple[str, str]], *, is_whole: bool = True) -> int:
        """Sends the head of a request; its stream."""
        stream, self._next = self._next, self._next + 2
        self._engine.send_headers(stream, request, end_stream=is_whole)
        self._flush()
        return stream

    def send(self, stream: int, data: bytes, *, is_last: bool = False) -> None:
        """Some of a body, as fast as the other side takes it; less if it wants no more."""
        while data and stream not in self._ended and not self._is_closed:
            room = min(
                self._engine.local_flow_control_window(stream),
                self._engine.max_outbound_frame_size,
            )
            if not room:
                self._hear()
                continue
            self._engine.send_data(stream, data[:room])
            data = data[room:]
            self._flush()
        if is_last and stream not in self._ended and not self._is_closed:
            self._engine.end_stream(stream)
            self._flush()

    def end(self, stream: int) -> tuple[int, bytes]:
        """Status and body of an answer; 0 for one that broke off before it had any."""
        while stream not in self._ended and not self._is_closed:
            self._hear()
        return self.statuses.get(stream, 0), self.bodies.get(stream, b"")

    def ask(self, request: list[tuple[str, str]], body: bytes = b"") -> tuple[int, bytes]:
        stream = self.begin(request, is_whole=not body)
        if body:
            self.send(stream, body, is_last=True)
        return self.end(stream)

    def _flush(self) -> None:
        self._connection.sendall(self._engine.data_to_send())

    def _hear(self) -> None:
        data = self._connection.recv(65_536)
        self._is_closed = not data
        for event in self._engine.receive_data(data):
            match event:
                case h2.events.ResponseReceived(stream_id=int(stream), headers=headers):
                    self.statuses[stream] = int(str(dict(headers or [])[":status"]))  # type: ignore[index]
                case h2.events.DataReceived(stream_id=int(stream)):
                    self.bodies[stream] = self.bodies.get(stream, b"") + (event.data or b"")
                    self._engine.acknowledge_received_data(
                        event.flow_controlled_length or 0, stream
                    )
                case (
                    h2.events.StreamEnded(stream_id=int(stream))
                    | h2.events.StreamReset(stream_id=int(stream))
                ):
                    self._ended.add(stream)
                case h2.events.ConnectionTerminated():
                    self._is_closed = True
        self._flush()


@contextmanager
def http2_to(port: int) -> Iterator[Http2]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((LOOPBACK, port), timeout=60) as raw,
        context.wrap_socket(raw) as connection,
    ):
        assert connection.selected_alpn_protocol() == "h2"
        yield Http2(connection)
