"""Opens a database whose schema is a script of ours, in the one format that this version writes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import aiosqlite


async def open_database(
    path: Path, schema: str, version: int, synchronous: str, added: str = ""
) -> aiosqlite.Connection:
    """Opens it, or makes it by the schema's script; `synchronous` is SQLite's pragma. `added` makes
    what is younger than that schema, if it is not there. Raises sqlite3.Error, a DatabaseError for
    a format that is not `version`, and leaves nothing open.
    """
    db = await aiosqlite.connect(path, isolation_level=None)
    try:
        for pragma in ("journal_mode = WAL", f"synchronous = {synchronous}", "foreign_keys = ON"):
            await db.execute_fetchall(f"PRAGMA {pragma}")
        ((found,),) = await db.execute_fetchall("PRAGMA user_version")
        if found == 0:
            await db.executescript(schema)
            await db.execute_fetchall(f"PRAGMA user_version = {version}")
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
