"""Rows come back as they went in, whole transactions or none, also when the disk or the file is
bad.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crypto.ids import DeviceId, EntryId, FolderId, UserId
from peer.device.home_store import (
    ADDRESSES_MAX,
    Device,
    DeviceAddress,
    Folder,
    FolderState,
    HomeStore,
    Wrap,
    copy_of,
    is_damage,
)
from peer.errors import HomeDamaged

FOLDER = Folder(FolderId(b"f" * 32), "photos", Path("/photos"), FolderState.ACTIVE, b"i" * 8)
DEVICE_ID = DeviceId(b"d" * 32)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[HomeStore]:
    store = await HomeStore.open(tmp_path / "home.db", is_new=True)
    yield store
    await store.close()


def exposed_in(path: Path) -> list[str]:
    """What other users may reach."""
    return [entry.name for entry in path.iterdir() if entry.stat().st_mode & 0o077]


async def reopened(path: Path) -> HomeStore:
    return await HomeStore.open(path / "home.db", is_new=False)


async def test_a_new_store_is_empty(store: HomeStore) -> None:
    assert await store.user_id() is None
    assert await store.device_name() is None
    assert await store.counter("generation") == 0
    assert await store.ledgers() == []
    assert await store.devices() == []
    assert await store.folders() == []


async def test_everything_survives_reopening(store: HomeStore, tmp_path: Path) -> None:
    hidden = Folder(FolderId(b"g" * 32), "offered", None, FolderState.OFFERED, b"j" * 8)
    wraps = [Wrap(EntryId(b"e" * 32), DEVICE_ID, b"w" * 176)]
    async with store.transaction() as write:
        await write.put_user(UserId(b"u" * 32), "alpha")
        await write.put_counter("generation", 5)
        await write.put_setting("x", b"y")
        await write.put_folder(FOLDER)
        await write.put_folder(hidden)
        await write.put_wraps(FOLDER.folder_id, wraps)
        await write.put_device(Device(DEVICE_ID, "beta", 12.5))
        await write.put_address(DEVICE_ID, DeviceAddress("192.0.2.1", 1, 10.0))
    await store.close()
    again = await reopened(tmp_path)
    try:
        assert await again.user_id() == b"u" * 32
        assert await again.device_name() == "alpha"
        assert await again.counter("generation") == 5
        assert await again.setting("x") == b"y"
        assert await again.folders() == [hidden, FOLDER]
        assert await again.wraps(FOLDER.folder_id) == wraps
        assert await again.devices() == [Device(DEVICE_ID, "beta", 12.5)]
        assert await again.addresses(DEVICE_ID) == [DeviceAddress("192.0.2.1", 1, 10.0)]
    finally:
        await again.close()


async def test_ledger_entries_keep_their_order_and_come_once(store: HomeStore) -> None:
    entries = [(EntryId(bytes([9 - i]) * 32), b"wire %d" % i) for i in range(5)]
    async with store.transaction() as write:
        await write.add_ledger_entries(0, b"u" * 32, entries[:3])
        await write.add_ledger_entries(1, b"f" * 32, [(EntryId(b"x" * 32), b"other")])
        await write.add_ledger_entries(0, b"u" * 32, entries)
    assert await store.ledger_entries(b"u" * 32) == [wire for _, wire in entries]
    assert await store.ledgers() == [(0, b"u" * 32), (1, b"f" * 32)]


async def test_an_error_takes_the_whole_transaction_back(store: HomeStore) -> None:
    async def fail_by_itself() -> None:
        async with store.transaction() as write:
            await write.put_folder(FOLDER)
            raise ZeroDivisionError

    async def fail_in_the_database() -> None:
        async with store.transaction() as write:
            await write.put_folder(FOLDER)
            await write.put_wraps(FOLDER.folder_id, [Wrap(EntryId(b"short"), b"r" * 32, b"w")])

    with pytest.raises(ZeroDivisionError):
        await fail_by_itself()
    with pytest.raises(sqlite3.IntegrityError):
        await fail_in_the_database()
    assert await store.folders() == []
    async with store.transaction() as write:
        await write.put_folder(FOLDER)
    assert await store.folders() == [FOLDER]


async def test_a_cancelled_transaction_is_taken_back(store: HomeStore) -> None:
    begun = asyncio.Event()

    async def write_and_wait() -> None:
        async with store.transaction() as write:
            await write.put_folder(FOLDER)
            begun.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(write_and_wait())
        await begun.wait()
        task.cancel()
    assert await store.folders() == []


async def test_a_reader_sees_no_half_of_a_transaction(store: HomeStore) -> None:
    half, go_on = asyncio.Event(), asyncio.Event()

    async def write_slowly() -> None:
        async with store.transaction() as write:
            await write.put_folder(FOLDER)
            half.set()
            await go_on.wait()
            await write.put_counter("seen", 1)

    async with asyncio.TaskGroup() as group:
        group.create_task(write_slowly())
        await half.wait()
        reader = group.create_task(store.folders())
        # Statements run in the order in which they were given to the connection; had the reader
        # given its own, it would be done after these.
        for _ in range(3):
            await store._connection.execute_fetchall("SELECT 1")
        assert not reader.done()
        go_on.set()
    assert reader.result() == [FOLDER]
    assert await store.counter("seen") == 1


async def test_reading_inside_a_transaction_is_our_bug(store: HomeStore) -> None:
    async with store.transaction():
        with pytest.raises(AssertionError):
            await store.folders()


async def test_updates_replace(store: HomeStore) -> None:
    moved = Folder(FOLDER.folder_id, "pictures", None, FolderState.REMOVED, b"k" * 8)
    async with store.transaction() as write:
        await write.put_folder(FOLDER)
        await write.put_folder(moved)
        await write.put_device(Device(DEVICE_ID, "beta", 12.5))
        await write.put_device(Device(DEVICE_ID, "beta 2", None))
        await write.put_wraps(FOLDER.folder_id, [Wrap(EntryId(b"e" * 32), DEVICE_ID, b"bad")])
        await write.put_wraps(FOLDER.folder_id, [Wrap(EntryId(b"e" * 32), DEVICE_ID, b"good")])
    assert await store.folders() == [moved]
    assert await store.devices() == [Device(DEVICE_ID, "beta 2", 12.5)]
    assert [wrap.wrap for wrap in await store.wraps(FOLDER.folder_id)] == [b"good"]
    async with store.transaction() as write:
        await write.put_incarnation(FOLDER.folder_id, b"n" * 8)
    assert (await store.folders())[0].incarnation == b"n" * 8


async def test_a_path_need_not_be_text(store: HomeStore) -> None:
    path = Path(os.fsdecode(b"/tmp/\xff\xfe"))
    async with store.transaction() as write:
        await write.put_folder(Folder(FOLDER.folder_id, "odd", path, FolderState.PAUSED, b"i" * 8))
    assert (await store.folders())[0].path == path


async def test_the_addresses_that_worked_last_are_kept(store: HomeStore) -> None:
    async with store.transaction() as write:
        for n in range(2 * ADDRESSES_MAX):
            await write.put_address(DEVICE_ID, DeviceAddress(f"192.0.2.{n}", 1, float(n)))
        await write.put_address(DEVICE_ID, DeviceAddress("192.0.2.15", 1, 3.0))
        await write.put_address(DeviceId(b"o" * 32), DeviceAddress("192.0.2.99", 1, 0.0))
    kept = [address.last_worked for address in await store.addresses(DEVICE_ID)]
    assert kept == [float(n) for n in range(2 * ADDRESSES_MAX - 1, ADDRESSES_MAX - 1, -1)]
    assert len(await store.addresses(DeviceId(b"o" * 32))) == 1


async def test_the_copy_follows_membership(store: HomeStore, tmp_path: Path) -> None:
    copy = copy_of(tmp_path / "home.db")
    async with store.transaction() as write:
        await write.put_counter("x", 1)
    assert not copy.exists()
    for name in ("one", "two"):
        async with store.transaction() as write:
            await write.put_folder(
                Folder(FOLDER.folder_id, name, None, FolderState.OFFERED, b"i" * 8)
            )
        with sqlite3.connect(copy) as connection:
            rows = connection.execute("SELECT name FROM folders").fetchall()
        connection.close()
        assert rows == [(name,)]
    assert copy.stat().st_mode & 0o777 == 0o600


async def test_a_copy_that_fails_does_not_fail_the_write(
    store: HomeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    async with store.transaction() as write:
        await write.put_folder(FOLDER)
    assert await store.folders() == [FOLDER]


async def test_files_are_private(store: HomeStore, tmp_path: Path) -> None:
    async with store.transaction() as write:
        await write.put_folder(FOLDER)
    assert exposed_in(tmp_path) == []


@pytest.mark.parametrize("at", [0, 20, 4096, 4100])
async def test_damage_is_told_from_other_trouble(tmp_path: Path, at: int) -> None:
    path = tmp_path / "home.db"
    store = await HomeStore.open(path, is_new=True)
    await store.close()
    data = bytearray(path.read_bytes())
    data[at : at + 60] = b"\xa5" * 60
    path.write_bytes(data)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        await HomeStore.open(path, is_new=False)
    assert is_damage(caught.value)


def test_other_trouble_is_no_damage() -> None:
    assert not is_damage(sqlite3.OperationalError("unable to open database file"))


@pytest.mark.row("F33")
async def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "home.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(HomeDamaged, match="newer version"):
        await HomeStore.open(path, is_new=False)
