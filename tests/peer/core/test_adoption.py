"""A disk that was full before its folder was known here: attached, its index lost, or an old index
put back (MERGE 16).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peer.daemon import Daemon
from peer.folders.floor import Floor
from peer.folders.folder_setup import read_floor
from peer.folders.joining import Joining
from peer.status import FolderState, HoldAnswer
from protocol.changesets import decode_changeset
from tests.peer import oracle
from tests.peer.device_stage import DEADLINE_S, Stage, devices, folder_of, until
from tests.peer.folder_stage import FolderDevice, two_places
from tests.protocol.people import Place

Pair = tuple[FolderDevice, FolderDevice]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Two devices that show the same; the second one's index is what gets lost."""
    one, two = two_places()
    devices = (
        await FolderDevice.open(tmp_path, "one", one),
        await FolderDevice.open(tmp_path, "two", two),
    )
    (devices[0].root / "d" / "e").mkdir(parents=True)
    for name in ("a", "b", "d/c", "d/e/f"):
        (devices[0].root / name).write_bytes(name.encode())
    await devices[0].scan()
    await devices[1].sync(devices[0])
    yield devices
    for device in devices:
        await device.close()


async def come_back(device: FolderDevice, *others: FolderDevice) -> FolderDevice:
    """The device without its index, in a new log: it takes in all, then looks at its disk."""
    await device.close()
    old = device.place
    place = Place(old.keys, old.ledger, old.users, old.epochs.wraps())
    place.incarnation = bytes(reversed(old.incarnation))
    base, name = device.root.parent, device.root.name
    forget(base, name)
    again = await FolderDevice.open(base, name, place)
    again.engine.is_joining = True
    for other in others:
        await again.ingest(await told(other))
    await again.performer.drive(again.engine.adopt(time.time_ns()))
    await again.scan()
    again.engine.is_joining = False
    return again


def forget(base: Path, name: str) -> None:
    """The index is lost."""
    for path in base.glob(f"{name}.db*"):
        path.unlink()


async def told(device: FolderDevice) -> list[bytes]:
    rows = await device.store._db.execute_fetchall("SELECT wire FROM changeset ORDER BY log, seq")
    return [row[0] for row in rows]


async def meet(one: FolderDevice, two: FolderDevice) -> dict[str, bytes | None]:
    """Both know all and show the same, which is what the merge rules say of their records."""
    for _ in range(3):
        for device, other in ((one, two), (two, one)):
            await device.scan()
            await device.ingest(await told(other))
            await device.bring(other)
    assert one.tree() == two.tree()
    for device in (one, two):
        found = await device.store._db.execute_fetchall("SELECT id FROM node")
        rows = await device.store._rows("id", [r[0] for r in found])
        shown = oracle.materialise({r.id: r.state for r in rows if r.state.places})
        assert {path.name for path in device.root.rglob("*") if ".holdfast" not in path.parts} == {
            item.name for item in shown.values()
        }
        assert (await device.store.summary())[2:] == (0, 0)
        device.authored.clear()
        await device.scan()
        assert device.authored == []
    return one.tree()


def conflicts(tree: dict[str, bytes | None]) -> list[bytes | None]:
    return [data for name, data in tree.items() if "(conflict " in name]


# ---------------------------------------------------------------- the index is lost


async def test_a_disk_that_shows_what_all_show_says_nothing(pair: Pair) -> None:
    one, two = pair
    inode = (two.root / "d" / "c").stat().st_ino
    before = two.tree()
    two = await come_back(two, one)
    try:
        assert two.authored == []
        assert await meet(one, two) == before
        assert (two.root / "d" / "c").stat().st_ino == inode
    finally:
        await two.close()


async def test_an_edit_that_nobody_else_has_is_kept(pair: Pair) -> None:
    """Its age is not known, so it does not win; but it is there, on every device."""
    one, two = pair
    (two.root / "a").write_bytes(b"edited while the index was lost")
    (two.root / "d" / "e" / "f").write_bytes(b"and this deep down")
    two = await come_back(two, one)
    try:
        tree = await meet(one, two)
        assert tree["a"] == b"a"
        assert tree["d/e/f"] == b"d/e/f"
        assert sorted(filter(None, conflicts(tree))) == [
            b"and this deep down", b"edited while the index was lost"
        ]  # fmt: skip
    finally:
        await two.close()


