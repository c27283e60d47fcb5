"""All of some writes to a database or none of them, cancelled or not."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import aiosqlite

from peer.errors import IndexDamaged

log = logging.getLogger(__name__)


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


class damage_told:
    """What SQLite says of a damaged file becomes IndexDamaged; a full disk or a lock stays what it
    is. A class, for it is entered at each command of an index: a generator takes four times longer.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(
            error, sqlite3.OperationalError
        ):
            raise IndexDamaged(f"The folder's index is damaged: {error}") from error


@contextmanager
def full_home_told() -> Iterator[None]:
    """What follows from what others told cannot be written down for now: that is said, and it
    follows when there is space. The folders are on other disks, and go on.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        log.warning("Holdfast's home cannot be written: %s", error)
