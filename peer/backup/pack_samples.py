"""When which packs were fetched back in samples, and what came of it."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

import aiosqlite

AGES_S: Final = (60, 3600, 86_400, 7 * 86_400, 30 * 86_400)
"""A minute, an hour, a day, a week and a month after a pack was stored: what was never written is
found at once, what a node drops when it thinks itself unobserved later."""
TABLE: Final = """
CREATE TABLE IF NOT EXISTS sample (
    pack INTEGER PRIMARY KEY REFERENCES pack (number) ON DELETE CASCADE,
    done INTEGER NOT NULL,              -- how many of the ages have had their turn
    fetched INTEGER NOT NULL,           -- leaves that were fetched back
    wrong INTEGER NOT NULL,             -- and of these not as they have to be
    time_s INTEGER NOT NULL             -- when that was the last time
)
"""


class Sampled(NamedTuple):
    """What all samples have come to, of the packs that are there."""

    fetched: int
    wrong: int
    time_s: int | None
    """When the last one was taken."""


class PackSamples:
    """Those of one folder; `writing` is the lock of its database."""

    def __init__(self, db: aiosqlite.Connection, writing: asyncio.Lock) -> None:
        self._db, self._writing = db, writing

    async def due(self, now_s: int, limit: int) -> list[int]:
        """Packs of which a sample is to be fetched, those that wait longest first."""
        ages = " ".join(f"WHEN {number} THEN {age_s}" for number, age_s in enumerate(AGES_S))
        sql = (
            "SELECT number, stored_s + CASE coalesce(done, 0) "  # noqa: S608
            f"{ages} END AS due_s FROM pack LEFT JOIN sample ON sample.pack = pack.number"
            f" WHERE stored_s IS NOT NULL AND coalesce(done, 0) < {len(AGES_S)}"
            " AND due_s <= ? ORDER BY due_s LIMIT ?"
        )
        return [int(row[0]) for row in await self._db.execute_fetchall(sql, (now_s, limit))]

    async def taken(self, pack: int, age_s: int, fetched: int, wrong: int, now_s: int) -> None:
        """A sample was fetched of a pack of this age: earlier turns that were missed are over."""
        done = sum(each <= age_s for each in AGES_S)
        sql = (
            "INSERT INTO sample VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET done = ?2,"
            " fetched = fetched + ?3, wrong = wrong + ?4, time_s = ?5"
        )
        async with self._writing:
            await self._db.execute_fetchall(sql, (pack, done, fetched, wrong, now_s))

    async def totals(self) -> Sampled:
        """What they have come to."""
        sql = "SELECT coalesce(sum(fetched), 0), coalesce(sum(wrong), 0), max(time_s) FROM sample"
        ((fetched, wrong, time_s),) = await self._db.execute_fetchall(sql)
        return Sampled(fetched, wrong, time_s)
