"""A web endpoint for the page's tests: SPEC 17 over links in memory, and its lies."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.relay.made_links import MadeLink, base64url

PAGE = Path(__file__).parents[2] / "relay" / "page"
CSP = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' blob:; media-src blob:; connect-src 'self'; worker-src 'self'; "
    "frame-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
TICKET = "A" * 22


@dataclass
class Shown:
    """A link at the door, and how it ended."""

    link: MadeLink
    ended: str | None = None
    lie: Callable[[bytes], bytes] = field(default=lambda data: data)
    """What is done to the bytes of packs before they are sent."""


class PageDoor:
    """Links in memory over HTTP."""

    def __init__(self) -> None:
        self.links: dict[str, Shown] = {}
        self.asked: list[str] = []
        self.app = Starlette(
            routes=[
                Route("/s/-/{rest:path}", self._asset),
                Route("/s/{id}", self._page),
                Route("/s/{id}/head", self._head),
                Route("/s/{id}/claim", self._claim, methods=["POST"]),
                Route("/s/{id}/pack/{pack}", self._pack),
            ]
        )

    def show(self, link: MadeLink) -> Shown:
        shown = self.links[base64url(link.key.link_id)] = Shown(link)
        return shown

    async def _page(self, request: Request) -> Response:
        text = (PAGE / "index.html").read_text().replace("@VERSION@", "0" * 16)
        return self._answer(text.encode(), ".html")

    async def _asset(self, request: Request) -> Response:
        path = PAGE / request.path_params["rest"].split("/")[-1]
        if not path.is_file():
            return Response(status_code=404, headers=HEADERS)
        return self._answer(path.read_bytes(), path.suffix)

    def _answer(self, body: bytes, suffix: str) -> Response:
        headers = {**HEADERS, "Content-Security-Policy": CSP}
        return Response(body, media_type=TYPES[suffix], headers=headers)

    async def _head(self, request: Request) -> Response:
        self.asked.append(str(request.url))
        shown = self.links.get(request.path_params["id"])
        salt = shown.link.secrets.password_salt if shown else bytes(16)
        flags = shown.link.flags if shown else 0
        return JSONResponse(
            {"version": 1, "flags": flags, "salt": base64url(salt)}, headers=HEADERS
        )

    async def _claim(self, request: Request) -> Response:
        self.asked.append(str(request.url))
        shown = self.links.get(request.path_params["id"])
        body = await request.body()
        if shown is None or sha256(body).digest() != sha256(shown.link.token).digest():
            return Response(status_code=404, headers=HEADERS)
        if shown.ended:
            return JSONResponse({"ended": shown.ended}, 410, headers=HEADERS)
        return Response(shown.link.blob, headers={**HEADERS, "X-Holdfast-Ticket": TICKET})

    async def _pack(self, request: Request) -> Response:
        self.asked.append(str(request.url))
        shown = self.links.get(request.path_params["id"])
        if shown is None or request.headers.get("X-Holdfast-Ticket") != TICKET:
            return Response(status_code=404, headers=HEADERS)
        if shown.ended:
            return JSONResponse({"ended": shown.ended}, 410, headers=HEADERS)
        pack = shown.link.packs.get(urlsafe_b64decode(request.path_params["pack"] + "="))
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if pack is None or wanted is None:
            return Response(status_code=404, headers=HEADERS)
        start, end = int(wanted[1]), int(wanted[2]) + 1
        if start % 65536 or end % 65536 or end > len(pack):
            return Response(status_code=416, headers=HEADERS)
        return Response(shown.lie(pack[start:end]), 206, headers=HEADERS)
