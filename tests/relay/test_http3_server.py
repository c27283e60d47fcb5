"""HTTP/3 over real sockets, and what hostile visitors may do to the others: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from protocol.quic_door import QuicDoor
from relay import http3_server
from relay.http3_connection import (
    NARROW_BYTES,
    STREAMS_MAX,
    WIDE_BYTES,
    Http3Connection,
    server_configuration,
)
from relay.http3_server import SLICE_BYTES, Http3Server
from relay.ports import listen, listen_udp
from relay.web_server import Certificate
from relay.web_turnstile import REQUESTS_PER_ADDRESS_MAX
from tests.relay.http3_visitor import ELSEWHERE, Http3, Unread, asked, visiting
from tests.relay.relay_stage import LOOPBACK, until
from tests.relay.web_program import PACK_LEAVES, web_program

GROWTH_MAX = 160 << 20
"""What all that one address does may cost the relay: 32 connections with 2 MiB on their ways each,
256 requests of 320 KiB."""
CONNECTIONS = REQUESTS_PER_ADDRESS_MAX // STREAMS_MAX + 1
LONG = 128 << 10
FRAME_HEAD_BYTES = 16
"""The most that HTTP/3 puts before a slice: two integers of at most 8 bytes (RFC 9114, 7.1)."""
WINDOWS = ("max_data", "max_stream_data")
"""What a visitor says that it has room for."""


class Application:
    """Answers each path in a way of its own."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.bodies: list[bytes] = []
        self.given = 0
        self.may_read = asyncio.Event()
        self.errors: list[BaseException] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        try:
            match scope["path"]:
                case "/unread":
                    await self.may_read.wait()
                    await self._read(receive)
                case "/read":
                    await self._read(receive)
                case "/long":
                    await send({"type": "http.response.start", "status": 200, "headers": []})
                    for _ in range(64):
                        await send(
                            {"type": "http.response.body", "body": bytes(LONG), "more_body": True}
                        )
                        self.given += LONG
                case "/bug":
                    raise RuntimeError("a defect")
            if scope["path"] != "/long":
                await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"done"})
        except BaseException as error:
            self.errors.append(error)
            raise

    async def _read(self, receive: Any) -> None:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.bodies.append(b"broken off")
                return
            body += message["body"]
            if not message["more_body"]:
                self.bodies.append(bytes(body))
                return


class Stage:
    def __init__(self, port: int, server: Http3Server) -> None:
        self.port, self.server = port, server

    @property
    def kept(self) -> int:
        """What is kept for visitors, both ways."""
        visits = set(self.server.visits.values())
        return sum(
            visit.connection.unsent_bytes() + visit.connection.unread_bytes for visit in visits
        )


@asynccontextmanager
async def http3_stage(home: Path, app: ASGIApp) -> AsyncIterator[Stage]:
    certificate = Certificate.self_signed(home, LOOPBACK)
    configuration = server_configuration(certificate.certificate, certificate.key)
    server = Http3Server(app, QuicDoor(configuration, Http3Connection))
    listening = listen(LOOPBACK, 0)
    udp = listen_udp(listening)
    running = asyncio.get_running_loop().create_task(server.run(udp))
    try:
        yield Stage(listening.getsockname()[1], server)
    finally:
        running.cancel()
        await asyncio.wait([running])
        listening.close()


async def status_of(visitor: Http3, path: str, body: bytes | None = None) -> int:
    headers, _ = await visitor.ask(asked("POST", path), body)
    return int(headers[b":status"])


async def test_a_request_is_what_asgi_says_it_is(tmp_path: Path) -> None:
    app = Application()
    async with http3_stage(tmp_path, app) as stage, visiting(stage.port) as visitor:
        body = bytes(range(256)) * 1024
        assert await status_of(visitor, "/read?a=%20b", body) == 200
        (scope,) = app.scopes
        assert app.bodies == [body]
        assert (scope["path"], scope["query_string"]) == ("/read", b"a=%20b")
        assert (scope["http_version"], scope["method"], scope["scheme"]) == ("3", "POST", "https")
        assert (b"host", LOOPBACK.encode()) in scope["headers"]
        assert scope["client"][0] == LOOPBACK
        headers, answer = await visitor.ask(asked("HEAD", "/a%20path"))
        assert app.scopes[1]["path"] == "/a path"
        assert (headers[b":status"], answer) == (b"200", b"")
        assert b"date" in headers


