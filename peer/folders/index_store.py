"""One folder's index in SQLite: answers the engine's index commands, and is durable when a commit
returns.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from struct import Struct
from typing import Any, Final, NamedTuple, TypeVar

import aiosqlite

from crypto.ids import ChunkId, LogId, NodeId
from peer.backup.wanted_contents import WantedContents
from peer.core import commands as c
from peer.core.rows import (
    ADRIFT,
    DERIVED,
    DISPLACED,
    FOLDED,
    MISNAMED,
    Directories,
    Directory,
    DiskFacts,
    Facts,
    Item,
    Row,
    Shown,
    place_of,
)
from peer.core.tree import place_again
from peer.device.database import connect
from peer.device.transaction import damage_told, transaction
from peer.errors import DiskError, DiskFull, IndexDamaged
from peer.folders.index_format import COLUMNS, prepare
from peer.folders.node_format import decode_node, encode_node
from peer.history.version_store import STORE_CHUNK, STORE_VERSION, VersionStore, chunk_rows
from peer.search.search import NameSearch
from protocol.nodes import NO_NODE, NOTHING, ROOT, is_copy

JOINED: Final = "joined"
"""The value that says that what the disk held before it was in the folder has been looked at."""
PAUSED: Final = "paused"
SHOWN: Final = "shown"
"""The value that keeps how many files are shown here, and their bytes."""
AT_ONCE: Final = 500
"""Parameters in one IN list: SQLite's default limit is 32,766, and longer statements gain nothing.
"""
_ROW: Final = (
    "id, state, base, origin, parent, key, item, name, flags, hash, size, executable, mtime_ns,"
    " inode, disk_size, disk_mtime_ns, disk_ctime_ns"
)
ROWS_AT_ONCE: Final = 50
"""Rows written by one statement: between two of them the thread may have to wait for its turn."""
_ROW_MARKS: Final = f"({','.join('?' * len(COLUMNS))})"
_OR_UPDATE: Final = " ON CONFLICT (id) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in COLUMNS[1:]
)
_STORE: Final = f"INSERT INTO node ({', '.join(COLUMNS)}) VALUES "  # noqa: S608
_STORE_ROW: Final = _STORE + _ROW_MARKS + _OR_UPDATE
_STORE_ROWS: Final = _STORE + ", ".join([_ROW_MARKS] * ROWS_AT_ONCE) + _OR_UPDATE
_FILE: Final = "parent IS NOT NULL AND kind <> 1"
_COUNTED: Final = _FILE + " AND item IS NULL"
_COUNTS: Final = Struct(">QQ")
T = TypeVar("T")


def index_error(what: str, error: sqlite3.OperationalError) -> DiskError:
    """What a person is told when the disk does not let us use an index; `what`: opened, written."""
    text = f"The folder's index cannot be {what}: {error}."
    if "full" in str(error):  # SQLite says it in words only
        return DiskFull(f"{text} Free some space on the disk that Holdfast's home is on.")
    return DiskError(f"{text} Look into the system's log before trusting that disk.")


class IndexBehind(Exception):
    """A commit failed, and the engine knows what its index does not: open the folder anew."""

    def __init__(self, cause: DiskError) -> None:
        super().__init__(str(cause))
        self.cause = cause
        """What a person is told."""


class ChunkPlace(NamedTuple):
    """A range of a file on this disk that held a chunk when it was last read."""

    id: ChunkId
    offset: int
    length: int
    parent: NodeId
    """The directory node that shows the file; NO_NODE if it is a version kept in the trash."""
    name: str


class Summary(NamedTuple):
    """Counts for `status`."""

    files: int
    size_bytes: int
    need_files: int
    need_directories: int


class IndexStore:
    """The index database of one folder."""

    def __init__(self, db: aiosqlite.Connection) -> None:
        self._db = db
        self._lock = asyncio.Lock()
        self.versions = VersionStore(db, self._lock)
        self.names = NameSearch(db)
        self.wanted = WantedContents(db, self.versions)
        self._counts: tuple[int, int] | None = None
        """What `SHOWN` keeps, once it is known."""
        self._summary: Summary | None = None
        """What the last commit left; while one is under way, it has not happened yet."""
        self._commits = 0
        self.tell: Callable[[Sequence[object]], None] | None = None
        """Who hears of deeds, before they are stored: so a crash leaves none untold."""
        self.on_rows: Callable[[Sequence[NodeId]], None] | None = None
        """Who hears which nodes' rows were stored or deleted, afterwards."""

    @classmethod
    async def open(cls, path: Path) -> IndexStore:
        """Opens or creates the index; IndexDamaged when it is none, OperationalError when the disk
        does not let us know.
        """
        db: aiosqlite.Connection = await connect(path)
        try:
            # WAL with FULL: a commit is fsynced before anything that rests on it leaves the device
            # (F05).
            for pragma in (
                "journal_mode = WAL",
                "synchronous = FULL",
                "cache_size = -16000",
                "temp_store = MEMORY",
                "wal_autocheckpoint = 4000",
            ):
                await db.execute_fetchall(f"PRAGMA {pragma}")
            await prepare(db, path)
        except sqlite3.OperationalError:
            await db.close()
            raise
        except sqlite3.DatabaseError as error:
            await db.close()
            raise IndexDamaged(f"{path}: {error}") from error
        except BaseException:
            await db.close()
            raise
        return cls(db)

    async def close(self) -> None:
        """Closes the database."""
        await self._db.close()

    async def perform(self, command: c.Command[Any]) -> Any:
        """Answers one index command."""
        with damage_told():
            return await self._perform(command)

    async def _perform(self, command: c.Command[Any]) -> Any:
        match command:
            case c.LoadRows(ids):
                return {r.id: r for r in await self._rows("id", ids)}
            case c.LoadSlots(slots):
                return await self._slots(slots)
            case c.LoadChildren(parents):
                return await self._rows("parent", parents, _FILE)
            case c.LoadCopies(origins):
                return await self._rows("origin", origins)
            case c.LoadInodes(inodes):
                return await self._rows("inode", inodes, _FILE + " AND inode > 0")
            case c.FindPlace(hashes):
                return await self._rows("hash", hashes, _FILE + " AND inode > 0")
            case c.LoadFacts(parents):
                return await self._facts(parents)
            case c.LoadDirty(after, limit):
                sql = (
                    f"SELECT {_ROW} FROM node WHERE dirty > 0 AND (dirty, id) > (?, ?)"  # noqa: S608
                    " ORDER BY dirty, id LIMIT ?"
                )
                found = await self._db.execute_fetchall(sql, (after[0], after[1], limit))
                return [_row(r) for r in found]
            case c.LoadChangesets(log, after_seq, bytes_max):
                return await self._changesets(log, after_seq, bytes_max)
            case c.LoadAuthored(log, after_number, limit):
                # By the number and not by the id: so SQLite reads its table once from end to end.
                sql = (
                    f"SELECT {_ROW}, number FROM node WHERE number > ? AND (instr(state, ?) OR"  # noqa: S608
                    " origin IS NOT NULL) AND state <> x'' ORDER BY number LIMIT ?"
                )
                found = await self._db.execute_fetchall(sql, (after_number, log, limit))
                return [(r[-1], _row(r)) for r in found]
            case c.LoadFilesHere(after_number, limit):
                sql = (
                    f"SELECT {_ROW}, number FROM node WHERE number > ? AND kind = 0 AND parent IS"  # noqa: S608
                    " NOT NULL AND item IS NULL AND inode > 0 AND disk_ctime_ns <> 0"
                    " ORDER BY number LIMIT ?"
                )
                found = await self._db.execute_fetchall(sql, (after_number, limit))
                return [(r[-1], _row(r)) for r in found]
            case c.MeasureLog(log, from_seq):
                return await self._measure(log, from_seq)
            case c.DropChangesets(log, before_seq, limit):
                return await self._drop(log, before_seq, limit)
            case c.Commit():
                if command.deeds and self.tell is not None:
                    self.tell(command.deeds)
                await self._commit(command)
                if self.on_rows is not None and (command.rows or command.deleted):
                    self.on_rows([*(row.id for row in command.rows), *command.deleted])
                return None
            case _:
                raise AssertionError(command)

    # ------------------------------------------------------------ reading

    async def _rows(self, column: str, values: Sequence[Any], where: str = "TRUE") -> list[Row]:
        out: list[Row] = []
        for part in _parts(values):
            marks = ",".join("?" * len(part))
            sql = f"SELECT {_ROW} FROM node WHERE {column} IN ({marks}) AND {where}"  # noqa: S608
            out += [_row(r) for r in await self._db.execute_fetchall(sql, part)]
        return out

    async def _slots(self, slots: Sequence[tuple[NodeId, str]]) -> list[Row]:
        out: list[Row] = []
        columns = ", ".join(f"node.{name.strip()}" for name in _ROW.split(","))
        for part in _parts(slots):
            marks = ",".join(["(?,?)"] * len(part))
            # A join in this order: with (parent, key) IN (VALUES ...), SQLite walks all the index.
            sql = (
                f"SELECT {columns} FROM (VALUES {marks}) AS slot CROSS JOIN node"  # noqa: S608
                " ON node.parent = slot.column1 AND node.key = slot.column2"
                f" WHERE {_FILE}"
            )
            values = [v for slot in part for v in slot]
            out += [_row(r) for r in await self._db.execute_fetchall(sql, values)]
        return out

    async def _facts(self, parents: Sequence[NodeId]) -> list[Facts]:
        out: list[Facts] = []
        for part in _parts(parents):
            marks = ",".join("?" * len(part))
            sql = (
                "SELECT inode, disk_size, disk_mtime_ns, disk_ctime_ns, executable, name, id,"  # noqa: S608
                f" parent FROM node WHERE parent IN ({marks}) AND item IS NULL"
            )
            found = await self._db.execute_fetchall(sql, part)
            # Left to itself, the index of what is shown holds all of it but the kind.
            out += [Facts._make(r) for r in found if r[6][15] & 3 != 1]
        return out

    async def _changesets(self, log: LogId, after_seq: int, bytes_max: int) -> list[bytes]:
        sql = "SELECT wire FROM changeset WHERE log = ? AND seq > ? ORDER BY seq"
        out: list[bytes] = []
        size = 0
        # Never what a transaction has stored that is not durable yet.
        async with self._lock, self._db.execute(sql, (log, after_seq)) as cursor:
            async for (wire,) in cursor:
                if out and size + len(wire) > bytes_max:
                    break
                out.append(wire)
                size += len(wire)
        return out

    async def _measure(self, log: LogId, from_seq: int) -> c.LogSize:
        sql = "SELECT coalesce(sum(length(wire)), 0) FROM changeset WHERE log = ? AND seq >= ?"
        size = next(iter(await self._db.execute_fetchall(sql, (log, from_seq))))[0]
        sql = (
            "SELECT coalesce(sum(length(state)), 0) FROM node"
            " WHERE instr(state, ?) OR origin IS NOT NULL"
        )
        return c.LogSize(size, next(iter(await self._db.execute_fetchall(sql, (log,))))[0])

    async def _drop(self, log: LogId, before_seq: int, limit: int) -> int:
        sql = "SELECT seq FROM changeset WHERE log = ? AND seq < ? ORDER BY seq LIMIT ?"
        found = list(await self._db.execute_fetchall(sql, (log, before_seq, limit)))
        if found:
            sql = "DELETE FROM changeset WHERE log = ? AND seq <= ?"
            await self._db.execute_fetchall(sql, (log, found[-1][0]))
        return len(found)

    async def values(self) -> dict[str, bytes]:
        """All values that commits named."""
        sql = "SELECT name, value FROM value WHERE name <> ?"
        return {r[0]: r[1] for r in await self._db.execute_fetchall(sql, (SHOWN,))}

    async def positions(self) -> list[tuple[LogId, int, bytes, int]]:
        """(log, seq, hash, Lamport time) of every stored changeset, by log and seq."""
        sql = "SELECT log, seq, hash, lamport FROM changeset ORDER BY log, seq"
        return [(r[0], r[1], r[2], r[3]) for r in await self._db.execute_fetchall(sql)]

    async def quarantined(self) -> list[tuple[LogId, int, bytes, int]]:
        """The same of every changeset that is kept on no log."""
        sql = "SELECT log, seq, hash, lamport FROM quarantine ORDER BY log, seq, hash"
        return [(r[0], r[1], r[2], r[3]) for r in await self._db.execute_fetchall(sql)]

    async def aside(self, log_id: LogId, bytes_max: int) -> list[tuple[int, bytes, bytes]]:
        """(seq, hash, wire bytes) of what is kept beside a log, up to some bytes in all."""
        sql = "SELECT seq, hash, wire FROM quarantine WHERE log = ? ORDER BY seq, hash"
        out: list[tuple[int, bytes, bytes]] = []
        async with self._db.execute(sql, (log_id,)) as cursor:
            async for seq, hash_, wire in cursor:
                bytes_max -= len(wire)
                if bytes_max < 0:
                    break
                out.append((seq, hash_, wire))
        return out

    async def find_chunks(self, ids: Sequence[ChunkId]) -> list[ChunkPlace]:
        """Where on this disk chunks lie, as the index knows; a chunk may have several places."""
        out: list[ChunkPlace] = []
        for part in _parts(ids):
            marks = ",".join("?" * len(part))
            whole = (
                f"SELECT hash, 0, disk_size, parent, name FROM node WHERE hash IN ({marks})"  # noqa: S608
                " AND inode > 0 AND kind = 0"
            )
            inside = (
                "SELECT chunk.id, offset, length, parent, name FROM chunk JOIN node"  # noqa: S608
                f" ON node.hash = chunk.file WHERE chunk.id IN ({marks}) AND inode > 0"
            )
            for sql in (whole, inside):
                out += [ChunkPlace(*r) for r in await self._db.execute_fetchall(sql, part)]
            for id_, offset, length, kept in await self.versions.find_chunks(part):
                out.append(ChunkPlace(id_, offset, length, NO_NODE, kept))
        return out

    async def summary(self) -> Summary:
        """Counts over the whole folder; the database is asked for them once after a commit, for
        it may be busy for longer than a person's question should take.
        """
        if self._summary is not None:
            return self._summary
        commits, was_busy = self._commits, self._lock.locked()
        files_, size = await self._shown()
        sql = "SELECT dirty, count(*) FROM node WHERE dirty > 0 GROUP BY dirty"
        need = {r[0]: r[1] for r in await self._db.execute_fetchall(sql)}
        found = Summary(files_, size, need.get(2, 0), need.get(1, 0))
        if commits == self._commits and not was_busy and not self._lock.locked():
            self._summary = found
        return found

    async def _shown(self) -> tuple[int, int]:
        """How many files are shown, and their bytes. Every commit carries the numbers on: to count
        takes as long as reading the whole index.
        """
        if self._counts is None:
            sql = "SELECT value FROM value WHERE name = ?"
            stored = list(await self._db.execute_fetchall(sql, (SHOWN,)))
            if stored:
                self._counts = _COUNTS.unpack(stored[0][0])
            else:
                self._counts = await self._count("TRUE", ())
        return self._counts

    async def _count(self, where: str, values: Sequence[NodeId]) -> tuple[int, int]:
        sql = f"SELECT count(*), coalesce(sum(size), 0) FROM node WHERE {_COUNTED} AND {where}"  # noqa: S608
        ((files_, size),) = await self._db.execute_fetchall(sql, values)
        return files_, size

    async def load_directories(self, folds_case: bool) -> Directories:
        """The resident directories, rebuilt from their rows."""
        resident = Directories(folds_case)
        sql = f"SELECT {_ROW} FROM node WHERE kind = 1"  # noqa: S608
        rows = [_row(r) for r in await self._db.execute_fetchall(sql)]
        for row in rows:
            if row.id == ROOT:
                resident.nodes[ROOT].base = row.base
            elif row.synced != NOTHING:
                _add_directory(resident, row)
        for row in rows:
            directory = resident.nodes.get(row.id)
            if directory is not None and directory.counted_in and row.id != ROOT:
                above = resident.nodes[directory.counted_in]
                above.children += 1
                key = directory.counted_key
                above.subdirectories[key] = (*above.subdirectories.get(key, ()), row.id)
        if resident.adrift:
            place_again(resident)
        _add_items(resident, rows)
        # The kind would have to be read from the rows themselves.
        directories_in = Counter(row.shown.parent for row in rows)
        sql = "SELECT parent, count(*) FROM node WHERE parent IS NOT NULL GROUP BY parent"
        for parent, count in await self._db.execute_fetchall(sql):
            resident.nodes[parent].children += count - directories_in[parent]
        sql = f"SELECT parent, key FROM node WHERE flags <> 0 AND flags & {DISPLACED | FOLDED}"  # noqa: S608
        for parent, key in await self._db.execute_fetchall(sql):
            if parent is not None:  # as a condition it would draw SQLite to another index
                item = resident.items[resident.nodes[parent].item]
                item.crowded |= {key}
        sql = (
            f"SELECT id FROM node WHERE origin IS NOT NULL AND NOT flags & {DERIVED}"  # noqa: S608
            " AND base IS NOT x''"
        )
        copies = [r[0] for r in await self._db.execute_fetchall(sql)]
        resident.copies |= {i for i in copies if is_copy(i)}
        sql = f"SELECT {_ROW} FROM node WHERE flags <> 0 AND flags & {ADRIFT} AND kind <> 1"  # noqa: S608
        for r in await self._db.execute_fetchall(sql):
            row = _row(r)
            place = place_of(row.base)
            if place is not None:
                resident.orphans.setdefault(place.parent, set()).add(row.id)
        return resident

    # ------------------------------------------------------------ writing

    async def _commit(self, commit: c.Commit) -> None:
        db = self._db
        counts = self._counts
        async with self._lock, transaction(db):
            if commit.rows or commit.deleted:
                counts = await self._counts_after(commit)
            if commit.rows:
                await self._store_rows([_values(row) for row in commit.rows])
                chunks = [v for row in commit.rows if _is_of_chunks(row) for v in _chunks(row)]
                if chunks:
                    await db.executemany(STORE_CHUNK, chunks)
            if commit.deleted:
                await db.executemany(
                    "DELETE FROM node WHERE id = ?", [(i,) for i in commit.deleted]
                )
            for log, seq in commit.cut:
                where = "FROM changeset WHERE log = ? AND seq >= ?"
                await db.execute(f"INSERT OR IGNORE INTO quarantine SELECT * {where}", (log, seq))
                await db.execute(f"DELETE {where}", (log, seq))
            if commit.aside:
                await db.executemany(
                    "INSERT OR IGNORE INTO quarantine VALUES (?,?,?,?,?)", commit.aside
                )
            if commit.changesets:
                await db.executemany(
                    "INSERT OR IGNORE INTO changeset VALUES (?,?,?,?,?)", commit.changesets
                )
            if commit.ended:
                await db.executemany(STORE_VERSION, commit.ended)
            if commit.values:
                await db.executemany("INSERT OR REPLACE INTO value VALUES (?,?)", commit.values)
        self._counts = counts
        if commit.rows or commit.deleted:
            self._forget_summary()

    def _forget_summary(self) -> None:
        self._summary = None
        self._commits += 1

    async def _counts_after(self, commit: c.Commit) -> tuple[int, int]:
        """The counts as they will be, stored in the transaction that makes them so."""
        files_, size = await self._shown()
        deleted = set(commit.deleted)
        for part in _parts({row.id for row in commit.rows} | deleted):
            marks = ",".join("?" * len(part))
            gone, gone_size = await self._count(f"id IN ({marks})", part)
            files_, size = files_ - gone, size - gone_size
        for row in commit.rows:
            if _is_counted(row) and row.id not in deleted:
                files_, size = files_ + 1, size + row.shown.size
        value = _COUNTS.pack(files_, size)
        await self._db.execute("INSERT OR REPLACE INTO value VALUES (?,?)", (SHOWN, value))
        return files_, size

    async def _store_rows(self, rows: Sequence[tuple[Any, ...]]) -> None:
        whole = len(rows) - len(rows) % ROWS_AT_ONCE
        for start in range(0, whole, ROWS_AT_ONCE):
            values = [v for row in rows[start : start + ROWS_AT_ONCE] for v in row]
            await self._db.execute(_STORE_ROWS, values)
        if whole < len(rows):
            await self._db.executemany(_STORE_ROW, rows[whole:])

    async def forget_disk(self) -> None:
        """The folder is on this disk no longer: nothing is shown, the replica stays."""
        await self._commit_each(
            "DELETE FROM node WHERE state = x''",
            "UPDATE node SET base = x'', dirty = CASE kind WHEN 1 THEN 1 ELSE 2 END,"
            " parent = NULL, key = NULL, item = NULL, name = NULL, flags = 0, hash = NULL,"
            " size = 0, executable = 0, mtime_ns = 0, inode = 0, disk_size = 0,"
            " disk_mtime_ns = 0, disk_ctime_ns = 0 WHERE base IS NOT x'' OR flags <> 0",
            "DELETE FROM chunk",
            f"DELETE FROM value WHERE name IN ('{JOINED}', '{PAUSED}', '{SHOWN}')",  # noqa: S608
        )
        self._counts = None
        self._forget_summary()

    async def _commit_each(self, *statements: str) -> None:
        async with self._lock, transaction(self._db):
            for statement in statements:
                await self._db.execute(statement)

    async def drop_unused_chunks(self) -> None:
        """Forgets the chunk places of contents that no file on this disk has any more."""
        await self._db.execute(
            "DELETE FROM chunk WHERE NOT EXISTS (SELECT 1 FROM node WHERE node.hash = chunk.file)"
            " AND NOT EXISTS (SELECT 1 FROM version WHERE version.hash = chunk.file)"
        )


