"""What a person asks of folders as wholes, on two daemons in one process."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from crypto.ids import FolderId, NodeId
from peer.core.versions import Version
from peer.device.home_store import Folder as StoredFolder
from peer.device.home_store import FolderState as StoredState
from peer.errors import (
    AmbiguousFolder,
    DiskError,
    FolderExists,
    NothingToAnswer,
    PathUnusable,
    PeerError,
    UnknownFolder,
)
from peer.folders import folder_setup
from peer.folders.folder import Folder
from peer.history.history import Wanted
from peer.status import FolderState, HoldAnswer
from tests.peer.device_stage import (
    DEADLINE_S,
    Stage,
    folder_of,
    shows,
    state_of,
    until,
    until_state,
)
from tests.peer.test_daemon import Pair, pair, stage

__all__ = ["pair", "stage"]


async def test_folders_are_added_offered_and_attached(stage: Stage, pair: Pair) -> None:
    one, two = pair
    added = await one.add_folder(stage.root("one"), "f")
    assert (added["name"], added["path"]) == ("f", str(stage.root("one")))
    await until(lambda: [two._name_of(s) for s in two.stored.values()] == ["f"])
    (offered,) = (await two.folders())["folders"]
    assert (offered["state"], offered["path"]) == (FolderState.OFFERED, None)
    attached = await two.attach_folder(added["id"], stage.root("two"))
    assert attached["path"] == str(stage.root("two"))
    assert (stage.root("two") / ".holdfast").is_dir()


async def test_what_a_person_can_get_wrong(stage: Stage, pair: Pair) -> None:
    one, two = pair
    await stage.share(one, two)
    inside = stage.root("one") / "inside"
    inside.mkdir()
    with pytest.raises(FolderExists, match="'f' already"):
        await one.add_folder(stage.root("other"), "f")
    with pytest.raises(FolderExists, match="is the folder 'f' already"):
        await one.add_folder(stage.root("one"), "g")
    for path in (inside, stage.base):
        with pytest.raises(PathUnusable, match="overlaps"):
            await one.add_folder(path, "g")
    within = stage.home("one") / "folders"
    (stage.base / "name-of-home").symlink_to(stage.home("one"))
    for path in (stage.home("one"), within, stage.base / "name-of-home"):
        with pytest.raises(PathUnusable, match="own home"):  # its keys are for nobody else
            await one.add_folder(path, "g")
        assert not (path / ".holdfast").exists()
    with pytest.raises(PathUnusable, match="Make the directory first"):
        await one.add_folder(stage.base / "nowhere", "g")
    (stage.base / "a file").touch()
    with pytest.raises(PathUnusable, match="is a file"):
        await one.add_folder(stage.base / "a file", "g")
    with pytest.raises(FolderExists, match="already"):
        await two.attach_folder("f", stage.root("other"))
    for ask in (one.remove_folder, one.pause, one.resume):
        with pytest.raises(UnknownFolder, match="'nothing'"):
            await ask("nothing")
    with pytest.raises(NothingToAnswer):
        await one.answer_hold("f", HoldAnswer.ACCEPT)


async def test_two_folders_of_one_name_are_told_apart_by_id(stage: Stage, pair: Pair) -> None:
    """Two devices that are apart can both choose it."""
    one, _ = pair
    first = await one.add_folder(stage.root("one"), "f")
    second = await one.add_folder(stage.root("other"), "g")
    other = one.network.folders[FolderId(bytes.fromhex(second["id"]))]
    other.engine.name = "f"
    with pytest.raises(AmbiguousFolder):
        await one.pause("f")
    await one.pause(first["id"])
    await one.pause(second["id"][:8].upper())  # as much of it as lists show
    states = [f["state"] for f in (await one.folders())["folders"]]
    assert states == [FolderState.PAUSED] * 2
    with pytest.raises(UnknownFolder):
        await one.pause(first["id"][:7])


async def test_a_removed_folder_leaves_its_files_and_can_come_back_elsewhere(
    stage: Stage, pair: Pair
) -> None:
    """Nothing that is missing on the new place counts as deleted."""
    one, two = pair
    await stage.share(one, two)
    (stage.root("one") / "a").write_bytes(b"1")
    await until(lambda: shows(stage.root("two"), "a", b"1"))
    old = next(iter(two.stored.values()))
    await two.remove_folder("f")
    new = next(iter(two.stored.values()))
    assert (new.path, new.state) == (None, StoredState.REMOVED)
    assert new.incarnation != old.incarnation
    assert shows(stage.root("two"), "a", b"1")
    assert not (stage.root("two") / ".holdfast" / "folder-id").exists()
    (stage.root("two") / "a").write_bytes(b"not of the folder any more")
    await two.attach_folder("f", stage.root("elsewhere"))
    await until(lambda: shows(stage.root("elsewhere"), "a", b"1"))
    (stage.root("elsewhere") / "b").write_bytes(b"2")
    await until(lambda: shows(stage.root("one"), "b", b"2"))
    assert shows(stage.root("one"), "a", b"1")


async def test_a_paused_folder_neither_tells_nor_takes(stage: Stage, pair: Pair) -> None:
    one, two = pair
    await stage.share(one, two)
    (stage.root("one") / "a").write_bytes(b"1")
    await until(lambda: shows(stage.root("two"), "a", b"1"))
    await two.pause(None)
    assert await state_of(two) == FolderState.PAUSED
    assert next(iter(two.stored.values())).state is StoredState.PAUSED
    (stage.root("one") / "b").write_bytes(b"2")
    (stage.root("two") / "c").write_bytes(b"3")
    known = folder_of(one).engine.book.frontier
    await until(lambda: folder_of(two).engine.book.frontier() == known() and len(known()) == 1)
    assert not (stage.root("two") / "b").exists()
    await two.resume("f")
    await until(lambda: shows(stage.root("two"), "b", b"2"))
    await until(lambda: shows(stage.root("one"), "c", b"3"))


async def test_many_deletions_ask_first(stage: Stage, pair: Pair) -> None:
    one, two = pair
    await stage.share(one, two)
    names = [f"{n}" for n in range(15)]
    for name in names:
        (stage.root("one") / name).write_bytes(name.encode())
    await until(lambda: all(shows(stage.root("two"), n, n.encode()) for n in names))
    await until_state(one, FolderState.IN_SYNC)
    for name in names:
        (stage.root("one") / name).unlink()
    await until_state(one, FolderState.ASKING)
    (folder,) = (await one.status())["folders"]
    assert "15 files" in folder["question"]
    assert all((stage.root("two") / n).exists() for n in names)
    await one.answer_hold("f", HoldAnswer.ACCEPT)
    await until(lambda: not any((stage.root("two") / n).exists() for n in names))


@pytest.mark.parametrize(("name", "root"), [("g", "one"), ("f", "other")])
async def test_of_two_who_make_a_folder_at_once_one_is_told(
    stage: Stage, pair: Pair, name: str, root: str
) -> None:
    """Of one directory, or with one name."""
    one, _ = pair
    made, refused = await asyncio.gather(
        one.add_folder(stage.root("one"), "f"),
        one.add_folder(stage.root(root), name),
        return_exceptions=True,
    )
    assert isinstance(refused, FolderExists), refused
    assert (await one.folders())["folders"] == [made]
    assert [stored.name for stored in await one.home.store.folders()] == ["f"]


async def test_of_two_who_put_folders_on_one_directory_one_is_told(
    stage: Stage, pair: Pair
) -> None:
    one, two = pair
    await one.add_folder(stage.root("one"), "f")
    await until(lambda: [two._name_of(s) for s in two.stored.values()] == ["f"])
    made, refused = await asyncio.gather(
        two.add_folder(stage.root("two"), "g"),
        two.attach_folder("f", stage.root("two")),
        return_exceptions=True,
    )
    assert isinstance(refused, FolderExists), refused
    stored = {folder.name: folder.path for folder in await two.home.store.folders()}
    assert stored == {"": None, "g": stage.root("two")}, made


async def test_a_change_of_the_ledgers_opens_no_folder_that_is_being_made(
    stage: Stage, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at work in one folder would both write its log."""
    one, _ = pair
    opened: list[Folder] = []
    one.openings.on_opened = opened.append
    settle = one.ledgers.settle
    others: list[asyncio.Future[None]] = []

    async def settled() -> list[FolderId]:
        changed = await settle()
        others.append(asyncio.ensure_future(one.openings.open_all()))
        await asyncio.sleep(0)  # it has its turn here, and opens what is to be opened
        return changed

    monkeypatch.setattr(one.ledgers, "settle", settled)
    await one.add_folder(stage.root("one"), "f")
    await asyncio.gather(*others)
    assert others
    assert opened == [folder_of(one)]


