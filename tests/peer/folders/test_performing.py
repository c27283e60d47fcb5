"""The engine's commands on a real index and disk, and what is put right before the first scan."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from crypto.ids import NodeId
from peer.core import commands as c
from peer.core.disk_types import (
    DiskGone,
    Kind,
    MakeDirectory,
    Move,
    Operation,
    ReadRequest,
    Refusal,
    Remove,
    RemoveDirectory,
    StageFile,
    Stat,
)
from peer.core.disk_types import Path as FolderPath
from peer.core.rows import Row
from peer.disk import durability, writer
from peer.disk.disk import PosixDisk
from peer.disk.writer import going_name
from peer.errors import DiskError
from peer.folders.index_store import IndexStore
from peer.folders.performing import Performer
from tests.peer.real_disk import contents, open_disk
from tests.peer.tree_stage import directory_id, file, file_id

F, D = file_id(3), directory_id(1)


class Notes:
    """Stands for a watcher: what it was told to watch, and when."""

    def __init__(self, disk: PosixDisk) -> None:
        self.watched: list[FolderPath] = []
        self.disk = disk

    def watch(self, paths: list[FolderPath]) -> None:
        self.watched += paths


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[tuple[Performer, PosixDisk, Path]]:
    store = await IndexStore.open(tmp_path / "index.db")
    disk = open_disk(tmp_path / "root")
    performer = Performer(store, disk, None)
    yield performer, disk, tmp_path / "root"
    performer.executor.shutdown()
    disk.close()
    await store.close()


Stage = tuple[Performer, PosixDisk, Path]


async def test_index_and_disk_each_answer_their_commands(stage: Stage) -> None:
    performer, _, root = stage
    (root / "a").write_bytes(b"1")

    async def routine() -> list[Any]:
        await c.Commit([Row(F, state=file())])
        rows = await c.LoadRows([F])
        (listing,) = await c.ListDirectories([()])
        stats = await c.StatPaths([("a",), ("b",)])
        staged = await c.StageFiles([StageFile("t", b"2", None, 5, False)])
        await c.SyncStaged()
        results = await c.Apply([MakeDirectory(("d",)), MakeDirectory(("d",))])
        return [rows[F].state, listing.entries, stats, staged, results]

    state, entries, stats, staged, results = await performer.drive(routine())
    assert state == file()
    assert [name for name, _ in entries] == ["a"]
    assert stats[0] == entries[0][1]
    assert stats[1] is None
    assert isinstance(staged[0], Stat)
    assert isinstance(results[0], Stat)
    assert isinstance(results[1], Refusal)
    assert (root / "d").is_dir()


async def test_the_disk_is_used_by_one_thread_that_is_not_the_loop_s(stage: Stage) -> None:
    performer = stage[0]
    threads = {await performer.on_disk(threading.get_ident) for _ in range(5)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_a_directory_is_watched_before_it_is_listed(tmp_path: Path, stage: Stage) -> None:
    """Else what happens in between is missed."""
    _, disk, root = stage
    order: list[str] = []

    class Watcher:
        def watch(self, paths: list[FolderPath]) -> None:
            order.append("watched")
            (root / "late").write_bytes(b"between")

    performer = Performer(await IndexStore.open(tmp_path / "other.db"), disk, Watcher())  # type: ignore[arg-type]
    try:
        (listing,) = await performer.perform(c.ListDirectories([()]))
    finally:
        performer.executor.shutdown()
        await performer._store.close()
    assert order == ["watched"]
    assert [name for name, _ in listing.entries] == ["late"]


async def test_what_the_disk_raises_ends_the_routine_and_closes_it(stage: Stage) -> None:
    performer, _, root = stage
    ended: list[bool] = []

    async def routine() -> None:
        try:
            root.rename(root.with_name("unplugged"))
            await c.ListDirectories([()])
        finally:
            ended.append(True)

    with pytest.raises(DiskGone):
        await performer.drive(routine())
    assert ended == [True]


async def test_temp_files_of_an_earlier_run_go(stage: Stage) -> None:
    performer, disk, _ = stage
    disk.stage([StageFile("left", b"1", None, 5, False)])
    await performer.clean_incoming()
    assert disk.staged_names() == []


@pytest.mark.row("F03")
async def test_what_was_moved_lasts_before_the_directory_that_it_was_in_is_gone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    performer, _, root = stage
    (root / "a" / "x").mkdir(parents=True)
    (root / "b").mkdir()
    (root / "a" / "x" / "f").write_bytes(b"1")
    inodes = {(root / name).stat().st_ino: name for name in ("a", "b")}
    synced: list[str | None] = []
    monkeypatch.setattr(
        durability, "full_sync", lambda fd: synced.append(inodes.get(os.fstat(fd).st_ino))
    )
    f, x = await performer.perform(c.StatPaths([("a", "x", "f"), ("a", "x")]))
    assert isinstance(f, Stat)
    assert isinstance(x, Stat)
    operations: list[Operation] = [
        Move(("a", "x", "f"), ("b", "f"), f),
        Remove(("a", "x"), x),
    ]
    (moved, _) = await performer.perform(c.Apply(operations))
    assert isinstance(moved, Stat)
    assert synced.index("b") < synced.index("a")


@pytest.mark.row("F03")
async def test_what_was_moved_beside_a_directory_lasts_before_that_is_removed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    performer, _, root = stage
    (root / "a" / "x").mkdir(parents=True)
    (root / "a" / "x" / "f").write_bytes(b"1")
    seen: list[list[str]] = []
    above = root.stat().st_ino

    def sync(fd: int) -> None:
        if os.fstat(fd).st_ino == above:
            seen.append(sorted(name for name in os.listdir(fd) if name != ".holdfast"))

    monkeypatch.setattr(durability, "full_sync", sync)
    (f,) = await performer.perform(c.StatPaths([("a", "x", "f")]))
    assert isinstance(f, Stat)
    operations: list[Operation] = [
        Move(("a", "x", "f"), ("f",), f), RemoveDirectory(("a", "x")), RemoveDirectory(("a",)),
    ]  # fmt: skip
    assert all(isinstance(r, Stat) for r in await performer.perform(c.Apply(operations)))
    assert (seen[0], seen[-1]) == (["a", "f"], ["f"])


# ---------------------------------------------------------------- parked by a crash


def park(root: Path, node_id: NodeId, data: bytes | None = None) -> Path:
    parked = root / ".holdfast" / "parked"
    parked.mkdir(exist_ok=True)
    path = parked / node_id.hex()
    path.mkdir() if data is None else path.write_bytes(data)
    return path


async def unpark(stage: Stage, places: dict[NodeId, FolderPath | None]) -> dict[str, bytes]:
    performer, disk, root = stage
    disk.staged_names()  # the folder's internal directories are there

    async def path_of(node_id: NodeId) -> FolderPath | None:
        return places.get(node_id)

    await performer.unpark(path_of, "Me")
    files = contents(root)
    return {p: d for p, d in files.items() if not p.startswith(".holdfast/folder-id")}


async def test_a_parked_file_goes_back_to_where_it_was(stage: Stage) -> None:
    stage[1].staged_names()
    park(stage[2], F, b"mine")
    assert await unpark(stage, {F: ("a",)}) == {"a": b"mine"}


async def test_a_parked_file_whose_place_is_taken_goes_beside_it(stage: Stage) -> None:
    """Two files of a swap: never over what the person has there now."""
    stage[1].staged_names()
    park(stage[2], F, b"mine")
    (stage[2] / "a.txt").write_bytes(b"theirs")
    found = await unpark(stage, {F: ("a.txt",)})
    assert found.pop("a.txt") == b"theirs"
    ((name, data),) = found.items()
    assert data == b"mine"
    assert name.startswith("a (conflict Me ")
    assert name.endswith(".txt")


async def test_a_parked_file_that_nobody_knows_is_recovered(stage: Stage) -> None:
    stage[1].staged_names()
    park(stage[2], F, b"mine")
    assert await unpark(stage, {}) == {f"recovered {F.hex()}": b"mine"}


@pytest.mark.row("F01")
async def test_a_parked_file_whose_directory_is_gone_is_recovered(stage: Stage) -> None:
    """Left where it is, it would be missing in the scan that follows, and be told as deleted."""
    stage[1].staged_names()
    park(stage[2], F, b"mine")
    assert await unpark(stage, {F: ("gone", "a")}) == {f"recovered {F.hex()}": b"mine"}


@pytest.mark.row("F01")
async def test_a_parked_file_that_the_disk_does_not_let_go_is_nobody_s_deletion(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage[1].staged_names()
    park(stage[2], F, b"mine")

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as refusing:
        refusing.setattr(writer, "move_noreplace", refuse)
        with pytest.raises(DiskError, match=r"^\.holdfast/parked/\w+ cannot be put back: "):
            await unpark(stage, {F: ("a",)})
    assert await unpark(stage, {F: ("a",)}) == {"a": b"mine"}


async def test_a_parked_directory_is_back_before_what_was_parked_out_of_it(stage: Stage) -> None:
    stage[1].staged_names()
    for number in range(10, 20):  # whatever order the listing has
        park(stage[2], file_id(number), b"%d" % number)
    park(stage[2], D)
    places: dict[NodeId, FolderPath | None] = {file_id(n): ("d", f"{n}") for n in range(10, 20)}
    assert await unpark(stage, {**places, D: ("d",)}) == {
        f"d/{n}": b"%d" % n for n in range(10, 20)
    }


async def test_what_is_none_of_ours_is_left_where_it_lies(stage: Stage) -> None:
    stage[1].staged_names()
    litter = stage[2] / ".holdfast" / "parked" / ".DS_Store"
    litter.write_bytes(b"litter")
    assert await unpark(stage, {}) == {".holdfast/parked/.DS_Store": b"litter"}


async def test_what_the_disk_does_not_say_is_not_taken_for_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is parked would be missing in the scan that follows, and be told as deleted."""
    stage[1].staged_names()
    park(stage[2], F, b"mine")

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as failing:
        failing.setattr(os, "scandir", fail)
        with pytest.raises(DiskError, match=r"^\.holdfast/parked: The directory cannot be read"):
            await unpark(stage, {F: ("a",)})
        with pytest.raises(DiskError, match=r"^\.holdfast/trash: "):
            await stage[0].empty_trash()
    assert await unpark(stage, {F: ("a",)}) == {"a": b"mine"}