def _parts(values: Iterable[T]) -> Iterator[list[T]]:
    every = list(values)
    for start in range(0, len(every), AT_ONCE):
        yield every[start : start + AT_ONCE]


def _row(r: Any) -> Row:
    state = decode_node(r[1])
    flags = r[8]
    base = state if r[2] is None else decode_node(r[2])
    shown = Shown(
        r[4] or NO_NODE, r[5] or "", (r[6] or r[0]) if r[4] else NO_NODE, r[7] or "", flags,
        r[9] or b"", r[10], bool(r[11]), r[12],
    )  # fmt: skip
    disk = DiskFacts(r[13], r[14], r[15], r[16])
    return Row(r[0], state, base, r[3] or NO_NODE, shown, disk, stored=True)


def _is_counted(row: Row) -> bool:
    """The same as `_COUNTED`, of a row that is about to be stored."""
    return bool(row.shown.parent) and row.id[15] & 3 != 1 and row.shown.item == row.id


def _values(row: Row) -> tuple[Any, ...]:
    shown, disk, kind = row.shown, row.disk, row.id[15] & 3
    is_derived = bool(shown.flags & DERIVED)
    if row.encoded is None or row.encoded[0] is not row.state:
        row.encoded = (row.state, encode_node(row.state))
    state = row.encoded[1]
    is_same = not is_derived and (row.base is row.state or row.base == row.state)
    base = None if is_same else encode_node(row.base)
    dirty = (1 if kind == 1 else 2) if (is_derived and row.state != NOTHING) or (
        not is_derived and not is_same
    ) or shown.flags & MISNAMED else 0  # fmt: skip
    return (
        row.id, kind, state, base, dirty, row.origin or None, shown.parent or None,
        shown.key if shown.parent else None,
        shown.item if shown.parent and shown.item != row.id else None,
        shown.name or None, shown.flags, shown.hash or None, shown.size, shown.is_executable,
        shown.mtime_ns, disk.inode, disk.size, disk.mtime_ns, disk.ctime_ns,
    )  # fmt: skip


