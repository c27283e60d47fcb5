"""Makes share links: seals what rests only in place into packs, puts them and the manifest.

A chunk that lies at the relay already, for whatever link, is not uploaded again. A link is noted
here before the relay has it, so that no link is there that nobody can revoke.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple

from crypto.chunks import CHUNK_NONCE_SIZE, chunk_key, seal_chunk
from crypto.ids import ChunkId, EntryId, FolderId
from crypto.packs import Pack, PackKind, PackWriter
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
from peer.errors import LinkNotMade
from peer.folders.folder import Folder
from peer.share_links.link_content import Given
from peer.share_links.link_relay import LinkRelay, NewBlob
from peer.share_links.link_store import LinkStore, MadeLink, StoredChunk
from protocol.epochs import EpochChain
from protocol.errors import StorageRefused
from protocol.link_manifest import LinkManifest, SharedChunk, SharedFile
from protocol.link_messages import LinkPack
from protocol.share_url import ShareUrl
from protocol.storage_messages import StoreOutcome

LEASE_S: Final = 90 * 86_400
"""What a node gives at most; the relay prolongs it while the link is there."""
READ_AT_ONCE: Final = 64
"""Chunks asked of the folder at once; it gives as many as fit into 4 MiB."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks of a link."""

    lifetime_s: int = 0
    """0: it does not expire."""
    downloads_max: int = 0
    """0: any number."""
    password: str | None = None


