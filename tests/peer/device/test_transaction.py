"""A transaction that is cut short at any moment leaves a database that the next one can use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest

from peer.device.transaction import transaction


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[aiosqlite.Connection]:
    async with aiosqlite.connect(tmp_path / "a.db", isolation_level=None) as db:
        await db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        yield db


async def write(db: aiosqlite.Connection, *numbers: int) -> None:
    async with transaction(db):
        for number in numbers:
            await db.execute("INSERT INTO t VALUES (?)", (number,))


async def numbers(db: aiosqlite.Connection) -> list[int]:
    return [n for (n,) in await db.execute_fetchall("SELECT n FROM t ORDER BY n")]


async def test_all_of_it_is_written(db: aiosqlite.Connection) -> None:
    await write(db, 1, 2)
    assert await numbers(db) == [1, 2]


async def test_a_defect_in_the_middle_writes_nothing(db: aiosqlite.Connection) -> None:
    with pytest.raises(aiosqlite.IntegrityError):
        await write(db, 1, 1)
    assert await numbers(db) == []
    await write(db, 1)
    assert await numbers(db) == [1]


@pytest.mark.parametrize("steps", range(12))
async def test_cancelled_at_any_step_it_says_so_and_the_next_one_works(
    db: aiosqlite.Connection, steps: int
) -> None:
    task = asyncio.ensure_future(write(db, 1, 2))
    for _ in range(steps):
        await asyncio.sleep(0)  # one round of the loop: the writer gets a step further or waits
    task.cancel()
    outcome = (await asyncio.gather(task, return_exceptions=True))[0]
    assert outcome is None or isinstance(outcome, asyncio.CancelledError)
    assert await numbers(db) in ([], [1, 2])
    await write(db, 7)
    assert 7 in await numbers(db)


async def test_cancelled_while_it_commits(db: aiosqlite.Connection) -> None:
    """The statement is carried out behind the back of who was cancelled."""
    began = asyncio.Event()

    async def write_and_tell() -> None:
        async with transaction(db):
            await db.execute("INSERT INTO t VALUES (1)")
            began.set()

    task = asyncio.ensure_future(write_and_tell())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await write(db, 7)
    assert await numbers(db) in ([7], [1, 7])
