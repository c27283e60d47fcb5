"""The versions of one folder in its index: found by path or node, thinned out, let go."""

from __future__ import annotations

from asyncio import Lock
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import aiosqlite

from crypto.ids import ChunkId, NodeId
from peer.core.versions import PATH_SEPARATOR, Version
from peer.device.transaction import damage_told, transaction
from protocol.records import MANIFEST_ENTRY

AT_ONCE: Final = 500
WEEK_S: Final = 7 * 86_400
_COLUMNS: Final = (
    "node, hash, size, mtime_ns, executable, manifest, written_s, label, path, ended_s, deleted,"
    " kept"
)
STORE_CHUNK: Final = "INSERT OR IGNORE INTO chunk VALUES (?,?,?,?)"
STORE_VERSION: Final = (
    f"INSERT INTO version ({_COLUMNS}) VALUES ({','.join('?' * len(Version._fields))})"  # noqa: S608
)
_NEWER_OF_ITS_WEEK: Final = (
    "SELECT 1 FROM version AS newer WHERE newer.node = version.node"  # noqa: S608
    f" AND newer.ended_s / {WEEK_S} = version.ended_s / {WEEK_S}"
    " AND (newer.ended_s, newer.number) > (version.ended_s, version.number)"
)


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """How long versions are kept."""

    all_s: int = 30 * 86_400
    """All of them for so long; 0 keeps none."""
    thinned_s: int = 180 * 86_400
    """After that the last one of each week, for so long in all."""


class StoredVersion(NamedTuple):
    """A version and its number in the index, by which a person names it."""

    number: int
    version: Version


def chunk_rows(hash_: bytes, manifest: bytes) -> Iterator[tuple[bytes, bytes, int, int]]:
    """The rows of a file's chunks: id, the file's hash, offset, length."""
    offset = 0
    for chunk, length in MANIFEST_ENTRY.iter_unpack(manifest):
        yield chunk, hash_, offset, length
        offset += length