def _is_of_chunks(row: Row) -> bool:
    """Whether a file of several chunks may lie on this disk."""
    return bool(row.disk.inode) and any(c.manifest for c in row.base.contents)


def _chunks(row: Row) -> Iterator[tuple[bytes, bytes, int, int]]:
    if row.id[15] & 3 or not row.disk.inode or not row.shown.hash:
        return
    for content in row.base.contents:
        if content.hash == row.shown.hash and content.manifest:
            yield from chunk_rows(content.hash, content.manifest)
            return


def _add_directory(resident: Directories, row: Row) -> None:
    place = place_of(row.base)
    is_adrift = bool(row.shown.flags & ADRIFT)
    name = "" if place is None else place.name
    parent = NO_NODE if place is None else place.parent
    resident.nodes[row.id] = Directory(
        row.id, row.base, place, parent, name, is_adrift,
        counted_in=row.shown.parent, counted_key=row.shown.key, item=row.shown.item,
    )  # fmt: skip
    if is_adrift:
        resident.adrift.add(row.id)


def _add_items(resident: Directories, rows: Iterable[Row]) -> None:
    members: dict[NodeId, list[NodeId]] = {}
    firsts: dict[NodeId, Row] = {}
    for row in rows:
        if row.shown.parent:
            members.setdefault(row.shown.item, []).append(row.id)
            if row.shown.item == row.id:
                firsts[row.id] = row
    for first, row in firsts.items():
        rest = [m for m in members[first] if m != first]
        rest.sort(key=lambda m: _rank(resident, m), reverse=True)
        parent = resident.nodes[row.shown.parent].item
        flags = row.shown.flags & ~ADRIFT
        item = Item(first, (first, *rest), parent, row.shown.name, flags, row.disk.inode)
        resident.items[first] = item
        if item.inode:
            resident.by_inode[item.inode] = first


def _rank(resident: Directories, node_id: NodeId) -> tuple[Any, ...]:
    place = resident.nodes[node_id].place
    assert place is not None
    return (place.rank, place.lamport, place.author, node_id)
