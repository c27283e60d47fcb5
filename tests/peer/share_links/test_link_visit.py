"""A visitor and what a relay may answer it with."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from crypto.packs import LEAF_SIZE
from peer.errors import LinkUnknown, LinkUnreachable, TooManyAttempts
from peer.share_links.link_visit import Visitor
from protocol.share_url import ShareUrl
from tests.peer.link_source import source
from tests.relay.web_stage import web_stage


@asynccontextmanager
async def hostile(answer: bytes) -> AsyncIterator[Visitor]:
    """A visitor of a relay that answers everything with this."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = ShareUrl(f"http://127.0.0.1:{port}", bytes(16), bytes(32))
    async with server:
        visitor = Visitor(url, sleep=lambda seconds: None)
        yield visitor
        visitor.close()


def response(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        response("200 OK", b"no json"),
        response("200 OK", b"[]"),
        response("200 OK", b'{"version": 2, "flags": 0, "salt": "AAAAAAAAAAAAAAAAAAAAAA"}'),
        response("200 OK", b'{"version": 1, "flags": "0", "salt": "AAAAAAAAAAAAAAAAAAAAAA"}'),
        response("200 OK", b'{"version": 1, "flags": 0, "salt": "AAAA"}'),
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        response("302 Found", b"", "Location: http://127.0.0.1:1/"),
        response("500 Oops"),
    ],
)
async def test_what_is_no_answer_is_told_as_such(answer: bytes) -> None:
    async with hostile(answer) as visitor:
        with pytest.raises(LinkUnreachable):
            await asyncio.to_thread(visitor.head)


@pytest.mark.parametrize("extent", ["bytes 65536-131071/1", "", "bytes 0-1"])
async def test_other_bytes_than_were_asked_for_are_refused(extent: str) -> None:
    body = bytes(LEAF_SIZE) if extent.startswith("bytes 6") else b""
    async with hostile(response("206 Partial", body, f"Content-Range: {extent}")) as visitor:
        with pytest.raises(LinkUnreachable):
            await asyncio.to_thread(visitor.range, bytes(32), 0, LEAF_SIZE)


async def test_nobody_there_is_told(tmp_path: Path) -> None:
    url = ShareUrl("http://127.0.0.1:1", bytes(16), bytes(32))
    waits: list[float] = []
    with pytest.raises(LinkUnreachable, match="does not answer"):
        await asyncio.to_thread(Visitor(url, sleep=waits.append).head)
    assert waits == [1, 2, 4, 8, 16]


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    async with web_stage(tmp_path, is_tls=True) as stage:
        url = ShareUrl(f"https://127.0.0.1:{stage.port}", bytes(16), bytes(32))
        with pytest.raises(LinkUnreachable, match="not trusted"):
            await asyncio.to_thread(Visitor(url, sleep=lambda seconds: None).head)


async def test_refusals_have_their_words(tmp_path: Path) -> None:
    async with web_stage(tmp_path) as stage:
        link = await source(stage, {"a": b"b"}, downloads_max=1)
        visitor = Visitor(link.url)
        blob = await asyncio.to_thread(visitor.claim, link.made.token)
        assert blob == link.made.blob
        assert len(visitor.ticket) == 22
        with pytest.raises(TooManyAttempts, match="last download"):
            await asyncio.to_thread(visitor.claim, link.made.token)
        for _ in range(10):
            with pytest.raises(LinkUnknown):
                await asyncio.to_thread(visitor.claim, os.urandom(32))
        with pytest.raises(TooManyAttempts, match="too often"):
            await asyncio.to_thread(visitor.claim, link.made.token)
        visitor.close()


async def test_short_answers_are_put_together(tmp_path: Path) -> None:
    async with web_stage(tmp_path) as stage:
        link = await source(stage, {"a": os.urandom(3 * LEAF_SIZE)})
        visitor = Visitor(link.url)
        await asyncio.to_thread(visitor.claim, link.made.token)
        (pack,) = link.made.packs
        whole = stage.links.packs.packs[pack]
        once = visitor._once

        def shorter(method: str, path: str, headers: dict[str, str], *rest: object) -> object:
            first = int(headers["Range"].removeprefix("bytes=").partition("-")[0])
            headers["Range"] = f"bytes={first}-{first + LEAF_SIZE - 1}"
            return once(method, path, headers, *rest)  # type: ignore[arg-type]

        visitor._once = shorter  # type: ignore[method-assign,assignment]
        assert await asyncio.to_thread(visitor.range, pack, 0, len(whole)) == whole
        visitor.close()