async def test_an_edit_is_kept_beside_one_of_the_others(pair: Pair) -> None:
    one, two = pair
    (two.root / "a").write_bytes(b"edited here")
    (one.root / "a").write_bytes(b"edited there")
    await one.scan()
    two = await come_back(two, one)
    try:
        tree = await meet(one, two)
        assert tree["a"] == b"edited there"
        assert conflicts(tree) == [b"edited here"]
    finally:
        await two.close()


@pytest.mark.row("F16", "F17")
async def test_an_edit_of_what_the_others_deleted_is_kept(pair: Pair) -> None:
    one, two = pair
    (two.root / "d" / "e" / "f").write_bytes(b"edited here")
    shutil.rmtree(one.root / "d")
    await one.scan()
    two = await come_back(two, one)
    try:
        tree = await meet(one, two)
        assert b"edited here" in tree.values()
        assert "d/c" not in tree
    finally:
        await two.close()


async def test_what_is_new_on_the_disk_is_told_and_what_is_missing_comes_back(pair: Pair) -> None:
    """Missing is not yet written, never deleted."""
    one, two = pair
    before = two.tree()
    (two.root / "d" / "new").write_bytes(b"only here")
    (two.root / "mine").mkdir()
    (two.root / "mine" / "n").write_bytes(b"only here too")
    (two.root / "b").unlink()
    shutil.rmtree(two.root / "d" / "e")
    two = await come_back(two, one)
    try:
        new = {"d/new": b"only here", "mine": None, "mine/n": b"only here too"}
        assert await meet(one, two) == before | new
    finally:
        await two.close()


async def test_old_bytes_are_brought_up_to_date_and_make_no_copy(pair: Pair) -> None:
    one, two = pair
    for data in (b"second", b"third, and longer"):
        (one.root / "a").write_bytes(data)
        await one.scan()
    two = await come_back(two, one)
    try:
        assert two.authored == []
        tree = await meet(one, two)
        assert tree["a"] == b"third, and longer"
        assert conflicts(tree) == []
    finally:
        await two.close()


@pytest.mark.row("F17")
async def test_what_was_moved_or_deleted_meanwhile_follows(pair: Pair) -> None:
    one, two = pair
    inode = (two.root / "b").stat().st_ino
    (one.root / "b").rename(one.root / "d" / "moved")
    (one.root / "a").unlink()
    (one.root / "d").rename(one.root / "elsewhere")
    await one.scan()
    two = await come_back(two, one)
    try:
        assert two.authored == []
        tree = await meet(one, two)
        assert tree == {
            "elsewhere": None, "elsewhere/c": b"d/c", "elsewhere/e": None,
            "elsewhere/e/f": b"d/e/f", "elsewhere/moved": b"b",
        }  # fmt: skip
        assert (two.root / "elsewhere" / "moved").stat().st_ino == inode
    finally:
        await two.close()


@pytest.mark.row("F17")
async def test_a_directory_that_was_deleted_goes_unless_something_in_it_is_new(pair: Pair) -> None:
    one, two = pair
    shutil.rmtree(one.root / "d")
    await one.scan()
    (two.root / "d" / "e" / "new").write_bytes(b"only here")
    two = await come_back(two, one)
    try:
        assert await meet(one, two) == {
            "a": b"a", "b": b"b", "d": None, "d/e": None, "d/e/new": b"only here"
        }  # fmt: skip
    finally:
        await two.close()


async def test_conflict_copies_on_the_disk_are_no_new_files(pair: Pair) -> None:
    one, two = pair
    (one.root / "a").write_bytes(b"of one")
    (two.root / "a").write_bytes(b"of two")
    before = await meet(one, two)
    assert len(conflicts(before)) == 1
    two = await come_back(two, one)
    try:
        assert await meet(one, two) == before
    finally:
        await two.close()


