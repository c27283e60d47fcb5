"""How a link of this device ends, of either kind: who means which, and what its relay is told."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar

from crypto.errors import CryptoError
from crypto.keys import DeviceKeys
from crypto.share_links import LinkKey
from peer.errors import PeerError, RelayUnreachable
from peer.share_links.link_relay import link_relay
from protocol.errors import LinkError, ProtocolError, StorageRefused
from protocol.relay_address import RelayAddress
from protocol.share_url import ShareUrl, text_of

ENDS: Final = ("", "expired", "revoked", "used up")
"""By the number that a relay says."""
REVOKED: Final = ENDS.index("revoked")
TROUBLE: Final = (
    PeerError, CryptoError, ProtocolError, LinkError, StorageRefused, OSError, sqlite3.Error,
)  # fmt: skip
"""What relays, other devices and disks may do to who looks after links: it is tried again."""
PREFIX_LENGTH_MIN: Final = 4
"""Letters of an id that are enough if no other link's begins so."""


class Named(Protocol):
    """As much of a link as a person names it by."""

    @property
    def link_id(self) -> bytes:
        """Its id."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def url(self) -> ShareUrl:
        """All of it."""


class OwnLink(Protocol):
    """A link of this device, of either kind."""

    @property
    def link_id(self) -> bytes:
        """Its id."""

    @property
    def relay(self) -> str:
        """Its relay's address."""

    @property
    def revoked_s(self) -> int:
        """When it was ended by hand; 0 if it was not."""


class OwnLinks(Protocol):
    """Who keeps this device's links of one kind."""

    async def every(self) -> Sequence[OwnLink]:
        """All of them, the newest first."""

    async def living(self) -> Sequence[OwnLink]:
        """Those that have not ended, for all that is known here."""

    async def end(self, link_id: bytes) -> None:
        """Ends one. Raises RelayUnreachable while its relay cannot be told."""

    async def revoked(self, link_id: bytes, at_s: int) -> None:
        """One was ended by another device."""


L = TypeVar("L", bound=Named)


def meant(links: Iterable[L], words: str) -> list[L]:
    """Those of these links whose id, URL or name this is; if there is none, those whose id begins
    so.
    """
    among = list(links)
    found = [link for link in among if words in (text_of(link.link_id), str(link.url), link.name)]
    if found or len(words) < PREFIX_LENGTH_MIN:
        return found
    return [link for link in among if text_of(link.link_id).startswith(words)]


async def end_at_relay(relay: str, keys: DeviceKeys, link_id: bytes, key: bytes) -> int:
    """Has a link's relay end it, by the link's own key; when, in seconds since 1970. Raises
    RelayUnreachable.
    """
    now_s = int(time.time())
    signature = LinkKey.from_secret(key).revocation(now_s)
    try:
        async with link_relay(RelayAddress.parse(relay), keys) as place:
            await place.revoke(link_id, now_s, signature)
    except (LinkError, StorageRefused) as error:
        raise RelayUnreachable(
            f"{error} The link is not ended: try again when the relay can be reached."
        ) from error
    return now_s


async def end_by_key(relay: str, link_id: bytes, end_key: bytes) -> bool:
    """Has a link of another device ended by the key that this one has told; False if its relay
    knows no such link or another key. Raises LinkError or StorageRefused.
    """
    # Keys of this moment alone: who is seen to end another's link is seen to be of the same user.
    stranger = DeviceKeys.generate(os.urandom)
    async with link_relay(RelayAddress.parse(relay), stranger) as place:
        return await place.end(link_id, end_key)
