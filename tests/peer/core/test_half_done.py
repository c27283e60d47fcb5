"""A crash between the disk and the index: what the plan did is nobody's act after the restart."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from peer.core import commands as c
from peer.core.disk_types import Path as DiskPath
from peer.disk.directories import Directories
from protocol.nodes import ROOT
from tests.peer.folder_stage import FolderDevice, two_places

Pair = tuple[FolderDevice, FolderDevice]


class Killed(Exception):
    """The device is no more."""


def fill(root: Path) -> None:
    (root / "d" / "e").mkdir(parents=True)
    (root / "away").mkdir()
    for name in ("a", "b", "d/c", "d/e/f", "away/g"):
        (root / name).write_bytes(name.encode())
    (root / "link").symlink_to("a")


def new_files(root: Path) -> None:
    (root / "new").write_bytes(b"new")
    (root / "d" / "new").write_bytes(b"new too")
    (root / "n" / "m").mkdir(parents=True)
    (root / "n" / "m" / "deep").write_bytes(b"deep")
    (root / "n" / "link").symlink_to("m")


def edits(root: Path) -> None:
    (root / "a").write_bytes(b"edited")
    (root / "d" / "e" / "f").write_bytes(b"edited, too")
    (root / "b").chmod(0o755)
    os.utime(root / "d" / "c", ns=(5 * 10**17, 5 * 10**17))
    (root / "link").unlink()
    (root / "link").symlink_to("b")


def moves(root: Path) -> None:
    (root / "a").rename(root / "d" / "was a")
    (root / "b").rename(root / "a")
    (root / "d" / "e").rename(root / "e")
    (root / "away").rename(root / "e" / "away")


def edited_moves(root: Path) -> None:
    (root / "a").rename(root / "d" / "was a")
    (root / "d" / "was a").write_bytes(b"moved and edited")
    (root / "a").write_bytes(b"another")
    (root / "d").rename(root / "D")


def swaps(root: Path) -> None:
    (root / "a").unlink()
    (root / "a").mkdir()
    (root / "a" / "in").write_bytes(b"in")
    (root / "away" / "g").unlink()
    (root / "away").rmdir()
    (root / "away").write_bytes(b"a file now")
    (root / "b").unlink()
    (root / "b").symlink_to("a")


def removals(root: Path) -> None:
    for name in ("a", "d/c", "d/e/f"):
        (root / name).unlink()
    (root / "d" / "e").rmdir()


ACTS = [new_files, edits, moves, edited_moves, swaps, removals]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    one, two = two_places()
    devices = (
        await FolderDevice.open(tmp_path, "one", one),
        await FolderDevice.open(tmp_path, "two", two),
    )
    fill(devices[0].root)
    await devices[0].scan()
    await devices[1].sync(devices[0])
    yield devices
    for device in devices:
        await device.close()


def kill_at(device: FolderDevice, commit: int) -> None:
    """The device ends when it is about to commit for so many-th time."""
    perform, left = device.performer.perform, [commit]

    async def until_then(command: c.Command[Any]) -> Any:
        if isinstance(command, c.Commit):
            left[0] -= 1
            if not left[0]:
                raise Killed
        return await perform(command)

    device.performer.perform = until_then  # type: ignore[method-assign]


async def start_again(device: FolderDevice) -> FolderDevice:
    await device.close()
    again = await FolderDevice.open(device.root.parent, device.root.name, device.place)
    await again.performer.clean_incoming()
    await again.performer.empty_trash()
    return again


async def crash(pair: Pair, commit: int) -> FolderDevice | None:
    """The second device, killed at this commit of its plan and started again; None if there is no
    such commit.
    """
    one, two = pair
    await two.ingest(one.authored)
    kill_at(two, commit)
    try:
        await two.bring(one)
    except Killed:
        return await start_again(two)
    return None


@pytest.mark.row("F01")
@pytest.mark.parametrize("commit", [1, 2])
@pytest.mark.parametrize("act", ACTS)
async def test_what_a_plan_did_is_nobody_s_act(
    pair: Pair, act: Callable[[Path], None], commit: int
) -> None:
    one, _ = pair
    act(one.root)
    await one.scan()
    two = await crash(pair, commit)
    if two is None:
        assert commit == 2  # it was done in one step
        return
    try:
        await two.scan()
        assert two.authored == []
        await two.bring(one)
        assert two.tree() == one.tree()
        await two.scan()
        assert two.authored == []
    finally:
        await two.close()


def kill_after(device: FolderDevice, operations: int) -> None:
    """The device ends after so many operations on its disk, or at the commit after them."""
    perform, left = device.performer.perform, [operations]

    async def until_then(command: c.Command[Any]) -> Any:
        if isinstance(command, c.Apply):
            part = command.operations[: left[0]]
            left[0] -= len(part)
            if len(part) < len(command.operations):
                await perform(c.Apply(part))
                raise Killed
        return await perform(command)

    device.performer.perform = until_then  # type: ignore[method-assign]


@pytest.mark.row("F01")
@pytest.mark.parametrize("act", ACTS)
async def test_part_of_a_plan_is_nobody_s_act_either(
    pair: Pair, act: Callable[[Path], None]
) -> None:
    one, two = pair
    act(one.root)
    await one.scan()
    await two.ingest(one.authored)
    for operations in range(1, 20):
        kill_after(two, operations)
        try:
            await two.bring(one)
            break
        except Killed:
            two = await start_again(two)
        await two.scan()
        assert two.authored == [], operations
    else:
        raise AssertionError("there is no end to it")
    try:
        assert two.tree() == one.tree()
        await two.scan()
        assert two.authored == []
    finally:
        await two.close()


@pytest.mark.row("F01")
async def test_who_edits_and_deletes_meanwhile_meets_no_copy(pair: Pair) -> None:
    one, _ = pair
    new_files(one.root)
    edits(one.root)
    await one.scan()
    two = await crash(pair, 2)
    assert two is not None
    try:
        (one.root / "new").write_bytes(b"edited meanwhile")
        (one.root / "a").write_bytes(b"edited once more")
        (one.root / "d" / "new").unlink()
        (one.root / "d" / "e" / "f").unlink()
        (one.root / "n").rename(one.root / "N")
        await one.scan()
        await two.scan()
        await two.sync(one)
        await one.sync(two)
        assert two.tree() == one.tree()
        assert sorted(one.tree()) == [
            "N", "N/link", "N/m", "N/m/deep", "a", "away", "away/g", "b", "d", "d/c", "d/e", "link",
            "new",
        ]  # fmt: skip
    finally:
        await two.close()


@pytest.mark.parametrize("touched", [b"new!", b"wen", b"new"])
async def test_what_a_person_touched_is_that_person_s(pair: Pair, touched: bytes) -> None:
    """Other bytes, other bytes of that length, the same bytes saved at another time."""
    one, _ = pair
    new_files(one.root)
    await one.scan()
    two = await crash(pair, 2)
    assert two is not None
    try:
        (two.root / "new").write_bytes(touched)
        await two.scan()
        assert len(two.authored) == 1
        assert (await two.store.summary()).need_files == 1  # the other's file of that name
        for _ in range(2):
            await two.sync(one)
            await one.sync(two)
        assert two.tree() == one.tree()
        assert touched in two.tree().values()
    finally:
        await two.close()


async def test_a_second_scan_takes_nothing_for_a_plan_s(pair: Pair) -> None:
    """Only what lay there when the device started may be of a plan."""
    one, two = pair
    await two.scan()
    new_files(one.root)
    await one.scan()
    await two.ingest(one.authored)
    (two.root / "new").write_bytes(b"new")
    stat = (one.root / "new").stat()
    os.utime(two.root / "new", ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    await two.scan()
    assert len(two.authored) == 1


# ---------------------------------------------------------------- conflict copies


@pytest.fixture(params=[True, False], ids=["versions", "no versions"])
async def with_copy(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """What the first shows as `a`, the second shows with its own copy beside it."""
    one, two = two_places()
    devices = (
        await FolderDevice.open(tmp_path, "one", one),
        await FolderDevice.open(tmp_path, "two", two),
    )
    (devices[0].root / "a").write_bytes(b"first")
    await devices[0].scan()
    await devices[1].sync(devices[0])
    (devices[1].root / "a").write_bytes(b"two's")
    await devices[1].scan()
    for data in (b"one", b"one's"):  # the later one is shown
        (devices[0].root / "a").write_bytes(data)
        await devices[0].scan()
    await devices[1].sync(devices[0])
    assert devices[1].tree()["a"] == b"one's"
    assert devices[1].tree()[name_of_copy(devices[1])] == b"two's"
    devices[1].engine.keeps_versions = request.param
    yield devices
    for device in devices:
        await device.close()


async def crash_after(pair: Pair, operations: int) -> FolderDevice:
    """The second device, which ends after so many operations of its plan, and starts again."""
    one, two = pair
    await two.ingest(one.authored)
    kill_after(two, operations)
    with pytest.raises(Killed):
        await two.bring(one)
    return await start_again(two)


async def settle(one: FolderDevice, two: FolderDevice) -> None:
    for _ in range(3):
        await two.sync(one)
        await one.sync(two)
    assert two.tree() == one.tree()


def name_of_copy(device: FolderDevice) -> str:
    (name,) = [path for path in device.tree() if path.startswith("a (")]
    return name


async def delete_unseen(one: FolderDevice, two: FolderDevice) -> None:
    """The first deletes what it shows, and hears then of what the second had saved."""
    (one.root / "a").unlink()
    (one.root / "a").mkdir()
    await one.scan()
    await one.sync(two)


@pytest.mark.row("F01")
@pytest.mark.parametrize("operations", [1, 2])
async def test_a_copy_outlives_who_was_moved_to_its_place(with_copy: Pair, operations: int) -> None:
    """What a person sees there and deletes is the original, and not the copy."""
    one, two = with_copy
    copy = name_of_copy(two)
    await delete_unseen(one, two)
    two = await crash_after(with_copy, operations)
    try:
        await two.scan()
        if operations == 2:
            assert two.tree()[copy] == b"one's"
            (two.root / copy).unlink()
            await two.scan()
        assert copy not in two.tree()
        await settle(one, two)
        assert b"two's" in two.tree().values()
        assert b"one's" not in two.tree().values()
    finally:
        await two.close()


async def test_what_a_person_saved_there_meanwhile_is_an_edit(with_copy: Pair) -> None:
    """Only who was moved by the plan does not count as a person."""
    one, two = with_copy
    copy = name_of_copy(two)
    await delete_unseen(one, two)
    two = await crash_after(with_copy, 1)
    try:
        assert not (two.root / copy).exists()
        (two.root / copy).write_bytes(b"saved by a person")
        await two.scan()
        await settle(one, two)
        assert b"saved by a person" in two.tree().values()
    finally:
        await two.close()


@pytest.mark.row("F01", "F04")
@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES])
async def test_a_copy_outlives_a_first_look_that_saw_not_everything(
    with_copy: Pair, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """Whatever is looked at before a look has seen all, nothing is told that a plan may have done.
    A directory that nobody may read does not count: nothing of the plan came into it.
    """
    one, two = with_copy
    copy = name_of_copy(two)
    (two.root / "blind").mkdir()
    await two.scan()
    await delete_unseen(one, two)
    two = await crash_after(with_copy, 1)
    open_directory = Directories.open

    def fails(directories: Directories, path: DiskPath) -> int:
        if path == ("blind",):
            raise OSError(error, os.strerror(error))
        return open_directory(directories, path)

    try:
        with monkeypatch.context() as while_blind:
            while_blind.setattr(Directories, "open", fails)
            await two.scan()
        flat = two.engine.scan([ROOT], False, lambda path, is_directory: False, time.time_ns())
        two.note((await two.performer.drive(flat)).authored)
        await two.scan()
        assert copy not in two.tree()
        await settle(one, two)
        assert b"two's" in two.tree().values()
    finally:
        await two.close()
