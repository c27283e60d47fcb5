"""A database is made once, known again, and refused in a format that is not this version's."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from peer.device.database import open_database, open_private_database

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
