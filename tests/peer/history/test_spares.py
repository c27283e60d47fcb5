"""What a person saves over is had back though no other device ever had it: on whole daemons."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crypto.ids import ChunkId
from peer.core.disk_types import Kind as DiskKind
from peer.core.disk_types import Stat
from peer.core.observation import Entry
from peer.core.rows import Row
from peer.daemon import Daemon
from peer.folders.folder import Folder
from peer.history.history import History
from peer.history.spares import SPARE_BYTES_MAX
from protocol.nodes import ROOT, Kind, new_node_id
from tests.peer.device_stage import Stage, devices, folder_of, until

FIRST, SECOND, THIRD = b"first", b"the second", b"and the third"
"""Of different lengths, which is how they are told apart."""


class Alone:
    """A device with a folder, and its person."""

    def __init__(self, stage: Stage, daemon: Daemon) -> None:
        self.stage = stage
        self.root = stage.root(daemon.name)
        self.note = self.root / "note"
        self.take(daemon)

    def take(self, daemon: Daemon) -> None:
        self.daemon, self.folder = daemon, folder_of(daemon)
        self.history = history_of(self.folder)
        self.history.spares.settle_s = 0.0

    async def row(self, *path: str) -> Row | None:
        return await self.folder.call(lambda: self.history.row_at(path))

    async def write(self, data: bytes, name: str = "note") -> None:
        (self.root / name).write_bytes(data)
        await self.until_shown(name, len(data))

    async def until_shown(self, name: str, size: int | None) -> None:
        async with asyncio.timeout(30):
            while True:
                row = await self.row(name)
                if (row.shown.size if row is not None else None) == size:
                    return
                await asyncio.sleep(0.02)

    def trash(self, kind: str) -> list[bytes]:
        found = (self.root / ".holdfast" / "trash").glob(f"{kind}-*")
        return sorted(path.read_bytes() for path in found)

    async def until_copied(self, data: bytes) -> None:
        await until(lambda: self.trash("spare") == [data])


async def founded(stage: Stage) -> Alone:
    daemon = await stage.found("one")
    await daemon.add_folder(stage.root("one"), "f")
    return Alone(stage, daemon)


def history_of(folder: Folder) -> History:
    assert folder.history is not None
    return folder.history


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Alone]:
    async with devices(tmp_path) as stage:
        yield await founded(stage)


async def test_what_was_saved_over_is_a_version_and_comes_back(alone: Alone) -> None:
    await alone.write(FIRST)
    await alone.write(SECOND)
    await alone.until_copied(SECOND)
    await alone.write(THIRD)
    await until(lambda: alone.trash("kept") == [SECOND])
    await alone.until_copied(THIRD)
    _, second, first = (await alone.daemon.versions(alone.note))["versions"]
    assert (second["size"], second["here"]) == (len(SECOND), True)
    assert (first["size"], first["here"]) == (len(FIRST), False)
    report = await alone.daemon.restore(alone.note, second["version"], None, None)
    assert report["failed"] == []
    assert alone.note.read_bytes() == SECOND


async def test_what_was_saved_and_deleted_comes_back(alone: Alone) -> None:
    await alone.write(FIRST)
    await alone.write(SECOND)
    await alone.until_copied(SECOND)
    alone.note.unlink()
    await until(lambda: alone.trash("kept") == [SECOND])
    assert alone.trash("spare") == []
    await alone.daemon.restore(alone.note, None, None, None)
    assert alone.note.read_bytes() == SECOND


async def test_a_new_file_has_no_copy(alone: Alone) -> None:
    await alone.write(FIRST)
    assert alone.history.spares.next_due() == float("inf")
    assert alone.trash("spare") == []


async def test_a_copy_outlives_the_daemon(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        alone = await founded(stage)
        await alone.write(FIRST)
        await alone.write(SECOND)
        await alone.until_copied(SECOND)
    alone.note.write_bytes(THIRD)
    async with devices(tmp_path) as stage:
        alone = Alone(stage, await stage.start("one"))
        await until(lambda: alone.trash("kept") == [SECOND])
        await alone.until_shown("note", len(THIRD))


async def test_a_version_that_ended_unseen_has_its_copy_all_the_same(alone: Alone) -> None:
    """As after a crash between the turn that ended it and the rename."""
    await alone.write(FIRST)
    await alone.write(SECOND)
    await alone.until_copied(SECOND)
    await alone.folder.call(lambda: forget(alone))
    await alone.write(THIRD)
    await until(lambda: alone.trash("spare") == [THIRD, SECOND])
    assert alone.trash("kept") == []
    await alone.folder.call(alone.history.take_stock)
    assert alone.trash("kept") == [SECOND]
    assert alone.trash("spare") == [THIRD]


async def forget(alone: Alone) -> None:
    """What a process that ended knew of its copies."""
    alone.history.spares._held.clear()


async def test_a_copy_of_what_nobody_has_is_found(alone: Alone) -> None:
    """As when the disk lost a file that was shown: its bytes are wanted, and nowhere else."""
    await alone.write(FIRST)
    await alone.write(SECOND)
    await alone.until_copied(SECOND)
    row = await alone.row("note")
    fetcher = alone.folder.fetcher
    assert row is not None
    assert fetcher is not None

    async def nobody_has_it() -> None:
        fetcher.unavailable.add((row.id, row.shown.hash))
        assert await alone.history.step(0.0)
        fetcher.unavailable.clear()

    await alone.folder.call(nobody_has_it)
    assert alone.trash("kept") == [SECOND]
    places = await alone.folder.store.find_chunks([ChunkId(row.shown.hash)])
    assert any(isinstance(place.name, str) and place.name.startswith("kept-") for place in places)


async def test_a_copy_of_nothing_that_is_known_is_not_thrown_away(alone: Alone) -> None:
    await alone.write(FIRST)
    await alone.write(SECOND)
    await alone.until_copied(SECOND)
    (path,) = (alone.root / ".holdfast" / "trash").glob("spare-*")
    path.rename(path.with_name("spare-" + bytes(range(1, 16)).hex() + "00-" + "ab" * 32))
    await alone.folder.call(alone.history.take_stock)
    assert alone.trash("kept") == [SECOND]
    assert (await alone.history._versions.kept())[0] == 1  # and known as one, in the same look


async def test_what_another_device_replaces_is_kept_once(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        await stage.share(one, two)
        here = Alone(stage, one)
        await here.write(FIRST)
        await here.write(SECOND)
        await here.until_copied(SECOND)
        there = stage.root("two") / "note"
        await until(lambda: there.exists() and there.read_bytes() == SECOND)
        there.write_bytes(THIRD)
        await here.until_shown("note", len(THIRD))
        await until(lambda: here.trash("spare") == [])
        assert here.trash("kept") == [SECOND]


async def test_copies_give_way_before_versions_do(alone: Alone) -> None:
    await alone.write(FIRST)
    await alone.write(SECOND)
    await alone.until_copied(SECOND)
    await alone.write(THIRD)
    await alone.until_copied(THIRD)
    freed = await alone.folder.call(lambda: alone.history.make_room(1))
    assert freed == len(THIRD)
    assert alone.trash("spare") == []
    assert alone.trash("kept") == [SECOND]


async def test_what_is_being_written_is_not_copied(alone: Alone) -> None:
    await alone.write(FIRST)
    spares = alone.history.spares
    spares.settle_s = 3600.0
    await alone.write(SECOND)

    async def in_the_middle() -> None:
        alone.note.write_bytes(SECOND[::-1])
        assert await spares.step(float("inf"))

    await alone.folder.call(in_the_middle)
    assert alone.trash("spare") == []
    assert list((alone.root / ".holdfast" / "incoming").iterdir()) == []
    assert alone.note.read_bytes() == SECOND[::-1]


async def test_a_large_file_waits_longer_and_a_huge_one_has_no_copy(alone: Alone) -> None:
    spares = alone.history.spares
    node = new_node_id(Kind.FILE, os.urandom)
    stat = Stat(DiskKind.FILE, 1, 1, 1 << 20, 0, 0, False)
    spares.note_rewritten([Entry(ROOT, "huge", stat._replace(size=SPARE_BYTES_MAX + 1), node)])
    assert spares.next_due() == float("inf")
    spares.note_rewritten([Entry(ROOT, "large", stat, node)])
    assert spares.next_due() - asyncio.get_running_loop().time() > 3.0
