"""The routes of share links in the control API: what a request says, checked, and who does it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol, TypedDict

from peer.control.control_fields import Fields
from peer.errors import UsageError
from peer.share_links.link_entries import LinkListing, NewLinkEntry, UploadLinkEntry
from peer.share_links.link_maker import Wish
from peer.share_links.upload_links import UploadWish

LIFETIME_MAX_S: Final = 10 * 366 * 86_400
DOWNLOADS_MAX: Final = 1_000_000
FILES_DEFAULT: Final = 100
BYTES_DEFAULT: Final = 2 << 30
"""Of an upload link for which nothing is said: an evening's pictures, and no disk is full."""
FILES_MAX: Final = 10_000
"""What a relay allows."""
BYTES_MAX: Final = 1 << 40


class LinkEnd(TypedDict):
    """What came of ending a link."""

    ended: bool
    """False if another device made it: it ends when that one, or the link's relay, hears of it."""


class ShareLinkApi(Protocol):
    """What the control API asks of who makes share links."""

    async def create(self, path: Path, name: str, relay: str | None, wish: Wish) -> NewLinkEntry:
        """Make a link of an absolute path."""

    async def request(
        self, path: Path, name: str, relay: str | None, wish: UploadWish
    ) -> UploadLinkEntry:
        """Make a link by which files come into a directory."""

    async def listed(self) -> LinkListing:
        """All links of this device."""

    async def revoke(self, url_or_id: str) -> bool:
        """End one; False if another device's relay, or that device, is yet to hear of it."""


async def create(links: ShareLinkApi, fields: Fields) -> Mapping[str, Any]:
    """`POST /api/links/create`."""
    path, name = fields.path("path"), fields.optional_text("name") or ""
    relay, password = fields.optional_text("relay"), fields.optional_text("password")
    lifetime_s = fields.optional_number("lifetime_s") or 0
    downloads_max = fields.optional_number("downloads_max") or 0
    fields.end()
    if lifetime_s > LIFETIME_MAX_S or downloads_max > DOWNLOADS_MAX:
        raise UsageError(
            f"A link is for at most ten years, and for at most {DOWNLOADS_MAX:,} downloads."
        )
    return await links.create(path, name, relay, Wish(lifetime_s, downloads_max, password))


async def request(links: ShareLinkApi, fields: Fields) -> Mapping[str, Any]:
    """`POST /api/links/request`."""
    path, name = fields.path("path"), fields.optional_text("name") or ""
    relay, password = fields.optional_text("relay"), fields.optional_text("password")
    lifetime_s = fields.optional_number("lifetime_s") or 0
    files_max = fields.optional_number("files_max") or FILES_DEFAULT
    bytes_max = fields.optional_number("bytes_max") or BYTES_DEFAULT
    file_bytes_max = fields.optional_number("file_bytes_max") or bytes_max
    fields.end()
    if lifetime_s > LIFETIME_MAX_S or files_max > FILES_MAX or bytes_max > BYTES_MAX:
        raise UsageError(
            f"An upload link is for at most ten years, {FILES_MAX:,} files and"
            f" {BYTES_MAX >> 40} TiB."
        )
    wish = UploadWish(lifetime_s, files_max, min(file_bytes_max, bytes_max), bytes_max, password)
    return await links.request(path, name, relay, wish)


async def listed(links: ShareLinkApi, fields: Fields) -> Mapping[str, Any]:
    """`GET /api/links`."""
    fields.end()
    return await links.listed()


async def revoke(links: ShareLinkApi, fields: Fields) -> LinkEnd:
    """`POST /api/links/revoke`."""
    link = fields.text("link")
    fields.end()
    return {"ended": await links.revoke(link)}
