"""Answers of the web endpoint that say little, and what is read of requests: bounded, and no more
than was asked for.
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

TICKET_HEADER: Final = "X-Holdfast-Ticket"
BODY_TIMEOUT_S: Final = 10.0
"""For the 32 bytes of a token, or the few kilobytes of a head."""


class BrokenOff(Exception):
    """An answer did not come to its end; the connection does, so that nobody takes it for whole."""


def plain(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """An answer without words."""
    return Response(b"", status, {"Content-Type": "text/plain; charset=utf-8", **(headers or {})})


def not_found() -> Response:
    """What is answered of whatever there is not, alike."""
    return plain(404)


def unavailable() -> Response:
    """Not now; later it may be."""
    return plain(503, {"Retry-After": "30"})


def gone(how: str) -> Response:
    """It has ended, which is told to who had its secret."""
    return JSONResponse({"ended": how}, 410)


def text_of(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).decode().rstrip("=")


def bytes_of(text: str, size: int) -> bytes | None:
    """What these characters stand for; None if they are not exactly so many bytes."""
    if len(text) != -(-size * 4 // 3) or not text.isascii():
        return None
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    return data if len(data) == size and text_of(data) == text else None


async def body_of(request: Request, size_max: int) -> bytes:
    """The body if it is no longer than this, else nothing."""
    body = b""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for piece in request.stream():
                body += piece
                if len(body) > size_max:
                    return b""
    except (TimeoutError, ClientDisconnect):
        raise BrokenOff from None
    return body
