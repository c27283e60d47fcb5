"""The OpenAPI document of what the web endpoint answers (SPEC 17 and 20), for programs that fetch
or send.
"""

from __future__ import annotations

from typing import Any, Final

from crypto.uploads import HEAD_SIZE_MAX, SEALED_SEGMENT_SIZE
from relay.web_uploads import SEGMENTS_PER_REQUEST

ID: Final = {"type": "string", "pattern": "^[A-Za-z0-9_-]{21}[AQgw]$"}
"""16 bytes in base64url."""
LINK: Final = {
    "name": "link", "in": "path", "required": True, "description": "The link's id.",
    "schema": ID,
}  # fmt: skip
PACK: Final = {
    "name": "pack", "in": "path", "required": True, "description": "The pack's id.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$"},
}  # fmt: skip
TICKET: Final = {
    "name": "X-Holdfast-Ticket", "in": "header", "required": True,
    "description": "Of the download that was claimed.",
    "schema": ID,
}  # fmt: skip
RANGE: Final = {
    "name": "Range", "in": "header", "required": True,
    "description": "One range with its borders on the grid of 65,536 bytes.",
    "schema": {"type": "string", "pattern": "^bytes=[0-9]{1,9}-[0-9]{1,9}$"},
}  # fmt: skip
NAME: Final = {
    "name": "name", "in": "path", "required": True,
    "schema": {"type": "string", "pattern": "^[a-z0-9_.-]{1,40}$"},
}  # fmt: skip
VERSION: Final = {
    "name": "version", "in": "path", "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
}  # fmt: skip

UPLOAD: Final = {
    "name": "upload", "in": "path", "required": True, "description": "An id that the sender made.",
    "schema": ID,
}  # fmt: skip
SEGMENT: Final = {
    "name": "segment", "in": "path", "required": True,
    "description": "The number that `at` said.",
    "schema": {"type": "integer", "minimum": 0, "maximum": 9_999_999_999_999},
}  # fmt: skip
SIZE: Final = {
    "name": "X-Holdfast-Size", "in": "header", "required": True,
    "description": "The bytes of the file.",
    "schema": {"type": "integer", "minimum": 0, "maximum": 9_999_999_999_999},
}  # fmt: skip


