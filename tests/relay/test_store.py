"""The relay's database: whole transactions or none, one schema after the other, none by halves."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay import store as module
from relay.errors import HomeDamaged
from relay.store import DATABASE_NAME, RelayStore

INSERT = "INSERT INTO invitations VALUES (?, 1, 2, 3)"
COUNT = "SELECT count(*) FROM invitations"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RelayStore]:
    store = await RelayStore.open(tmp_path)
    yield store
    await store.close()


def exposed_in(path: Path) -> list[str]:
    return [entry.name for entry in path.iterdir() if entry.stat().st_mode & 0o077]


async def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    first = await RelayStore.open(tmp_path)
    async with first.transaction() as db:
        await db.execute_fetchall(INSERT, (b"t" * 32,))
    await first.close()
    second = await RelayStore.open(tmp_path)
    assert await second.rows("SELECT tag, made_s FROM invitations") == [(b"t" * 32, 1)]
    await second.close()
    assert exposed_in(tmp_path) == []


async def test_a_transaction_that_fails_leaves_nothing(store: RelayStore) -> None:
    async def fail() -> None:
        async with store.transaction() as db:
            await db.execute_fetchall(INSERT, (b"t" * 32,))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await store.rows(COUNT) == [(0,)]


async def test_no_read_of_another_task_falls_into_a_transaction(store: RelayStore) -> None:
    async with asyncio.TaskGroup() as tasks:
        async with store.transaction() as db:
            await db.execute_fetchall(INSERT, (b"t" * 32,))
            read = tasks.create_task(store.rows(COUNT))
            await asyncio.sleep(0)
            assert not read.done()
    assert read.result() == [(1,)]


async def test_two_processes_may_use_it(store: RelayStore, tmp_path: Path) -> None:
    other = await RelayStore.open(tmp_path)
    async with other.transaction() as db:
        await db.execute_fetchall(INSERT, (b"o" * 32,))
    assert await store.rows(COUNT) == [(1,)]
    await other.close()


async def test_many_may_make_it_at_once(tmp_path: Path) -> None:
    stores = await asyncio.gather(*(RelayStore.open(tmp_path) for _ in range(4)))
    for each in stores:
        assert await each.rows(COUNT) == [(0,)]
        await each.close()


async def test_while_another_makes_it_the_store_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(tmp_path / module.DATABASE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            other.execute("COMMIT")

    monkeypatch.setattr(module, "sleep", pause)
    store = await RelayStore.open(tmp_path)
    assert len(pauses) == 3
    assert await store.rows("PRAGMA journal_mode") == [("wal",)]
    await store.close()
    other.close()


async def test_who_makes_it_for_ever_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(tmp_path / module.DATABASE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(module, "sleep", pause)
    with pytest.raises(HomeDamaged, match="locked"):
        await RelayStore.open(tmp_path)
    assert module.BUSY_TIMEOUT_S - 1 < sum(pauses) < module.BUSY_TIMEOUT_S
    other.close()


async def test_a_database_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = module.schemas()
    store = await RelayStore.open(tmp_path)
    async with store.transaction() as db:
        await db.execute_fetchall(INSERT, (b"t" * 32,))
    await store.close()
    newer = "CREATE TABLE notes (note TEXT) STRICT; -- a note\nINSERT INTO notes VALUES ('new');"
    monkeypatch.setattr(module, "schemas", lambda: [*scripts, newer])
    store = await RelayStore.open(tmp_path)
    assert await store.rows(COUNT) == [(1,)]
    assert await store.rows("SELECT note FROM notes") == [("new",)]
    assert await store.rows("PRAGMA user_version") == [(len(scripts) + 1,)]
    await store.close()
    monkeypatch.setattr(module, "schemas", lambda: scripts)
    with pytest.raises(HomeDamaged, match="newer version"):
        await RelayStore.open(tmp_path)


async def test_a_schema_that_fails_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await RelayStore.open(tmp_path)).close()
    scripts = module.schemas()
    monkeypatch.setattr(module, "schemas", lambda: [*scripts, "CREATE TABLE x (y ANY); no SQL;"])
    with pytest.raises(HomeDamaged):
        await RelayStore.open(tmp_path)
    monkeypatch.undo()
    store = await RelayStore.open(tmp_path)
    assert await store.rows("PRAGMA user_version") == [(len(scripts),)]
    assert await store.rows("SELECT name FROM sqlite_schema WHERE name = 'x'") == []
    await store.close()


@pytest.mark.parametrize("damage", [b"no database at all, but long enough" * 40, b"short"])
async def test_a_damaged_database_is_said(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / DATABASE_NAME).write_bytes(damage)
    with pytest.raises(HomeDamaged, match=DATABASE_NAME):
        await RelayStore.open(tmp_path)


async def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(HomeDamaged, match="invited again"):
        await RelayStore.open(tmp_path / "missing")


def test_every_schema_is_sql() -> None:
    connection = sqlite3.connect(":memory:")
    for script in module.schemas():
        connection.executescript(script)
    connection.close()