class Making(NamedTuple):
    """A folder, and how its chunks are sealed."""

    folder: Folder
    chain: EpochChain


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
        random: Callable[[int], bytes] = os.urandom,
        sealed: SealedChunks | None = None,
    ) -> None:
        """`sealed`: what of the folder lies at super-nodes, one of which this relay is."""
        self._store, self._relay, self._random = store, relay, random
        self._folder, self._chain = making
        self._sealed = sealed
        self._at_nodes: set[bytes] = set()
        """Descriptors of the packs that lie in the folder's namespace."""
        self._uploaded = 0

    async def make(self, files: Sequence[Given], wish: Wish) -> Made:
        """Uploads what is missing and makes the link; raises LinkError or LinkNotMade."""
        relay, random = self._relay, self._random
        await relay.open()
        chunks = await self._stored(files)
        key = LinkKey.from_seed(random(LINK_SEED_SIZE))
        secrets = await asyncio.to_thread(
            LinkSecrets.of, random(LINK_SECRET_SIZE), random(PASSWORD_SALT_SIZE), wish.password
        )
        expires_s = relay.time_s + wish.lifetime_s if wish.lifetime_s else 0
        manifest = self._manifest(files, chunks, expires_s)
        flags = LinkFlags.NONE if wish.password is None else LinkFlags.PASSWORD
        blob = await asyncio.to_thread(
            lambda: seal_link(
                key, secrets, manifest.encode(), flags=flags, version=1, salt=random(SALT_SIZE)
            )
        )
        link = MadeLink(
            key.link_id, str(relay.address), relay.base, secrets.secret, key.secret,
            manifest.name, wish.password is not None, len(files), manifest.size, relay.time_s,
            expires_s, wish.downloads_max, 0,
        )  # fmt: skip
        await self._store.add(link, random(SEAL_RANDOM_SIZE))
        new = NewBlob(
            key.link_id, secrets.password_salt, token_hash(secrets.token(key.link_id)),
            wish.lifetime_s, wish.downloads_max,
            self._packs({chunk.descriptor_id for chunk in chunks.values()}),
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
        return Made(link, url, self._uploaded, len(blob))

    # ------------------------------------------------------------ chunks

    async def _stored(self, files: Sequence[Given]) -> dict[ChunkId, StoredChunk]:
        """All chunks of these files, at the relay."""
        every = list({chunk_id: None for file in files for chunk_id, _ in file.chunks})
        at_nodes = await self._sealed.find(every) if self._sealed is not None else {}
        self._at_nodes = {chunk.descriptor_id for chunk in at_nodes.values()}
        wanted = [chunk_id for chunk_id in every if chunk_id not in at_nodes]
        relay_id, folder_id = self._relay.address.relay_id, self._folder.folder_id
        lease_s = self._relay.time_s + LEASE_S
        found = await self._store.find(relay_id, folder_id, wanted, self._relay.time_s)
        packs = sorted({chunk.descriptor_id for chunk in found.values()})
        gone = set(await self._relay.renew(packs, lease_s)) if packs else set()
        if gone:
            await self._store.forget_packs(relay_id, gone)
            found = {i: chunk for i, chunk in found.items() if chunk.descriptor_id not in gone}
        await self._store.leased(relay_id, set(packs) - gone, lease_s)
        missing = [chunk_id for chunk_id in wanted if chunk_id not in found]
        if missing:
            found |= await self._upload(missing, folder_id, lease_s)
        return found | at_nodes

    def _packs(self, descriptor_ids: set[bytes]) -> tuple[LinkPack, ...]:
        """In which namespace each of the packs lies."""
        return tuple(
            LinkPack(self._sealed.namespace, each)
            if self._sealed is not None and each in self._at_nodes
            else self._relay.own(each)
            for each in sorted(descriptor_ids)
        )

    async def _upload(
        self, missing: list[ChunkId], folder_id: FolderId, lease_s: int
    ) -> dict[ChunkId, StoredChunk]:
        epoch_id = self._chain.sealing_epoch()
        read_secret = None if epoch_id is None else self._chain.read_secret(epoch_id)
        if epoch_id is None or read_secret is None:
            raise LinkNotMade(
                "The folder's key is being renewed after a device was removed. Try again in a"
                " moment."
            )
        found: dict[ChunkId, StoredChunk] = {}
        writer: PackWriter | None = None
        at = 0
        while at < len(missing):
            part = missing[at : at + READ_AT_ONCE]
            datas = await self._folder.read_chunks(part)
            if not datas or datas[0] is None:
                raise LinkNotMade(
                    "A file was changed while it was read, or is not on this disk. Try again."
                )
            for chunk_id, data in zip(part, datas, strict=False):
                if data is None:
                    break
                sealed = await asyncio.to_thread(
                    seal_chunk, read_secret, chunk_id, data, self._random(CHUNK_NONCE_SIZE)
                )
                if writer is not None and not writer.has_room_for(len(sealed.sealed)):
                    found |= await self._close(writer, folder_id, epoch_id, lease_s)
                    writer = None
                writer = writer or PackWriter(read_secret, PackKind.CHUNKS, self._random)
                writer.add(chunk_id, sealed)
                at += 1
        if writer is not None:
            found |= await self._close(writer, folder_id, epoch_id, lease_s)
        return found

    async def _close(
        self, writer: PackWriter, folder_id: FolderId, epoch_id: EntryId, lease_s: int
    ) -> dict[ChunkId, StoredChunk]:
        pack = await asyncio.to_thread(writer.close)
        descriptor, until_s = await self._relay.put_pack(pack, lease_s)
        self._uploaded += len(pack.data)
        chunks = _chunks_of(pack, descriptor.id(), epoch_id)
        await self._store.put_pack(self._relay.address.relay_id, folder_id, until_s, chunks)
        return {chunk.id: chunk for chunk in chunks}

    def _manifest(
        self, files: Sequence[Given], chunks: dict[ChunkId, StoredChunk], expires_s: int
    ) -> LinkManifest:
        pack_ids = sorted({chunk.pack_id for chunk in chunks.values()})
        numbers = {pack_id: number for number, pack_id in enumerate(pack_ids)}
        secrets: dict[EntryId, bytes] = {}
        for chunk in chunks.values():
            if chunk.epoch_id not in secrets:
                secret = self._chain.read_secret(chunk.epoch_id)
                assert secret is not None, "it was sealed here"
                secrets[chunk.epoch_id] = secret

        def shared(chunk: StoredChunk) -> SharedChunk:
            key = chunk_key(secrets[chunk.epoch_id], chunk.id)
            return SharedChunk(
                numbers[chunk.pack_id], chunk.offset, chunk.length, chunk.codec,
                chunk.plain_len, key, chunk.sealed_hash,
            )  # fmt: skip

        return LinkManifest(
            expires_s,
            tuple(pack_ids),
            tuple(
                SharedFile(
                    file.path, file.size, math.floor(file.mtime_ns / 1_000_000),
                    tuple(shared(chunks[chunk_id]) for chunk_id, _ in file.chunks),
                )
                for file in files
            ),
        )  # fmt: skip


def _chunks_of(pack: Pack, descriptor_id: bytes, epoch_id: EntryId) -> list[StoredChunk]:
    return [
        StoredChunk(
            ChunkId(slot.id), pack.pack_id, descriptor_id, slot.offset, slot.length, slot.codec,
            slot.plain_len, epoch_id, sha256(slot.cut(pack.data).sealed).digest(),
        )
        for slot in pack.index.slots
    ]  # fmt: skip
