"""Folders that cannot be opened: each is its own trouble, told and tried again; others go on."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crypto.ids import FolderId
from peer.core.commands import Command, Commit, LoadChangesets
from peer.daemon import Daemon
from peer.device.home import Home
from peer.device.home_store import FolderState as StoredState
from peer.errors import DiskError, DiskFull, IndexDamaged, PeerError
from peer.folders import folder_setup
from peer.folders.folder_setup import index_path
from peer.folders.index_store import IndexStore
from peer.folders.openings import WILL_TRY, Failure
from peer.status import FolderState, FolderStatus
from tests.peer.device_stage import Stage, are_linked, copy_homes, devices, make_homes, until

FULL = "database or disk is full"


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two devices with two folders, `f` and `g`, each with a file."""
    base = tmp_path_factory.mktemp("homes")
    asyncio.run(make_homes(base, "one", "two"))
    return base


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("peer.core.patience.RETRY_S", 0.02)
    caplog.set_level(logging.ERROR)


class Street:
    """Two devices with the folders `f` and `g`; the roots are `one`, `two` and `one-g`, `two-g`."""

    def __init__(self, stage: Stage, one: Daemon, two: Daemon) -> None:
        self.stage, self.one, self.two = stage, one, two

    def write(self, daemon: Daemon, folder: str, name: str) -> None:
        (self.root(daemon, folder) / name).write_bytes(name.encode())

    def root(self, daemon: Daemon, folder: str) -> Path:
        return self.stage.root(daemon.name if folder == "f" else f"{daemon.name}-g")

    async def comes(self, daemon: Daemon, folder: str, name: str) -> None:
        path = self.root(daemon, folder) / name
        await until(lambda: path.is_file() and path.read_bytes() == name.encode())


async def lay_out(stage: Stage) -> Street:
    """The two folders on both devices, with a file in each."""
    one, two = await stage.start("one"), await stage.start("two")
    street = Street(stage, one, two)
    await stage.meet(one, two)
    await stage.share(one, two)
    added = await one.add_folder(stage.root("one-g"), "g")
    await until(lambda: FolderId(bytes.fromhex(added["id"])) in two.network.folders)
    await two.attach_folder(added["id"], stage.root("two-g"))
    for folder in "fg":
        street.write(one, folder, "at first")
        await street.comes(two, folder, "at first")
    return street


async def again(stage: Stage) -> Street:
    """The same devices, started once more."""
    one, two = await stage.start("one"), await stage.start("two")
    await stage.meet(one, two)
    return Street(stage, one, two)


async def status_of(daemon: Daemon, name: str) -> FolderStatus:
    (found,) = [f for f in (await daemon.status())["folders"] if f["name"] == name]
    return found


async def until_state(daemon: Daemon, name: str, state: FolderState) -> FolderStatus:
    async with asyncio.timeout(60):
        while (found := await status_of(daemon, name))["state"] != state:
            await asyncio.sleep(0.005)
    return found


@contextmanager
def in_the_way(path: Path) -> Iterator[None]:
    """SQLite cannot open what is a directory."""
    aside = path.with_name("aside")
    path.rename(aside)
    path.mkdir()
    yield
    path.rmdir()
    aside.rename(path)


async def test_one_index_that_cannot_be_opened_is_that_folder_s_trouble(
    homes: Path, tmp_path: Path
) -> None:
    copy_homes(homes, tmp_path)
    async with devices(tmp_path) as stage:
        street = await lay_out(stage)
        (stored,) = [s for s in street.two.stored.values() if s.name == "f"]
        path = index_path(street.two.home, stored.folder_id)
    async with devices(tmp_path) as stage:
        with in_the_way(path):
            street = await again(stage)
            one, two = street.one, street.two
            found = await until_state(two, "f", FolderState.TROUBLE)
            (error,) = found["errors"]
            assert "cannot be opened" in error["reason"]
            assert error["reason"].endswith(f"before trusting that disk. {WILL_TRY}")
            listed = {f["name"]: f["state"] for f in (await two.folders())["folders"]}
            assert listed["f"] == FolderState.TROUBLE
            # Everything else goes on.
            street.write(two, "g", "of the other folder")
            await street.comes(one, "g", "of the other folder")
            street.write(one, "f", "meanwhile")
            await until_state(one, "f", FolderState.IN_SYNC)
            assert are_linked(one, two)
            await two.pause("f")
        await until_state(two, "f", FolderState.PAUSED)
        assert two.stored[stored.folder_id].state is StoredState.PAUSED
        await two.resume("f")
        await street.comes(two, "f", "meanwhile")
        street.write(two, "f", "back")
        await street.comes(one, "f", "back")
        assert (await until_state(two, "f", FolderState.IN_SYNC))["errors"] == []
        # It went on in the log that it had.
        assert two.stored[stored.folder_id].incarnation == stored.incarnation


