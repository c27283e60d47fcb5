"""Writing for many at once: together, and each hears what became of its own."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import aiosqlite
import pytest

from crypto.ids import RelayId
from relay.share_commits import ShareCommits
from relay.share_files import ShareFiles, ShareName
from relay.store import RelayStore

NAME = ShareName(b"n" * 16, b"d" * 32, 3)


class CountingFiles(ShareFiles):
    """Counts how often a directory is flushed."""

    flushed = 0

    def sync_directory(self, descriptor: int) -> None:
        self.flushed += 1
        super().sync_directory(descriptor)


async def test_all_who_wait_share_a_flush_and_a_commit(tmp_path: Path) -> None:
    store = await RelayStore.open(tmp_path)
    files = CountingFiles.open(tmp_path / "shares", RelayId(b"1" * 32), is_new=True)
    assert isinstance(files, CountingFiles)
    commits = ShareCommits(store, files)
    names = [NAME._replace(number=number) for number in range(10)]
    for name in names:
        files.close_file(files.begin(name))
    order: list[int] = []

    async def work(db: aiosqlite.Connection, number: int) -> int:
        assert names[number] in files.found()[0], "the file is there before the row"
        await db.execute_fetchall("INSERT INTO usage VALUES (?, ?, 1)", (number, bytes(32)))
        order.append(number)
        return number

    async with asyncio.TaskGroup() as tasks:
        waiting = [
            tasks.create_task(commits.do(lambda db, n=n: work(db, n), name))  # type: ignore[misc]
            for n, name in enumerate(names)
        ]
        running = tasks.create_task(commits.run())
        assert [await each for each in waiting] == list(range(10))
        running.cancel()
    assert order == list(range(10))
    assert files.flushed == 1
    assert len(await store.rows("SELECT * FROM usage")) == 10
    files.close()
    await store.close()


async def test_what_fails_is_told_to_all_who_shared_it_and_the_next_goes_on(tmp_path: Path) -> None:
    store = await RelayStore.open(tmp_path)
    files = ShareFiles.open(tmp_path / "shares", RelayId(b"1" * 32), is_new=True)
    commits = ShareCommits(store, files)

    async def well(db: aiosqlite.Connection) -> None:
        await db.execute_fetchall("INSERT INTO usage VALUES (1, ?, 1)", (bytes(32),))

    async def broken(db: aiosqlite.Connection) -> None:
        await db.execute_fetchall("INSERT INTO usage VALUES (1, ?, 1)", (b"short",))

    async with asyncio.TaskGroup() as tasks:
        both = [tasks.create_task(_error(commits, each)) for each in (well, broken)]
        running = tasks.create_task(commits.run())
        assert [type(await each) for each in both] == [sqlite3.IntegrityError] * 2
        assert await store.rows("SELECT * FROM usage") == []
        with pytest.raises(FileNotFoundError):
            await commits.do(well, NAME)
        assert await store.rows("SELECT * FROM usage") == []
        await commits.do(well)
        running.cancel()
    assert len(await store.rows("SELECT * FROM usage")) == 1
    files.close()
    await store.close()


async def _error(commits: ShareCommits, work: object) -> BaseException | None:
    try:
        await commits.do(work)  # type: ignore[arg-type]
    except sqlite3.Error as error:
        return error
    return None