def document(version: str) -> dict[str, Any]:
    """All of it; `version` is that of the program."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Holdfast share links", "version": version},
        "paths": {
            "/s/{link}": {"get": _page()},
            "/s/-/{name}": {"get": _file("pageFile", [NAME])},
            "/s/-/{version}/{name}": {"get": _file("versionedPageFile", [VERSION, NAME])},
            "/s/{link}/head": {"get": _head()},
            "/s/{link}/claim": {"post": _claim(), "delete": _give_back()},
            "/s/{link}/pack/{pack}": {"get": _pack()},
            "/s/{link}/uploads": {"get": _room()},
            "/s/{link}/uploads/{upload}": {"put": _begin()},
            "/s/{link}/uploads/{upload}/{segment}": {"put": _segments()},
        },
    }


def _page() -> dict[str, Any]:
    return {
        "operationId": "page",
        "summary": "The page, whether or not there is such a link.",
        "parameters": [LINK],
        "responses": {
            "200": _said("The page.", "text/html"),
            "404": _said("The page, and not an id.", "text/html"),
        },
    }


def _file(operation: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": "A file of the page.",
        "parameters": parameters,
        "responses": {
            "200": {"description": "The file."},
            "304": {"description": "It is the one that the visitor has."},
            "404": _nothing("There is none."),
        },
    }


def _head() -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["version", "flags", "salt"],
        "additionalProperties": False,
        "properties": {
            "version": {"const": 1},
            "flags": {"type": "integer", "minimum": 0, "maximum": 255},
            "salt": {"type": "string", "pattern": "^[A-Za-z0-9_-]{22}$"},
        },
    }
    return {
        "operationId": "head",
        "summary": "Whether a password is asked for, and its salt; of any id.",
        "parameters": [LINK],
        "responses": {
            "200": _said("The same for links that there are not.", "application/json", schema),
            "404": _nothing("Not an id."),
        },
    }


def _claim() -> dict[str, Any]:
    token = {"type": "string", "contentEncoding": "binary", "minLength": 32, "maxLength": 32}
    wait = {
        "type": "object",
        "required": ["wait"],
        "properties": {"wait": {"enum": ["taken", "attempts"]}},
    }
    return {
        "operationId": "claim",
        "summary": "Takes one download.",
        "parameters": [LINK],
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": token}},
        },
        "responses": {
            "200": _said("The sealed manifest.", "application/octet-stream"),
            "404": _nothing("No such link, or not its token."),
            "410": _ended(),
            "429": _said("Later: see Retry-After.", "application/json", wait),
            "503": _nothing("Not just now: see Retry-After."),
        },
    }


def _give_back() -> dict[str, Any]:
    return {
        "operationId": "giveBack",
        "summary": "Gives a download back of which nothing was served.",
        "parameters": [LINK, TICKET],
        "responses": {
            "204": {"description": "It is there for others."},
            "404": _nothing("No such link, or not its ticket."),
            "409": _nothing("Something of it was served."),
            "410": _ended(),
        },
    }


def _pack() -> dict[str, Any]:
    return {
        "operationId": "pack",
        "summary": "A range of a pack.",
        "parameters": [LINK, PACK, TICKET, RANGE],
        "responses": {
            "206": _said("What Content-Range says.", "application/octet-stream"),
            "404": _nothing("Not a pack of this download."),
            "410": _ended(),
            "416": {"description": "Not such a range: see Content-Range."},
            "503": _nothing("Not to be had just now: see Retry-After."),
        },
    }


def _room() -> dict[str, Any]:
    names = ["files", "files_max", "bytes", "bytes_max", "file_bytes_max"]
    schema = {
        "type": "object",
        "required": names,
        "additionalProperties": False,
        "properties": {name: {"type": "integer", "minimum": 0} for name in names},
    }
    return {
        "operationId": "room",
        "summary": "What was put in by an upload link, and what may be.",
        "parameters": [LINK, TICKET],
        "responses": {
            "200": _said("So much.", "application/json", schema),
            "404": _nothing("Not an upload link, or not its ticket."),
            "410": _ended(),
        },
    }


def _begin() -> dict[str, Any]:
    refused = {"refused": {"enum": ["too large", "too many", "no room"]}}
    return {
        "operationId": "beginUpload",
        "summary": "Takes the place of one file, by its sealed head.",
        "parameters": [LINK, UPLOAD, TICKET, SIZE],
        "requestBody": _bytes(1, HEAD_SIZE_MAX),
        "responses": {
            "200": _where(),
            "400": _nothing("Not an id or a size."),
            "404": _nothing("Not an upload link, or not its ticket."),
            "409": _nothing("Another file has this id."),
            "410": _ended(),
            "413": _said("No place.", "application/json", _object(refused)),
            "429": _said("Later: see Retry-After.", "application/json", _object(
                {"wait": {"const": "attempts"}}
            )),
        },
    }  # fmt: skip


def _segments() -> dict[str, Any]:
    return {
        "operationId": "putSegments",
        "summary": "Up to 16 sealed segments of a file; what is there already is not taken again.",
        "parameters": [LINK, UPLOAD, SEGMENT, TICKET],
        "requestBody": _bytes(1, SEGMENTS_PER_REQUEST * SEALED_SEGMENT_SIZE),
        "responses": {
            "200": _where(),
            "404": _nothing("No such file is on its way."),
            "410": _ended(),
        },
    }


def _where() -> dict[str, Any]:
    properties = {"at": {"type": "integer", "minimum": 0}, "whole": {"type": "boolean"}}
    return _said("How far the file is there.", "application/json", _object(properties))


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object", "required": list(properties), "additionalProperties": False,
        "properties": properties,
    }  # fmt: skip


def _bytes(least: int, most: int) -> dict[str, Any]:
    schema = {
        "type": "string", "contentEncoding": "binary", "minLength": least, "maxLength": most,
    }  # fmt: skip
    return {"required": True, "content": {"application/octet-stream": {"schema": schema}}}


def _ended() -> dict[str, Any]:
    how = {"enum": ["expired", "revoked", "used up"]}
    schema = {"type": "object", "required": ["ended"], "properties": {"ended": how}}
    return _said("The link has ended.", "application/json", schema)


def _said(words: str, media_type: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"description": words, "content": {media_type: {"schema": schema or {}}}}


def _nothing(words: str) -> dict[str, Any]:
    return _said(words, "text/plain")
