"""Makes share links: has what they give lie at their relay, and puts the manifest there.

A link is noted here before the relay has it, so that no link is there that nobody can revoke.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from crypto.primitives import SEAL_RANDOM_SIZE
from crypto.share_links import (
    LINK_SECRET_SIZE,
    LINK_SEED_SIZE,
    PASSWORD_SALT_SIZE,
    SALT_SIZE,
    LinkFlags,
    LinkKey,
    LinkSecrets,
    seal_link,
    token_hash,
)
from peer.backup.sealed_chunks import SealedChunks
from peer.share_links.link_content import Given
from peer.share_links.link_listing import LinkLister
from peer.share_links.link_packing import LinkPacking
from peer.share_links.link_relay import NewBlob, OlderRelay
from peer.share_links.link_store import MadeLink
from protocol.errors import StorageRefused
from protocol.link_messages import LinkPack
from protocol.share_url import ShareUrl
from protocol.storage_messages import StoreOutcome


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks of a link."""

    lifetime_s: int = 0
    """0: it does not expire."""
    downloads_max: int = 0
    """0: any number."""
    password: str | None = None


class Made(NamedTuple):
    """A link, and what it took."""

    link: MadeLink
    url: ShareUrl
    uploaded_bytes: int
    """Of packs."""
    blob_bytes: int


class LinkMaker:
    """One link at one relay."""

    def __init__(
        self,
        packing: LinkPacking,
        sealed: SealedChunks | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`packing` is at the relay; `sealed`: what of the folder lies at super-nodes, one of
        which that is.
        """
        self._packing, self._sealed, self._random = packing, sealed, random
        self._lister = LinkLister(packing, sealed)

    async def make(self, files: Sequence[Given], wish: Wish, *, is_older: bool = False) -> Made:
        """Uploads what is missing and makes the link; raises LinkError or LinkNotMade. A relay that
        counts what is read of pages as a download is OlderRelay: there a link with a number of
        downloads lists all in full, and of others the pages count.
        """
        await self._packing.relay.open()
        try:
            return await self._make(files, wish, is_older=is_older)
        except StorageRefused as refusal:
            if refusal.outcome != StoreOutcome.UNKNOWN or self._sealed is None:
                raise
        # It has lost its part of the folder's packs, and is given what the link needs.
        self._sealed, self._lister = None, LinkLister(self._packing)
        return await self._make(files, wish, is_older=is_older)

    def count(self) -> tuple[int, int]:
        """How many bytes of files are put at the relay, of how many that were not there."""
        missing = self._lister.missing_bytes
        return min(self._packing.sealed, missing), missing

    async def prepare(self, files: Sequence[Given]) -> int:
        """Puts the pages that links to these files would name, if they are much; bytes uploaded."""
        await self._packing.relay.open()
        await self._lister.prepare(files)
        return self._packing.uploaded

    # Private

    async def _make(self, files: Sequence[Given], wish: Wish, *, is_older: bool) -> Made:
        relay, store, random = self._packing.relay, self._packing.store, self._random
        is_in_full = is_older and wish.downloads_max > 0
        listing = await self._lister.list(files, is_in_full=is_in_full)
        key = LinkKey.from_seed(random(LINK_SEED_SIZE))
        secrets = await asyncio.to_thread(
            LinkSecrets.of, random(LINK_SECRET_SIZE), random(PASSWORD_SALT_SIZE), wish.password
        )
        expires_s = relay.time_s + wish.lifetime_s if wish.lifetime_s else 0
        manifest = await asyncio.to_thread(listing.manifest, expires_s)
        flags = LinkFlags.NONE if wish.password is None else LinkFlags.PASSWORD
        blob = await asyncio.to_thread(
            lambda: seal_link(
                key, secrets, manifest.encode(), flags=flags, version=1, salt=random(SALT_SIZE)
            )
        )
        link = MadeLink(
            key.link_id, str(relay.address), relay.base, secrets.secret, key.secret,
            manifest.name, wish.password is not None, len(files), sum(f.size for f in files),
            relay.time_s, expires_s, wish.downloads_max, 0,
        )  # fmt: skip
        packs = listing.packs()
        folder_id = self._packing.making.folder.folder_id
        await store.add(link, random(SEAL_RANDOM_SIZE), folder_id, packs & self._lister.at_nodes)
        new = NewBlob(
            key.link_id, secrets.password_salt, token_hash(secrets.token(key.link_id)),
            wish.lifetime_s, wish.downloads_max, self._places(packs),
            frozenset() if is_older else listing.packs_of_pages(),
        )  # fmt: skip
        try:
            await relay.put_link(new, blob)
        except (StorageRefused, OlderRelay):  # if a link breaks it is not known what was kept
            await store.forget(link.link_id)
            raise
        url = ShareUrl(relay.base, key.link_id, secrets.secret)
        return Made(link, url, self._packing.uploaded, len(blob))

    def _places(self, descriptor_ids: set[bytes]) -> tuple[LinkPack, ...]:
        """In which namespace each of the packs lies."""
        return tuple(
            LinkPack(self._sealed.namespace, each)
            if self._sealed is not None and each in self._lister.at_nodes
            else self._packing.relay.own(each)
            for each in sorted(descriptor_ids)
        )
