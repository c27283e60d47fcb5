"""Opens a database whose schema is a script of ours, in the one format that this version writes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import aiosqlite

from peer.errors import PeerError

ITERATED_AT_ONCE: Final = 64
BUSY_TIMEOUT_S: Final = 5.0
"""Whoever closes a database, or reads it beside the daemon, holds it for a moment."""


class DatabaseClosed(PeerError, ValueError):
    """What this is about was closed meanwhile: a folder that was removed or opened anew, or its
    copies, or Holdfast itself is about to end. Try again.
    """


class Database(aiosqlite.Connection):
    """Whoever asks it after it was closed, or waits while it is, is told so by DatabaseClosed. To
    aiosqlite that is a ValueError, as if there were a defect, or what SQLite says of a damaged one.
    """

    @property
    def _conn(self) -> sqlite3.Connection:
        if self._connection is None:
            raise DatabaseClosed
        return self._connection

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self._running or self._connection is None:
            raise DatabaseClosed
        try:
            return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        except sqlite3.ProgrammingError as error:
            if "closed database" in str(error):
                raise DatabaseClosed from error
            raise


def connect(path: Path) -> Database:
    """A connection, to be awaited; each statement is a transaction unless one is begun."""
    return Database(
        lambda: sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S),
        ITERATED_AT_ONCE,
    )


async def open_database(
    path: Path, schema: str, version: int, synchronous: str, added: str = ""
) -> aiosqlite.Connection:
    """Opens it, or makes it by the schema's script; `synchronous` is SQLite's pragma. `added` makes
    what is younger than that schema, if it is not there. Raises sqlite3.Error, a DatabaseError for
    a format that is not `version`, and leaves nothing open.
    """
    db: aiosqlite.Connection = await connect(path)
    try:
        for pragma in ("journal_mode = WAL", f"synchronous = {synchronous}", "foreign_keys = ON"):
            await db.execute_fetchall(f"PRAGMA {pragma}")
        ((found,),) = await db.execute_fetchall("PRAGMA user_version")
        if found == 0:
            # One transaction, so that a crash leaves no half of a schema behind.
            await db.executescript(
                f"BEGIN IMMEDIATE; {schema}; PRAGMA user_version = {version}; COMMIT"
            )
        elif found != version:
            raise sqlite3.DatabaseError("it was written by a newer version of Holdfast")
        if added:
            await db.executescript(added)
    except BaseException:
        await db.close()
        raise
    return db


async def open_private_database(
    path: Path, schema: str, version: int, added: str = ""
) -> aiosqlite.Connection:
    """The same of one that only its user may read, and of which nothing may be lost by a power cut;
    raises OSError too.
    """
    # Before it is opened: SQLite gives its other files the same mode, and nothing is open if who
    # asked is cancelled here.
    await asyncio.to_thread(_make_private, path)
    return await open_database(path, schema, version, "FULL", added)


def _make_private(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
