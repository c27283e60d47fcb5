"""A file that a person has paused: its bytes wait, and nothing else does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from peer.errors import NotOnItsWay, UsageError
from peer.folders import pausing
from peer.folders.folder import Folder
from peer.folders.index_store import PAUSED
from peer.folders.pausing import Pausing
from peer.status import FolderState
from protocol.changesets import FrontierEntry
from protocol.events import ReceivedChunk
from tests.peer.device_stage import until
from tests.peer.folders.test_delivery import give, saved_on_two, waited_for
from tests.peer.folders.test_folder import Scene, in_sync, open_scene, running

LARGE = Random(1).randbytes(3 << 20)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(tmp_path) as scene:
        yield scene


def pausing_of(folder: Folder) -> Pausing:
    assert folder.delivery is not None
    return folder.delivery.pausing


async def pause(folder: Folder, *path: str) -> None:
    await folder.call(lambda: pausing_of(folder).pause(path))


async def resume(folder: Folder, *path: str) -> None:
    await folder.call(lambda: pausing_of(folder).resume(path))


async def partly_paused(folder: Folder) -> None:
    await until(lambda: folder.progress.state is FolderState.PARTLY_PAUSED)


async def written_on_two(scene: Scene, folder: Folder) -> None:
    """What the other device did since is known here."""
    await scene.two.scan()
    folder.changesets_received(tuple(scene.two.authored), "two", 1)


async def pause_an_edit(scene: Scene, folder: Folder) -> None:
    """Both have `file`, as `1`; the other device has saved `22` over it, which is paused here."""
    await in_sync(folder)
    await saved_on_two(scene, folder, file=b"1")
    await give(folder, b"1")
    await in_sync(folder)
    (scene.two.root / "file").write_bytes(b"22")
    await written_on_two(scene, folder)
    await until(lambda: waited_for(folder))
    await pause(folder, "file")


async def give_chunks(folder: Folder, data: bytes, count: int | None = None) -> None:
    """So many of the chunks that are waited for, of one large file."""
    assert folder.fetcher is not None
    (job,) = folder.fetcher.jobs.values()
    chunks = [
        ReceivedChunk(chunk_id, 0, length, data[offset : offset + length])
        for chunk_id, ((offset, length),) in list(job.missing.items())[:count]
    ]
    await folder.receive_chunks(chunks)


async def test_it_waits_and_all_others_come(scene: Scene) -> None:
    async with running(scene) as folder:
        await in_sync(folder)
        await saved_on_two(scene, folder, later=b"1", now=b"22")
        await pause(folder, "later")
        assert len(waited_for(folder)) == 1
        await give(folder, b"1", b"22")
        await partly_paused(folder)
        assert scene.one.tree() == {"now": b"22"}
        assert (folder.progress.undelivered, folder.progress.trouble) == ({}, "")
        assert folder.fetcher is not None
        assert folder.fetcher.paused_lack == (1, 1)
        folder.ask_again()  # somebody came
        folder.rescan()
        await until(lambda: folder.delivery is not None and not folder.delivery.is_asked_again)
        await partly_paused(folder)
        assert not waited_for(folder)
        await resume(folder, "later")
        await until(lambda: len(waited_for(folder)) == 1)
        await give(folder, b"1")
        await in_sync(folder)
        assert scene.one.tree() == {"now": b"22", "later": b"1"}
        assert folder.fetcher.paused_lack == (0, 0)


async def test_others_are_not_told_that_it_is_here(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: list[FrontierEntry] = []
    monkeypatch.setattr(scene.others, "applied", lambda folder_id, told: applied.extend(told))
    async with running(scene) as folder:
        await in_sync(folder)
        applied.clear()
        await saved_on_two(scene, folder, later=b"1")
        await pause(folder, "later")
        await partly_paused(folder)
        assert applied == []
        await resume(folder, "later")
        await until(lambda: waited_for(folder))
        await give(folder, b"1")
        await until(lambda: applied)


async def test_a_large_one_goes_on_where_it_was(scene: Scene) -> None:
    async with running(scene) as folder:
        await in_sync(folder)
        (scene.two.root / "large").write_bytes(LARGE)
        await written_on_two(scene, folder)
        await until(lambda: waited_for(folder))
        chunks = len(waited_for(folder))
        assert chunks > 2
        await give_chunks(folder, LARGE, 2)
        await pause(folder, "large")
        assert folder.fetcher is not None
        files, lacking = folder.fetcher.paused_lack
        assert files == 1
        assert 0 < lacking < len(LARGE)
        await partly_paused(folder)
        await resume(folder, "large")
        await until(lambda: waited_for(folder))
        assert len(waited_for(folder)) == chunks - 2
        await give_chunks(folder, LARGE)
        await in_sync(folder)
        assert scene.one.tree() == {"large": LARGE}


async def test_it_waits_still_after_a_restart(scene: Scene) -> None:
    async with running(scene) as folder:
        await in_sync(folder)
        await saved_on_two(scene, folder, later=b"1", now=b"22")
        await pause(folder, "later")
    folder = scene.folder()
    values = await scene.store.values()
    async with running(scene) as folder:
        pausing_of(folder).restore(values)
        await until(lambda: len(waited_for(folder)) == 1)
        await give(folder, b"1", b"22")
        await partly_paused(folder)
        assert scene.one.tree() == {"now": b"22"}
        await resume(folder, "later")
        await until(lambda: waited_for(folder))
        await give(folder, b"1")
        await in_sync(folder)
    assert (await scene.store.values())[PAUSED] == b""


async def test_what_was_kept_is_read_as_far_as_it_is_whole(scene: Scene) -> None:
    folder = scene.folder()
    pausing_of(folder).restore({PAUSED: b"a" * 16 + b"b" * 15})
    assert folder.fetcher is not None
    assert folder.fetcher.paused == {b"a" * 16}
    pausing_of(folder).restore({})
    assert folder.fetcher.paused == {b"a" * 16}
    folder._performer.executor.shutdown()
    folder._serving.close()


async def test_one_that_is_deleted_elsewhere_waits_no_more(scene: Scene) -> None:
    async with running(scene) as folder:
        await in_sync(folder)
        await saved_on_two(scene, folder, gone=b"1")
        await pause(folder, "gone")
        await partly_paused(folder)
        (scene.two.root / "gone").unlink()
        await written_on_two(scene, folder)
        await in_sync(folder)
        assert folder.fetcher is not None
        assert (folder.fetcher.paused, folder.fetcher.resting) == (set(), {})
        assert (await scene.store.values())[PAUSED] == b""
        assert scene.one.tree() == {}


async def test_a_newer_version_of_it_waits_as_well(scene: Scene) -> None:
    async with running(scene) as folder:
        await pause_an_edit(scene, folder)
        await partly_paused(folder)
        (scene.two.root / "file").write_bytes(b"333")
        await written_on_two(scene, folder)
        assert folder.fetcher is not None
        fetcher = folder.fetcher
        await until(lambda: [n.content.size for n in fetcher.resting.values()] == [3])
        await partly_paused(folder)
        assert scene.one.tree() == {"file": b"1"}
        await resume(folder, "file")
        await until(lambda: waited_for(folder))
        await give(folder, b"333")
        await in_sync(folder)
        assert scene.one.tree() == {"file": b"333"}


async def test_it_is_renamed_while_it_waits(scene: Scene) -> None:
    async with running(scene) as folder:
        await pause_an_edit(scene, folder)
        (scene.two.root / "file").rename(scene.two.root / "other")
        await written_on_two(scene, folder)
        await until(lambda: scene.one.tree() == {"other": b"1"})
        await partly_paused(folder)
        with pytest.raises(NotOnItsWay):
            await resume(folder, "file")
        await resume(folder, "other")
        await until(lambda: waited_for(folder))
        await give(folder, b"22")
        await in_sync(folder)
        assert scene.one.tree() == {"other": b"22"}


async def test_one_that_is_saved_over_here_keeps_both_edits_apart(scene: Scene) -> None:
    """What a person saves while the other edit waits is told, and is no reason to fetch it."""
    async with running(scene) as folder:
        await pause_an_edit(scene, folder)
        (scene.one.root / "file").write_bytes(b"mine")
        folder.rescan()
        await until(lambda: scene.own_log in {e.log_id for e in scene.others.told})
        await partly_paused(folder)
        assert scene.one.tree() == {"file": b"mine"}
        await resume(folder, "file")
        await until(lambda: waited_for(folder))
        await give(folder, b"22")
        await in_sync(folder)
        assert sorted(filter(None, scene.one.tree().values())) == [b"22", b"mine"]


async def test_one_whose_turn_has_not_come_can_be_paused(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pausing, "PAGE", 1)
    async with running(scene) as folder:
        await in_sync(folder)
        (scene.two.root / "d").mkdir()
        await saved_on_two(scene, folder, **{"a": b"1", "later": b"22", "d/later": b"333"})
        fetcher = folder.fetcher
        assert fetcher is not None
        (late,) = (key for key, job in fetcher.jobs.items() if job.content.size == 3)
        fetcher.drop([late])
        await pause(folder, "d", "later")
        assert fetcher.paused == {late[0]}
        assert set(fetcher.resting) == {late}
        await give(folder, b"1", b"22", b"333")
        await partly_paused(folder)
        assert scene.one.tree() == {"a": b"1", "d": None, "later": b"22"}


async def test_what_is_not_on_its_way_is_not_paused(scene: Scene) -> None:
    async with running(scene) as folder:
        await in_sync(folder)
        await saved_on_two(scene, folder, here=b"1")
        await give(folder, b"1")
        await in_sync(folder)
        for path in (("here",), ("nowhere",), ()):
            with pytest.raises(NotOnItsWay):
                await pause(folder, *path)
            with pytest.raises(NotOnItsWay):
                await resume(folder, *path)


async def test_so_many_are_paused_and_no_more(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pausing, "PAUSED_MAX", 1)
    async with running(scene) as folder:
        await in_sync(folder)
        await saved_on_two(scene, folder, one=b"1", two=b"22")
        await pause(folder, "one")
        await pause(folder, "one")
        with pytest.raises(UsageError, match="pause the folder"):
            await pause(folder, "two")


async def test_bytes_that_another_file_needs_come(scene: Scene) -> None:
    """They are of one node for both, or are copied here from the one that has come."""
    async with running(scene) as folder:
        await in_sync(folder)
        await saved_on_two(scene, folder, later=b"same")
        await pause(folder, "later")
        (scene.two.root / "now").write_bytes(b"same")
        await written_on_two(scene, folder)
        await until(lambda: waited_for(folder))
        await give(folder, b"same")
        await partly_paused(folder)
        assert scene.one.tree() == {"now": b"same"}
