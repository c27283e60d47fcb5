"""What one folder has at super-nodes, in SQLite: packs, what lies in them, who holds their shares.

A copy of what the nodes themselves say: a device that lost it, or never had it, reads it back.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import aiosqlite

from crypto.ids import RelayId
from crypto.packs import SHORT_ID_SIZE, PackIndex, PackKind, PackSlot
from crypto.shares import Descriptor, decode_descriptor
from peer.backup.pack_hashes import PackHashes
from peer.backup.pack_notes import PackNotes
from peer.backup.pack_samples import TABLE, PackSamples
from peer.device.database import open_database
from peer.device.transaction import transaction

log = logging.getLogger(__name__)

FORMAT: Final = 4
AT_ONCE: Final = 500
_OF_A_PACK: Final = (
    ("slot", "pack"), ("holding", "pack"), ("told", "pack"), ("released", "pack"),
    ("sample", "pack"), ("pack", "number"),
)  # fmt: skip
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KnownPack:
    """A pack that is at nodes, or on its way there."""

    number: int
    id: bytes
    """Of its descriptor."""
    descriptor: Descriptor
    kind: PackKind
    stored_s: int | None
    """When all its shares were first stored; None while it is on its way."""
    renewed_s: int


class Holding(NamedTuple):
    """One share at one node."""

    pack: int
    share: int
    node: RelayId
    lease_s: int
    checked_s: int


class Place(NamedTuple):
    """Where something lies."""

    pack: int
    slot: PackSlot


class Totals(NamedTuple):
    """Counts for `backup status`."""

    packs: int
    pack_bytes: int
    under_way: int


class PackStore:
    """The database of one folder's packs."""

    def __init__(self, db: aiosqlite.Connection) -> None:
        self._db = db
        self._writing = asyncio.Lock()
        """Several packs come at once, and a transaction is one's own."""
        self.is_damaged = False
        """Whether it was found damaged while it was used: it is to be opened anew."""
        self.notes = PackNotes(db, self._writing)
        self.hashes = PackHashes(db, self._writing)
        self.samples = PackSamples(db, self._writing)

    @classmethod
    async def open(cls, path: Path, *, is_damaged: bool = False) -> PackStore:
        """Opens or creates it; one that is damaged or of another format is begun anew. Raises
        sqlite3.OperationalError while it cannot be opened, and leaves it alone then.
        """
        if not is_damaged:
            try:
                return cls(await _opened(path))
            except sqlite3.DatabaseError as error:
                # SQLITE_ERROR is said of tables that are not as they should be, and of nothing else
                # that may be over by the next time.
                code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
                if isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:
                    raise
                log.error("%s is damaged: %s", path.name, error)
        log.error("%s is begun anew, and read back from the super-nodes", path.name)
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return cls(await _opened(path))

    async def close(self) -> None:
        """Closes the database."""
        await self._db.close()

    # ------------------------------------------------------------ packs

    async def add(self, descriptor: Descriptor, index: PackIndex, now_s: int) -> int:
        """Keeps a pack and what is in it; its number."""
        values = (descriptor.id(), descriptor.encode(), int(index.kind), now_s)
        sql = (
            "INSERT INTO pack (id, descriptor, kind, renewed_s) VALUES (?,?,?,?)"
            " ON CONFLICT (id) DO UPDATE SET kind = excluded.kind RETURNING number"
        )
        async with self._writing, transaction(self._db):
            ((number,),) = await self._db.execute_fetchall(sql, values)
            await self._db.executemany(
                "INSERT OR REPLACE INTO slot VALUES (?,?,?,?,?,?)",
                [
                    (s.id[:SHORT_ID_SIZE], number, s.offset, s.length, s.codec, s.plain_len)
                    for s in index.slots
                ],
            )
        return int(number)

    async def stored(self, number: int, now_s: int) -> None:
        """All shares of a pack are where they belong."""
        sql = "UPDATE pack SET stored_s = coalesce(stored_s, ?) WHERE number = ?"
        async with self._writing:
            await self._db.execute_fetchall(sql, (now_s, number))

    async def renewed(self, numbers: Iterable[int], now_s: int) -> None:
        """Leases of packs were prolonged."""
        sql = "UPDATE pack SET renewed_s = ? WHERE number = ?"
        async with self._writing:
            await self._db.executemany(sql, [(now_s, n) for n in numbers])

    async def packs(self, where: str = "TRUE", values: Sequence[Any] = ()) -> list[KnownPack]:
        """All packs, or some of them."""
        sql = (
            "SELECT number, id, descriptor, kind, stored_s, renewed_s FROM pack"  # noqa: S608
            f" WHERE {where} ORDER BY number"
        )
        return [
            KnownPack(r[0], r[1], decode_descriptor(r[2]), PackKind(r[3]), r[4], r[5])
            for r in await self._db.execute_fetchall(sql, values)
        ]

    async def pack(self, number: int) -> KnownPack | None:
        """The pack of a number."""
        found = await self.packs("number = ?", (number,))
        return found[0] if found else None

    async def packs_of(self, numbers: Sequence[int]) -> list[KnownPack]:
        """The packs of these numbers."""
        found: list[KnownPack] = []
        for part in _parts(numbers):
            found += await self.packs(f"number IN ({_marks(part)})", part)
        return found

    async def unknown(self, ids: Sequence[bytes]) -> list[bytes]:
        """Which of these packs are not here."""
        known = await self.numbers_of(ids)
        return [id_ for id_ in ids if id_ not in known]

    async def numbers_of(self, ids: Sequence[bytes]) -> dict[bytes, int]:
        """The numbers of those of these packs that are here."""
        found: dict[bytes, int] = {}
        for part in _parts(ids):
            sql = f"SELECT id, number FROM pack WHERE id IN ({_marks(part)})"  # noqa: S608
            found |= {r[0]: r[1] for r in await self._db.execute_fetchall(sql, part)}
        return found

    async def forget(self, numbers: Iterable[int]) -> None:
        """Forgets packs that nobody holds any more, or that never came to be."""
        async with self._writing, transaction(self._db):
            for table, column in _OF_A_PACK:
                sql = f"DELETE FROM {table} WHERE {column} = ?"  # noqa: S608
                await self._db.executemany(sql, [(n,) for n in numbers])

    async def distrust(self, number: int) -> None:
        """What is known of a pack is not so: it is read back from the nodes, as if it were new."""
        await self.forget([number])
        async with self._writing:
            await self._db.execute_fetchall("DELETE FROM listed")

    async def totals(self) -> Totals:
        """Counts."""
        count = size = under_way = 0
        for pack in await self.packs():
            count += 1
            size += pack.descriptor.pack_size
            under_way += pack.stored_s is None
        return Totals(count, size, under_way)

    # ------------------------------------------------------------ what is in them

    async def find(self, ids: Sequence[bytes]) -> dict[bytes, Place]:
        """Where things lie, as far as they are in a pack: of several in the last one that enough
        nodes hold, so that none is looked for in a pack that was let go of.
        """
        found: dict[bytes, Place] = {}
        several: dict[bytes, list[Place]] = {}
        for part in _parts(ids):
            # By an earlier version whole ids were kept.
            of_row = {id_[:SHORT_ID_SIZE]: id_ for id_ in part} | {id_: id_ for id_ in part}
            sql = (
                "SELECT id, pack, offset, length, codec, plain_len FROM slot"  # noqa: S608
                f" WHERE id IN ({_marks(of_row)}) ORDER BY pack"
            )
            for r in await self._db.execute_fetchall(sql, list(of_row)):
                id_ = of_row[r[0]]
                place = Place(r[1], PackSlot(id_, *r[2:]))
                if id_ in found:
                    several.setdefault(id_, [found[id_]]).append(place)
                found[id_] = place
        if several:
            whole = await self._held({place.pack for some in several.values() for place in some})
            for id_, some in several.items():
                found[id_] = max(some, key=lambda place: (place.pack in whole, place.pack))
        return found

    async def _held(self, numbers: Iterable[int]) -> set[int]:
        """Of which of these packs nodes hold as many shares as are needed."""
        whole: set[int] = set()
        for part in _parts(list(numbers)):
            sql = (
                "SELECT number, descriptor, (SELECT count(DISTINCT share) FROM holding"  # noqa: S608
                f" WHERE pack = number) FROM pack WHERE number IN ({_marks(part)})"
            )
            for number, descriptor, shares in await self._db.execute_fetchall(sql, part):
                if shares >= decode_descriptor(descriptor).needed:
                    whole.add(number)
        return whole

    async def slots(self, number: int) -> list[PackSlot]:
        """What is in a pack, by what the store has of each id."""
        sql = "SELECT id, offset, length, codec, plain_len FROM slot WHERE pack = ? ORDER BY offset"
        return [PackSlot(*r) for r in await self._db.execute_fetchall(sql, (number,))]

    # ------------------------------------------------------------ who holds them

    async def hold(self, holdings: Iterable[Holding]) -> None:
        """Notes shares that nodes hold."""
        some = list(holdings)
        sql = "INSERT OR REPLACE INTO holding VALUES (?,?,?,?,?)"
        back = "DELETE FROM released WHERE pack = ? AND node = ?"
        async with self._writing, transaction(self._db):
            await self._db.executemany(sql, some)
            await self._db.executemany(back, [(h.pack, h.node) for h in some])

    async def drop(self, pack: int, share: int, node: RelayId) -> None:
        """A node does not hold a share any more."""
        sql = "DELETE FROM holding WHERE pack = ? AND share = ? AND node = ?"
        async with self._writing:
            await self._db.execute_fetchall(sql, (pack, share, node))

    async def told(self) -> dict[tuple[int, RelayId], bytes]:
        """For packs and nodes, which list of holders the node was told last, as a hash of it."""
        sql = "SELECT pack, node, holders FROM told"
        return {(r[0], RelayId(r[1])): r[2] for r in await self._db.execute_fetchall(sql)}

    async def untell(self, places: Iterable[tuple[int, RelayId]]) -> None:
        """Nodes have forgotten what they were told of packs."""
        async with self._writing, transaction(self._db):
            await self._db.executemany("DELETE FROM told WHERE pack = ? AND node = ?", places)

    async def tell(self, marks: Iterable[tuple[int, RelayId, bytes]]) -> None:
        """Notes which lists nodes were told."""
        async with self._writing, transaction(self._db):
            await self._db.executemany("INSERT OR REPLACE INTO told VALUES (?,?,?)", marks)

    async def released(self) -> set[tuple[int, RelayId]]:
        """Which nodes are let go of which packs."""
        sql = "SELECT pack, node FROM released"
        return {(r[0], RelayId(r[1])) for r in await self._db.execute_fetchall(sql)}

    async def release(self, pack: int, share: int, node: RelayId) -> None:
        """Another node holds the share now: this one is counted on no more."""
        async with self._writing, transaction(self._db):
            for sql, values in (
                ("DELETE FROM holding WHERE pack = ? AND share = ? AND node = ?", (share, node)),
                ("INSERT OR IGNORE INTO released VALUES (?,?)", (node,)),
            ):
                await self._db.execute(sql, (pack, *values))

    async def drop_node(self, node: RelayId) -> None:
        """A node has lost all that it held."""
        async with self._writing, transaction(self._db):
            for table in ("holding", "listed", "told"):
                await self._db.execute(f"DELETE FROM {table} WHERE node = ?", (node,))  # noqa: S608

    async def holdings(self, pack: int | None = None) -> list[Holding]:
        """Who holds the shares of a pack, or of all."""
        where = "TRUE" if pack is None else "pack = ?"
        sql = f"SELECT pack, share, node, lease_s, checked_s FROM holding WHERE {where}"  # noqa: S608
        values = () if pack is None else (pack,)
        return [Holding(*r) for r in await self._db.execute_fetchall(sql, values)]

    async def held_by(self, node: RelayId, packs: Sequence[int]) -> list[int]:
        """Of which of these packs a node holds a share."""
        found: list[int] = []
        for part in _parts(packs):
            sql = f"SELECT DISTINCT pack FROM holding WHERE node = ? AND pack IN ({_marks(part)})"  # noqa: S608
            found += [r[0] for r in await self._db.execute_fetchall(sql, (node, *part))]
        return found

    async def position(self, node: RelayId) -> int:
        """How far a node's list was read."""
        sql = "SELECT position FROM listed WHERE node = ?"
        return next((r[0] for r in await self._db.execute_fetchall(sql, (node,))), 0)

    async def put_position(self, node: RelayId, position: int) -> None:
        """Keeps it."""
        sql = "INSERT OR REPLACE INTO listed VALUES (?,?)"
        async with self._writing:
            await self._db.execute_fetchall(sql, (node, position))


async def _opened(path: Path) -> aiosqlite.Connection:
    schema = files("peer.backup").joinpath("packs.sql").read_text()
    db = await open_database(path, schema, FORMAT, "NORMAL", TABLE)
    try:
        for (finding,) in await db.execute_fetchall("PRAGMA quick_check(1)"):
            if finding != "ok":
                raise sqlite3.DatabaseError(finding)
    except BaseException:
        await db.close()
        raise
    return db


def _parts(values: Sequence[T]) -> Iterator[list[T]]:
    for start in range(0, len(values), AT_ONCE):
        yield list(values[start : start + AT_ONCE])


def _marks(values: Collection[Any]) -> str:
    return ",".join("?" * len(values))
