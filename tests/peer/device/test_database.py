"""A database is made once, known again, and refused in a format that is not this version's."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from peer.device.database import DatabaseClosed, open_database, open_private_database

SCHEMA = "CREATE TABLE t (x INTEGER) STRICT;"


async def test_what_was_written_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    db = await open_database(tmp_path / "a.db", SCHEMA, 3, "FULL")
    await db.execute_fetchall("INSERT INTO t VALUES (7)")
    await db.close()
    db = await open_database(tmp_path / "a.db", SCHEMA, 3, "FULL")
    assert list(await db.execute_fetchall("SELECT x FROM t")) == [(7,)]
    assert list(await db.execute_fetchall("PRAGMA user_version")) == [(3,)]
    await db.close()


@pytest.mark.parametrize(("synchronous", "level"), [("NORMAL", 1), ("FULL", 2)])
async def test_it_is_as_durable_as_was_asked(tmp_path: Path, synchronous: str, level: int) -> None:
    db = await open_database(tmp_path / "a.db", SCHEMA, 1, synchronous)
    assert list(await db.execute_fetchall("PRAGMA synchronous")) == [(level,)]
    assert list(await db.execute_fetchall("PRAGMA journal_mode")) == [("wal",)]
    assert list(await db.execute_fetchall("PRAGMA foreign_keys")) == [(1,)]
    await db.close()


async def test_another_format_and_rubbish_are_refused(tmp_path: Path) -> None:
    await (await open_database(tmp_path / "a.db", SCHEMA, 2, "FULL")).close()
    with pytest.raises(sqlite3.DatabaseError, match="newer version"):
        await open_database(tmp_path / "a.db", SCHEMA, 1, "FULL")
    (tmp_path / "b.db").write_bytes(b"rubbish" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        await open_database(tmp_path / "b.db", SCHEMA, 1, "FULL")


async def test_a_private_one_is_so_from_the_first_moment_on(tmp_path: Path) -> None:
    for path in (tmp_path / "new.db", tmp_path / "old.db"):
        if path.name == "old.db":
            path.touch(0o644)
        db = await open_private_database(path, SCHEMA, 1)
        await db.execute_fetchall("INSERT INTO t VALUES (7)")
        assert modes_of(path) == {"": 0o600, "-wal": 0o600, "-shm": 0o600}
        await db.close()


def modes_of(path: Path) -> dict[str, int]:
    """Of a database's files, by what their names end with."""
    return {
        each.name.removeprefix(path.name): each.stat().st_mode & 0o777
        for each in path.parent.glob(f"{path.name}*")
    }


async def test_half_of_a_schema_is_none(tmp_path: Path) -> None:
    """A disk that is full in the middle, as a crash there, leaves a database that can be made."""
    path = tmp_path / "a.db"
    with pytest.raises(sqlite3.OperationalError):
        await open_database(path, f"{SCHEMA} CREATE TABLE t (again);", 1, "FULL")
    db = await open_database(path, SCHEMA, 1, "FULL")
    assert list(await db.execute_fetchall("SELECT x FROM t")) == []
    await db.close()


async def test_who_asks_a_closed_one_is_told_so(tmp_path: Path) -> None:
    """Before, behind the statement that closes it, and in the middle of what is read."""
    db = await open_database(tmp_path / "a.db", SCHEMA, 1, "FULL")
    await db.execute_fetchall("INSERT INTO t VALUES (1), (2)")
    cursor = await db.execute("SELECT x FROM t")
    closing = asyncio.ensure_future(db.close())
    await asyncio.sleep(0)
    with pytest.raises(DatabaseClosed):
        await db.execute_fetchall("SELECT x FROM t")
    await closing
    with pytest.raises(DatabaseClosed, match="closed meanwhile"):
        await db.execute_fetchall("SELECT x FROM t")
    with pytest.raises(DatabaseClosed):
        await db.executemany("INSERT INTO t VALUES (?)", [(3,)])
    with pytest.raises(DatabaseClosed):
        await cursor.fetchone()


async def test_other_mistakes_stay_what_they_are(tmp_path: Path) -> None:
    db = await open_database(tmp_path / "a.db", SCHEMA, 1, "FULL")
    with pytest.raises(sqlite3.ProgrammingError, match="bindings"):
        await db.execute_fetchall("SELECT ?")
    await db.close()