# ---------------------------------------------------------------- in the trash by a crash


def put_in_trash(root: Path, path: Path, name: str) -> None:
    path.rename(root / ".holdfast" / "trash" / name)


async def empty_trash(
    stage: Stage, meant: Stat, trashed: Path, new_inode: int = 0, keep: str | None = None
) -> list[str]:
    """What is in the folder and its trash when `trashed` had been there as `meant`."""
    performer, disk, root = stage
    disk.staged_names()
    put_in_trash(root, trashed, going_name(meant, new_inode, keep))
    await performer.empty_trash()
    return [p for p in contents(root) if not p.startswith(".holdfast/folder-id")]


async def test_what_was_meant_to_go_goes(stage: Stage) -> None:
    (stage[2] / "a").write_bytes(b"1")
    (stat,) = stage[1].stat([("a",)])
    assert stat is not None
    assert await empty_trash(stage, stat, stage[2] / "a") == []


async def test_what_was_saved_anew_meanwhile_comes_back(stage: Stage) -> None:
    (stage[2] / "a").write_bytes(b"1")
    (stat,) = stage[1].stat([("a",)])
    assert stat is not None
    (stage[2] / "a").write_bytes(b"the person's")
    (name,) = await empty_trash(stage, stat, stage[2] / "a")
    assert name.startswith("recovered going-")
    assert (stage[2] / name).read_bytes() == b"the person's"


