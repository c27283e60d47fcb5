"""Forked logs between whole devices: a home that was put back, and a copy of one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from crypto.ids import DeviceId, FolderId
from peer.daemon import Daemon
from peer.folders.branches import Branches
from peer.folders.index_store import IndexStore
from peer.status import FolderState
from protocol import messages
from tests.peer.device_stage import devices, folder_of, until
from tests.protocol.test_logs import compact, log_of, pair

DEVICE, FOLDER = DeviceId(b"d" * 32), FolderId(b"f" * 32)


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".holdfast" not in path.parts
    }


def in_sync(*daemons: Daemon) -> Callable[[], bool]:
    """Whether all hold the same changesets and have nothing left to do."""

    def condition() -> bool:
        folders = [folder_of(daemon) for daemon in daemons]
        heads = [folder.engine.frontier for folder in folders]
        return all(head == heads[0] for head in heads) and all(
            folder.progress.state is FolderState.IN_SYNC for folder in folders
        )

    return condition


def own_seq(daemon: Daemon) -> int:
    """How far the device's own log goes."""
    engine = folder_of(daemon).engine
    return engine.book.seq_of(engine.book.log_id(engine.keys.device_id, engine.incarnation))


def replace_inside(source: Path, target: Path) -> None:
    """What is in the target becomes what is in the source; the directory itself stays."""
    for path in target.iterdir():
        path.unlink() if path.is_file() else shutil.rmtree(path)
    shutil.copytree(source, target, dirs_exist_ok=True)


@pytest.mark.row("A13", "F31")
async def test_a_device_that_was_put_back_and_wrote_on_contradicts_nobody_for_long(
    tmp_path: Path,
) -> None:
    """The whole machine went back to a snapshot, so nothing on it tells: not even the generation.
    What it wrote then stands at positions that others know otherwise.
    """
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        await stage.share(one, two)
        (stage.root("two") / "a").write_bytes(b"common")
        await until(lambda: "a" in contents(stage.root("one")))
        await until(in_sync(one, two))
        before = own_seq(two)
    for name in ("home-two", "two"):
        shutil.copytree(tmp_path / name, tmp_path / f"saved-{name}")
    async with devices(tmp_path) as stage:
        one, two = await stage.start("one"), await stage.start("two")
        await stage.meet(one, two)
        for number in range(3):
            (stage.root("two") / f"told {number}").write_bytes(b"told %d" % number)
            await until(lambda n=number: f"told {n}" in contents(stage.root("one")))  # type: ignore[misc]
        await until(in_sync(one, two))
    for name in ("home-two", "two"):
        replace_inside(tmp_path / f"saved-{name}", tmp_path / name)
    async with devices(tmp_path) as stage:
        two = await stage.start("two")
        (stage.root("two") / "late").write_bytes(b"written after the snapshot came back")
        (stage.root("two") / "a").write_bytes(b"edited after it")
        await until(lambda: own_seq(two) > before)
        await until(in_sync(two))
    async with devices(tmp_path) as stage:
        one, two = await stage.start("one"), await stage.start("two")
        await stage.meet(one, two)
        await until(lambda: folder_of(one).engine.book.forks())
        await until(lambda: contents(stage.root("one")) == contents(stage.root("two")))
        await until(in_sync(one, two))
        found = contents(stage.root("one"))
        assert found == contents(stage.root("two"))
        assert found == {
            "a": b"edited after it", "late": b"written after the snapshot came back",
            "told 0": b"told 0", "told 1": b"told 1", "told 2": b"told 2",
        }  # fmt: skip
        (stage.root("two") / "after").write_bytes(b"it goes on")
        await until(lambda: "after" in contents(stage.root("one")))
        (stage.root("one") / "back").write_bytes(b"both ways")
        await until(lambda: "back" in contents(stage.root("two")))


# ---------------------------------------------------------------- what is shown


@pytest.fixture
async def store(tmp_path: Path):  # type: ignore[no-untyped-def]
    store = await IndexStore.open(tmp_path / "index.db")
    yield store
    await store.close()


async def test_where_all_agree_there_is_nothing_to_show(store: IndexStore) -> None:
    one, two = pair()
    branches = Branches()
    branches.told(DEVICE, FOLDER, [messages.FrontierEntry(*e) for e in two.book.frontier()])
    assert not branches.differ(DEVICE, FOLDER, one.book)
    assert await branches.due(DEVICE, FOLDER, one.book, store) == []


@pytest.mark.row("A13")
async def test_a_head_of_another_branch_is_shown_ours_once(store: IndexStore) -> None:
    one, _ = pair()
    one.write()
    branches = Branches()
    other = messages.FrontierEntry(log_of(one), 1, bytes(32))
    branches.told(DEVICE, FOLDER, [other])
    assert branches.differ(DEVICE, FOLDER, one.book)
    (showing,) = await branches.due(DEVICE, FOLDER, one.book, store)
    assert (showing.log_id, showing.first_seq) == (log_of(one), 1)
    assert await branches.due(DEVICE, FOLDER, one.book, store) == []
    branches.forget(DEVICE)
    assert not branches.differ(DEVICE, FOLDER, one.book)


async def test_a_floor_of_a_log_that_is_not_here_is_shown_once(store: IndexStore) -> None:
    one, two = pair()
    one.write()
    again = compact(one)[-1]
    two.receive(again.wire)
    branches, shown = Branches(), (log_of(one), again.slot.seq, [again.wire], True)
    assert branches.differ(DEVICE, FOLDER, two.book)
    assert await branches.due(DEVICE, FOLDER, two.book, store) == [shown]
    assert await branches.due(DEVICE, FOLDER, two.book, store) == []
    branches.forget(DEVICE)
    branches.told(DEVICE, FOLDER, [messages.FrontierEntry(*e) for e in one.book.frontier()])
    assert await branches.due(DEVICE, FOLDER, two.book, store) == []  # who holds it needs none