async def test_a_folder_that_cannot_be_opened_can_be_removed(homes: Path, tmp_path: Path) -> None:
    copy_homes(homes, tmp_path)
    async with devices(tmp_path) as stage:
        street = await lay_out(stage)
        (stored,) = [s for s in street.two.stored.values() if s.name == "f"]
        path = index_path(street.two.home, stored.folder_id)
    async with devices(tmp_path) as stage:
        with in_the_way(path):
            street = await again(stage)
            await until_state(street.two, "f", FolderState.TROUBLE)
            await street.two.remove_folder("f")
            assert not (stage.root("two") / ".holdfast" / "folder-id").exists()
        await until_state(street.two, "f", FolderState.OFFERED)
        await street.two.attach_folder("f", stage.root("two"))
        street.write(street.one, "f", "later")
        await street.comes(street.two, "f", "later")


@pytest.mark.parametrize(
    ("what", "state", "advice"),
    [
        (FULL, FolderState.NO_SPACE, "Free some space"),
        ("disk I/O error", FolderState.TROUBLE, "system's log"),
    ],
)
async def test_an_index_that_fails_at_work_and_cannot_be_opened_again(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, state: FolderState,
    advice: str,
) -> None:  # fmt: skip
    """What is told of the folder meanwhile is told at all, and what comes for it is not lost. A
    full disk costs no log, which would never be compacted again; a failing one might have kept what
    it said it had not.
    """
    monkeypatch.setattr("peer.folders.folder.RETRY_S", 0.02)
    copy_homes(homes, tmp_path)
    async with devices(tmp_path) as stage:
        street = await lay_out(stage)
        one, two = street.one, street.two
        (stored,) = [s for s in two.stored.values() if s.name == "f"]
        folder = two.network.folders[stored.folder_id]
        perform, real_open = folder.store.perform, IndexStore.open
        is_full, tried = True, 0

        async def full(command: Command[Any]) -> Any:
            if isinstance(command, Commit) and command.changesets:
                raise sqlite3.OperationalError(what)
            return await perform(command)

        async def cannot_open(path: Path) -> IndexStore:
            nonlocal tried
            if is_full and stored.folder_id.hex() in path.name:
                tried += 1
                raise sqlite3.OperationalError(what)
            return await real_open(path)

        monkeypatch.setattr(folder.store, "perform", full)
        monkeypatch.setattr(IndexStore, "open", cannot_open)
        street.write(two, "f", "not told yet")
        await until(lambda: tried > 1)
        found = await until_state(two, "f", state)
        assert found["files"] == 1
        assert advice in found["errors"][0]["reason"]
        street.write(one, "f", "meanwhile")
        street.write(two, "g", "of the other folder")
        await street.comes(one, "g", "of the other folder")
        assert are_linked(one, two)
        is_full = False
        await street.comes(two, "f", "meanwhile")
        await street.comes(one, "f", "not told yet")
        await until_state(two, "f", FolderState.IN_SYNC)
        is_same = two.stored[stored.folder_id].incarnation == stored.incarnation
        assert is_same == (what == FULL)