async def test_what_was_to_come_in_its_place_is_fetched_again(stage: Stage) -> None:
    for name in ("a", "new"):
        (stage[2] / name).write_bytes(name.encode())
    old, new = stage[1].stat([("a",), ("new",)])
    assert old is not None
    assert new is not None
    assert await empty_trash(stage, old, stage[2] / "new", new.inode) == ["a"]


KEEP = f"kept-{'0' * 32}-{'f' * 64}-{1 << 63}-{1 << 63}"
"""As long as one gets."""


async def test_what_was_to_be_kept_is_kept(stage: Stage) -> None:
    """And what was to come in its place, or was saved anew, does not pass for it."""
    for name in ("a", "new"):
        (stage[2] / name).write_bytes(name.encode())
    old, new = stage[1].stat([("a",), ("new",)])
    assert old is not None
    assert new is not None
    assert await empty_trash(stage, old, stage[2] / "new", new.inode, KEEP) == ["a"]
    kept = f".holdfast/trash/{KEEP}"
    assert await empty_trash(stage, old, stage[2] / "a", new.inode, KEEP) == [kept]
    (stage[2] / "b").write_bytes(b"the person's")
    name, _ = sorted(await empty_trash(stage, old, stage[2] / "b", 0, "kept"), reverse=True)
    assert name.startswith("recovered going-")


def test_a_name_in_the_trash_is_no_longer_than_names_may_be() -> None:
    most = (1 << 64) - 1
    meant = Stat(Kind.FILE, most, 0, (1 << 63) - 1, (1 << 63) - 1, (1 << 63) - 1, False, 1)
    assert len(going_name(meant, most, KEEP)) <= 255


async def test_a_stranger_in_the_trash_stays(stage: Stage) -> None:
    stage[1].staged_names()
    litter = stage[2] / ".holdfast" / "trash" / "going-nowhere"
    litter.write_bytes(b"litter")
    await stage[0].empty_trash()
    assert litter.exists()


@pytest.mark.row("F03")
async def test_what_was_read_is_durable_before_anybody_is_told(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    performer, disk, root = stage
    (root / "a").write_bytes(b"1")
    synced: list[FolderPath] = []
    monkeypatch.setattr(disk, "sync_saved", synced.extend)

    async def routine() -> Any:
        return await c.ReadFiles([ReadRequest(("a",)), ReadRequest(("gone",))])

    await performer.drive(routine())
    assert synced == [("a",)]
