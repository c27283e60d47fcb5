"""The relay's database, `relay.db` in its home: what has to survive a restart.

Who keeps rows in it brings its own statements and its own module; here are the file, its schema by
version, and the turn of one task at a time. Reads are `rows`. Writes exist only inside
`async with store.transaction() as db:` and are durable when the block has ended; an exception in
it leaves the database as it was.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from asyncio import sleep
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any, Final

import aiosqlite

from relay.errors import HomeDamaged

DATABASE_NAME: Final = "relay.db"
BUSY_TIMEOUT_S: Final = 5.0
"""`relay invite` writes beside a relay that runs; its transaction takes milliseconds."""
BUSY_PAUSE_S: Final = 0.01


def schemas() -> list[str]:
    """The script of each version, which makes it of the one before: `schema/001.sql` and so on."""
    files = resources.files("relay").joinpath("schema").iterdir()
    scripts = sorted((file.name, file.read_text()) for file in files if file.name.endswith(".sql"))
    assert [name for name, _ in scripts] == [f"{n:03}.sql" for n in range(1, len(scripts) + 1)]
    return [script for _, script in scripts]


class RelayStore:
    """One open `relay.db`, used from one event loop; `RelayStore.open` makes it."""

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        # One connection, so a statement of another task would run inside an open transaction.
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, home: Path) -> RelayStore:
        """Opens the database of this home, and makes it or brings it up to date; raises
        HomeDamaged.
        """
        path = home / DATABASE_NAME
        connection: aiosqlite.Connection | None = None
        try:
            # SQLite gives its journal the mode of the database, which would follow the umask.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            connection = await aiosqlite.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S)
            store = cls(connection, path)
            await store._prepare()
        except (OSError, sqlite3.Error) as error:
            if connection is not None:
                await connection.close()
            raise HomeDamaged(
                f"The relay's database {path} cannot be used: {error}. Put it back from a copy; or"
                " move it away, and whom this relay let in has to be invited again."
            ) from error
        except BaseException:
            if connection is not None:
                await connection.close()
            raise
        return store

    async def _prepare(self) -> None:
        execute = self._connection.execute_fetchall
        await self._use_log()
        await execute("PRAGMA synchronous = FULL")
        await execute("PRAGMA foreign_keys = ON")
        await execute("PRAGMA trusted_schema = OFF")
        await execute("PRAGMA cell_size_check = ON")
        for (finding,) in await execute("PRAGMA quick_check(1)"):
            if finding != "ok":
                raise sqlite3.DatabaseError(finding)
        scripts = schemas()
        async with self.transaction() as db:
            # Read inside it: of two that open a new database at once, one makes the tables.
            ((version,),) = await db.execute_fetchall("PRAGMA user_version")
            if version > len(scripts):
                raise HomeDamaged(
                    f"{self._path} was written by a newer version of Holdfast. Update this one."
                )
            for script in scripts[version:]:
                for statement in _statements(script):
                    await db.execute_fetchall(statement)
            await db.execute_fetchall(f"PRAGMA user_version = {len(scripts)}")

    async def _use_log(self) -> None:
        """Of two that open a new database at once, both read it and one may write. The other is
        refused at once, since to wait while it reads could be for ever; so it begins anew.
        """
        for pauses_left in reversed(range(round(BUSY_TIMEOUT_S / BUSY_PAUSE_S))):
            try:
                await self._connection.execute_fetchall("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or not pauses_left:
                    raise
                await sleep(BUSY_PAUSE_S)
            else:
                return

    async def close(self) -> None:
        """Closes the database; what was committed stays."""
        await self._connection.close()

    async def rows(self, sql: str, *values: Any) -> list[Any]:
        """What one statement reads. Not to be called inside a transaction of the same task."""
        async with self._turn:
            return list(await self._connection.execute_fetchall(sql, values))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[aiosqlite.Connection]:
        """All writes of the block or none; they are on disk when it has ended. Not to be nested."""
        async with self._turn:
            try:
                # Cancelled while somebody waits for it, a statement is carried out nevertheless: a
                # transaction that nobody has seen begin must not stay open for all others to meet.
                await self._connection.execute_fetchall("BEGIN IMMEDIATE")
                yield self._connection
                await self._connection.execute_fetchall("COMMIT")
            except BaseException:
                with suppress(sqlite3.OperationalError):  # it had not begun, or was committed
                    await self._connection.execute_fetchall("ROLLBACK")
                raise


def _statements(script: str) -> list[str]:
    """A script's statements: `executescript` would end the transaction that it is to be part of."""
    statements, statement = [], ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            statements.append(statement)
            statement = ""
    return statements
