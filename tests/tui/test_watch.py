"""What is known of the daemon: looked for when something happens, kept when it is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from peer.errors import DaemonSilent
from peer.status import FolderState
from tests.peer.fake_daemon import FakeDaemon, running
from tui import watch
from tui.daemon import Daemon
from tui.watch import Seen, Standing, Watch

PATIENCE_S = 60.0


class Viewer:
    """Keeps every picture."""

    def __init__(self, home: Path) -> None:
        self.pictures: list[Seen] = []
        self.watch = Watch(Daemon(home), self.pictures.append)

    async def until(self, condition: Callable[[Seen], bool]) -> Seen:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if self.pictures and condition(self.pictures[-1]):
                    return self.pictures[-1]
                await asyncio.sleep(0.01)


@asynccontextmanager
async def watching(home: Path) -> AsyncIterator[Viewer]:
    viewer = Viewer(home)
    work = asyncio.ensure_future(viewer.watch.run())
    try:
        yield viewer
    finally:
        work.cancel()
        await asyncio.wait([work])


def looks(daemon: FakeDaemon) -> int:
    return daemon.calls.count(("list_relays",))


async def test_it_follows_what_becomes_of_the_daemon(tmp_path: Path) -> None:
    async with watching(tmp_path) as viewer:
        await viewer.until(lambda seen: seen.standing is Standing.EMPTY)
        assert viewer.pictures[-1].is_startable
        viewer.watch.starting(True)
        async with running(tmp_path) as daemon:
            seen = await viewer.until(lambda seen: seen.standing is Standing.RUNNING)
            assert seen.told.startswith("alpha · 0 of 1 in sync")
            assert seen.unread == 1
            assert seen.conflicts == daemon.copies
            assert seen.backups is None  # nobody looks at them
            viewer.watch.tab = "backup"
            viewer.watch.look()
            await viewer.until(lambda seen: seen.backups is not None)
            daemon.failure = DaemonSilent("It is busy\x1b.")
            seen = await viewer.until(lambda seen: seen.standing is Standing.TROUBLED)
            assert seen.told == "It is busy\\x1b."
            daemon.failure = None
        seen = await viewer.until(lambda seen: seen.standing is Standing.STARTING)
        viewer.watch.starting(False)
        (tmp_path / "key").touch()
        seen = await viewer.until(lambda seen: seen.standing is Standing.LOST)
        assert seen.folders  # what was seen last stays
        assert seen.is_startable


async def test_what_happens_is_looked_at_at_once_and_silence_hardly_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "BEAT_S", 3600)
    async with running(tmp_path) as daemon:
        daemon.state = FolderState.IN_SYNC
        async with watching(tmp_path) as viewer:
            await viewer.until(lambda seen: seen.standing is Standing.RUNNING)
            async with asyncio.timeout(PATIENCE_S):
                while daemon.events.readers == 0:
                    await asyncio.sleep(0.01)
            daemon.names.append("music")
            daemon.events.publish("notifications", unread=1)
            await viewer.until(lambda seen: len(seen.folders) == 2)
            assert viewer.watch.is_told
            viewer.watch._is_due.clear()
            for _ in range(watch.UNTOLD_EVERY - 1):
                viewer.watch.beat()
            assert not viewer.watch._is_due.is_set()
            viewer.watch.beat()
            assert viewer.watch._is_due.is_set()
            daemon.state = FolderState.SYNCING
            await viewer.until(lambda seen: seen.folders[0]["state"] == FolderState.SYNCING)
            viewer.watch._is_due.clear()
            viewer.watch.beat()  # numbers that run are followed
            assert viewer.watch._is_due.is_set()


async def test_what_has_not_changed_is_not_shown_again(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        daemon.state = FolderState.IN_SYNC
        viewer = Viewer(tmp_path)
        for _ in range(3):
            await viewer.watch._look()
        assert looks(daemon) == 3
        told = [seen.standing for seen in viewer.pictures]
        assert told == [Standing.RUNNING] * len(told)
        # The first look asks for conflicts too, so that the second is another answer.
        assert len(told) == 2


def test_a_look_waits_for_what_a_key_shows_and_a_key_held_down_keeps_nobody_from_looking(
    tmp_path: Path,
) -> None:
    looker = Watch(Daemon(tmp_path), lambda seen: None)
    assert looker.rests_s(10.0) == 0
    looker.key_came(10.0)
    assert looker.rests_s(10.0) == 0  # nobody has looked yet
    looker._looked_s = 10.0
    looker.key_came(10.2)
    assert looker.rests_s(10.2) == pytest.approx(watch.KEY_PAUSE_S)
    assert looker.rests_s(10.2 + 2 * watch.KEY_PAUSE_S) == 0
    looker.key_came(10.0 + watch.BEAT_S)
    assert looker.rests_s(10.0 + watch.BEAT_S) == 0
