"""What the control API says of links of both kinds: of this device's, and of those that the user's
other devices have told of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypedDict

from peer.share_links.link_ending import ENDS, Named
from peer.share_links.link_sharing import ToldLink
from peer.share_links.link_store import MadeLink
from protocol.link_messages import LinkUse
from protocol.link_records import LinkRecord, UploadRecord
from protocol.share_url import text_of


class AnyLinkEntry(TypedDict):
    """What is said of a link of either kind."""

    id: str
    url: str
    """All of it: whoever has this has what it gives, or can put files in."""
    name: str
    has_password: bool
    made_s: int
    expires_s: int
    """0: never."""
    state: str
    """`live`, `expired`, `revoked`, of a share link `used up`, or `unknown` while the relay cannot
    be asked; of another device's as that told, or `ending` until it or the relay has ended it.
    """
    relay: str
    device: str
    """The other device of the user that made it; empty for this one."""


class LinkEntry(AnyLinkEntry):
    """One share link of this device, or of another one of the user."""

    files: int
    bytes: int
    downloads: int | None
    """None while the relay cannot be asked, or it is another device's."""
    downloads_max: int
    """0: any number."""


class NewLinkEntry(LinkEntry):
    """A link that was just made."""

    uploaded_bytes: int
    """Of chunks that had not been at the relay."""
    manifest_bytes: int


class SenderEntry(TypedDict):
    """What one sender has put in."""

    label: str
    """Their own words; may be empty."""
    files: int
    bytes: int
    came_s: int
    """The latest."""


class UploadLinkEntry(AnyLinkEntry):
    """One upload link of this device, or of another one of the user."""

    place: str
    """The directory that they go to; empty while the folder is not on this device."""
    files: int | None
    """That have come; None where another device made it."""
    bytes: int | None
    files_max: int
    file_bytes_max: int
    bytes_max: int
    refused: int
    """That were not what a sender may put in."""
    waiting: int | None
    """At the relay, not fetched yet; None while it cannot be asked."""
    senders: list[SenderEntry]
    problem: str
    """Why what waits is not fetched; empty if it is."""


class LinkListing(TypedDict):
    """The answer to `link list`."""

    links: list[LinkEntry]
    requests: list[UploadLinkEntry]
    """By which files come in."""


class Shown(Named, Protocol):
    """As much of a link of either kind as is said of both."""

    @property
    def has_password(self) -> bool:
        """Whether one is asked for."""

    @property
    def made_s(self) -> int:
        """When it was made."""

    @property
    def expires_s(self) -> int:
        """When it expires; 0 if it does not."""

    @property
    def relay(self) -> str:
        """Its relay's address."""


def said_of(link: Shown, state: str, device: str = "") -> AnyLinkEntry:
    """What is said of a link of either kind."""
    return {
        "id": text_of(link.link_id),
        "url": str(link.url),
        "name": link.name,
        "has_password": link.has_password,
        "made_s": link.made_s,
        "expires_s": link.expires_s,
        "state": state,
        "relay": link.relay,
        "device": device,
    }


def made_entry(link: MadeLink, uses: Mapping[bytes, LinkUse] | None) -> LinkEntry:
    """`uses`: what its relay says of links; None while it cannot be asked."""
    use = (uses or {}).get(link.link_id)
    if link.revoked_s:
        state = "revoked"
    elif uses is None:
        state = "unknown"
    elif use is None:  # the relay remembers ended links for a year
        state = "expired" if link.expires_s else "unknown"
    else:
        state = ENDS[use.ended] if 0 < use.ended < len(ENDS) else "live"
    return {
        **said_of(link, state),
        "expires_s": use.expires_s if use is not None else link.expires_s,
        "files": link.files,
        "bytes": link.size,
        "downloads": use.downloads if use is not None else None,
        "downloads_max": link.downloads_max,
    }


def told_entries(told: list[ToldLink]) -> tuple[list[LinkEntry], list[UploadLinkEntry]]:
    """What other devices have told of their links of each kind."""
    links: list[LinkEntry] = []
    uploads: list[UploadLinkEntry] = []
    for each in told:
        state = "revoked" if each.is_ended else "ending" if each.is_wished else "live"
        said = said_of(each.record, state, each.device)
        match each.record:
            case LinkRecord() as link:
                links.append(_told_link(said, link))
            case UploadRecord() as upload:
                uploads.append(_told_upload(said, upload))
    return links, uploads


def _told_link(said: AnyLinkEntry, record: LinkRecord) -> LinkEntry:
    return {
        **said,
        "files": record.files,
        "bytes": record.size,
        "downloads": None,
        "downloads_max": record.downloads_max,
    }


def _told_upload(said: AnyLinkEntry, record: UploadRecord) -> UploadLinkEntry:
    return {
        **said,
        "place": "",
        "files": None,
        "bytes": None,
        "files_max": record.files_max,
        "file_bytes_max": record.file_bytes_max,
        "bytes_max": record.bytes_max,
        "refused": 0,
        "waiting": None,
        "senders": [],
        "problem": "",
    }
