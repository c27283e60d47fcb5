"""What the watcher says, and what is looked at because of it."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from crypto.ids import NodeId
from peer.core import observation
from peer.core.commands import LoadSlots
from peer.core.disk_types import Path as DiskPath
from peer.disk.directories import Directories
from peer.disk.ignore import IGNORE_FILE
from peer.disk.watcher import Hints
from peer.errors import DiskError, DiskFull
from peer.folders import intake as intake_module
from peer.folders.folder import Folder
from peer.folders.intake import Intake
from protocol.nodes import ROOT
from tests.peer.device_stage import until
from tests.peer.folders.test_folder import Scene, in_sync, open_scene, running

SOON_S = 60.0
"""Long before the next full scan, long after any hint is due."""


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(tmp_path) as scene:
        yield scene


class Saying:
    """A watcher that has this to say."""

    def __init__(self, hints: Hints) -> None:
        self._hints = hints

    def read(self) -> Hints:
        return self._hints


async def intake_after_its_first_scan(scene: Scene) -> tuple[Intake, Callable[[], float]]:
    async with running(scene) as folder:
        await in_sync(folder)
        assert folder.intake is not None
        return folder.intake, folder.intake.next_due


@pytest.mark.parametrize("hints", [Hints(has_overflowed=True), Hints(is_root_gone=True)])
async def test_after_lost_news_everything_is_looked_at(scene: Scene, hints: Hints) -> None:
    intake, _ = await intake_after_its_first_scan(scene)
    assert not intake.is_rescan_due(1.0)
    intake.hints_come(Saying(hints), 1.0)  # type: ignore[arg-type]
    assert intake.is_rescan_due(1.0)


async def test_files_that_are_left_for_later_come_in_the_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observation, "ARRIVED_MAX", 3)
    monkeypatch.setattr(intake_module, "LATER_AT_ONCE", 2)
    root = scene.one.root
    for number in range(20):
        place = root / f"d{number % 7}"
        place.mkdir(exist_ok=True)
        (place / f"f{number}").write_text(f"{number}")
    async with running(scene) as folder:
        await in_sync(folder)
        assert (await scene.store.summary()).files == 20
        assert folder.intake is not None
        assert folder.intake.has_read_all


async def test_a_directory_that_came_into_another_s_place_is_looked_into(scene: Scene) -> None:
    """The hint names a path; which directory has it is known after a look at the one above."""
    root = scene.one.root
    for path in (("a", "d", "in"), ("other",)):
        root.joinpath(*path).mkdir(parents=True)
    async with running(scene) as folder:
        await in_sync(folder)
        intake, engine = folder.intake, folder.engine
        assert intake is not None

        async def look() -> bool:
            (root / "a" / "d" / "in").rename(root / "in")
            (root / "a" / "d").rmdir()
            (root / "other").rename(root / "a" / "d")
            (root / "in").rename(root / "a" / "d" / "in")
            await intake._scan_hints({("a",): False, (): False, ("a", "d"): True})
            return engine.find(("a", "d", "in"))[1]

        assert await folder.call(look)


@pytest.mark.parametrize(
    ("directory", "name", "is_everything"),
    [((), IGNORE_FILE, True), ((), "file", False), (("d",), IGNORE_FILE, False)],
)
async def test_other_rules_are_other_files(
    scene: Scene, directory: tuple[str, ...], name: str, is_everything: bool
) -> None:
    """Only the root's ignore file rules; what it left out has to be found, and the other way."""
    intake, next_due = await intake_after_its_first_scan(scene)
    intake.hints_come(Saying(Hints(changed={directory: {name}})), 1.0)  # type: ignore[arg-type]
    assert intake.is_rescan_due(1.0) is is_everything
    assert next_due() < SOON_S


@pytest.mark.row("F04", "F06")
@pytest.mark.parametrize("what", [DiskFull, DiskError])
async def test_what_was_being_read_when_the_disk_failed_is_read_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, what: type[DiskError]
) -> None:
    """No event tells of it a second time: whatever kept it from being made durable, a full disk
    too, all is looked at once more.
    """
    monkeypatch.setattr("peer.folders.folder.RETRY_S", 0.02)
    async with running(scene) as folder:
        await in_sync(folder)
        disk = folder.disk
        assert disk is not None
        sync, failed = disk.sync_saved, threading.Event()

        def fails(paths: Sequence[tuple[str, ...]]) -> None:
            if not failed.is_set():
                failed.set()
                raise what
            sync(paths)

        monkeypatch.setattr(disk, "sync_saved", fails)
        (scene.one.root / "saved").write_text("once")
        folder.rescan()
        await until(failed.is_set)
        async with asyncio.timeout(60):
            while (await scene.store.summary()).files != 1:
                await asyncio.sleep(0.005)
        await in_sync(folder)


# ---------------------------------------------------------------- what the disk does not list


def blinded(monkeypatch: pytest.MonkeyPatch) -> set[DiskPath]:
    """The directories that the disk fails to list from now on; none yet."""
    blind, open_directory = set[DiskPath](), Directories.open

    def fails(directories: Directories, path: DiskPath) -> int:
        if path in blind:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return open_directory(directories, path)

    monkeypatch.setattr(Directories, "open", fails)
    return blind


