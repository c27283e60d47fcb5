"""What is remembered of nodes beside what they hold: what they signed, and what was made again."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import NamedTuple

import aiosqlite

from crypto.ids import RelayId


class Heal(NamedTuple):
    """A share that was made again."""

    time_s: int
    descriptor_id: bytes
    share: int
    node: RelayId
    """Where it is now."""
    is_own: bool
    """This device made it; else the node did for itself, or another device."""


class Receipt(NamedTuple):
    """A node's word that it holds a share."""

    descriptor_id: bytes
    share: int
    node: RelayId
    lease_s: int
    time_s: int
    signature: bytes


class PackNotes:
    """The notes of one folder; `writing` is the lock of its database."""

    def __init__(self, db: aiosqlite.Connection, writing: asyncio.Lock) -> None:
        self._db, self._writing = db, writing

    async def healed(self, heal: Heal) -> None:
        """A share was made again."""
        sql = "INSERT INTO heal (time_s, id, share, node, is_own) VALUES (?,?,?,?,?)"
        async with self._writing:
            await self._db.execute_fetchall(sql, heal)

    async def heals(self, limit: int) -> list[Heal]:
        """The latest, the last one first."""
        sql = "SELECT time_s, id, share, node, is_own FROM heal ORDER BY number DESC LIMIT ?"
        found = await self._db.execute_fetchall(sql, (limit,))
        return [Heal(r[0], r[1], r[2], RelayId(r[3]), bool(r[4])) for r in found]

    async def count_heals(self) -> int:
        """How many there were."""
        ((count,),) = await self._db.execute_fetchall("SELECT count(*) FROM heal")
        return int(count)

    async def keep_receipt(self, receipt: Receipt) -> None:
        """A node has taken a share, and signed that."""
        sql = "INSERT OR REPLACE INTO receipt VALUES (?,?,?,?,?,?,NULL)"
        async with self._writing:
            await self._db.execute_fetchall(sql, receipt)

    async def broken(self, descriptor_id: bytes, share: int, node: RelayId, now_s: int) -> bool:
        """A node was found not to hold a share; says whether it had signed that it would."""
        sql = (
            "UPDATE receipt SET broken_s = ?1 WHERE id = ?2 AND share = ?3 AND node = ?4"
            " AND lease_s > ?1 AND broken_s IS NULL RETURNING time_s"
        )
        async with self._writing:
            found = await self._db.execute_fetchall(sql, (now_s, descriptor_id, share, node))
        return bool(list(found))

    async def broken_by_node(self) -> Counter[RelayId]:
        """How often each node has not held what it signed for."""
        sql = "SELECT node, count(*) FROM receipt WHERE broken_s IS NOT NULL GROUP BY node"
        return Counter({RelayId(r[0]): r[1] for r in await self._db.execute_fetchall(sql)})

    async def forget_receipts(self, before_s: int) -> None:
        """Drops those whose time was over before then."""
        async with self._writing:
            await self._db.execute_fetchall("DELETE FROM receipt WHERE lease_s < ?", (before_s,))
