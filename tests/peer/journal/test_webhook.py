"""One POST, to servers of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from peer.journal import webhook
from peer.journal.webhook import Target, WebhookFailed, parse_url, post


@asynccontextmanager
async def server(answer: bytes | None) -> AsyncIterator[tuple[str, Callable[[], bytes]]]:
    """A server that gives one answer, or none at all; its URL, and what it was sent."""
    got = bytearray()
    hangs = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while b"}" not in got:
                data = await reader.read(4096)
                if not data:
                    break
                got.extend(data)
            if answer is None:
                await hangs.wait()
            else:
                writer.write(answer)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield (
            f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/hook?k=1",
            lambda: bytes(got),
        )
    finally:
        hangs.set()
        listener.close()
        await listener.wait_closed()
        await asyncio.sleep(0)


async def test_it_posts_json_and_is_content_with_a_2xx() -> None:
    async with server(b"HTTP/1.1 204 No Content\r\n\r\n") as (url, got):
        await post(parse_url(url), b'{"a":1}')
        head, _, body = got().partition(b"\r\n\r\n")
        assert head.startswith(b"POST /hook?k=1 HTTP/1.1\r\n")
        assert b"application/json" in head.lower()
        assert body == b'{"a":1}'


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 No\r\n\r\n",
        b"HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
        b"",
        b"rubbish\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000,
    ],
)
async def test_nothing_else_counts_as_taken(answer: bytes) -> None:
    async with server(answer) as (url, _):
        with pytest.raises(WebhookFailed):
            await post(parse_url(url), b"{}")


async def test_who_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.05)
    async with server(None) as (url, _):
        with pytest.raises(WebhookFailed, match="no answer"):
            await post(parse_url(url), b"{}")


async def test_where_nobody_listens_it_fails() -> None:
    async with server(b"") as (url, _):
        pass
    with pytest.raises(WebhookFailed):
        await post(parse_url(url), b"{}")


def test_an_address_is_read() -> None:
    assert parse_url("https://example.org/a?b=c") == Target(
        "example.org", 443, True, "/a?b=c", "example.org"
    )
    assert parse_url("http://[::1]:8080") == Target("::1", 8080, False, "/", "[::1]:8080")


@pytest.mark.parametrize(
    "text",
    ["", "example.org", "ftp://example.org", "http://", "http://u:p@h/", "http://h/\r\nX: y ü",
     "http://h:99999/", "file:///etc/passwd"],
)  # fmt: skip
def test_what_is_no_address_of_the_web_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - as for any other value of the configuration
        parse_url(text)
