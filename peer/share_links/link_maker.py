"""Makes share links: puts what rests only in place into packs, and the manifest at the relay.

What of the folder lies sealed at super-nodes is named where it is, and long lists of it lie in
pages, which are put like chunks: beforehand, if somebody asks for that (`prepare`). A link is noted
here before the relay has it, so that no link is there that nobody can revoke.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from crypto.chunks import chunk_key
from crypto.ids import ChunkId, EntryId
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
from peer.share_links.link_packing import LinkPacking, Making, each_of
from peer.share_links.link_paging import ChunkPlaces, LinkPages, pages_of
from peer.share_links.link_relay import LinkRelay, NewBlob
from peer.share_links.link_store import LinkStore, MadeLink, StoredChunk
from protocol.errors import StorageRefused
from protocol.link_manifest import LinkManifest, SharedFile, SharedPage
from protocol.link_messages import LinkPack
from protocol.share_url import ShareUrl
from protocol.storage_messages import StoreOutcome

LISTED_MAX: Final = 48 << 10
"""Bytes of pages that do not lie at the relay and are written into the manifest instead: put into
a pack they would fill the smallest one.
"""
PREPARED_SHARE: Final = 100
"""Pages are prepared if they are no more than a hundredth of what they list: of small files not."""


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
        store: LinkStore,
        relay: LinkRelay,
        making: Making,
        packing: LinkPacking,
        sealed: SealedChunks | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`packing` puts what is missing at this relay; `sealed`: what of the folder lies at
        super-nodes, one of which it is.
        """
        self._store, self._relay, self._random = store, relay, random
        self._packing = packing
        self._chain, self._folder_id = making.chain, making.folder.folder_id
        self._sealed = sealed
        self._missing_bytes = 0
        """Of files that were not at the relay."""
        self._at_nodes: set[bytes] = set()
        """Descriptors of the packs that lie in the folder's namespace."""
        self._secrets: dict[EntryId, bytes] = {}

    async def make(self, files: Sequence[Given], wish: Wish) -> Made:
        """Uploads what is missing and makes the link; raises LinkError or LinkNotMade."""
        relay, random = self._relay, self._random
        await relay.open()
        stored = await self._stored(files)
        key = LinkKey.from_seed(random(LINK_SEED_SIZE))
        secrets = await asyncio.to_thread(
            LinkSecrets.of, random(LINK_SECRET_SIZE), random(PASSWORD_SALT_SIZE), wish.password
        )
        expires_s = relay.time_s + wish.lifetime_s if wish.lifetime_s else 0
        places = ChunkPlaces(stored, self._key_of)
        pages = await asyncio.to_thread(pages_of, files, places)
        if wish.downloads_max:
            _list_files(pages)
        await self._put_pages(pages, stored)
        manifest = await asyncio.to_thread(_manifest, pages, places, expires_s)
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
        used = {chunk for file in files for chunk, _ in file.chunks} | pages.data.keys()
        packs = {stored[chunk_id].descriptor_id for chunk_id in used}
        await self._store.add(
            link, random(SEAL_RANDOM_SIZE), self._folder_id, packs & self._at_nodes
        )
        new = NewBlob(
            key.link_id, secrets.password_salt, token_hash(secrets.token(key.link_id)),
            wish.lifetime_s, wish.downloads_max, self._packs(packs),
        )  # fmt: skip
        try:
            await relay.put_link(new, blob)
        except StorageRefused as refusal:  # if a link breaks it is not known what was kept
            await self._store.forget(link.link_id)
            if refusal.outcome != StoreOutcome.UNKNOWN or self._sealed is None:
                raise
            # It has lost its part of the folder's packs, and is given what the link needs.
            self._sealed = None
            return await self.make(files, wish)
        url = ShareUrl(relay.base, key.link_id, secrets.secret)
        return Made(link, url, self._packing.uploaded, len(blob))

    def count(self) -> tuple[int, int]:
        """How many bytes of files are put at the relay, of how many that were not there."""
        return min(self._packing.sealed, self._missing_bytes), self._missing_bytes

    async def prepare(self, files: Sequence[Given]) -> int:
        """Puts the pages that links to these files would name, if they are much; bytes uploaded.

        Only what lies at super-nodes is prepared: of all else a link uploads the bytes themselves.
        """
        assert self._sealed is not None, "nothing is prepared where nothing is stored"
        await self._relay.open()
        every = list({chunk_id: None for file in files for chunk_id, _ in file.chunks})
        stored = await self._sealed.find(every)
        whole = [f for f in files if all(chunk_id in stored for chunk_id, _ in f.chunks)]
        pages = await asyncio.to_thread(pages_of, whole, ChunkPlaces(stored, self._key_of))
        if sum(map(len, pages.data.values())) * PREPARED_SHARE > sum(f.size for f in whole):
            return 0
        found = await self._packing.find(list(pages.data))
        missing = {id_: data for id_, data in pages.data.items() if id_ not in found}
        if sum(map(len, missing.values())) > LISTED_MAX:
            await self._packing.put(each_of(missing.items()))
        return self._packing.uploaded

    # Private

    async def _stored(self, files: Sequence[Given]) -> dict[ChunkId, StoredChunk]:
        """All chunks of these files, at the relay."""
        every = list({chunk_id: None for file in files for chunk_id, _ in file.chunks})
        at_nodes = await self._sealed.find(every) if self._sealed is not None else {}
        self._at_nodes = {chunk.descriptor_id for chunk in at_nodes.values()}
        wanted = [chunk_id for chunk_id in every if chunk_id not in at_nodes]
        found = await self._packing.find(wanted)
        missing = [chunk_id for chunk_id in wanted if chunk_id not in found]
        if missing:
            lengths = {chunk_id: length for file in files for chunk_id, length in file.chunks}
            self._missing_bytes = sum(lengths[chunk_id] for chunk_id in missing)
            found |= await self._packing.put(self._packing.read(missing))
        return found | at_nodes

    async def _put_pages(self, pages: LinkPages, stored: dict[ChunkId, StoredChunk]) -> None:
        """Sees that each page lies at the relay, or is listed in the manifest."""
        if sum(map(len, pages.data.values())) <= LISTED_MAX:
            _list_files(pages)
            pages.plain += [file for file, _ in pages.large]
            pages.large.clear()
            pages.data.clear()
            return
        found = await self._packing.find(list(pages.data))
        missing = {id_: data for id_, data in pages.data.items() if id_ not in found}
        if sum(map(len, missing.values())) <= LISTED_MAX:
            _list_files(pages, set(missing))
            missing = {id_: data for id_, data in missing.items() if id_ in pages.data}
        if missing:
            found |= await self._packing.put(each_of(missing.items()))
        stored |= found

    def _key_of(self, chunk: StoredChunk) -> bytes:
        secret = self._secrets.get(chunk.epoch_id)
        if secret is None:
            secret = self._chain.read_secret(chunk.epoch_id)
            assert secret is not None, "it was sealed here"
            self._secrets[chunk.epoch_id] = secret
        return chunk_key(secret, chunk.id)

    def _packs(self, descriptor_ids: set[bytes]) -> tuple[LinkPack, ...]:
        """In which namespace each of the packs lies."""
        return tuple(
            LinkPack(self._sealed.namespace, each)
            if self._sealed is not None and each in self._at_nodes
            else self._relay.own(each)
            for each in sorted(descriptor_ids)
        )


def _list_files(pages: LinkPages, which: set[ChunkId] | None = None) -> None:
    """Has the manifest itself list what is in these pages of files, or in all."""
    listed = {id_ for _, id_ in pages.runs if which is None or id_ in which}
    pages.plain += [file for run, id_ in pages.runs if id_ in listed for file in run.files]
    pages.runs = [(run, id_) for run, id_ in pages.runs if id_ not in listed]
    for id_ in listed:
        del pages.data[id_]


def _manifest(pages: LinkPages, places: ChunkPlaces, expires_s: int) -> LinkManifest:
    large = [
        SharedFile(
            file.path, file.size, file.mtime_ns // 1_000_000, (),
            tuple(places.shared(part) for part in parts),
        )
        for file, parts in pages.large
    ]  # fmt: skip
    runs = tuple(SharedPage(run.prefix, places.shared(id_)) for run, id_ in pages.runs)
    plain = [places.file(file, file.path) for file in pages.plain]
    return LinkManifest(expires_s, tuple(places.pack_ids), tuple(plain + large), None, 0, runs)
