"""What a person asks of folders as wholes, on two daemons in one process."""

from __future__ import annotations

import pytest

from crypto.ids import FolderId
from peer.device.home_store import FolderState as StoredState
from peer.errors import (
    AmbiguousFolder,
    FolderExists,
    NothingToAnswer,
    PathUnusable,
    UnknownFolder,
)
from peer.status import FolderState, HoldAnswer
from tests.peer.device_stage import (
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
    for path in (stage.root("one"), inside, stage.base):
        with pytest.raises(PathUnusable, match="overlaps"):
            await one.add_folder(path, "g")
    within = stage.home("one") / "folders"
    (stage.base / "name-of-home").symlink_to(stage.home("one"))
    for path in (stage.home("one"), within, stage.base / "name-of-home"):
        with pytest.raises(PathUnusable, match="own home"):  # its keys are for nobody else
            await one.add_folder(path, "g")
        assert not (path / ".holdfast").exists()
    with pytest.raises(PathUnusable, match="not a directory"):
        await one.add_folder(stage.base / "nowhere", "g")
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
    assert [f["state"] for f in (await one.folders())["folders"]].count(FolderState.PAUSED) == 1


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
