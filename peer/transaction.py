"""All of some writes to a database or none of them, cancelled or not."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiosqlite


@asynccontextmanager
async def transaction(db: aiosqlite.Connection) -> AsyncIterator[None]:
    """What the block writes is on disk when it has ended, or not there at all. Not to be nested."""
    try:
        # Cancelled while somebody waits for it, a statement is carried out nevertheless: a
        # transaction that nobody has seen begin must not stay open for all others to meet.
        await db.execute_fetchall("BEGIN IMMEDIATE")
        yield
        await db.execute_fetchall("COMMIT")
    except BaseException:
        with suppress(sqlite3.OperationalError):  # it had not begun, or was committed
            await db.execute_fetchall("ROLLBACK")
        raise
