"""The chunks of a folder that lie sealed at its super-nodes already, as a share link names them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import NamedTuple

from crypto.errors import CryptoError
from crypto.ids import ChunkId, EntryId, RelayId
from crypto.packs import SALT_SIZE, TAIL_SIZE, TRAILER_BOX_SIZE, open_pack
from peer.backup.folder_backup import FolderBackup
from peer.backup.pack_hashes import SealedPack, sealed_pack
from peer.backup.pack_store import KnownPack
from peer.backup.share_transfers import NODE_TROUBLE
from peer.device.ledgers import FolderMembership
from peer.share_links.link_store import StoredChunk
from protocol.errors import LinkError

log = logging.getLogger(__name__)


class SealedChunks(NamedTuple):
    """Those of one folder of which one node can make whole packs, for it holds a part of each."""

    backup: FolderBackup
    membership: FolderMembership
    node: RelayId
    namespace: bytes
    """The folder's at that node, open on the link over which the share link is made."""

    async def find(self, ids: Sequence[ChunkId]) -> dict[ChunkId, StoredChunk]:
        """As many of these as can be named; the others have to be put there for the link."""
        store = self.backup.store
        places = await store.find(ids)
        numbers = await store.held_by(self.node, sorted({p.pack for p in places.values()}))
        hashes = await store.hashes.of(numbers)
        known: dict[int, tuple[KnownPack, SealedPack]] = {}
        for pack in await store.packs_of(numbers):
            sealed = hashes.get(pack.number) or await self._sealed(pack)
            if sealed is not None:
                known[pack.number] = pack, sealed
        found: dict[ChunkId, StoredChunk] = {}
        for chunk_id in ids:
            place = places.get(chunk_id)
            if place is None or place.pack not in known:
                continue
            (pack, sealed), slot = known[place.pack], place.slot
            sealed_hash = sealed.hashes.get(slot.offset)
            if sealed_hash is not None:
                found[chunk_id] = StoredChunk(
                    chunk_id, pack.descriptor.pack_id, pack.id, slot.offset, slot.length,
                    slot.codec, slot.plain_len, sealed.epoch_id, sealed_hash,
                )  # fmt: skip
        return found

    async def holding(self, descriptor_ids: Collection[bytes]) -> set[bytes]:
        """Those of these packs of which the node holds a part, for all that is known here."""
        store = self.backup.store
        numbers = await store.numbers_of(sorted(descriptor_ids))
        held = set(await store.held_by(self.node, sorted(numbers.values())))
        return {id_ for id_, number in numbers.items() if number in held}

    async def _sealed(self, pack: KnownPack) -> SealedPack | None:
        """The hashes of what is in a pack that another device made: it is read for them, once."""
        try:
            data = await self.backup.pack_bytes(pack)
            epoch_id, secret = self._epoch_of(data)
            sealed = await asyncio.to_thread(
                lambda: sealed_pack(epoch_id, open_pack(secret, data), data)
            )
        except (*NODE_TROUBLE, CryptoError) as error:
            log.info("a pack at super-nodes cannot be given by a link: %r", error)
            return None
        await self.backup.store.hashes.keep(pack.number, sealed)
        return sealed

    def _epoch_of(self, data: bytes) -> tuple[EntryId, bytes]:
        secret = self.backup.read_secret(data[:SALT_SIZE], data[-TAIL_SIZE:-TRAILER_BOX_SIZE])
        if secret is not None:
            for epoch_id in self.membership.ledger.epoch_ids():
                if self.membership.chain.read_secret(epoch_id) == secret:
                    return epoch_id, secret
        raise LinkError("A pack was made under a key that is not here yet.")
