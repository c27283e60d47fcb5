"""The routes of share links in the control API: what a request says, checked, and who does it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from peer.control_fields import Fields
from peer.errors import UsageError
from peer.link_maker import Wish
from peer.link_requests import LinkListing, NewLinkEntry

LIFETIME_MAX_S: Final = 10 * 366 * 86_400
DOWNLOADS_MAX: Final = 1_000_000


class ShareLinkApi(Protocol):
    """What the control API asks of who makes share links."""

    async def create(self, path: Path, name: str, relay: str | None, wish: Wish) -> NewLinkEntry:
        """Make a link of an absolute path."""

    async def listed(self) -> LinkListing:
        """All links of this device."""

    async def revoke(self, url_or_id: str) -> None:
        """End one."""


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


async def listed(links: ShareLinkApi, fields: Fields) -> Mapping[str, Any]:
    """`GET /api/links`."""
    fields.end()
    return await links.listed()


async def revoke(links: ShareLinkApi, fields: Fields) -> None:
    """`POST /api/links/revoke`."""
    link = fields.text("link")
    fields.end()
    await links.revoke(link)