@pytest.mark.row("F19")
async def test_a_replaced_file_of_another_kind_is_no_version_of_the_old(pair: Pair) -> None:
    one, two = pair
    (two.root / "a").unlink()
    (two.root / "a").symlink_to("b")
    (two.root / "b").unlink()
    (two.root / "b").mkdir()
    (two.root / "b" / "inside").write_bytes(b"new")
    two = await come_back(two, one)
    try:
        tree = await meet(one, two)
        assert {b"a", b"b", b"new"} <= set(tree.values())
        links = [p for p in two.root.rglob("*") if p.is_symlink()]
        assert [os.readlink(p) for p in links] == ["b"]
    finally:
        await two.close()


async def test_it_may_be_cut_short_and_begun_again(pair: Pair) -> None:
    one, two = pair
    (one.root / "d").rename(one.root / "elsewhere")
    await one.scan()
    two = await come_back(two, one)
    try:
        two.engine.directories = await two.store.load_directories(False)
        await two.performer.drive(two.engine.adopt(time.time_ns()))
        await two.scan()
        assert two.authored == []
        tree = await meet(one, two)
        assert "elsewhere/e/f" in tree
        assert "d" not in tree
    finally:
        await two.close()


# ---------------------------------------------------------------- attached to a full directory


async def test_two_full_directories_become_one(tmp_path: Path) -> None:
    """The same paths merge: directories with all that is in them, files of equal bytes."""
    first, second = two_places()
    one = await FolderDevice.open(tmp_path, "one", first)
    two = await FolderDevice.open(tmp_path, "two", second)
    for device, name in ((one, b"one"), (two, b"two")):
        (device.root / "d" / "e").mkdir(parents=True)
        (device.root / "d" / "same").write_bytes(b"same")
        (device.root / "d" / "e" / "differs").write_bytes(b"of " + name)
        (device.root / "d" / name.decode()).write_bytes(name)
    try:
        await one.scan()
        two = await come_back(two, one)
        tree = await meet(one, two)
        copies = [name for name in tree if "(conflict " in name]
        assert {n: d for n, d in tree.items() if n not in copies} == {
            "d": None, "d/e": None, "d/e/differs": b"of one", "d/one": b"one", "d/same": b"same",
            "d/two": b"two",
        }  # fmt: skip
        assert [tree[name] for name in copies] == [b"of two"]
        assert len(list(two.root.glob("d*"))) == 1
    finally:
        await one.close()
        await two.close()


# ---------------------------------------------------------------- an old index is put back


async def test_an_old_index_goes_on_in_a_new_log_and_reuses_no_position(
    pair: Pair, tmp_path: Path
) -> None:
    """Whoever notices it (folder_setup by the floor, Folder by what others hold) renews the
    incarnation; with that nothing of what was told is contradicted, and nothing is lost.
    """
    one, two = pair
    await two.close()
    shutil.copy(tmp_path / "two.db", tmp_path / "saved")
    place = two.place
    two = await FolderDevice.open(tmp_path, "two", place)
    (two.root / "a").write_bytes(b"told after the backup")
    (two.root / "new").write_bytes(b"told after the backup too")
    (two.root / "b").unlink()
    await two.scan()
    await one.ingest(await told(two))
    await one.bring(two)
    positions = {(c.log_id, c.slot.seq): c.hash for c in map(decode_changeset, await told(two))}
    await two.close()
    forget(tmp_path, "two")
    shutil.copy(tmp_path / "saved", tmp_path / "two.db")
    old = Place(place.keys, place.ledger, place.users, place.epochs.wraps())
    old.incarnation = bytes(reversed(place.incarnation))
    two = await FolderDevice.open(tmp_path, "two", old)
    for wire in await told(two):
        old.receive(wire)
    old.book.take_changed()
    try:
        (two.root / "d" / "c").write_bytes(b"edited now")
        before = two.tree()
        await two.scan()
        assert await meet(one, two) == before
        for changeset in map(decode_changeset, await told(two)):
            at = (changeset.log_id, changeset.slot.seq)
            assert positions.get(at, changeset.hash) == changeset.hash
        assert not one.engine.book.forks()
    finally:
        await two.close()


# ---------------------------------------------------------------- deletions that were not meant


async def put_back(device: FolderDevice) -> None:
    """What `answer restore` does: the scan's deletions are held, and taken back."""
    scanned = await device.scan(0)
    assert scanned.held_deletions
    assert device.authored == []
    await device.performer.drive(device.engine.put_back(scanned.missing))


