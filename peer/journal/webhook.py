"""One POST to an address that a person has set: whether it was taken, within a bounded time."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import h11

TIMEOUT_S: Final = 10.0
HEAD_MAX: Final = 16 << 10


class WebhookFailed(Exception):
    """Nobody took it."""


class Target(NamedTuple):
    """Where to post to."""

    host: str
    port: int
    is_tls: bool
    path: str
    authority: str


def parse_url(text: str) -> Target:
    """Reads an http or https URL; raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError(text)
    is_tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or any(c <= " " for c in path) or not parts.hostname.isascii():
        raise ValueError(text)
    port = parts.port or (443 if is_tls else 80)
    return Target(parts.hostname, port, is_tls, path, parts.netloc)


async def post(target: Target, body: bytes) -> None:
    """Posts JSON. Raises WebhookFailed, also if it is not answered by a 2xx in time."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            status = await _exchange(target, body)
    except TimeoutError as error:
        raise WebhookFailed(f"no answer within {TIMEOUT_S:.0f} s") from error
    except (OSError, h11.ProtocolError) as error:
        raise WebhookFailed(str(error) or type(error).__name__) from error
    if not 200 <= status < 300:
        raise WebhookFailed(f"it was answered with {status}")


async def _exchange(target: Target, body: bytes) -> int:
    context = ssl.create_default_context() if target.is_tls else None
    reader, writer = await asyncio.open_connection(target.host, target.port, ssl=context)
    try:
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
        headers = [
            ("Host", target.authority), ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))), ("Connection", "close"),
        ]  # fmt: skip
        request = h11.Request(method="POST", target=target.path, headers=headers)
        data = http.send(request)
        data += http.send(h11.Data(data=body))
        http.send(h11.EndOfMessage())
        writer.write(data)
        await writer.drain()
        while True:
            event = http.next_event()
            if isinstance(event, h11.Response):
                return event.status_code
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(HEAD_MAX))
            elif isinstance(event, h11.ConnectionClosed):
                raise WebhookFailed("it was closed without an answer")
    finally:
        writer.transport.abort()
