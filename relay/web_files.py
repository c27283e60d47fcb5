"""The files of the page that opens share links, as they lie in `relay/page`: read once, in memory.

A file whose kind is not in the table is not served. Names are flat, so that there is no path to
walk out of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from typing import Final

PAGE_NAME: Final = "index.html"
VERSION_MARK: Final = b"@VERSION@"
VERSION_LENGTH: Final = 16
"""Hex digits; what changes with any file."""

CONTENT_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}

_PLAIN_PAGE: Final = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Holdfast</title></head>
<body><h1>A Holdfast share link</h1>
<p>This relay has no page. Open the link with <code>holdfast get URL</code>.</p></body></html>
"""


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file."""

    content: bytes
    content_type: str

    @property
    def etag(self) -> str:
        """Its hash, as HTTP writes it."""
        return f'"{sha256(self.content).hexdigest()[:32]}"'


class PageFiles:
    """All of them, and the version that stands for all."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        hashed = sha256()
        for name in sorted(files):
            hashed.update(name.encode() + b"\0" + sha256(files[name]).digest())
        self.version = hashed.hexdigest()[:VERSION_LENGTH]
        self._files = {
            name: PageFile(content, kind)
            for name, content in files.items()
            if (kind := CONTENT_TYPES.get(name[name.rfind(".") :])) is not None
        }
        html = files.get(PAGE_NAME, _PLAIN_PAGE)
        page = html.replace(VERSION_MARK, self.version.encode())
        self.page = PageFile(page, CONTENT_TYPES[".html"])
        """The one that is answered for every link."""

    @classmethod
    def load(cls) -> PageFiles:
        """Those of this installation."""
        folder = resources.files("relay").joinpath("page")
        files = folder.iterdir() if folder.is_dir() else ()
        return cls({file.name: file.read_bytes() for file in files if file.is_file()})

    def get(self, name: str) -> PageFile | None:
        """The file of this name; the page itself has no other address than its links'."""
        return None if name == PAGE_NAME else self._files.get(name)
