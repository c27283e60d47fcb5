"""The rows of `home.db`: ledgers, wraps, devices, addresses, folders, settings and counters.

Reads are methods of the store. Writes exist only inside `async with store.transaction() as write:`
and are durable when the block has ended; an exception in it leaves the database as it was. Ledger
entries and wraps are stored as they came, and are verified by whoever loads them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from importlib import resources
from pathlib import Path
from typing import Any, Final

import aiosqlite

from crypto.ids import DeviceId, EntryId, FolderId, UserId
from peer.device.transaction import transaction
from peer.errors import HomeDamaged

SCHEMA_VERSION: Final = 1
ADDRESSES_MAX: Final = 8
"""Addresses kept for one device; the one that worked longest ago goes first."""

log = logging.getLogger(__name__)


class DamagedDatabase(sqlite3.DatabaseError):
    """The file opens as a database, and its own check finds that it is not sound."""


class FolderState(IntEnum):
    """What this device does with a folder; the numbers are stored."""

    OFFERED = 0
    """The user has it on another device; it is not on this one."""
    ACTIVE = 1
    PAUSED = 2
    REMOVED = 3
    """It was on this device and was taken off; its files were left alone."""


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of the user, on this device or not."""

    folder_id: FolderId
    name: str
    path: Path | None
    """Where it is on this disk; None while it is offered or removed."""
    state: FolderState
    incarnation: bytes
    """8 random bytes, part of the id of the log that this device writes in the folder (CRYPTO 1).
    """


@dataclass(frozen=True, slots=True)
class Device:
    """Another device, or this one, as it called itself in a session."""

    device_id: DeviceId
    name: str
    last_seen: float | None


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """Where a device was reached before."""

    host: str
    port: int
    last_worked: float


@dataclass(frozen=True, slots=True)
class Wrap:
    """An epoch's secrets, sealed to one device or to the user's recovery key."""

    epoch_id: EntryId
    recipient_id: bytes
    wrap: bytes