@pytest.mark.row("F04")
async def test_what_is_gone_may_be_where_the_disk_does_not_list(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the look that failed nor a later one beside it tells that it was deleted."""
    root = scene.one.root
    for name in ("here", "there"):
        (root / name).mkdir()
    (root / "here" / "file").write_text("moved")
    (root / "here" / "other").write_text("deleted")
    blind = blinded(monkeypatch)

    async with running(scene) as folder:
        await in_sync(folder)
        intake, engine = folder.intake, folder.engine
        assert intake is not None

        async def at(*path: str) -> list[NodeId]:
            slot = engine.find(path[:-1])[0], path[-1]
            return [row.id for row in await scene.store.perform(LoadSlots([slot]))]

        async def step() -> bool:
            return await intake.step(asyncio.get_running_loop().time() + SOON_S)

        async def look() -> None:
            (known,), before = await at("here", "file"), engine.frontier
            blind.add(("there",))
            (root / "here" / "file").rename(root / "there" / "file")
            await intake._scan_hints({("here",): False, ("there",): False})
            (root / "here" / "other").unlink()
            hints = Saying(Hints(changed={("here",): {"other"}}))
            intake.hints_come(hints, 0.0)  # type: ignore[arg-type]
            assert await step()
            assert engine.frontier == before
            assert "Input/output error" in folder.progress.problems["there",]
            blind.clear()
            while await step():
                pass
            assert not folder.progress.problems
            assert await at("there", "file") == [known]
            assert await at("here", "file") == await at("here", "other") == []

        await folder.call(look)


@pytest.mark.row("F04")
@pytest.mark.parametrize("look", ["deep", "later"])
async def test_whatever_is_looked_at_what_was_not_listed_is_looked_at_with_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    """Also where all below a directory is meant, and where new files had been left for later."""
    root = scene.one.root
    for name in ("here", "there"):
        (root / name).mkdir()
    (root / "here" / "file").write_text("moved")
    blind = blinded(monkeypatch)

    async with running(scene) as folder:
        await in_sync(folder)
        intake, engine = folder.intake, folder.engine
        assert intake is not None

        async def check() -> None:
            before, here = engine.frontier, engine.find(("here",))[0]
            blind.add(("there",))
            await intake._scan_hints({("there",): False})
            (root / "here" / "file").rename(root / "there" / "file")
            if look == "deep":
                await intake._scan_hints({("here",): True})
            else:
                intake._later[here] = None
                assert await intake.step(asyncio.get_running_loop().time())
            assert engine.frontier == before
            blind.clear()
            intake.rescan()
            while await intake.step(asyncio.get_running_loop().time() + SOON_S):
                pass
            assert not folder.progress.problems
            there = engine.find(("there",))[0]
            assert len(await scene.store.perform(LoadSlots([(there, "file")]))) == 1

        await folder.call(check)


# ---------------------------------------------------------------- rules that cannot be read


class BadFile:
    """One file in a root that cannot be read for now."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *path: str) -> None:
        self.is_bad, at = True, Directories.at

        def fails(directories: Directories, asked: DiskPath) -> tuple[int, str]:
            if self.is_bad and asked == path:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return at(directories, asked)

        monkeypatch.setattr(Directories, "at", fails)


async def look_at_all(folder: Folder) -> None:
    """A full scan, and all that it found."""
    intake = folder.intake
    assert intake is not None

    async def look() -> None:
        intake.rescan()
        while await intake.step(asyncio.get_running_loop().time()):
            pass

    await folder.call(look)


async def names_told(scene: Scene) -> set[str]:
    rows = await scene.store.perform(LoadSlots([(ROOT, name) for name in (IGNORE_FILE, "secret")]))
    return {row.shown.name for row in rows}


@pytest.mark.row("F04", "A17")
async def test_rules_that_cannot_be_read_let_nothing_private_out(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those from before go on, and `status` says why the file's are not followed."""
    root = scene.one.root
    (root / IGNORE_FILE).write_text("secret\n")
    (root / "secret").write_text("private")
    async with running(scene) as folder:
        await in_sync(folder)
        bad = BadFile(monkeypatch, IGNORE_FILE)
        await look_at_all(folder)
        assert await names_told(scene) == {IGNORE_FILE}
        assert "Input/output error" in folder.progress.problems[(IGNORE_FILE,)]
        bad.is_bad = False
        await look_at_all(folder)
        assert await names_told(scene) == {IGNORE_FILE}
        assert not folder.progress.problems


@pytest.mark.row("F04", "A17")
async def test_without_any_rules_that_could_be_read_nothing_is_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that starts knows none from before: it waits, and tries again by itself."""
    monkeypatch.setattr("peer.core.patience.RETRY_S", 0.05)
    root = scene.one.root
    (root / IGNORE_FILE).write_text("secret\n")
    (root / "secret").write_text("private")
    (root / "open").write_text("for all")
    bad = BadFile(monkeypatch, IGNORE_FILE)
    async with running(scene) as folder:
        await until(lambda: (IGNORE_FILE,) in folder.progress.problems)
        await look_at_all(folder)
        assert (await scene.store.summary()).files == 0
        bad.is_bad = False
        async with asyncio.timeout(60):
            while (await scene.store.summary()).files != 2:
                await asyncio.sleep(0.005)
        assert await names_told(scene) == {IGNORE_FILE}
        await in_sync(folder)
        assert not folder.progress.problems


async def test_rules_that_are_no_text_are_said_and_let_nothing_out(scene: Scene) -> None:
    """Those that were there before go on; the file itself is told, for others may mend it."""
    root = scene.one.root
    (root / IGNORE_FILE).write_text("secret\n")
    (root / "secret").write_text("private")
    async with running(scene) as folder:
        await in_sync(folder)
        (root / IGNORE_FILE).write_bytes(b"\xff")
        for _ in range(4):  # until it is not read again for its times
            await look_at_all(folder)
        assert await names_told(scene) == {IGNORE_FILE}
        assert "not text" in folder.progress.problems[(IGNORE_FILE,)]
