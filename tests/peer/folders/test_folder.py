"""A folder at work by itself, on a real index and disk: what its task must not do, and what it
tells others and when.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from crypto.ids import ChunkId, FolderId, LogId
from peer.core import commands as c
from peer.core.chunker import Chunker
from peer.core.disk_types import DiskError
from peer.core.engine import Engine, Ingested
from peer.disk.disk import PosixDisk
from peer.folders.deletion_guard import UNLIMITED
from peer.folders.folder import RETRY_S, Folder
from peer.folders.index_store import IndexStore
from peer.folders.joining import Joining
from peer.folders.limits import Limits
from peer.status import FolderState
from protocol.changesets import Changeset, FrontierEntry
from protocol.errors import TooLong
from tests.peer.device_stage import pass_time, until
from tests.peer.folder_stage import HASHER, SEED, FolderDevice, two_places

HOUR_S = 3600.0


class Others:
    """The other devices: they look into the index, as after a crash, whenever they are told."""

    def __init__(self, index: Path) -> None:
        self._index = index
        self.told: list[FrontierEntry] = []
        self.answered: list[int] = []
        self.too_early: list[FrontierEntry] = []

    def _hear(self, entries: Iterable[FrontierEntry]) -> None:
        entries = [FrontierEntry(*entry) for entry in entries]
        self.told += entries
        held = positions_in(self._index)
        self.too_early += [e for e in entries if (e.log_id, e.seq, e.hash) not in held]

    def announce(self, folder_id: FolderId, changesets: Sequence[Changeset]) -> None:
        self._hear(FrontierEntry(s.log_id, s.slot.seq, s.hash) for s in changesets)

    def acknowledge(
        self, folder_id: FolderId, origin: object, batch: int, entries: Sequence[FrontierEntry]
    ) -> None:
        self._hear(entries)
        if batch:
            self.answered.append(batch)

    def applied(self, folder_id: FolderId, entries: Sequence[FrontierEntry]) -> None:
        self._hear(entries)

    def misbehaved(self, folder_id: FolderId, origin: object, ingested: Ingested) -> None:
        raise AssertionError(ingested.refused)

    def need(
        self, folder_id: FolderId, files: Iterable[tuple[Any, Sequence[tuple[ChunkId, int]]]]
    ) -> None:
        """Nobody here has any bytes."""

    def forget(self, folder_id: FolderId, keys: Iterable[Any]) -> None:
        """So nobody has to forget them."""


def positions_in(index: Path) -> set[tuple[bytes, int, bytes]]:
    beside = sqlite3.connect(index)
    try:
        return set(beside.execute("SELECT log, seq, hash FROM changeset"))
    finally:
        beside.close()


class Scene:
    """A folder on one device, not running yet, and a second device that writes."""

    def __init__(self, one: FolderDevice, two: FolderDevice, base: Path) -> None:
        self.one, self.two = one, two
        self.others = Others(base / "one.db")
        self.store: IndexStore = one.store

    @property
    def own_log(self) -> LogId:
        place = self.one.place
        return place.book.log_id(place.keys.device_id, place.incarnation)

    def folder(self) -> Folder:
        one = self.one
        engine: Engine = one.engine
        limits = Limits(HOUR_S, 0, lambda summary: UNLIMITED, lambda summary: UNLIMITED)
        return Folder(
            one.place.ledger.folder_id, engine, self.store, one.disk, None, None, self.others,
            limits, HASHER, self._no_new_incarnation,
        )  # fmt: skip

    async def _no_new_incarnation(self, folder_id: FolderId, incarnation: bytes) -> None:
        raise AssertionError("nothing here closes a log")


@asynccontextmanager
async def open_scene(base: Path) -> AsyncIterator[Scene]:
    one, two = two_places()
    devices = (
        await FolderDevice.open(base, "one", one),
        await FolderDevice.open(base, "two", two),
    )
    yield Scene(*devices, base)
    for device in devices:
        await device.close()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(tmp_path) as scene:
        yield scene


@asynccontextmanager
async def running(scene: Scene, folder: Folder | None = None) -> AsyncIterator[Folder]:
    """The folder at work."""
    folder = folder or scene.folder()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(folder.run())
        try:
            yield folder
        finally:
            task.cancel()
            await asyncio.wait({task})
            folder._performer.executor.shutdown(wait=True)
            folder._serving.close()


async def in_sync(folder: Folder) -> None:
    await until(lambda: folder.progress.state is FolderState.IN_SYNC)


# ---------------------------------------------------------------- what a crash left


async def test_what_a_crash_left_parked_is_back_before_the_first_scan(scene: Scene) -> None:
    """Else the scan would tell everybody that it was deleted."""
    one = scene.one
    (one.root / "file").write_bytes(b"mine")
    await one.scan()
    (row,) = await one.store.perform(c.LoadInodes([(one.root / "file").stat().st_ino]))
    parked = one.root / ".holdfast" / "parked"
    parked.mkdir(mode=0o700, exist_ok=True)
    (one.root / "file").rename(parked / row.id.hex())
    async with running(scene) as folder:
        await in_sync(folder)
        assert one.tree() == {"file": b"mine"}
        assert list(parked.iterdir()) == []
        assert scene.others.told == folder.engine.frontier  # nothing new was written


async def test_what_a_crash_left_of_incoming_and_replaced_files_goes(scene: Scene) -> None:
    one = scene.one
    (one.root / "file").write_bytes(b"mine")
    await one.scan()
    for place in ("incoming", "trash"):
        (one.root / ".holdfast" / place).mkdir(mode=0o700, exist_ok=True)
    (one.root / ".holdfast" / "incoming" / "abc-1").write_bytes(b"half of a file")
    stray = one.root / ".holdfast" / "trash" / "going-1-2-3-4-5"
    stray.write_bytes(b"a person saved this into it")
    async with running(scene) as folder:
        await in_sync(folder)
        assert list((one.root / ".holdfast" / "incoming").iterdir()) == []
        tree = one.tree()
        assert tree.pop("file") == b"mine"
        assert list(tree.values()) == [b"a person saved this into it"]


# ---------------------------------------------------------------- a disk that is not there


async def test_a_mount_point_without_its_disk_deletes_nothing(scene: Scene) -> None:
    one = scene.one
    (one.root / "file").write_bytes(b"mine")
    await one.scan()
    before = one.engine.frontier
    away = one.root.with_name("away")
    one.disk.close()
    one.root.rename(away)
    one.root.mkdir()
    one.disk = PosixDisk(str(one.root), HASHER, Chunker(SEED))  # started while it was away
    async with running(scene) as folder:
        await until(lambda: folder.progress.state is FolderState.NO_DISK)
        assert folder.engine.frontier == before
        assert scene.others.told == []


# ---------------------------------------------------------------- who joins


async def test_who_joins_takes_in_all_that_comes_before_it_fetches(scene: Scene) -> None:
    """It waits for the rest of the logs to compare its disk with, and knows of files already that
    it could ask for.
    """
    one, two = scene.one, scene.two
    (one.root / "last").write_bytes(b"last")
    for name in ("first", "second", "last"):
        (two.root / name).write_bytes(name.encode())
        await two.scan()
    async with running(scene) as folder:
        folder.begin_joining(Joining(asyncio.get_running_loop().time(), {}, has_others=True))
        folder.note_frontier(two.engine.frontier)
        for number, wire in enumerate(two.authored, 1):  # one comes when the one before is taken in
            folder.changesets_received((wire,), "two", number)
            await until(lambda n=number: scene.others.answered[-1:] == [n])  # type: ignore[misc]
        await until(lambda: folder.engine.is_joining is False)
    assert len(scene.others.answered) == len(two.authored) > 2
    assert {entry.log_id for entry in scene.others.told} == {e.log_id for e in two.engine.frontier}


# ---------------------------------------------------------------- what others are told


async def test_nobody_is_told_of_what_the_index_does_not_hold(scene: Scene) -> None:
    one, two = scene.one, scene.two
    (one.root / "mine").write_bytes(b"1")
    (two.root / "directory").mkdir()
    await two.scan()
    async with running(scene) as folder:
        await in_sync(folder)
        folder.changesets_received(tuple(two.authored), "two", 7)
        await until(lambda: scene.others.answered == [7])
        await until(lambda: (one.root / "directory").is_dir())
        await in_sync(folder)
    assert {e.log_id for e in scene.others.told} == {e.log_id for e in one.engine.frontier}
    assert scene.others.too_early == []


async def test_what_could_not_be_committed_is_not_acknowledged(scene: Scene) -> None:
    """A full disk: the other device has to go on holding it for us."""
    one, two = scene.one, scene.two
    (two.root / "directory").mkdir()
    await two.scan()
    scene.store = FullStore(one.store._db)
    folder = scene.folder()
    folder.changesets_received(tuple(two.authored), "two", 7)
    with pytest.raises(sqlite3.OperationalError):
        await folder._ingest()
    assert (scene.others.told, scene.others.answered) == ([], [])
    assert folder.engine.frontier == []
    folder._performer.executor.shutdown(wait=True)
    folder._serving.close()


async def test_what_is_too_much_for_a_changeset_is_told_and_ends_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seal(*_: object) -> None:
        raise TooLong("these records do not fit into one changeset")

    async with running(scene) as folder:
        await in_sync(folder)
        with monkeypatch.context() as patch:
            patch.setattr(folder.engine.book, "seal", seal)
            (scene.one.root / "a").write_bytes(b"1")
            folder.rescan()
            await until(lambda: folder.progress.state is FolderState.TROUBLE)
            assert "do not fit" in folder.progress.trouble
        pass_time(monkeypatch, RETRY_S)
        folder.wake()
        await in_sync(folder)
        assert folder.engine.book.seq_of(scene.own_log) > 0


class FullStore(IndexStore):
    """An index on a disk without room."""

    async def perform(self, command: c.Command[Any]) -> Any:
        if isinstance(command, c.Commit):
            raise sqlite3.OperationalError("database or disk is full")
        return await super().perform(command)


async def test_what_comes_while_the_disk_is_in_trouble_is_answered_after(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder that is paused, too, though nothing else wakes it then."""
    monkeypatch.setattr("peer.folders.folder.RETRY_S", 0.2)
    folder = scene.folder()
    async with running(scene, folder):
        await in_sync(folder)
        folder.pause(True)
        await until(lambda: folder.progress.state is FolderState.PAUSED)
        folder._trouble(DiskError("It failed."), asyncio.get_running_loop().time())
        folder.wake()
        await folder.call(lambda: asyncio.sleep(0))  # its task waits for the disk from here on
        folder.changesets_received((), None, 7)
        await until(lambda: scene.others.answered == [7])