async def test_what_was_not_meant_to_be_deleted_comes_back_whole(pair: Pair) -> None:
    one, two = pair
    before = two.tree()
    shutil.rmtree(two.root / "d")
    (two.root / "a").unlink()
    await put_back(two)
    await two.bring(one)
    assert two.tree() == before
    assert await meet(one, two) == before


async def test_it_comes_back_as_it_is_by_now(pair: Pair) -> None:
    """Edited, moved or deleted by others while the question was open."""
    one, two = pair
    shutil.rmtree(two.root / "d")
    (two.root / "a").unlink()
    (two.root / "b").unlink()
    (one.root / "d" / "c").write_bytes(b"edited there")
    (one.root / "d" / "e").rename(one.root / "e")
    (one.root / "a").unlink()
    await one.scan()
    await put_back(two)
    await two.ingest(await told(one))
    await two.bring(one)
    assert await meet(one, two) == {
        "b": b"b", "d": None, "d/c": b"edited there", "e": None, "e/f": b"d/e/f"
    }  # fmt: skip


async def test_what_is_new_in_a_directory_that_is_put_back_stays(pair: Pair) -> None:
    one, two = pair
    before = two.tree()
    shutil.rmtree(two.root / "d")
    scanned = await two.scan(0)
    (two.root / "d").mkdir()
    (two.root / "d" / "c").write_bytes(b"made meanwhile")
    await two.performer.drive(two.engine.put_back(scanned.missing))
    tree = await meet(one, two)
    assert {n: d for n, d in tree.items() if n in before} | {"d/c": b"d/c"} == before
    assert sorted([tree["d/c"], *conflicts(tree)], key=bytes) == [b"d/c", b"made meanwhile"]  # type: ignore[arg-type]


async def test_a_conflict_copy_is_put_back_too(pair: Pair) -> None:
    one, two = pair
    (one.root / "a").write_bytes(b"of one")
    (two.root / "a").write_bytes(b"of two")
    before = await meet(one, two)
    for path in two.root.glob("a*"):
        path.unlink()
    await put_back(two)
    assert await meet(one, two) == before


async def test_a_start_after_the_answer_goes_on_with_it(pair: Pair) -> None:
    one, two = pair
    before = two.tree()
    shutil.rmtree(two.root / "d")
    await put_back(two)
    two.engine.directories = await two.store.load_directories(False)
    assert (await two.scan(0)).held_deletions == 0
    assert two.authored == []
    assert await meet(one, two) == before


# ---------------------------------------------------------------- whatever was done


ACTS = st.lists(st.integers(0, 1 << 30), min_size=1, max_size=8)


@pytest.mark.row("F09")
@given(ACTS, ACTS)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
async def test_no_byte_that_was_on_either_disk_alone_is_lost(
    tmp_path_factory: pytest.TempPathFactory, here: list[int], there: list[int]
) -> None:
    base = tmp_path_factory.mktemp("adoption")
    first, second = two_places()
    one = await FolderDevice.open(base, "one", first)
    two = await FolderDevice.open(base, "two", second)
    try:
        (one.root / "d").mkdir()
        for name in ("a", "b", "d/c"):
            (one.root / name).write_bytes(name.encode())
        await one.scan()
        await two.sync(one)
        saved = {data for seed in there if (data := act(one.root, seed, b"there")) is not None}
        await one.scan()
        for seed in here:
            data = act(two.root, seed, b"here")
            saved |= {data} if data is not None else set()
        saved &= {p.read_bytes() for d in (one, two) for p in files(d.root)}
        two = await come_back(two, one)
        tree = await meet(one, two)
        assert saved <= set(tree.values())
    finally:
        await one.close()
        await two.close()


def files(root: Path) -> list[Path]:
    return sorted(p for p in root.rglob("*") if p.is_file() and ".holdfast" not in p.parts)