async def test_an_index_that_cannot_be_read_ends_no_link(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks is told nothing for now, and asks again."""
    monkeypatch.setattr("peer.connectivity.network.OFFER_AGAIN_S", 0.02)
    copy_homes(homes, tmp_path)
    async with devices(tmp_path) as stage:
        street = await lay_out(stage)
        one, two = street.one, street.two
        (stored,) = [s for s in two.stored.values() if s.name == "f"]
        folder = two.network.folders[stored.folder_id]
        perform, asked = folder.store.perform, 0
        link = next(iter(two.network.connections.values()))

        async def fails(command: Command[Any]) -> Any:
            nonlocal asked
            if isinstance(command, LoadChangesets) and asked < 3:
                asked += 1
                raise sqlite3.OperationalError("disk I/O error")
            return await perform(command)

        monkeypatch.setattr(folder.store, "perform", fails)
        street.write(two, "f", "asked for again")
        await street.comes(one, "f", "asked for again")
        assert asked == 3
        assert next(iter(two.network.connections.values())) is link


@pytest.mark.row("F09")
async def test_an_index_that_is_lost_while_others_are_linked(homes: Path, tmp_path: Path) -> None:
    """They send again what they had sent before; neither the link nor the daemon begins anew."""
    copy_homes(homes, tmp_path)
    async with devices(tmp_path) as stage:
        street = await lay_out(stage)
        one, two = street.one, street.two
        (stored,) = [s for s in two.stored.values() if s.name == "f"]
        await until_state(two, "f", FolderState.IN_SYNC)
        link = next(iter(two.network.connections.values()))
        await two.openings.reopen(stored.folder_id, IndexDamaged("It is malformed."))
        street.write(one, "f", "of one")
        await street.comes(two, "f", "of one")
        street.write(two, "f", "of two")
        await street.comes(one, "f", "of two")
        await until_state(two, "f", FolderState.IN_SYNC)
        assert sorted(path.name for path in stage.root("one").iterdir() if path.is_file()) == [
            "at first", "of one", "of two"
        ]  # fmt: skip
        assert next(iter(two.network.connections.values())) is link


def test_what_a_person_is_told() -> None:
    assert Failure.of(DiskFull("There is no room.")) == Failure(
        FolderState.NO_SPACE, f"There is no room. {WILL_TRY}"
    )
    assert Failure.of(DiskError("It failed.")).state is FolderState.TROUBLE
    assert Failure.of(OSError(5, "Input/output error")).reason.endswith(f"error. {WILL_TRY}")


async def test_a_folder_of_before_that_holds_the_home_is_not_opened(tmp_path: Path) -> None:
    """Earlier versions let one be made: from a restart on it tells nobody what is in the home."""
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        await one.add_folder(stage.root("one"), "f")
        place = stage.home("one")
    home = await Home.open(place)
    (stored,) = await home.store.folders()
    async with home.store.transaction() as write:
        await write.put_folder(replace(stored, path=place))
    await home.close()
    folder_setup.mark(place, stored.folder_id)
    async with devices(tmp_path) as stage:
        one = await stage.start("one")
        assert stored.folder_id not in one.network.folders
        (problem,) = (await until_state(one, "f", FolderState.TROUBLE))["errors"]
        assert "own home" in problem["reason"]
        assert "`holdfast folder remove`" in problem["reason"]
        await one.remove_folder("f")
        assert (place / "key").is_file()
        await one.attach_folder("f", stage.root("one"))
        await until_state(one, "f", FolderState.IN_SYNC)


async def test_who_waits_for_an_index_that_was_damaged_twice_is_told(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_homes(homes, tmp_path)
    async with devices(tmp_path) as stage:
        one = (await lay_out(stage)).one
        (stored,) = [s for s in one.stored.values() if s.name == "f"]
        folder = one.network.folders[stored.folder_id]
        one.openings._rebuilt.add(stored.folder_id)

        async def damaged(now: float) -> bool:
            raise IndexDamaged("It is malformed.")

        monkeypatch.setattr(folder, "_step", damaged)
        folder.wake()
        await until(lambda: "It happened twice" in folder.progress.trouble)
        with pytest.raises(PeerError, match="look after this disk"):
            await folder.call(folder.store.close)
