"""Packs of which little is wanted still are written anew: nodes keep nothing that nobody wants.

What is wanted of them goes into new packs first. Only when enough shares of those are stored are
the old ones let go of, and nobody deletes them: their leases, prolonged a last time, end after 90
days unless a share link names them, and then they lie in the nodes' trash for a week.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from crypto.chunks import (
    CHUNK_NONCE_SIZE,
    ChunkHasher,
    SealedChunk,
    open_chunk,
    open_log_item,
    seal_chunk,
    seal_log_item,
)
from crypto.ids import ChunkId
from crypto.packs import (
    LEAF_SIZE,
    PACK_SIZE_TARGET,
    SALT_SIZE,
    TAIL_SIZE,
    TRAILER_BOX_SIZE,
    PackKind,
    PackSlot,
    PackWriter,
)
from peer.backup.pack_store import KnownPack
from peer.backup.share_transfers import PackLost
from protocol.backup_records import BackupRecord

if TYPE_CHECKING:
    from peer.backup.folder_backup import FolderBackup

log = logging.getLogger(__name__)

INTERVAL_S: Final = 86_400.0
"""Between looks: each reads through all that is wanted."""
FILLED: Final = 0.85
"""Of a new pack that is used for certain; the rest is its index and fill."""
AT_ONCE: Final = 64
"""Old packs of one look: half a gigabyte that is read and sent again."""


def room_of(pack: KnownPack) -> int:
    """What a pack takes up at nodes, counted as if it were one share: small ones are padded."""
    return pack.descriptor.share_size * pack.descriptor.needed


def worth(wanted: Mapping[int, int], packs: Iterable[KnownPack], needed: int) -> list[KnownPack]:
    """The packs to be written anew, given how many bytes of each are wanted: those of which less
    than half is, if what comes of them takes at most half of the room.
    """
    dead = sorted(
        (pack for pack in packs if 0 < 2 * wanted.get(pack.number, 0) < room_of(pack)),
        key=lambda pack: wanted[pack.number] / room_of(pack),
    )[:AT_ONCE]
    rung = needed * LEAF_SIZE
    size = sum(wanted[pack.number] for pack in dead) / FILLED
    whole, rest = divmod(int(size), PACK_SIZE_TARGET)
    after = whole * PACK_SIZE_TARGET + -(-rest // rung) * rung
    return dead if 2 * after <= sum(map(room_of, dead)) else []


class Repacking:
    """That of one folder, by the device that stores it."""

    def __init__(self, backup: FolderBackup) -> None:
        self._backup = backup
        self._looked_at = float("-inf")

    async def step(self, record: BackupRecord) -> int:
        """Looks once a day, and writes packs anew; says how many were let go of."""
        now = asyncio.get_running_loop().time()
        if now < self._looked_at + INTERVAL_S:
            return 0
        slots = await self._backup.wanted_slots()
        packs = [pack for pack in await self._backup.store.packs() if pack.stored_s is not None]
        wanted = {number: sum(s.length for s in some) for number, some in slots.items()}
        count = 0
        for kind in PackKind:
            old = worth(wanted, [pack for pack in packs if pack.kind is kind], record.needed)
            if old:
                count += await self._rewrite(kind, old, slots, record)
        self._looked_at = now
        return count

    async def _rewrite(
        self,
        kind: PackKind,
        old: Sequence[KnownPack],
        slots: Mapping[int, Sequence[PackSlot]],
        record: BackupRecord,
    ) -> int:
        backup = self._backup
        epoch_id, secret = backup.sealing_secret()
        writer: PackWriter | None = None
        read: list[KnownPack] = []
        for pack in old:
            try:
                data = await backup.pack_bytes(pack)
            except PackLost as error:
                log.info("%s", error)
                continue
            some = slots[pack.number]
            items = await asyncio.to_thread(self._sealed_anew, kind, data, some, secret)
            for slot, sealed in items:
                if writer is not None and not writer.has_room_for(len(sealed.sealed)):
                    await backup.store_pack(await asyncio.to_thread(writer.close), record, epoch_id)
                    writer = None
                if writer is None:
                    writer = PackWriter(secret, kind, backup.random)
                writer.add(slot.id, sealed)
            read.append(pack)
        if writer is not None:
            await backup.store_pack(await asyncio.to_thread(writer.close), record, epoch_id)
        await self._let_go(read)
        return len(read)

    def _sealed_anew(
        self, kind: PackKind, data: bytes, slots: Sequence[PackSlot], secret: bytes
    ) -> list[tuple[PackSlot, SealedChunk]]:
        """What is wanted of a pack, under the newest keys; raises CryptoError or LinkError."""
        backup = self._backup
        old = backup.secret_of(data[:SALT_SIZE], data[-TAIL_SIZE:-TRAILER_BOX_SIZE])
        hasher = ChunkHasher(backup.chunk_id_key())
        items = []
        for slot in slots:
            nonce = backup.random(CHUNK_NONCE_SIZE)
            if kind is PackKind.LOG:
                item = open_log_item(old, slot.id, slot.cut(data))
                sealed = seal_log_item(secret, slot.id, item, nonce)
            else:
                id_ = ChunkId(slot.id)
                plain = open_chunk(old, id_, slot.cut(data), hasher)
                sealed = seal_chunk(secret, id_, plain, nonce)
            items.append((slot, sealed))
        return items

    async def _let_go(self, packs: Sequence[KnownPack]) -> None:
        """Nothing of them is looked for in them any more: all of it lies in later packs."""
        store = self._backup.store
        wanted = await self._backup.wanted_slots()
        gone = [pack for pack in packs if not wanted.get(pack.number)]
        # Whoever refuses has a lease of this week: until now each of them was wanted.
        await self._backup.leases.prolong(gone, int(time.time()))
        await store.forget([pack.number for pack in gone])
        log.info("%d packs of which little was wanted were written anew", len(gone))
