"""What is missing on the disk and the replica had removed, and what is to come back."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peer.core.commands import LoadFacts
from peer.core.engine import FIRST_PAGE
from peer.core.removals import put_back
from peer.disk import renames
from protocol.nodes import ROOT, Kind
from tests.peer.core.test_engine import Pair, meet
from tests.peer.folder_stage import FolderDevice, two_places


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    one, two = two_places()
    devices = (
        await FolderDevice.open(tmp_path, "one", one),
        await FolderDevice.open(tmp_path, "two", two),
    )
    yield devices
    for device in devices:
        await device.close()


async def test_what_was_removed_before_a_crash_is_no_deletion_of_this_device(pair: Pair) -> None:
    """The disk was brought up to date and the commit that says so was not: nothing is told."""
    one, two = pair
    (one.root / "gone" / "in").mkdir(parents=True)
    (one.root / "gone" / "in" / "f").write_bytes(b"1")
    (one.root / "stays").write_bytes(b"2")
    await one.scan()
    await meet(pair)
    shutil.rmtree(one.root / "gone")
    await one.scan()
    await two.ingest(one.authored)
    shutil.rmtree(two.root / "gone")
    told = len(two.authored)
    await two.scan()
    assert two.authored[told:] == []
    (two.root / "stays").unlink()
    await two.scan()
    assert len(two.authored) == told + 1
    await meet(pair)
    assert two.tree() == {}


async def test_a_copy_of_what_was_removed_before_a_crash_is_known_still(pair: Pair) -> None:
    """It follows from its original as long as it has no record here; and a file that no tree knows
    is left where it is, and is new to the next scan that comes by.
    """
    one, two = pair
    (one.root / "a").write_bytes(b"1")
    await one.scan()
    await meet(pair)
    for device, data in ((one, b"two"), (two, b"three")):
        (device.root / "a").write_bytes(data)
        await device.scan()
    await meet(pair)
    (copy,) = (name for name in one.tree() if " (conflict " in name)
    for name in ("a", copy):
        (one.root / name).unlink()
        await one.scan()
    await two.ingest(one.authored)
    (two.root / "a").unlink()
    await two.scan()
    await meet(pair)
    assert two.tree() == {} == one.tree()


async def test_what_was_moved_out_of_a_removal_is_a_directory_of_its_own(pair: Pair) -> None:
    """Without a crash, too: what lay in it was deleted here and there."""
    one, two = pair
    (one.root / "gone" / "in").mkdir(parents=True)
    await one.scan()
    await meet(pair)
    shutil.rmtree(one.root / "gone")
    await one.scan()
    await two.ingest(one.authored)
    (two.root / "gone" / "in").rmdir()
    (two.root / "new").mkdir()
    (two.root / "gone").rename(two.root / "new" / "d")
    await two.scan()
    await meet(pair)
    assert one.tree() == two.tree()
    assert (one.root / "new" / "d").is_dir()


async def test_a_deletion_here_of_what_somebody_deleted_and_somebody_edited(pair: Pair) -> None:
    """The replica shows the edit: that it is gone here is what a person did."""
    one, two = pair
    (one.root / "f").write_bytes(b"1")
    await one.scan()
    await meet(pair)
    (one.root / "f").unlink()
    await one.scan()
    (two.root / "f").write_bytes(b"edited")
    await two.scan()
    (two.root / "f").unlink()
    await two.ingest(one.authored)
    await two.scan()
    await meet(pair)
    assert two.tree() == {}


async def test_a_removal_that_another_file_owes_its_name_to_keeps_that_name(pair: Pair) -> None:
    """Of two files of one name one is shown under a conflict name. When the first is gone here and
    there, the disk still shows the other as it did, and so does the tree.
    """
    one, two = pair
    (one.root / "a").write_bytes(b"of one")
    (two.root / "a").write_bytes(b"of two")
    await one.scan()
    await two.scan()
    await meet(pair)
    (aside,) = [name for name in one.tree() if name != "a"]
    (one.root / "a").unlink()
    await one.scan()
    (two.root / "a").unlink()
    await two.ingest(one.authored)
    await two.scan()
    facts = await two.store.perform(LoadFacts([ROOT]))
    assert [fact.name for fact in facts] == [aside]
    (two.root / aside).write_bytes(b"edited")
    await two.scan()
    await meet(pair)
    assert two.tree() == {aside: b"edited"}


async def crash_after_the_files(pair: Pair) -> None:
    """The second device has noted that directories go, has removed the files in them, and then
    nothing more: neither the directories from the disk nor the files from the tree.
    """
    one, two = pair
    (one.root / "gone" / "in").mkdir(parents=True)
    (one.root / "gone" / "in" / "f").write_bytes(b"1")
    await one.scan()
    await meet(pair)
    shutil.rmtree(one.root / "gone")
    await one.scan()
    await two.ingest(one.authored)
    await apply(two, Kind.DIRECTORY)
    (two.root / "gone" / "in" / "f").unlink()


@pytest.mark.row("F01")
async def test_directories_that_a_crash_left_empty_go_too(pair: Pair) -> None:
    """They were shown for the files' sake: without those, the next scan took them for new."""
    one, two = pair
    await crash_after_the_files(pair)
    told = len(two.authored)
    await two.scan()
    await two.scan()
    assert two.authored[told:] == []
    await meet(pair)
    assert one.tree() == two.tree() == {}


