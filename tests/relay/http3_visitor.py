"""Visitors by HTTP/3: one as a browser is, and one who takes answers and does not read them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamReset

from tests.relay.relay_stage import LOOPBACK
from tests.relay.web_stage import DEADLINE_S

ELSEWHERE = "127.0.0.2"
"""Another address of this machine."""


def asked(method: str, path: str, **more: str) -> list[tuple[str, str]]:
    heads = [(":method", method), (":scheme", "https"), (":authority", LOOPBACK), (":path", path)]
    return heads + [(name.replace("_", "-"), value) for name, value in more.items()]


@dataclass
class Answered:
    """What came of one request."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    is_broken: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def status(self) -> int:
        return int(self.headers.get(b":status", b"0"))

    async def end(self) -> Answered:
        async with asyncio.timeout(DEADLINE_S):
            await self.done.wait()
        return self


class Http3(QuicConnectionProtocol):
    """One visitor by HTTP/3."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.ended = asyncio.Event()
        self._answers: dict[int, Answered] = {}

    def begin(self, request: list[tuple[str, str]], *, is_whole: bool = True) -> int:
        """Sends the head of a request; its stream."""
        stream = self._quic.get_next_available_stream_id()
        self._answers[stream] = Answered()
        pairs = [(name.lower().encode(), value.encode()) for name, value in request]
        self.http.send_headers(stream, pairs, end_stream=is_whole)
        self.transmit()
        return stream

    def send(self, stream: int, data: bytes, *, is_last: bool = False) -> None:
        self.http.send_data(stream, data, is_last)
        self.transmit()

    def answer(self, stream: int) -> Answered:
        return self._answers[stream]

    def unsent(self, stream: int) -> int:
        """What of a request's body has not arrived."""
        found = self._quic._streams.get(stream)
        return 0 if found is None else len(found.sender._buffer)

    async def ask(
        self, request: list[tuple[str, str]], body: bytes | None = None
    ) -> tuple[dict[bytes, bytes], bytes]:
        stream = self.begin(request, is_whole=body is None)
        if body is not None:
            self.send(stream, body, is_last=True)
        answer = await self.answer(stream).end()
        return answer.headers, bytes(answer.body)

    def quic_event_received(self, event: QuicEvent) -> None:
        for each in self.http.handle_event(event):
            if isinstance(each, HeadersReceived | DataReceived):
                answer = self._answers[each.stream_id]
                if isinstance(each, HeadersReceived):
                    answer.headers.update(each.headers)
                else:
                    answer.body.extend(each.data)
                if each.stream_ended:
                    answer.done.set()
        if isinstance(event, StreamReset):
            self._answers[event.stream_id].is_broken = True
            self._answers[event.stream_id].done.set()
        if isinstance(event, ConnectionTerminated):
            self.ended.set()
            for answer in self._answers.values():
                answer.is_broken = True
                answer.done.set()


class Unread(QuicConnection):
    """Gives no window but the first one."""

    def _write_connection_limits(self, *_: Any, **__: Any) -> None:
        pass

    def _write_stream_limits(self, *_: Any, **__: Any) -> None:
        pass


def client_configuration(**changes: Any) -> QuicConfiguration:
    return QuicConfiguration(
        is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, **changes
    )


@asynccontextmanager
async def visiting(
    port: int,
    kind: type[QuicConnection] = QuicConnection,
    *,
    host: str = LOOPBACK,
    **changes: Any,
) -> AsyncIterator[Http3]:
    """A visitor from an address of this machine."""
    loop = asyncio.get_running_loop()
    quic = kind(configuration=client_configuration(**changes))
    transport, visitor = await loop.create_datagram_endpoint(
        lambda: Http3(quic), local_addr=(host, 0)
    )
    try:
        visitor.connect((LOOPBACK, port))
        async with asyncio.timeout(DEADLINE_S):
            await visitor.wait_connected()
        yield visitor
    finally:
        visitor.close()
        transport.close()
