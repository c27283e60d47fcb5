"""The control API's routes of files: bytes instead of JSON, ranges and ETags (RFC 9110)."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from peer.control.control_fields import Fields, read_members
from peer.control.control_guard import answer_of, problem
from peer.control.file_requests import FILE_SIZE_MAX
from peer.errors import FileChanged, PeerError, UsageError
from peer.status import FileEntry, RestoreReport, VersionList

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
log = logging.getLogger(__name__)


class FilesApi(Protocol):
    """What the routes ask of the daemon; each raises PeerError."""

    async def metadata(self, file_id: str) -> FileEntry:
        """What a file is."""

    async def lookup(self, path: Path) -> FileEntry:
        """The same by its path on this machine."""

    def read(self, file_id: str, etag: str, offset: int, size: int) -> AsyncIterator[bytes]:
        """A range of its bytes."""

    async def upload(self, folder: str, path: str, data: bytes) -> FileEntry | None:
        """A new file."""

    async def replace(self, file_id: str, data: bytes, etag: str | None) -> None:
        """New bytes."""

    async def delete(self, file_id: str, etag: str | None) -> None:
        """No file any more."""

    async def versions(self, file_id: str) -> VersionList:
        """What it was."""

    async def restore(self, file_id: str, version: int | None, at_s: int | None) -> RestoreReport:
        """What it was, again."""


def _json(content: Any, etag: str | None = None) -> Response:
    answer = answer_of(content, 200, "application/json")
    if etag is not None:
        answer.headers["ETag"] = etag
    return answer


def _file_id(request: Request) -> str:
    return str(request.path_params["file_id"])


async def _metadata(files: FilesApi, request: Request) -> Response:
    entry = await files.metadata(_file_id(request))
    if request.headers.get("if-none-match") == entry["etag"]:
        return Response(status_code=304, headers={"ETag": entry["etag"]})
    return _json(entry, entry["etag"])


async def _lookup(files: FilesApi, request: Request) -> Response:
    fields = Fields(await read_members(request), is_query=True)
    path = fields.path("path")
    fields.end()
    entry = await files.lookup(path)
    return _json(entry, entry["etag"])


async def _download(files: FilesApi, request: Request) -> Response:
    file_id = _file_id(request)
    entry = await files.metadata(file_id)
    size, etag = entry["size"], entry["etag"]
    headers = {
        "ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment",
    }  # fmt: skip
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    if entry["type"] != "file":
        raise UsageError(f"{entry['path']} is a symlink, which has no bytes of its own.")
    first, last, status = 0, size - 1, 200
    asked = request.headers.get("range")
    if asked is not None and request.headers.get("if-range", etag) == etag:
        wanted = range_of(asked, size)
        if wanted is None:
            headers["Content-Range"] = f"bytes */{size}"
            return Response(status_code=416, headers=headers)
        (first, last), status = wanted, 206
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    length = last - first + 1
    headers["Content-Length"] = str(length)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    pieces = files.read(file_id, etag, first, length)
    begun = await anext(pieces, b"")  # what is wrong at once is a proper answer yet
    return StreamingResponse(_going_on(begun, pieces), status, headers, "application/octet-stream")


async def _going_on(begun: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield begun
    async for piece in pieces:
        yield piece


def range_of(text: str, size: int) -> tuple[int, int] | None:
    """The first and the last byte of a range that is asked for; None if there is no such range.

    Of many ranges, or what is none, all is given, as a server may.
    """
    found = _RANGE.fullmatch(text.strip())
    if found is None or found.groups() == ("", ""):
        return (0, size - 1) if size else None
    start, end = found.groups()
    if not start:  # the last so many
        length = min(int(end), size)
        return (size - length, size - 1) if length else None
    first, last = int(start), min(int(end) if end else size - 1, size - 1)
    return (first, last) if first <= last else None


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > FILE_SIZE_MAX:
            raise UsageError(
                f"A file of more than {FILE_SIZE_MAX >> 20} MiB is not written by a request: put it"
                " into the folder."
            )
    return bytes(body)


async def _upload(files: FilesApi, request: Request) -> Response:
    fields = Fields(dict(request.query_params), is_query=True)
    folder, path = fields.text("folder"), fields.text("path")
    fields.end()
    entry = await files.upload(folder, path, await _body(request))
    return _json({"file": entry})


async def _replace(files: FilesApi, request: Request) -> Response:
    await files.replace(_file_id(request), await _body(request), request.headers.get("if-match"))
    return _json({})


async def _delete(files: FilesApi, request: Request) -> Response:
    await files.delete(_file_id(request), request.headers.get("if-match"))
    return _json({})


async def _versions(files: FilesApi, request: Request) -> Response:
    return _json(await files.versions(_file_id(request)))


async def _restore(files: FilesApi, request: Request) -> Response:
    fields = Fields(await read_members(request))
    version, at_s = fields.optional_number("version"), fields.optional_number("at_s")
    fields.end()
    return _json(await files.restore(_file_id(request), version, at_s))


_Act = Callable[[FilesApi, Request], Awaitable[Response]]
ROUTES: Final[tuple[tuple[str, str, _Act], ...]] = (
    ("GET", "/api/files/lookup", _lookup),
    ("GET", "/api/files/metadata/{file_id}", _metadata),
    ("GET", "/api/files/download/{file_id}", _download),
    ("GET", "/api/files/versions/{file_id}", _versions),
    ("POST", "/api/files/upload", _upload),
    ("POST", "/api/files/restore/{file_id}", _restore),
    ("PUT", "/api/files/{file_id}", _replace),
    ("DELETE", "/api/files/delete/{file_id}", _delete),
)


def routes(files: Callable[[], FilesApi]) -> list[Route]:
    """The routes, for the application."""

    def endpoint_of(act: _Act) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                return await act(files(), request)
            except FileChanged as error:
                return problem(error, 412 if "if-match" in request.headers else 409)
            except PeerError as error:
                return problem(error)
            except ClientDisconnect:
                return Response(status_code=400)

        return endpoint

    return [Route(path, endpoint_of(act), methods=[method]) for method, path, act in ROUTES]
