"""What is remembered of the sealed bytes in packs: their SHA-256, which a link's manifest pins.

Who seals a pack knows them; of packs that another device made they are known once one was read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha256
from struct import Struct
from typing import Final, NamedTuple

import aiosqlite

from crypto.ids import EntryId
from crypto.packs import PackIndex

AT_ONCE: Final = 500
_ROW: Final = Struct(">I32s")


class SealedPack(NamedTuple):
    """How a pack was sealed, and for each slot, by its offset, the hash of what lies there."""

    epoch_id: EntryId
    hashes: Mapping[int, bytes]


def sealed_pack(epoch_id: EntryId, index: PackIndex, data: bytes) -> SealedPack:
    """Hashes all that is in a pack."""
    hashes = {s.offset: sha256(s.cut(data).sealed).digest() for s in index.slots}
    return SealedPack(epoch_id, hashes)


class PackHashes:
    """Those of one folder; `writing` is the lock of its database."""

    def __init__(self, db: aiosqlite.Connection, writing: asyncio.Lock) -> None:
        self._db, self._writing = db, writing

    async def keep(self, pack: int, sealed: SealedPack) -> None:
        """Remembers those of a pack."""
        hashes = b"".join(_ROW.pack(*item) for item in sorted(sealed.hashes.items()))
        async with self._writing:
            await self._db.execute_fetchall(
                "INSERT OR REPLACE INTO sealed VALUES (?,?,?)", (pack, sealed.epoch_id, hashes)
            )

    async def of(self, packs: Sequence[int]) -> dict[int, SealedPack]:
        """Those of packs, as far as they are known."""
        found: dict[int, SealedPack] = {}
        for start in range(0, len(packs), AT_ONCE):
            part = packs[start : start + AT_ONCE]
            marks = ",".join("?" * len(part))
            sql = f"SELECT pack, epoch, hashes FROM sealed WHERE pack IN ({marks})"  # noqa: S608
            for pack, epoch_id, hashes in await self._db.execute_fetchall(sql, part):
                found[pack] = SealedPack(EntryId(epoch_id), dict(_ROW.iter_unpack(hashes)))
        return found