class VersionStore:
    """The versions in an index database."""

    def __init__(self, db: aiosqlite.Connection, lock: Lock) -> None:
        self._db, self._lock = db, lock

    async def of_file(self, path: str, nodes: Sequence[NodeId]) -> list[StoredVersion]:
        """All that were shown at a path, or were of the nodes that are shown there now; the newest
        first.
        """
        marks = ",".join("?" * len(nodes))
        return await self._find(
            f"path = ? OR node IN ({marks}) ORDER BY ended_s DESC, number DESC", (path, *nodes)
        )

    async def last_number(self) -> int:
        """The number of the one that ended last; 0 if there is none."""
        with damage_told():
            ((last,),) = await self._db.execute_fetchall("SELECT max(number) FROM version")
        return last or 0

    async def since(self, number: int) -> list[StoredVersion]:
        """Those that ended after the one with this number, in that order."""
        return await self._find("number > ? ORDER BY number", (number,))

    async def ended_with(self, node: NodeId, hash_: bytes) -> StoredVersion | None:
        """The version of a node with this content; one whose bytes are here if there is one, else
        the last.
        """
        condition = "node = ? AND hash = ? ORDER BY kept IS NULL, number DESC LIMIT 1"
        found = await self._find(condition, (node, hash_))
        return found[0] if found else None

    async def shown_at(self, directory: str, at_s: int) -> list[StoredVersion]:
        """What was shown below a directory (empty: in all of the folder) at a time and ended since:
        one for each node, the one that ended first after it. Also those that began after that time:
        their `written_s` says so.
        """
        condition = (
            "ended_s > ? AND NOT EXISTS (SELECT 1 FROM version AS sooner WHERE sooner.node ="
            " version.node AND sooner.ended_s > ? AND (sooner.ended_s, sooner.number) <"
            " (version.ended_s, version.number))"
        )
        below, values = _below(directory)
        return await self._find(f"{condition} AND {below} ORDER BY path", (at_s, at_s, *values))

    async def deleted(self, directory: str, limit: int) -> list[StoredVersion]:
        """Files below a directory whose last version is a deletion, the latest first."""
        below, values = _below(directory)
        last = (
            "SELECT 1 FROM version AS newer WHERE newer.path = version.path"
            " AND (newer.ended_s, newer.number) > (version.ended_s, version.number)"
        )
        return await self._find(
            f"deleted = 1 AND NOT EXISTS ({last}) AND {below}"
            " ORDER BY ended_s DESC, number DESC LIMIT ?",
            (*values, limit),
        )

    async def every(self, after: int, limit: int) -> list[StoredVersion]:
        """All of them, by number."""
        return await self._find("number > ? ORDER BY number LIMIT ?", (after, limit))

    async def find_chunks(self, ids: Sequence[ChunkId]) -> list[tuple[Any, ...]]:
        """(id, offset, length, name in the trash) of chunks in kept files."""
        marks = ",".join("?" * len(ids))
        whole = f"SELECT hash, 0, size, kept FROM version WHERE hash IN ({marks})"  # noqa: S608
        inside = (
            "SELECT chunk.id, offset, length, kept FROM chunk JOIN version"  # noqa: S608
            f" ON version.hash = chunk.file WHERE chunk.id IN ({marks})"
        )
        out: list[tuple[Any, ...]] = []
        for sql in (whole, inside):
            found = await self._db.execute_fetchall(f"{sql} AND kept IS NOT NULL", ids)
            out += [tuple(r) for r in found]
        return out

    async def kept(self) -> tuple[int, int]:
        """How many are kept here, and their bytes."""
        sql = "SELECT count(*), coalesce(sum(size), 0) FROM version WHERE kept IS NOT NULL"
        with damage_told():
            ((count, size),) = await self._db.execute_fetchall(sql)
        return count, size

    async def kept_names(self) -> set[str]:
        """What the trash has to hold."""
        sql = "SELECT kept FROM version WHERE kept IS NOT NULL"
        with damage_told():
            return {r[0] for r in await self._db.execute_fetchall(sql)}

    async def over(self, now_s: int, policy: VersionPolicy, limit: int) -> list[StoredVersion]:
        """Those that the policy lets go of by now."""
        sure, thin = now_s - policy.all_s, now_s - max(policy.all_s, policy.thinned_s)
        return await self._find(
            f"ended_s < ? AND (ended_s < ? OR EXISTS ({_NEWER_OF_ITS_WEEK})) LIMIT ?",
            (sure, thin, limit),
        )

    async def first_to_go(self, limit: int) -> list[StoredVersion]:
        """Those to give way first when room is needed: the older ones of the files that take most,
        so that one large file that often changes does not cost all others their history.
        """
        return await self._find(
            "kept IS NOT NULL ORDER BY sum(size) OVER (PARTITION BY node ORDER BY ended_s DESC,"
            " number DESC) DESC LIMIT ?",
            (limit,),
        )

    # ------------------------------------------------------------ writing

    async def forget(self, versions: Iterable[StoredVersion]) -> None:
        """Drops them; their files are gone already."""
        numbers = [(v.number,) for v in versions]
        async with self._writing():
            await self._db.executemany("DELETE FROM version WHERE number = ?", numbers)

    async def lose(self, names: Iterable[str]) -> None:
        """These files are in the trash no more: the versions are known, and their bytes are not
        here.
        """
        async with self._writing():
            await self._db.executemany(
                "UPDATE version SET kept = NULL WHERE kept = ?", [(name,) for name in names]
            )

    async def keep(self, number: int, name: str) -> None:
        """The trash has its bytes after all, under this name."""
        async with self._writing():
            await self._db.execute("UPDATE version SET kept = ? WHERE number = ?", (name, number))

    async def learn(self, versions: Iterable[Version]) -> int:
        """Versions that another device wrote down, or this one before it lost its index; how many
        of them are new. Of one content that ended twice within an hour, by two clocks, one is kept.
        """
        known = (
            "SELECT 1 FROM version WHERE node = ? AND hash = ?"
            " AND ended_s BETWEEN ? - 3600 AND ? + 3600 LIMIT 1"
        )
        count = 0
        async with self._writing():
            for v in versions:
                values = (v.node, v.hash, v.ended_s, v.ended_s)
                if not list(await self._db.execute_fetchall(known, values)):
                    await self._db.execute(STORE_VERSION, v)
                    count += 1
        return count

    async def adopt(self, version: Version) -> None:
        """A file in the trash that no version names: it is of one that ended here and is not known
        to be kept, or of one that is not known at all.
        """
        assert version.kept is not None
        async with self._writing():
            sql = (
                "SELECT number FROM version WHERE node = ? AND hash = ? AND kept IS NULL"
                " ORDER BY ended_s DESC LIMIT 1"
            )
            found = list(await self._db.execute_fetchall(sql, (version.node, version.hash)))
            if found:
                sql = "UPDATE version SET kept = ? WHERE number = ?"
                await self._db.execute(sql, (version.kept, found[0][0]))
            else:
                await self._db.execute(STORE_VERSION, version)
            if not version.is_symlink:
                chunks = chunk_rows(version.hash, version.manifest)
                await self._db.executemany(STORE_CHUNK, list(chunks))

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        with damage_told():
            async with self._lock, transaction(self._db):
                yield

    async def _find(self, condition: str, values: Sequence[Any]) -> list[StoredVersion]:
        sql = f"SELECT {_COLUMNS}, number FROM version WHERE {condition}"  # noqa: S608
        with damage_told():
            return [_stored(r) for r in await self._db.execute_fetchall(sql, values)]


def _stored(row: Any) -> StoredVersion:
    fields = list(row[:-1])
    fields[4], fields[10] = bool(fields[4]), bool(fields[10])
    return StoredVersion(row[-1], Version(*fields))


def _below(directory: str) -> tuple[str, tuple[str, ...]]:
    """The condition that a path lies below a directory: between `d/` and what sorts right after all
    that begin so.
    """
    if not directory:
        return "TRUE", ()
    start = directory + PATH_SEPARATOR
    return "path >= ? AND path < ?", (start, directory + chr(ord(PATH_SEPARATOR) + 1))