@pytest.mark.row("F06")
@pytest.mark.parametrize("stuck", ["gone", "in"])
async def test_a_directory_that_the_disk_does_not_remove_yet_is_nobody_s_act(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, stuck: str
) -> None:
    """It is empty and was removed elsewhere: were its files told as deleted here, that would be an
    act in it, and bring it back everywhere.
    """
    one, two = pair
    await crash_after_the_files(pair)
    told, rmdir = len(two.authored), os.rmdir

    def full(name: str, **where: Any) -> None:
        if name == stuck:
            raise OSError(errno.ENOSPC, "no space")
        rmdir(name, **where)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", full)
        await two.scan()
        await two.scan()
    assert two.authored[told:] == []
    await two.scan()
    assert two.authored[told:] == []
    await meet(pair)
    assert one.tree() == two.tree() == {}


@pytest.mark.row("F06")
async def test_a_directory_that_the_disk_keeps_stays_in_the_tree(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what goes in one step, a file and a directory are refused: the rest of the step does not
    take the directory out of the tree, or the next scan would take it for new.
    """
    one, two = pair
    (one.root / "gone" / "in").mkdir(parents=True)
    for name in ("gone/in/f", "gone/g"):
        (one.root / name).write_bytes(b"1")
    await one.scan()
    await meet(pair)
    shutil.rmtree(one.root / "gone")
    await one.scan()
    await two.ingest(one.authored)
    told = len(two.authored)
    refuse = OSError(errno.ENOSPC, "no space")
    real_move = renames.move_noreplace

    def move(source_fd: int, source: str, target_fd: int, target: str) -> None:
        if source == "g":
            raise refuse
        real_move(source_fd, source, target_fd, target)

    def rmdir(name: str, **where: Any) -> None:
        raise refuse

    with monkeypatch.context() as patch:
        patch.setattr("peer.disk.writer.move_noreplace", move)
        patch.setattr(os, "rmdir", rmdir)
        await apply(two, Kind.DIRECTORY)
        await apply(two, Kind.FILE)
        await two.scan()
    assert sorted(two.tree()) == ["gone", "gone/g", "gone/in"]
    await two.scan()
    assert two.authored[told:] == []
    await meet(pair)
    assert one.tree() == two.tree() == {}


async def apply(device: FolderDevice, kind: Kind) -> None:
    """Shows what of this kind can be shown."""
    survey = await device.performer.drive(
        device.engine.survey(FIRST_PAGE, 1000, device.staged)  # type: ignore[arg-type]
    )
    nodes = {n: s for n, s in survey.ready.items() if n[15] & 3 == kind}
    await device.performer.drive(
        device.engine.apply(nodes, device.staged)  # type: ignore[arg-type]
    )


@pytest.mark.row("F01")
async def test_what_was_saved_in_a_directory_that_a_crash_left_stays(pair: Pair) -> None:
    one, two = pair
    await crash_after_the_files(pair)
    (two.root / "gone" / "new").write_bytes(b"2")
    await two.scan()
    await two.scan()  # the directory within was empty, and is noticed to be gone
    await meet(pair)
    assert two.tree() == {"gone": None, "gone/new": b"2"}
    assert one.tree() == two.tree()


def shown_directories(device: FolderDevice) -> list[str]:
    """What the tree says of directories."""
    directories = device.engine.directories
    return sorted("/".join(directories.path(i)) for i in directories.items if i != ROOT)


@pytest.mark.row("F01")
@pytest.mark.parametrize("moved", ["gone", "gone/in"])
@pytest.mark.parametrize("takes_something_in", [False, True])
async def test_a_directory_that_a_crash_left_and_a_person_moved_stays(
    pair: Pair, moved: str, takes_something_in: bool
) -> None:
    """It is not where it was, and it is not gone: the tree shows it where the scan has found it,
    with what was moved into it, for no other scan looks there again.
    """
    one, two = pair
    (one.root / "other" / "below").mkdir(parents=True)
    await crash_after_the_files(pair)
    (two.root / moved).rename(two.root / "away")
    if takes_something_in:
        (two.root / "other" / "below").rename(two.root / "away" / "below")
    await two.scan()
    assert shown_directories(two) == sorted(two.tree())
    assert "away" in two.tree()
    told = len(two.authored)
    await two.scan()
    assert two.authored[told:] == []
    await meet(pair)
    assert shown_directories(two) == sorted(two.tree())
    assert "away" in two.tree()


@pytest.mark.row("F01")
async def test_a_directory_that_has_the_place_of_one_that_a_crash_left_is_not_removed(
    pair: Pair,
) -> None:
    one, two = pair
    (one.root / "other").mkdir()
    await crash_after_the_files(pair)
    (two.root / "gone" / "in").rename(two.root / "away")
    (two.root / "other").rename(two.root / "gone" / "in")
    before = two.tree()
    await two.scan()
    assert two.tree() == before
    assert shown_directories(two) == sorted(before)
    await meet(pair)
    assert two.tree() == before


@pytest.mark.row("F01")
async def test_a_directory_in_the_place_of_one_that_is_missing_is_not_removed(pair: Pair) -> None:
    """Deleted but kept for an edited file, which is deleted later: the file and its directory were
    removed before the crash, and a known directory has come into that one's place.
    """
    one, two = pair
    (one.root / "gone" / "in").mkdir(parents=True)
    (one.root / "gone" / "in" / "f").write_bytes(b"1")
    (one.root / "other").mkdir()
    await one.scan()
    await meet(pair)
    shutil.rmtree(one.root / "gone")
    await one.scan()
    (two.root / "gone" / "in" / "f").write_bytes(b"edited")
    await two.scan()
    await meet(pair)
    assert one.tree()["gone/in/f"] == b"edited"
    (one.root / "gone" / "in" / "f").unlink()
    await one.scan()
    await two.ingest(one.authored)
    (two.root / "gone" / "in" / "f").unlink()
    (two.root / "gone" / "in").rmdir()
    (two.root / "other").rename(two.root / "gone" / "in")
    before = two.tree()
    await two.scan()
    assert two.tree() == before
    assert shown_directories(two) == sorted(before)


@pytest.mark.parametrize("is_swapped", [False, True])
async def test_a_removed_directory_that_something_lies_in_is_a_deletion_whoever_stands_for_it(
    pair: Pair, is_swapped: bool
) -> None:
    """Two directories of one name are one. Without their records the other may stand for both (its
    device's log decides, hence the swap), and is still shown for what lies in it.
    """
    one, two = reversed(pair) if is_swapped else pair
    for device in pair:
        (device.root / "d").mkdir()
    (one.root / "d" / "f").write_bytes(b"1")
    await one.scan()
    await two.scan()
    await meet(pair)
    shutil.rmtree(one.root / "d")
    await one.scan()
    (two.root / "d" / "f").write_bytes(b"edited")
    await two.scan()
    shutil.rmtree(two.root / "d")
    await two.ingest(one.authored)
    await two.scan()
    facts = await two.store.perform(LoadFacts(list(two.engine.directories.nodes)))
    assert facts == []
    assert list(two.engine.directories.items) == [ROOT]


async def test_what_is_put_back_was_never_here(pair: Pair) -> None:
    """A scan's deletions that nobody meant: nothing is told, and the plan writes the items again,
    with a file that another node stands for, and the executable bit.
    """
    one, two = pair
    (one.root / "d").mkdir()
    for device in pair:  # two nodes of equal bytes are one file
        (device.root / "same").write_bytes(b"same")
    (one.root / "d" / "run").write_bytes(b"#!")
    (one.root / "d" / "run").chmod(0o755)
    for device in pair:
        await device.scan()
    await meet(pair)
    before, told = two.tree(), len(two.authored)
    (two.root / "same").unlink()
    shutil.rmtree(two.root / "d")
    scanned = await two.scan(0)
    assert scanned.held_deletions == 3
    await two.performer.drive(put_back(two.engine.directories, scanned.missing))
    assert not (await two.scan(0)).missing  # from here on they were never written to this disk
    await two.bring(one)
    assert two.tree() == before
    assert os.access(two.root / "d" / "run", os.X_OK)
    await two.scan()
    assert two.authored[told:] == []
