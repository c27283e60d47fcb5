"""What the disk refuses is looked at and tried again at once, not an hour later.

Nothing watches these disks and the next full scan is far away, so what is found is found for being
in the way.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import pytest

from peer.core import lacking
from peer.core.disk_types import Operation, Publish, Refusal, RefusalKind, Stat
from peer.core.disk_types import Path as DiskPath
from peer.core.patience import RETRY_S
from peer.core.refusals import PASSING_MAX
from peer.folders import delivery
from peer.folders.delivery import NO_ROOM_S
from peer.folders.folder import Folder
from peer.folders.index_store import Summary
from peer.status import FolderState
from protocol.events import ReceivedChunk
from tests.peer.device_stage import pass_time, until
from tests.peer.folder_stage import HASHER
from tests.peer.folders.test_folder import Scene, in_sync, open_scene, running


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(tmp_path) as scene:
        yield scene


async def test_what_is_in_the_way_is_found_and_makes_room(scene: Scene) -> None:
    one, two = scene.one, scene.two
    async with running(scene) as folder:
        await in_sync(folder)
        (one.root / "name").write_bytes(b"a person saved this")
        (two.root / "name").mkdir()
        await two.scan()
        folder.changesets_received(tuple(two.authored), "two", 1)
        await until(lambda: (one.root / "name").is_dir())
        await in_sync(folder)
        tree = one.tree()
    assert tree.pop("name") is None
    ((name, data),) = tree.items()
    assert name.startswith("name (conflict one ")
    assert data == b"a person saved this"


async def test_a_directory_that_was_taken_away_above_is_made_again(scene: Scene) -> None:
    """Only the listing of the directory above shows that one is gone."""
    one, two = scene.one, scene.two
    (one.root / "above" / "gone").mkdir(parents=True)
    async with running(scene) as folder:
        await in_sync(folder)
        offer = await folder.changesets(scene.own_log, 0, 1 << 20)
        assert offer is not None
        await two.ingest(offer.wires)
        await two.bring(one)
        (two.root / "above" / "gone" / "new").mkdir()
        await two.scan()
        (one.root / "above" / "gone").rmdir()
        folder.changesets_received(tuple(two.authored), "two", 1)
        await until(lambda: (one.root / "above" / "gone" / "new").is_dir())
        await in_sync(folder)


# ---------------------------------------------------------------- what is told meanwhile


async def saved_on_two(scene: Scene, folder: Folder, **files: bytes) -> None:
    """The other device has these files, and nobody has given any bytes yet."""
    for name, data in files.items():
        (scene.two.root / name).write_bytes(data)
    await scene.two.scan()
    folder.changesets_received(tuple(scene.two.authored), "two", 1)
    await until(lambda: len(waited_for(folder)) == len(files))


def waited_for(folder: Folder) -> Collection[bytes]:
    """The chunks that would be taken now."""
    assert folder.fetcher is not None
    return folder.fetcher._waiting


async def give(folder: Folder, *datas: bytes) -> None:
    await folder.receive_chunks(
        [ReceivedChunk(HASHER.chunk_id(data), 0, len(data), data) for data in datas]
    )


async def test_bytes_that_nobody_has_are_told_by_their_path(scene: Scene) -> None:
    async with running(scene) as folder:
        await in_sync(folder)
        (scene.two.root / "d").mkdir()
        await saved_on_two(scene, folder, **{"d/there": b"1", "lost": b"22"})
        fetcher = folder.fetcher
        assert fetcher is not None
        for key in list(fetcher.jobs):
            fetcher.give_up(key)
        folder.wake()
        reason = lacking.NEW.format(who="two")
        told = {("d", "there"): reason, ("lost",): reason}
        await until(lambda: folder.progress.undelivered == told)
        folder.ask_again()
        await until(lambda: len(waited_for(folder)) == 2)
        await give(folder, b"1", b"22")
        await in_sync(folder)
        assert folder.progress.undelivered == {}


async def test_what_comes_is_no_longer_told_though_something_else_waits(scene: Scene) -> None:
    """A large file keeps a folder from rest for hours: what came meanwhile is not said to wait."""
    data = os.urandom(2 << 20)
    async with running(scene) as folder:
        await in_sync(folder)
        await saved_on_two(scene, folder, small=b"1", lost=b"22")
        (scene.two.root / "large").write_bytes(data)
        await scene.two.scan()
        folder.changesets_received(tuple(scene.two.authored), "two", 1)
        fetcher = folder.fetcher
        assert fetcher is not None
        await until(lambda: len(waited_for(folder)) > 3)
        (large,) = (job for job in fetcher.jobs.values() if job.content.size == len(data))
        pieces = [(offset, size) for places in large.missing.values() for offset, size in places]
        for key in list(fetcher.jobs):
            fetcher.give_up(key)
        folder.wake()
        reason = lacking.NEW.format(who="two")
        await until(lambda: len(folder.progress.undelivered) == 3)
        folder.ask_again()
        await until(lambda: len(waited_for(folder)) == 2 + len(pieces))
        offset, size = pieces[0]
        await give(folder, b"1", data[offset : offset + size])
        folder.wake()
        await until(lambda: folder.progress.undelivered == {("lost",): reason})
        assert len(fetcher.jobs) == 2  # as it stands while the rest is on its way


async def test_a_small_file_does_not_wait_for_a_large_one(scene: Scene) -> None:
    """Also if it is the first that comes since the daemon runs."""
    async with running(scene) as folder:
        await in_sync(folder)
        await saved_on_two(scene, folder, small=b"1", other=b"22")
        await give(folder, b"1")
        await until(lambda: (scene.one.root / "small").exists())
        assert folder.fetcher is not None
        assert len(folder.fetcher.jobs) == 1


async def test_what_waits_is_told_without_a_break_while_it_is_asked_for_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks at any moment sees it: while the words are put together, and when somebody
    asks again just then.
    """
    async with running(scene) as folder:
        await in_sync(folder)
        await saved_on_two(scene, folder, lost=b"22")
        fetcher = folder.fetcher
        assert fetcher is not None
        seen: list[tuple[dict[DiskPath, str], FolderState]] = []
        asked = 0
        summary = folder.store.summary

        def look() -> None:
            seen.append((dict(folder.progress.undelivered), folder.progress.state))

        async def count() -> Summary:
            nonlocal asked
            found = await summary()
            if fetcher.unavailable and asked < 3:
                asked += 1
                folder.ask_again()
            look()
            return found

        async def put_together(*args: Any) -> dict[DiskPath, str]:
            look()
            return await lacking.reasons(*args)

        def give_up() -> None:
            for key in list(fetcher.jobs):
                fetcher.give_up(key)
            folder.wake()
            look()

        def is_asked_enough() -> bool:
            give_up()
            return asked == 3 and bool(fetcher.unavailable)

        told = {("lost",): lacking.NEW.format(who="two")}
        give_up()
        await until(lambda: folder.progress.undelivered == told)
        seen.clear()
        monkeypatch.setattr(folder.store, "summary", count)
        monkeypatch.setattr(delivery, "reasons", put_together)
        folder.ask_again()
        await until(is_asked_enough)
        assert seen == [(told, FolderState.SYNCING)] * len(seen)


