"""What a relay answers over HTTP to who puts files in by an upload link (SPEC 20).

Each body is bounded before any of it is kept, and what came of one that broke off is kept as far as
its segments are whole: the page goes on from there.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from crypto.share_links import LINK_ID_SIZE
from crypto.uploads import (
    FILE_SIZE_MAX,
    HEAD_SIZE_MAX,
    SEALED_SEGMENT_SIZE,
    UPLOAD_ID_SIZE,
    sealed_size,
)
from relay import web_answers as answers
from relay.share_links import TICKET_SIZE, Gone, Later, ShareLinks, Unknown
from relay.upload_rows import UploadState
from relay.uploads import Refused, Upload, Uploads
from relay.web_answers import TICKET_HEADER, BrokenOff

SIZE_HEADER: Final = "X-Holdfast-Size"
SEGMENTS_PER_REQUEST: Final = 16
"""What has to be sent again at most, when the connection breaks before an answer."""
STALL_S: Final = 60.0
"""A sender of whom nothing comes for so long has gone."""
SLOWEST_BYTES_S: Final = 1 << 10
"""After that time, on the average. Who is slower has no segment whole in a quarter of an hour, and
would hold a request open for days by a byte a minute."""
_NUMBER: Final = re.compile(r"\d{1,13}", re.ASCII)


class UploadEndpoint:
    """The routes of upload links."""

    def __init__(
        self, links: ShareLinks, uploads: Uploads, host_of: Callable[[Request], str]
    ) -> None:
        self._links, self._uploads, self._host_of = links, uploads, host_of
        self.routes = [
            Route("/s/{link}/uploads", self._room),
            Route("/s/{link}/uploads/{upload}", self._begin, methods=["PUT"]),
            Route("/s/{link}/uploads/{upload}/{segment}", self._take, methods=["PUT"]),
        ]

    async def _room(self, request: Request) -> Response:
        link_id = await self._admitted(request)
        if isinstance(link_id, Response):
            return link_id
        room = self._uploads.room(link_id)
        return answers.not_found() if room is None else JSONResponse(asdict(room))

    async def _begin(self, request: Request) -> Response:
        link_id = await self._admitted(request)
        if isinstance(link_id, Response):
            return link_id
        upload_id = answers.bytes_of(request.path_params["upload"], UPLOAD_ID_SIZE)
        size = _number(request.headers.get(SIZE_HEADER, ""))
        if upload_id is None or size is None or size > FILE_SIZE_MAX:
            return answers.plain(400)
        head = await answers.body_of(request, HEAD_SIZE_MAX)
        match await self._uploads.begin(link_id, upload_id, size, head, self._host_of(request)):
            case Later(seconds):
                body = {"wait": "attempts"}
                return JSONResponse(body, 429, headers={"Retry-After": str(seconds)})
            case Refused.OTHER:
                return answers.plain(409)
            case Refused() as why:
                return JSONResponse({"refused": why.value}, 413)
            case Upload() as upload:
                return _where(upload)

    async def _take(self, request: Request) -> Response:
        link_id = await self._admitted(request)
        if isinstance(link_id, Response):
            return link_id
        upload_id = answers.bytes_of(request.path_params["upload"], UPLOAD_ID_SIZE)
        first = _number(request.path_params["segment"])
        upload = None if upload_id is None else self._uploads.find(link_id, upload_id)
        if upload is None or first is None:
            return answers.not_found()
        row = upload.row
        if row.state != UploadState.UNDER_WAY or first != row.segments:
            return _where(upload)  # it is there already, or what is before it is not
        upload.turn += 1
        turn, start = upload.turn, first * SEALED_SEGMENT_SIZE
        left = sealed_size(row.size) - start
        upload.requests += 1
        try:
            end, is_whole = await self._pour(request, upload, start, left)
        finally:
            upload.requests -= 1
        segments = row.segments_max if end == start + left else end // SEALED_SEGMENT_SIZE
        if segments > first:
            await self._uploads.keep(upload, turn, segments)
        if not is_whole:
            raise BrokenOff
        link_id = await self._admitted(request)
        return link_id if isinstance(link_id, Response) else _where(upload)

    async def _pour(self, request: Request, upload: Upload, at: int, left: int) -> tuple[int, bool]:
        """Writes a body from here on; where it came to, and whether it came to its end.

        What is longer than may come, or comes to a link that has ended, breaks off.
        """
        turn, end = upload.turn, at + min(left, SEGMENTS_PER_REQUEST * SEALED_SEGMENT_SIZE)
        try:
            descriptor = os.open(self._uploads.path(upload.row), os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return at, False
        pieces, now = request.stream(), asyncio.get_running_loop().time
        began, first = now(), at
        try:
            while True:
                latest = began + STALL_S + (at - first) / SLOWEST_BYTES_S
                async with asyncio.timeout_at(min(now() + STALL_S, latest)):
                    piece = await anext(pieces, None)
                if piece is None:
                    return at, True
                is_live = upload.turn == turn and self._uploads.is_live(upload)
                if not is_live or len(piece) > end - at:
                    return at, False
                view = memoryview(piece)
                while view:
                    count = os.pwrite(descriptor, view, at)
                    view, at = view[count:], at + count
        except (TimeoutError, ClientDisconnect):
            return at, False
        finally:
            os.close(descriptor)

    async def _admitted(self, request: Request) -> bytes | Response:
        """The link that the request's ticket is of, or the answer to who has none."""
        link_id = answers.bytes_of(request.path_params["link"], LINK_ID_SIZE)
        ticket = answers.bytes_of(request.headers.get(TICKET_HEADER, ""), TICKET_SIZE)
        if link_id is None or ticket is None:
            return answers.not_found()
        match await self._links.admit_sender(link_id, ticket):
            case Unknown():
                return answers.not_found()
            case Gone(how):
                return answers.gone(how.word)
            case _:
                return link_id


def _where(upload: Upload) -> Response:
    is_whole = upload.row.state != UploadState.UNDER_WAY
    return JSONResponse({"at": upload.row.segments, "whole": is_whole})


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None