async def test_who_pauses_all_writes_down_no_older_state(
    stage: Stage, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one folder is stored, another begins a new log: that it goes on in the old one after a
    restart would fork it.
    """
    one, _ = pair
    await one.add_folder(stage.root("one"), "f")
    await one.add_folder(stage.root("other"), "g")
    first, second = one.stored
    store = one.openings.store

    async def stored(folder: StoredFolder) -> None:
        if folder.folder_id == first:
            monkeypatch.setattr(one.openings, "store", store)
            await one.openings.renew_incarnation(second, b"anewanew")
        await store(folder)

    monkeypatch.setattr(one.openings, "store", stored)
    await one.pause(None)
    kept = {folder.folder_id: folder for folder in await one.home.store.folders()}
    assert kept == dict(one.stored)
    assert kept[second].incarnation == b"anewanew"
    assert {folder.state for folder in kept.values()} == {StoredState.PAUSED}


async def test_who_waits_for_a_folder_that_is_removed_is_answered(stage: Stage, pair: Pair) -> None:
    """What it was doing, what waited for it, and what asks the one that was there."""
    one, _ = pair
    await one.add_folder(stage.root("one"), "f")
    folder, begun = folder_of(one), asyncio.Event()
    history = folder.history
    assert history is not None

    async def never_done() -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    gone = Version(
        NodeId(bytes(16)), bytes(32), 5, 0, False, b"", 0, "", "gone", 0, True, None
    )  # fmt: skip
    doing = asyncio.ensure_future(folder.call(never_done))
    await begun.wait()
    waiting = asyncio.ensure_future(folder.call(lambda: history.row_at(("a",))))
    restoring = asyncio.ensure_future(history.restore([Wanted(gone, ("gone",))]))
    await asyncio.sleep(0)
    await one.remove_folder("f")
    late = asyncio.ensure_future(folder.call(lambda: history.row_at(("a",))))
    for asking in (doing, waiting, late):
        with pytest.raises(PeerError, match="opened anew or removed meanwhile"):
            async with asyncio.timeout(DEADLINE_S):
                await asking
    async with asyncio.timeout(DEADLINE_S):
        assert list((await restoring).failed) == ["gone"]


async def test_a_directory_that_cannot_be_marked_makes_no_folder(
    stage: Stage, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder whose marker is not there is one whose disk is not there."""
    one, two = pair
    real = folder_setup.mark
    marked: list[FolderId] = []

    def mark(path: Path, folder_id: FolderId) -> None:
        marked.append(folder_id)
        if len(marked) == 2:  # the first one looks whether it can be done
            raise DiskError("The disk is read-only.")
        real(path, folder_id)

    monkeypatch.setattr(folder_setup, "mark", mark)
    with pytest.raises(DiskError, match="read-only"):
        await one.add_folder(stage.root("one"), "f")
    assert await one.home.store.folders() == []
    assert (await one.folders())["folders"] == []
    assert one.ledgers.folders == {}
    await one.add_folder(stage.root("one"), "f")
    await until(lambda: [two._name_of(s) for s in two.stored.values()] == ["f"])


async def test_a_folder_that_cannot_be_stored_leaves_no_marker(
    stage: Stage, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another folder's marker no directory can be made a folder."""
    one, _ = pair

    def full() -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(one.home.store, "transaction", full)
        with pytest.raises(sqlite3.OperationalError):
            await one.add_folder(stage.root("one"), "f")
    await one.add_folder(stage.root("one"), "f")
