"""Opens a database whose schema is a script of ours, in the one format that this version writes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import aiosqlite


async def open_database(
    path: Path, schema: str, version: int, synchronous: str
) -> aiosqlite.Connection:
    """Opens it, or makes it by the schema's script; `synchronous` is SQLite's pragma. Raises
    sqlite3.Error, a DatabaseError for a format that is not `version`, and leaves nothing open.
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
    except BaseException:
        await db.close()
        raise
    return db
