"""A database in memory with the face of aiosqlite: the index's own SQL, answered at once.

What was committed outlives the machine; what was not is gone with it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Iterable, Sequence
from importlib.resources import files
from typing import Any, Final

_WRITING: Final = frozenset({"BEGIN ", "COMMIT", "DELETE", "UPDATE", "INSERT"})


class _Result:
    """Awaited or used as a context, as aiosqlite allows."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    def __await__(self) -> Generator[Any, Any, sqlite3.Cursor]:
        return self._cursor
        yield

    @property
    def rowcount(self) -> int:
        """How many rows a statement changed."""
        return self._cursor.rowcount

    async def __aenter__(self) -> _Result:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._cursor.close()

    def __aiter__(self) -> _Result:
        return self

    async def __anext__(self) -> Any:
        row = self._cursor.fetchone()
        if row is None:
            raise StopAsyncIteration
        return row


_IDLE: list[sqlite3.Connection] = []
"""Empty indexes of histories that are over: a new one takes 2 ms, and knows no statement yet."""


def new_index() -> sqlite3.Connection:
    """An index of a folder that was never opened."""
    if _IDLE:
        return _IDLE.pop()
    db = sqlite3.connect(":memory:", isolation_level=None, cached_statements=1000)
    db.executescript(files("peer.folders").joinpath("index.sql").read_text())
    return db


def give_back(db: sqlite3.Connection) -> None:
    """A history is over, and nobody uses its index any more."""
    if db.in_transaction:
        db.execute("ROLLBACK")
    tables = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    for (name,) in tables:
        db.execute(f"DELETE FROM {name}")
    _IDLE.append(db)


class Database:
    """One process's connection to an index."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.before: Callable[[str], None] = lambda statement: None
        """Called before BEGIN, each write and COMMIT: a fault or a power cut."""
        self.after_commit: Callable[[], None] = lambda: None

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> _Result:
        return _Result(self._run(sql, parameters))

    def _run(self, sql: str, parameters: Sequence[Any]) -> sqlite3.Cursor:
        word = sql[:6]
        if word == "SELECT":
            return self._db.execute(sql, parameters)
        if word in _WRITING:
            self.before(word)
        cursor = self._db.execute(sql, parameters)
        if word == "COMMIT":
            self.after_commit()
        return cursor

    async def execute_fetchall(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        return self._run(sql, parameters).fetchall()

    async def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        self.before(sql[:6])
        return self._db.executemany(sql, rows)

    async def close(self) -> None:
        """The process lets go of it."""
        self.abandon()

    def abandon(self) -> None:
        """The process is no more, perhaps in the middle of a transaction."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self.before = _refuse


def _refuse(statement: str) -> None:
    raise sqlite3.OperationalError("the process is no more")
