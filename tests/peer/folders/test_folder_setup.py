"""Opening a folder with what there is of it, and making a directory into a folder and back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crypto.ids import FolderId, LogId
from peer.daemon import Daemon
from peer.device.config import Config
from peer.device.home_store import FolderState as StoredState
from peer.errors import DiskError, IndexDamaged, UsageError
from peer.folders import folder_setup
from peer.folders.folder_setup import (
    FIRST_HOLD,
    FIRST_REWRITES,
    _pass_max,
    check_markable,
    checked_name,
    folds_case,
    index_path,
    mark,
    move_aside,
    unmark,
)
from peer.folders.index_store import Summary
from peer.status import FolderState
from protocol.changesets import FrontierEntry, log_id_of
from tests.peer.device_stage import Stage, copy_homes, devices, folder_of, make_homes, until

ONE, TWO = FolderId(b"1" * 32), FolderId(b"2" * 32)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("homes")
    asyncio.run(make_homes(base, "one", "two"))
    return base


@pytest.fixture
async def stage(homes: Path, tmp_path: Path) -> AsyncIterator[Stage]:
    copy_homes(homes, tmp_path)
    async with devices(tmp_path) as stage:
        yield stage


def marker(root: Path) -> Path:
    return root / ".holdfast" / "folder-id"


def shows(root: Path, name: str, data: bytes) -> bool:
    return (root / name).is_file() and (root / name).read_bytes() == data


# ---------------------------------------------------------------- the marker


def test_a_directory_is_one_folder_at_a_time(tmp_path: Path) -> None:
    mark(tmp_path, ONE)
    mark(tmp_path, ONE)
    with pytest.raises(DiskError, match="Another Holdfast folder"):
        mark(tmp_path, TWO)
    unmark(tmp_path, TWO)  # not its own: it stays
    assert marker(tmp_path).exists()
    unmark(tmp_path, ONE)
    assert not marker(tmp_path).exists()
    mark(tmp_path, TWO)
    assert marker(tmp_path).read_text().strip() == TWO.hex()


def test_a_disk_that_is_not_there_keeps_its_marker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        unmark(tmp_path / "unplugged", ONE)
    with pytest.raises(DiskError):
        mark(tmp_path / "unplugged", ONE)


def test_whether_a_directory_can_be_a_folder_is_tried_without_a_trace(tmp_path: Path) -> None:
    check_markable(tmp_path)
    assert not marker(tmp_path).exists()
    mark(tmp_path, ONE)
    with pytest.raises(DiskError, match="Another Holdfast folder"):
        check_markable(tmp_path)
    assert marker(tmp_path).read_text().strip() == ONE.hex()


def test_whether_a_disk_folds_case_is_seen_by_our_own_directory(tmp_path: Path) -> None:
    assert not folds_case(tmp_path)
    mark(tmp_path, ONE)
    assert not folds_case(tmp_path)
    (tmp_path / ".HOLDFAST").mkdir()  # as if the names were one
    assert folds_case(tmp_path)


# ---------------------------------------------------------------- names and numbers


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0", "n" * 256, "con", "\udcff"])
def test_a_name_that_others_would_refuse_is_refused_here(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        checked_name(name)


def test_a_name_is_written_in_one_way() -> None:
    assert checked_name("Cafe\u0301") == "Caf\u00e9"
    assert checked_name("My documents (2026)") == "My documents (2026)"


def test_how_many_deletions_pass() -> None:
    config = Config(hold_files=500, hold_percent=10)
    passed = {n: _pass_max(Summary(n, 0, 0, 0), config) for n in (0, 50, 1000, 100_000)}
    assert passed == {0: FIRST_HOLD, 50: FIRST_HOLD, 1000: 100, 100_000: 500}
    rewrites = {n: _pass_max(Summary(n, 0, 0, 0), config, FIRST_REWRITES) for n in (0, 100, 1000)}
    assert rewrites == {0: FIRST_REWRITES, 100: FIRST_REWRITES, 1000: 100}
    careful = Config(hold_files=1, hold_percent=10)
    assert _pass_max(Summary(1000, 0, 0, 0), careful) == 1


async def test_how_far_the_inviting_device_was_is_kept(stage: Stage) -> None:
    one = await stage.start("one")
    log_id = LogId(b"l" * 16)
    data = folder_setup.encode_floor([FrontierEntry(log_id, 7, b"h" * 32)])
    async with one.home.store.transaction() as write:
        await write.put_setting(folder_setup.floor_name(ONE), data)
    floor = await folder_setup.read_floor(one.home.store, ONE)
    assert [(i, told.seq) for i, told in floor.marks.items()] == [(log_id, 7)]
    assert not (await folder_setup.read_floor(one.home.store, TWO)).marks


# ---------------------------------------------------------------- the index


def test_a_damaged_index_is_kept_whole_under_another_name(tmp_path: Path) -> None:
    path = tmp_path / "aa.db"
    for suffix in ("", "-wal"):
        path.with_name(path.name + suffix).write_bytes(b"evidence" + suffix.encode())
    move_aside(path, IndexDamaged())
    (kept, wal) = sorted(tmp_path.iterdir())
    assert kept.name.startswith("aa.damaged-")
    assert wal.name == f"{kept.name}-wal"
    assert (kept.read_bytes(), wal.read_bytes()) == (b"evidence", b"evidence-wal")
    move_aside(path, IndexDamaged())  # nothing there: nothing done


async def synced(base: Path) -> tuple[FolderId, bytes]:
    """A folder on both devices, with a file of each, and then both are stopped."""
    async with devices(base) as stage:
        one, two = await stage.start("one"), await stage.start("two")
        await stage.meet(one, two)
        await stage.share(one, two)
        (stage.root("one") / "a").write_bytes(b"of one")
        (stage.root("two") / "b").write_bytes(b"of two")
        await until(lambda: shows(stage.root("one"), "b", b"of two"))
        await until(lambda: shows(stage.root("two"), "a", b"of one"))
        return folder_of(one).folder_id, folder_of(one).engine.incarnation


async def start_both(stage: Stage) -> tuple[Daemon, Daemon]:
    one, two = await stage.start("one"), await stage.start("two")
    await stage.meet(one, two)
    return one, two


@pytest.mark.parametrize("damage", ["gone", "garbage", "cut"])
async def test_a_lost_index_costs_no_file_and_no_log_is_written_twice(
    homes: Path, tmp_path: Path, damage: str
) -> None:
    copy_homes(homes, tmp_path)
    folder_id, before = await synced(tmp_path)
    index = tmp_path / "home-one" / "folders" / f"{folder_id.hex()}.db"
    # A log that is left beside a damaged database makes it whole again.
    for ending in ("-wal", "-shm"):
        index.with_name(index.name + ending).unlink(missing_ok=True)
    match damage:
        case "gone":
            index.unlink()
        case "garbage":
            index.write_bytes(b"not a database" * 1000)
        case "cut":
            index.write_bytes(index.read_bytes()[:5000])
    async with devices(tmp_path) as stage:
        one, two = await start_both(stage)
        assert index_path(one.home, folder_id) == index
        (stored,) = await one.home.store.folders()
        assert stored.incarnation == folder_of(one).engine.incarnation
        log_id = log_id_of(folder_id, one.home.keys.device_id, stored.incarnation)
        (stage.root("one") / "c").write_bytes(b"after")
        await until(lambda: shows(stage.root("two"), "c", b"after"))
        assert stored.incarnation != before
        assert log_id in {entry.log_id for entry in folder_of(two).engine.frontier}
        for root in (stage.root("one"), stage.root("two")):
            assert shows(root, "a", b"of one")
            assert shows(root, "b", b"of two")
    aside = [path for path in index.parent.iterdir() if ".damaged-" in path.name]
    assert bool(aside) == (damage != "gone")


# ---------------------------------------------------------------- adding and removing


async def test_a_removed_folder_s_directory_is_free_for_another(stage: Stage) -> None:
    one, two = await start_both(stage)
    await stage.share(one, two)
    (stage.root("one") / "a").write_bytes(b"1")
    await until(lambda: shows(stage.root("two"), "a", b"1"))
    await two.remove_folder("f")
    assert not marker(stage.root("two")).exists()
    added = await two.add_folder(stage.root("two"), "g")
    assert marker(stage.root("two")).read_text().strip() == added["id"]
    new = FolderId(bytes.fromhex(added["id"]))
    folder = two.network.folders[new]
    await until(lambda: folder.progress.state is FolderState.IN_SYNC)
    known = folder.engine.book.frontier()
    await until(lambda: new in one.network.folders)
    await until(lambda: one.network.folders[new].engine.book.frontier() == known)
    await one.attach_folder("g", stage.root("elsewhere"))
    await until(lambda: shows(stage.root("elsewhere"), "a", b"1"))
    assert shows(stage.root("one"), "a", b"1")


async def test_a_removed_folder_can_come_back_to_its_directory(stage: Stage) -> None:
    one, two = await start_both(stage)
    await stage.share(one, two)
    (stage.root("one") / "a").write_bytes(b"1")
    await until(lambda: shows(stage.root("two"), "a", b"1"))
    await two.remove_folder("f")
    (stage.root("two") / "b").write_bytes(b"2")
    await two.attach_folder("f", stage.root("two"))
    await until(lambda: shows(stage.root("one"), "b", b"2"))
    assert sorted(p.name for p in stage.root("two").iterdir()) == [".holdfast", "a", "b"]


async def test_a_removed_folder_stays_removed(homes: Path, tmp_path: Path) -> None:
    copy_homes(homes, tmp_path)
    await synced(tmp_path)
    async with devices(tmp_path) as stage:
        one = await stage.start("one")
        await one.remove_folder("f")
    async with devices(tmp_path) as stage:
        one, two = await start_both(stage)
        (stored,) = one.stored.values()
        assert (stored.path, stored.state) == (None, StoredState.REMOVED)
        (stage.root("two") / "c").write_bytes(b"3")
        log = folder_of(two).engine.book.frontier
        await until(lambda: folder_of(one).engine.book.frontier() == log() and len(log()) == 2)
        assert not (stage.root("one") / "c").exists()


async def test_what_cannot_be_a_folder_leaves_no_half_of_one(stage: Stage) -> None:
    one = await stage.start("one")
    mark(stage.root("taken"), ONE)
    with pytest.raises(DiskError, match="Another Holdfast folder"):
        await one.add_folder(stage.root("taken"), "f")
    with pytest.raises(UsageError):
        await one.add_folder(stage.root("free"), "a/b")
    assert not one.stored
    assert not one.ledgers.folders
    assert await one.home.store.folders() == []
    assert not marker(stage.root("free")).exists()
    await one.add_folder(stage.root("free"), "f")