async def test_a_false_record_is_told_by_its_path(scene: Scene) -> None:
    async with running(scene) as folder:
        await in_sync(folder)
        await saved_on_two(scene, folder, false=b"1")
        fetcher = folder.fetcher
        assert fetcher is not None
        (job,) = fetcher.jobs.values()
        fetcher._refuse(job)
        folder.wake()
        await until(lambda: "hash" in folder.progress.undelivered.get(("false",), ""))


async def test_what_the_disk_refuses_is_told_and_holds_up_nothing_else(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = Refusal(RefusalKind.NO_PERMISSION, "Holdfast may not change it.")
    apply, tries = scene.one.disk.apply, 0

    def refuse(operations: list[Operation]) -> list[Stat | Refusal]:
        nonlocal tries
        out: list[Stat | Refusal] = []
        for operation in operations:
            if isinstance(operation, Publish) and operation.target == ("locked",):
                tries += 1
                out.append(refused)
            else:
                out += apply([operation])
        return out

    async with running(scene) as folder:
        await in_sync(folder)
        await saved_on_two(scene, folder, locked=b"1", free=b"22")
        with monkeypatch.context() as patch:
            patch.setattr(scene.one.disk, "apply", refuse)
            await give(folder, b"1", b"22")
            await until(lambda: folder.progress.undelivered == {("locked",): refused.reason})
            await until(lambda: scene.one.tree() == {"free": b"22"})
            (scene.two.root / "free").write_bytes(b"333")
            await scene.two.scan()
            folder.changesets_received(tuple(scene.two.authored), "two", 2)
            await until(lambda: waited_for(folder))
            await give(folder, b"333")
            await until(lambda: scene.one.tree() == {"free": b"333"})
            assert tries <= 2
        pass_time(monkeypatch, RETRY_S)
        folder.wake()
        await in_sync(folder)
        assert scene.one.tree() == {"free": b"333", "locked": b"1"}
        assert folder.progress.undelivered == {}


async def test_what_a_look_does_not_show_is_not_tried_for_ever(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of this name is there, and ignored here: no scan tells of it."""
    one, two = scene.one, scene.two
    (one.root / ".holdfastignore").write_bytes(b"taken\n")
    (one.root / "taken").write_bytes(b"mine")
    apply, tries = one.disk.apply, 0

    def count(operations: list[Operation]) -> list[Stat | Refusal]:
        nonlocal tries
        tries += sum(isinstance(o, Publish) and o.target == ("taken",) for o in operations)
        return apply(operations)

    monkeypatch.setattr(one.disk, "apply", count)
    monkeypatch.setattr(delivery, "RETRY_SOON_S", 0.01)
    async with running(scene) as folder:
        await in_sync(folder)
        await saved_on_two(scene, folder, taken=b"1")
        await give(folder, b"1")
        reason = "There is something in its place already."
        await until(lambda: folder.progress.undelivered == {("taken",): reason})
        assert tries == PASSING_MAX + 1
        (two.root / "free").write_bytes(b"22")
        await two.scan()
        folder.changesets_received(tuple(two.authored), "two", 2)
        await until(lambda: waited_for(folder))
        await give(folder, b"22")
        await until(lambda: (one.root / "free").exists())
        assert tries == PASSING_MAX + 1
        assert (one.root / "taken").read_bytes() == b"mine"
        (one.root / "taken").unlink()
        pass_time(monkeypatch, RETRY_S)
        folder.wake()
        await until(lambda: (one.root / "taken").exists())
        await in_sync(folder)
        assert folder.progress.undelivered == {}


@pytest.mark.row("F06")
async def test_when_there_is_space_again_it_goes_on_by_itself(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file could not be laid down."""

    def fail(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with running(scene) as folder:
        await in_sync(folder)
        await saved_on_two(scene, folder, a=b"1")
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", fail)
            await give(folder, b"1")
            await until(lambda: folder.progress.state is FolderState.NO_SPACE)
            assert "space" in folder.progress.trouble
        pass_time(monkeypatch, NO_ROOM_S)
        folder.wake()
        await until(lambda: waited_for(folder))
        await give(folder, b"1")
        await in_sync(folder)
        assert scene.one.tree() == scene.two.tree()
        assert folder.progress.trouble == ""


@pytest.mark.row("F06")
async def test_a_directory_is_made_as_soon_as_there_is_space(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.mkdir

    def fail(path: str | Path, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        if path == "d":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, mode, dir_fd=dir_fd)

    (scene.two.root / "d").mkdir()
    async with running(scene) as folder:
        await in_sync(folder)
        with monkeypatch.context() as patch:
            patch.setattr(os, "mkdir", fail)
            await saved_on_two(scene, folder)
            await until(lambda: folder.progress.state is FolderState.NO_SPACE)
            assert folder.progress.undelivered.keys() == {("d",)}
        pass_time(monkeypatch, NO_ROOM_S)
        folder.wake()
        await in_sync(folder)
        assert scene.one.tree() == scene.two.tree()
        assert folder.progress.undelivered == {}


@pytest.mark.row("F07")
async def test_a_directory_that_cannot_be_made_keeps_what_belongs_in_it_and_nothing_else(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are not shown elsewhere meanwhile, as those of an unknown directory would be."""
    real = os.mkdir

    def fail(path: str | Path, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        if path == "d":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        real(path, mode, dir_fd=dir_fd)

    (scene.two.root / "d" / "deep").mkdir(parents=True)
    (scene.two.root / "e").mkdir()
    async with running(scene) as folder:
        await in_sync(folder)
        with monkeypatch.context() as patch:
            patch.setattr(os, "mkdir", fail)
            files = {"d/in": b"1", "d/deep/in": b"22", "e/in": b"333", "free": b"4444"}
            await saved_on_two(scene, folder, **files)
            await give(folder, *files.values())
            shown = {"e": None, "e/in": b"333", "free": b"4444"}
            await until(lambda: scene.one.tree() == shown)
            await until(lambda: folder.progress.state is FolderState.TROUBLE)
            assert folder.progress.undelivered == {("d",): "Holdfast may not change it."}
            folder.survey_again()
            await until(lambda: folder.progress.state is FolderState.TROUBLE)
            assert scene.one.tree() == shown
        pass_time(monkeypatch, RETRY_S)
        folder.wake()
        await until(lambda: (scene.one.root / "d" / "deep").is_dir())
        while scene.one.tree() != scene.two.tree():
            await until(lambda: waited_for(folder) or scene.one.tree() == scene.two.tree())
            await give(folder, *files.values())
        await in_sync(folder)
        assert folder.progress.undelivered == {}
