"""What a relay answers over HTTP: the page, and of a share link head, claims and packs (SPEC 17).

Nothing that is asked for says what a link holds, and the secret is in no request. What is answered
has exact headers, for what a browser would do otherwise is what a page can be attacked by.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crypto.packs import LEAF_SIZE
from crypto.share_links import LINK_ID_SIZE, TOKEN_SIZE
from relay.share_links import TICKET_SIZE, Claimed, Gone, Later, Reading, ShareLinks, Unknown
from relay.uploads import Uploads
from relay.web_answers import (
    TICKET_HEADER,
    BrokenOff,
    body_of,
    bytes_of,
    gone,
    not_found,
    plain,
    text_of,
    unavailable,
)
from relay.web_files import PageFile, PageFiles
from relay.web_turnstile import Turnstile
from relay.web_uploads import UploadEndpoint

PACK_ID_SIZE: Final = 32
PIECE_SIZE: Final = 4 * LEAF_SIZE
"""What is read at once, and what a slow visitor holds of memory, with what the socket buffers. On a
busy machine `get` had 46, 87 and 118 MB/s with 2, 4 and 8 leaves."""

_PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self';"
    " img-src 'self' blob:; media-src blob:; connect-src 'self'; worker-src 'self';"
    " frame-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DATA_POLICY: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"
_ALWAYS: Final[Mapping[str, str]] = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
    "Permissions-Policy": (
        "accelerometer=(), camera=(), geolocation=(), microphone=(), payment=(), usb=()"
    ),
}
_TRANSPORT: Final = ("Strict-Transport-Security", "max-age=31536000")
_NO_STORE: Final = "no-store"
_RANGE: Final = re.compile(r"bytes=(\d{1,9})-(\d{1,9})")
_HTML: Final = {"Content-Security-Policy": _PAGE_POLICY}


class PackUnavailable(Exception):
    """A pack cannot be read just now, here or where its shares are."""


class Packs(Protocol):
    """Where the bytes of packs come from."""

    async def size_of(self, pack_id: bytes) -> int | None:
        """How long a pack is, which is on the grid; None if it is not to be had."""

    async def read(self, pack_id: bytes, first: int, end: int) -> bytes:
        """Whole leaves of it, at most PIECE_SIZE; raises PackUnavailable."""


class WebEndpoint:
    """The application that the servers of HTTP run."""

    def __init__(
        self,
        links: ShareLinks,
        packs: Packs,
        files: PageFiles,
        uploads: Uploads,
        *,
        is_behind_proxy: bool = False,
        requests_per_second: int = 0,
    ) -> None:
        """So many requests from one address; 0: as many as it likes."""
        self._links, self._packs, self._files = links, packs, files
        self._is_behind_proxy = is_behind_proxy
        application = Starlette(
            routes=[
                Route("/s/-/{name}", self._file),
                Route("/s/-/{version}/{name}", self._versioned_file),
                Route("/s/{link}", self._page),
                Route("/s/{link}/head", self._head),
                Route("/s/{link}/claim", self._claim, methods=["POST"]),
                Route("/s/{link}/claim", self._give_back, methods=["DELETE"]),
                Route("/s/{link}/pack/{pack}", self._pack),
                *UploadEndpoint(links, uploads, self._host).routes,
            ],
            exception_handlers={404: _refuse(404), 405: _refuse(405)},
        )
        self.app: ASGIApp = _Headers(Turnstile(application, self._host, requests_per_second))

    # ------------------------------------------------------------ the page

    async def _page(self, request: Request) -> Response:
        # An address that was cut off gets the page, too, which says so to a person.
        status, page = 404 if _link_id(request) is None else 200, self._files.page
        return Response(page.content, status, {"Content-Type": page.content_type, **_HTML})

    async def _file(self, request: Request) -> Response:
        return self._answer_file(request, "no-cache")

    async def _versioned_file(self, request: Request) -> Response:
        if request.path_params["version"] != self._files.version:
            return not_found()
        return self._answer_file(request, "public, max-age=31536000, immutable")

    def _answer_file(self, request: Request, cache: str) -> Response:
        name: str = request.path_params["name"]
        file: PageFile | None = self._files.get(name)
        if file is None:
            return not_found()
        headers = {"Cache-Control": cache, "ETag": file.etag, **_HTML}
        if name == "sw.js":
            headers["Service-Worker-Allowed"] = "/s/"
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers={"Content-Type": file.content_type, **headers})

    # ------------------------------------------------------------ links

    async def _head(self, request: Request) -> Response:
        link_id = _link_id(request)
        if link_id is None:
            return not_found()
        flags, salt = self._links.head(link_id)
        return JSONResponse({"version": 1, "flags": flags, "salt": text_of(salt)})

    async def _claim(self, request: Request) -> Response:
        link_id = _link_id(request)
        if link_id is None:
            return not_found()
        token = await body_of(request, TOKEN_SIZE)
        match await self._links.claim(link_id, token, self._host(request)):
            case Claimed(ticket, path):
                return self._blob(ticket, path)
            case Gone(how):
                return gone(how.word)
            case Later(seconds, is_taken):
                body = {"wait": "taken" if is_taken else "attempts"}
                return JSONResponse(body, 429, headers={"Retry-After": str(seconds)})
            case Unknown():
                return not_found()

    async def _give_back(self, request: Request) -> Response:
        link_id = _link_id(request)
        ticket = bytes_of(request.headers.get(TICKET_HEADER, ""), TICKET_SIZE)
        if link_id is None or ticket is None:
            return not_found()
        match await self._links.give_back(link_id, ticket):
            case Unknown():
                return not_found()
            case Gone(how):
                return gone(how.word)
            case is_given_back:
                return Response(status_code=204) if is_given_back else plain(409)

    @staticmethod
    def _blob(ticket: bytes, path: Path) -> Response:
        try:
            file = path.open("rb")
        except OSError:
            return unavailable()
        size = os.fstat(file.fileno()).st_size

        async def pieces() -> AsyncIterator[bytes]:
            with file:
                while piece := file.read(PIECE_SIZE):
                    yield piece

        return _Stream(pieces(), size, {TICKET_HEADER: text_of(ticket)})

    async def _pack(self, request: Request) -> Response:
        link_id, pack_id = _link_id(request), bytes_of(request.path_params["pack"], PACK_ID_SIZE)
        ticket = bytes_of(request.headers.get(TICKET_HEADER, ""), TICKET_SIZE)
        if link_id is None or pack_id is None or ticket is None:
            return not_found()
        reading = await self._links.admit(link_id, pack_id, ticket)
        match reading:
            case Unknown():
                return not_found()
            case Gone(how):
                return gone(how.word)
        size = await self._packs.size_of(pack_id)
        if size is None:
            return unavailable()
        span = _span(request.headers.get("range"), size)
        if span is None:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        first, end = span
        headers = {"Accept-Ranges": "bytes", "Content-Range": f"bytes {first}-{end - 1}/{size}"}
        if request.method == "HEAD":
            return Response(
                status_code=206, headers={**headers, "Content-Length": str(end - first)}
            )
        # The first piece before the status: what cannot be had is a 503 and no broken answer.
        try:
            piece = await self._piece(reading, pack_id, first, end)
        except PackUnavailable:
            return unavailable()
        pieces = self._pieces(reading, pack_id, first, end, piece)
        return _Stream(pieces, end - first, headers, status_code=206)

    async def _pieces(
        self, reading: Reading, pack_id: bytes, first: int, end: int, piece: bytes
    ) -> AsyncIterator[bytes]:
        while True:
            yield piece
            first += len(piece)
            if first >= end:
                return
            piece = await self._piece(reading, pack_id, first, end)

    async def _piece(self, reading: Reading, pack_id: bytes, first: int, end: int) -> bytes:
        piece = await self._packs.read(pack_id, first, min(end, first + PIECE_SIZE))
        if not await self._links.count(reading, len(piece)):
            raise PackUnavailable  # an answer that has begun breaks off
        return piece

    def _host(self, request: Request) -> str:
        host = request.client.host if request.client is not None else ""
        if self._is_behind_proxy:
            # The last one is the proxy's own word; what stands before it, anybody can write.
            host = request.headers.get("x-forwarded-for", host).rsplit(",", 1)[-1].strip()
        return host


class _Stream(StreamingResponse):
    """An answer in pieces."""

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        size: int,
        headers: Mapping[str, str],
        status_code: int = 200,
    ) -> None:
        fixed = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        super().__init__(pieces, status_code, {**fixed, **headers})


class _Headers:
    """Gives every answer the headers that all have."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _completed(message["headers"], scope["scheme"] == "https")
            await send(message)

        try:
            await self._app(scope, receive, with_headers)
        except (ClientDisconnect, PackUnavailable):
            raise BrokenOff from None


def _completed(headers: list[tuple[bytes, bytes]], is_tls: bool) -> list[tuple[bytes, bytes]]:
    there = {name.lower() for name, _ in headers}
    more = {
        **_ALWAYS,
        "Cache-Control": _NO_STORE,
        "Content-Security-Policy": _DATA_POLICY,
        **({_TRANSPORT[0]: _TRANSPORT[1]} if is_tls else {}),
    }
    return [
        *headers,
        *(
            (name.lower().encode(), value.encode())
            for name, value in more.items()
            if name.lower().encode() not in there
        ),
    ]


def _refuse(status: int) -> Callable[[Request, Exception], Response]:
    return lambda request, error: plain(status)


def _link_id(request: Request) -> bytes | None:
    return bytes_of(request.path_params["link"], LINK_ID_SIZE)


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and end, both on the grid; None for anything else."""
    found = _RANGE.fullmatch((header or "").strip())
    if found is None:
        return None
    first, end = int(found[1]), int(found[2]) + 1
    is_on_grid = first % LEAF_SIZE == 0 and end % LEAF_SIZE == 0
    return (first, end) if is_on_grid and first < end <= size else None