async def test_a_body_that_nobody_reads_waits_at_its_sender(tmp_path: Path) -> None:
    app = Application()
    async with http3_stage(tmp_path, app) as stage:
        async with visiting(stage.port) as evil, visiting(stage.port) as visitor:
            stream = evil.begin(asked("POST", "/unread"), is_whole=False)
            evil.send(stream, bytes(8 * LONG), is_last=True)
            await until(lambda: stage.kept > NARROW_BYTES // 2)
            for _ in range(3):
                assert await status_of(visitor, "/read", b"some") == 200
            # Of answers to the other a little may wait for its acknowledgement.
            await until(lambda: stage.kept <= NARROW_BYTES)
            app.may_read.set()
            await evil.answer(stream).end()
            assert len(app.bodies[-1]) == 8 * LONG


async def test_a_body_after_the_answer_breaks_nobody(tmp_path: Path) -> None:
    async with http3_stage(tmp_path, Application()) as stage:
        async with visiting(stage.port) as evil, visiting(stage.port) as visitor:
            stream = evil.begin(asked("POST", "/none"), is_whole=False)
            await evil.answer(stream).end()
            evil._quic._streams[stream].sender.write(b"\x00\x10more of this body" * 9)
            evil.transmit()
            assert await status_of(visitor, "/read", b"some") == 200
            assert await status_of(evil, "/read", b"some") == 200


async def test_an_answer_that_nobody_reads_is_not_gone_on_with(tmp_path: Path) -> None:
    app = Application()
    async with http3_stage(tmp_path, app) as stage:
        windows: dict[str, Any] = dict.fromkeys(WINDOWS, NARROW_BYTES // 2)
        async with visiting(stage.port, Unread, **windows) as evil:
            streams = [evil.begin(asked("GET", "/long")) for _ in range(STREAMS_MAX)]
            async with visiting(stage.port) as visitor:
                assert await status_of(visitor, "/read", b"some") == 200
                assert len(app.scopes) == STREAMS_MAX + 1
                assert 0 < stage.kept <= NARROW_BYTES + SLICE_BYTES
                assert app.given <= LONG
                evil._quic.close()
                evil.transmit()
                await until(lambda: len(app.errors) == len(streams))
                assert all(isinstance(error, ConnectionError) for error in app.errors)


async def test_who_reads_is_served_to_the_end_with_little_kept(tmp_path: Path) -> None:
    app = Application()
    most = 0
    async with http3_stage(tmp_path, app) as stage, visiting(stage.port) as visitor:
        stream = visitor.begin(asked("GET", "/long"))
        answer = visitor.answer(stream)
        while len(answer.body) < 12 * LONG and not answer.done.is_set():
            most = max(most, stage.kept)
            await asyncio.sleep(0)
        assert NARROW_BYTES < most <= WIDE_BYTES + SLICE_BYTES + FRAME_HEAD_BYTES
        visitor._quic.stop_stream(stream, 0x10C)
        visitor._quic.reset_stream(stream, 0x10C)
        visitor.transmit()
        await until(lambda: len(app.errors) == 1)
        assert await status_of(visitor, "/read", b"") == 200, "the connection goes on"
        assert stage.server.wide == 1
    assert stage.server.wide == 0


async def test_a_defect_breaks_one_answer_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with http3_stage(tmp_path, Application()) as stage, visiting(stage.port) as visitor:
        answer = await visitor.answer(visitor.begin(asked("GET", "/bug"))).end()
        assert answer.is_broken
        assert answer.status == 0
        assert await status_of(visitor, "/read", b"some") == 200
    assert "was not answered" in caplog.text


async def test_nonsense_ends_its_own_connection_alone(tmp_path: Path) -> None:
    async with http3_stage(tmp_path, Application()) as stage, visiting(stage.port) as visitor:
        for request in (asked("CONNECT", "no path"), asked("GET", "/a")[:1]):
            async with visiting(stage.port) as evil:
                assert (await evil.answer(evil.begin(request)).end()).is_broken
        async with visiting(stage.port) as evil:
            stream = evil._quic.get_next_available_stream_id()
            evil._quic.send_stream_data(stream, b"\x01\x80\x10\x00\x00" + bytes(40_000))
            evil.transmit()
            async with asyncio.timeout(60):
                await evil.ended.wait()
        assert await status_of(visitor, "/read", b"some") == 200


async def test_a_connection_without_requests_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Application()
    async with http3_stage(tmp_path, app) as stage, visiting(stage.port) as visitor:
        stream = visitor.begin(asked("POST", "/unread"), is_whole=True)
        await until(lambda: len(app.scopes) == 1)
        async with visiting(stage.port) as idle, asyncio.timeout(60):
            monkeypatch.setattr(http3_server, "IDLE_TIMEOUT_S", 0.3)
            assert await status_of(idle, "/read", b"") == 200
            await idle.ended.wait()
        assert not visitor.ended.is_set(), "a request is under way"
        app.may_read.set()
        await visitor.answer(stream).end()


async def test_many_connections_show_their_addresses_and_each_address_has_so_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http3_server, "CONNECTIONS_PER_ADDRESS_MAX", 3)
    monkeypatch.setattr(http3_server, "VALIDATE_FROM", 2)
    async with http3_stage(tmp_path, Application()) as stage, AsyncExitStack() as stack:
        visitors = [await stack.enter_async_context(visiting(stage.port)) for _ in range(3)]
        assert [bool(each._quic._peer_token) for each in visitors] == [False, False, True]
        with pytest.raises(ConnectionError):
            await stack.enter_async_context(visiting(stage.port, idle_timeout=0.2))
        async with visiting(stage.port, host=ELSEWHERE) as other:
            assert await status_of(other, "/read", b"some") == 200


@pytest.mark.row("A38")
async def test_one_address_cannot_take_the_relay_s_memory(tmp_path: Path) -> None:
    """EvilVisitor asks for all that it may, on all connections that it gets, and reads none."""
    async with web_program(tmp_path / "relay") as relay, AsyncExitStack() as stack:
        before = relay.rss
        windows: dict[str, Any] = dict.fromkeys(WINDOWS, NARROW_BYTES * 5 // 4)
        request = asked(
            "GET", relay.path, range=f"bytes=0-{PACK_LEAVES * 65_536 - 1}",
            x_holdfast_ticket=relay.ticket,
        )  # fmt: skip
        asked_of: list[tuple[Http3, int]] = []
        for _ in range(CONNECTIONS):
            evil = await stack.enter_async_context(visiting(relay.port, Unread, **windows))
            asked_of += [(evil, evil.begin(request)) for _ in range(STREAMS_MAX)]
        async with visiting(relay.port, host=ELSEWHERE) as visitor:
            headers, body = await visitor.ask(
                [*request[:4], ("range", "bytes=0-65535"), request[5]]
            )
            assert (headers[b":status"], len(body)) == (b"206", 65_536)

            def answered() -> int:
                return len({evil for evil, at in asked_of if evil.answer(at).status == 206})

            await until(lambda: answered() > CONNECTIONS // 2)
            assert relay.rss - before < GROWTH_MAX