class HomeStore:
    """One open `home.db`, used from one event loop; `HomeStore.open` makes it."""

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        # One connection, so a statement of another task would run inside an open transaction.
        self._turn = asyncio.Lock()
        self._owner: asyncio.Task[Any] | None = None

    @classmethod
    async def open(cls, path: Path, *, is_new: bool) -> HomeStore:
        """Opens the database, or makes it in a new home, where an empty file is no damage.

        Raises sqlite3.Error, of which `is_damage` tells the one kind, and HomeDamaged if a newer
        version of Holdfast wrote it.
        """
        # SQLite gives its journal the mode of the database, which would follow the umask.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        connection = await aiosqlite.connect(path, isolation_level=None)
        store = cls(connection, path)
        try:
            await store._prepare(is_new)
        except BaseException:
            await connection.close()
            raise
        return store

    async def _prepare(self, is_new: bool) -> None:
        execute = self._connection.execute_fetchall
        await execute("PRAGMA journal_mode = WAL")
        await execute("PRAGMA synchronous = FULL")
        await execute("PRAGMA trusted_schema = OFF")
        await execute("PRAGMA cell_size_check = ON")
        for (finding,) in await execute("PRAGMA quick_check(1)"):
            if finding != "ok":
                raise DamagedDatabase(finding)
        ((version,),) = await execute("PRAGMA user_version")
        if version > SCHEMA_VERSION:
            raise HomeDamaged(
                f"{self._path.name} was written by a newer version of Holdfast. Update this one."
            )
        if version == 0 and not is_new:
            raise DamagedDatabase("it is empty")
        if version == 0:
            schema = resources.files("peer.device").joinpath("home.sql").read_text()
            # One transaction, so that a crash leaves no half of a schema behind.
            await self._connection.executescript(
                f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT"
            )

    async def close(self) -> None:
        """Closes the database; what was committed stays."""
        await self._connection.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[HomeTransaction]:
        """All writes of the block or none; they are on disk when it has ended. Not to be nested."""
        async with self._exclusive():
            write = HomeTransaction(self._connection)
            async with transaction(self._connection):
                yield write
            if write.has_changed_membership:
                await self._save_copy()

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[None]:
        task = asyncio.current_task()
        assert self._owner is not task or task is None, "reading or nesting inside a transaction"
        async with self._turn:
            self._owner = task
            try:
                yield
            finally:
                self._owner = None

    async def _save_copy(self) -> None:
        """Replaces `home.db.copy`, from which a damaged database is put back.

        What is lost with the database cannot be fetched from peers without it: who the user is.
        """
        copy, unfinished = copy_of(self._path), self._path.with_name(f"{self._path.name}.new")
        try:
            unfinished.unlink(missing_ok=True)
            await self._connection.execute_fetchall("VACUUM INTO ?", (str(unfinished),))
            await asyncio.to_thread(_publish, unfinished, copy)
        except (sqlite3.Error, OSError) as error:
            # The database itself has committed; a copy that is one change behind is no reason to
            # fail.
            log.warning("the copy of %s could not be renewed: %s", self._path.name, error)

    async def _rows(self, sql: str, *values: Any) -> list[Any]:
        async with self._exclusive():
            return list(await self._connection.execute_fetchall(sql, values))

    async def setting(self, name: str) -> bytes | None:
        """A setting's bytes, or None."""
        rows = await self._rows("SELECT value FROM settings WHERE name = ?", name)
        return rows[0][0] if rows else None

    async def user_id(self) -> UserId | None:
        """Whose device this is; None before `init` or `join` have finished."""
        value = await self.setting("user_id")
        return None if value is None else UserId(value)

    async def device_name(self) -> str | None:
        """What this device is called; None before `init` or `join` have finished."""
        value = await self.setting("device_name")
        return None if value is None else value.decode()

    async def counter(self, name: str) -> int:
        """A counter's value, 0 if it was never set."""
        rows = await self._rows("SELECT value FROM counters WHERE name = ?", name)
        return rows[0][0] if rows else 0

    async def ledgers(self) -> list[tuple[int, bytes]]:
        """(kind, ledger id) of every ledger, in the order in which they came."""
        return [
            (kind, ledger_id)
            for kind, ledger_id in await self._rows(
                "SELECT kind, ledger_id FROM ledger_entries"
                " GROUP BY ledger_id ORDER BY min(position)"
            )
        ]

    async def ledger_entries(self, ledger_id: bytes) -> list[bytes]:
        """A ledger's entries as they came, parents before children."""
        rows = await self._rows(
            "SELECT wire FROM ledger_entries WHERE ledger_id = ? ORDER BY position", ledger_id
        )
        return [wire for (wire,) in rows]

    async def wraps(self, folder_id: FolderId) -> list[Wrap]:
        """All wraps of a folder's epochs, to whomever."""
        rows = await self._rows(
            "SELECT epoch_id, recipient_id, wrap FROM wraps WHERE folder_id = ?", folder_id
        )
        return [Wrap(*row) for row in rows]

    async def devices(self) -> list[Device]:
        """Every device that this one has heard of, by name."""
        rows = await self._rows("SELECT device_id, name, last_seen FROM devices ORDER BY name")
        return [Device(*row) for row in rows]

    async def addresses(self, device_id: DeviceId) -> list[DeviceAddress]:
        """Where a device was reached, the last one that worked first."""
        rows = await self._rows(
            "SELECT host, port, last_worked FROM addresses WHERE device_id = ?"
            " ORDER BY last_worked DESC, host, port",
            device_id,
        )
        return [DeviceAddress(*row) for row in rows]

    async def folders(self) -> list[Folder]:
        """Every folder of the user, by name."""
        rows = await self._rows(
            "SELECT folder_id, name, path, state, incarnation FROM folders ORDER BY name, folder_id"
        )
        return [
            Folder(
                folder_id,
                name,
                None if path is None else Path(os.fsdecode(path)),
                FolderState(state),
                incarnation,
            )
            for folder_id, name, path, state, incarnation in rows
        ]