def act(root: Path, seed: int, who: bytes) -> bytes | None:
    """Something that a person does; the bytes that were saved by it, if any."""
    random = Random(seed)
    found = files(root)
    choice = random.randrange(5)
    if choice <= 1 or not found:
        name = random.choice(["a", "b", "n", "d/c", "d/n"])
        (root / name).parent.mkdir(exist_ok=True)
        data = b"%s %d" % (who, seed)
        (root / name).write_bytes(data)
        return data
    victim = random.choice(found)
    if choice == 2:
        victim.unlink()
    elif choice == 3:
        data = b"%s edit %d" % (who, seed)
        victim.write_bytes(data)
        return data
    else:
        victim.rename(victim.parent / random.choice(["m", "a", "c"]))
    return None


# ---------------------------------------------------------------- whole devices


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in files(root)}


def is_settled(daemon: Daemon) -> bool:
    return folder_of(daemon).progress.state is FolderState.IN_SYNC


async def two_that_share(stage: Stage) -> tuple[Daemon, Daemon]:
    one = await stage.found("one")
    two = await stage.join(one, "two")
    await stage.share(one, two)
    (stage.root("one") / "a").write_bytes(b"first")
    await until(lambda: contents(stage.root("two")) == {"a": b"first"})
    await until(lambda: is_settled(one) and is_settled(two))
    return one, two


async def test_an_index_that_was_put_back_is_known_for_what_it_is(tmp_path: Path) -> None:
    """Only the folder's index went back: what the disk shows is newer than what it says, and must
    not pass for an edit made now.
    """
    async with devices(tmp_path) as stage:
        one, two = await two_that_share(stage)
    indexes = tmp_path / "home-two" / "folders"
    shutil.copytree(indexes, tmp_path / "saved")
    async with devices(tmp_path) as stage:
        one, two = await stage.start("one"), await stage.start("two")
        await stage.meet(one, two)
        (stage.root("one") / "a").write_bytes(b"second")
        (stage.root("two") / "mine").write_bytes(b"told by two")
        both = {"a": b"second", "mine": b"told by two"}
        await until(lambda: contents(stage.root("one")) == contents(stage.root("two")) == both)
        await until(lambda: is_settled(one) and is_settled(two))
    shutil.rmtree(indexes)
    shutil.copytree(tmp_path / "saved", indexes)
    async with devices(tmp_path) as stage:
        one = await stage.start("one")
        (stage.root("one") / "a").write_bytes(b"third")
        await until(lambda: contents(stage.root("one")) == {"a": b"third", "mine": b"told by two"})
        incarnation = (await one.home.store.folders())[0].incarnation
        two = await stage.start("two")
        await stage.meet(one, two)
        await until(lambda: contents(stage.root("two")) == contents(stage.root("one")))
        await until(lambda: is_settled(one) and is_settled(two))
        assert contents(stage.root("two")) == {"a": b"third", "mine": b"told by two"}
        assert not folder_of(one).engine.book.forks()
        assert (await one.home.store.folders())[0].incarnation == incarnation
        assert any(".damaged-" in name for name in os.listdir(indexes))


@pytest.mark.row("A12")
async def test_a_welcomed_device_waits_for_what_it_was_welcomed_with(tmp_path: Path) -> None:
    """A12: the first device that answers has an older state than the one that let this one in."""
    async with devices(tmp_path) as stage:
        one, _ = await two_that_share(stage)
        three = await stage.join(one, "three")
        await until(lambda: bool(three.stored))
        frontier = folder_of(one).engine.frontier
    floor = Floor.told(frontier)
    async with devices(tmp_path) as stage:
        three = await stage.start("three")
        (stage.root("three") / "a").write_bytes(b"mine, of unknown age")
        await three.attach_folder("f", stage.root("three"))
        folder = folder_of(three)
        assert folder.floor.marks.keys() == floor.marks.keys()
        folder._joining = Joining(0.0, {}, has_others=True)  # it has waited long enough
        folder.wake()
        await until(lambda: folder.progress.trouble)
        assert "older state" in folder.progress.trouble
        assert contents(stage.root("three")) == {"a": b"mine, of unknown age"}
        assert folder.engine.is_joining
        await three.answer_hold("f", HoldAnswer.ACCEPT)
        await until(lambda: not folder.engine.is_joining)
        assert folder.progress.trouble == ""
        async with asyncio.timeout(DEADLINE_S):  # it rises once more as soon as all is settled
            while await read_floor(three.home.store, folder.folder_id) != folder.floor:
                await asyncio.sleep(0.005)