class HomeTransaction:
    """The writes of one transaction; made by `HomeStore.transaction` and of no use after it."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self.has_changed_membership = False
        """Whether something was written that peers could not give back without this database."""

    async def _execute(self, sql: str, *values: Any) -> None:
        await self._connection.execute_fetchall(sql, values)

    async def put_setting(self, name: str, value: bytes) -> None:
        """Sets a setting."""
        await self._execute(
            "INSERT INTO settings VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            name,
            value,
        )

    async def put_user(self, user_id: UserId, device_name: str) -> None:
        """Says whose device this is and what it is called."""
        self.has_changed_membership = True
        await self.put_setting("user_id", user_id)
        await self.put_setting("device_name", device_name.encode())

    async def put_counter(self, name: str, value: int) -> None:
        """Sets a counter."""
        await self._execute(
            "INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            name,
            value,
        )

    async def add_ledger_entries(
        self, kind: int, ledger_id: bytes, entries: Iterable[tuple[EntryId, bytes]]
    ) -> None:
        """Appends (entry id, wire bytes), parents before children; entries that are there already
        stay.
        """
        self.has_changed_membership = True
        await self._connection.executemany(
            "INSERT INTO ledger_entries (kind, ledger_id, entry_id, wire) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (entry_id) DO NOTHING",
            [(kind, ledger_id, entry_id, wire) for entry_id, wire in entries],
        )

    async def put_wraps(self, folder_id: FolderId, wraps: Sequence[Wrap]) -> None:
        """Stores wraps; one for the same epoch and recipient is replaced."""
        self.has_changed_membership = True
        await self._connection.executemany(
            "INSERT INTO wraps VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET wrap = excluded.wrap",
            [(folder_id, wrap.epoch_id, wrap.recipient_id, wrap.wrap) for wrap in wraps],
        )

    async def put_device(self, device: Device) -> None:
        """Stores what a device calls itself and when it was seen."""
        await self._execute(
            "INSERT INTO devices VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
            " SET name = excluded.name, last_seen = coalesce(excluded.last_seen, last_seen)",
            device.device_id,
            device.name,
            device.last_seen,
        )

    async def put_address(self, device_id: DeviceId, address: DeviceAddress) -> None:
        """Remembers where a device was reached; of too many the oldest is forgotten."""
        await self._execute(
            "INSERT INTO addresses VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET last_worked = max(last_worked, excluded.last_worked)",
            device_id,
            address.host,
            address.port,
            address.last_worked,
        )
        await self._execute(
            "DELETE FROM addresses WHERE device_id = ?1 AND (host, port) NOT IN (SELECT host, port"
            " FROM addresses WHERE device_id = ?1 ORDER BY last_worked DESC, host, port LIMIT ?2)",
            device_id,
            ADDRESSES_MAX,
        )

    async def put_folder(self, folder: Folder) -> None:
        """Stores a folder or what has changed of it."""
        self.has_changed_membership = True
        await self._execute(
            "INSERT INTO folders VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET name = excluded.name, path = excluded.path, state = excluded.state,"
            " incarnation = excluded.incarnation",
            folder.folder_id,
            folder.name,
            None if folder.path is None else os.fsencode(folder.path),
            folder.state,
            folder.incarnation,
        )

    async def put_incarnation(self, folder_id: FolderId, incarnation: bytes) -> None:
        """Gives this device a new incarnation in one folder."""
        self.has_changed_membership = True
        await self._execute(
            "UPDATE folders SET incarnation = ? WHERE folder_id = ?", incarnation, folder_id
        )


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is no sound database, rather than one that cannot be used just now."""
    if isinstance(error, DamagedDatabase):
        return True
    # Extended codes keep the primary one in their low byte; errors of the module itself have none.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def copy_of(path: Path) -> Path:
    """Where the copy of a home's database is."""
    return path.with_name(f"{path.name}.copy")


def _publish(unfinished: Path, copy: Path) -> None:
    descriptor = os.open(unfinished, os.O_RDWR)
    try:
        os.fchmod(descriptor, 0o600)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(unfinished, copy)
