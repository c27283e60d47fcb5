"""A whole daemon, two of them in one process: what a person can ask, and what then happens."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peer import daemon as daemon_module
from peer.core.commands import Command, Commit
from peer.daemon import Daemon
from peer.device.config import Config
from peer.device.home import Home
from peer.errors import (
    AddressInUse,
    PeerError,
)
from peer.status import FolderState
from protocol.changesets import INCARNATION_SIZE
from tests.peer.device_stage import (
    LOOPBACK,
    Stage,
    are_linked,
    devices,
    folder_of,
    port_of,
    shows,
    until,
    until_state,
)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with devices(tmp_path) as stage:
        yield stage


@pytest.fixture
async def pair(stage: Stage) -> tuple[Daemon, Daemon]:
    one = await stage.found("one")
    return one, await stage.join(one, "two")


Pair = tuple[Daemon, Daemon]


async def test_what_one_device_writes_the_other_shows(stage: Stage, pair: Pair) -> None:
    one, two = pair
    await stage.share(one, two)
    (stage.root("one") / "d").mkdir()
    (stage.root("one") / "d" / "a").write_bytes(b"hello" * 50_000)
    (stage.root("two") / "b").write_bytes(b"world")
    await until(lambda: shows(stage.root("two"), "d/a", b"hello" * 50_000))
    await until(lambda: shows(stage.root("one"), "b", b"world"))
    await until_state(one, FolderState.IN_SYNC)
    await until_state(two, FolderState.IN_SYNC)


# ---------------------------------------------------------------- as a process


async def test_a_restart_goes_on(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        await stage.share(one, two)
        (stage.root("one") / "a").write_bytes(b"1")
        await until(lambda: shows(stage.root("two"), "a", b"1"))
    (tmp_path / "two" / "b").write_bytes(b"made while nobody looked")
    async with devices(tmp_path) as stage:
        one, two = await stage.start("one"), await stage.start("two")
        one.dialling.heard_of(two.home.keys.device_id, LOOPBACK, port_of(two))
        await until(lambda: shows(stage.root("one"), "b", b"made while nobody looked"))
        assert are_linked(one, two)


async def test_run_ends_when_it_is_told_to(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        await stage.found("one")
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(
            daemon_module.run(tmp_path / "home-one", (LOOPBACK, 0), False, ["tls"])
        )
        socket = tmp_path / "home-one" / "control.sock"
        while not socket.exists():
            await asyncio.sleep(0.005)
        running.cancel()
    assert not socket.exists()
    home = await Home.open(tmp_path / "home-one")  # its lock was given back
    await home.close()


async def test_a_home_that_was_not_set_up_says_so(tmp_path: Path) -> None:
    from crypto.keys import DeviceKeys

    home = await Home.create(tmp_path / "home", DeviceKeys.generate(lambda size: b"s" * size))
    try:
        async with asyncio.TaskGroup() as tasks:
            with pytest.raises(PeerError, match="holdfast init"):
                await Daemon(home, Config(), tasks).start()
    finally:
        await home.close()


async def test_a_port_in_use_is_said(stage: Stage, pair: Pair) -> None:
    from peer.device import setup

    await setup.init_home(stage.home("three"), "three")
    home = await Home.open(stage.home("three"))
    config = Config(listen=((LOOPBACK, port_of(pair[0])),), discovery=False, links=("tls",))
    try:
        with pytest.raises(AddressInUse, match=r"\. Choose another with `--listen"):
            await Daemon(home, config, stage.tasks).start()
    finally:
        await home.close()


async def test_a_defect_in_one_folder_is_that_folder_s(
    stage: Stage, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """The engine's door: the daemon and the other folders live on."""
    one, two = pair
    await stage.share(one, two)
    other = await one.add_folder(stage.root("other"), "g")
    broken = folder_of(two)

    async def defect(now: float) -> bool:
        raise ZeroDivisionError("a defect")

    broken._step = defect  # type: ignore[method-assign]
    with caplog.at_level(logging.CRITICAL, "peer.daemon"):
        broken.wake()
        await until(lambda: broken.progress.state is FolderState.TROUBLE)
    assert "defect" in broken.progress.trouble
    with pytest.raises(PeerError, match="has a defect here"):  # and nobody waits for ever
        await broken.call(broken.store.close)
    await until(lambda: other["id"] in [f.hex() for f in two.stored])
    assert are_linked(one, two)


async def test_an_incarnation_is_kept_before_it_is_used(stage: Stage, pair: Pair) -> None:
    one, two = pair
    folder, _ = await stage.share(one, two)
    before = folder.engine.incarnation
    folder.needs_incarnation = True
    folder.wake()
    await until(lambda: folder.engine.incarnation != before)
    assert len(folder.engine.incarnation) == INCARNATION_SIZE
    (stored,) = await one.home.store.folders()
    assert stored.incarnation == folder.engine.incarnation
    (stage.root("one") / "a").write_bytes(b"1")
    await until(lambda: shows(stage.root("two"), "a", b"1"))
    assert len(folder.engine.book.frontier()) == 2


async def test_a_disk_without_room_shows_what_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says why it does not show the rest; then there is room, and it goes on by itself."""
    monkeypatch.setattr("peer.folders.delivery.NO_ROOM_S", 0.2)
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        _, folder = await stage.share(one, two)
        disk, free = folder.disk, 5 << 20
        assert disk is not None
        disk.free_bytes = lambda: free + (256 << 20)  # type: ignore[method-assign]
        (stage.root("one") / "large").write_bytes(b"x" * (6 << 20))
        (stage.root("one") / "small").write_bytes(b"1")
        await until(lambda: shows(stage.root("two"), "small", b"1"))
        await until_state(two, FolderState.NO_SPACE)
        assert "6 MB are to be fetched" in folder.progress.trouble
        assert not (stage.root("two") / "large").exists()
        free = 7 << 20
        await until(lambda: (stage.root("two") / "large").exists())
        await until_state(two, FolderState.IN_SYNC)


@pytest.mark.row("F06")
async def test_a_commit_that_failed_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the engine took for told and its index did not is found again, and told under a position
    that no other changeset has.
    """
    monkeypatch.setattr("peer.folders.folder.RETRY_S", 0.1)
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        await stage.share(one, two)
        folder = folder_of(one)
        perform, failed = folder.store.perform, asyncio.Event()

        async def full(command: Command[Any]) -> Any:
            if isinstance(command, Commit) and command.changesets:
                failed.set()
                raise sqlite3.OperationalError("database or disk is full")
            return await perform(command)

        monkeypatch.setattr(folder.store, "perform", full)
        (stage.root("one") / "a").write_bytes(b"1")
        await asyncio.wait_for(failed.wait(), 5)
        assert folder.progress.state is not FolderState.IN_SYNC
        await until(lambda: folder_of(one) is not folder)  # opened anew, from what was stored
        await until(lambda: shows(stage.root("two"), "a", b"1"))
        (stage.root("two") / "b").write_bytes(b"2")
        await until(lambda: shows(stage.root("one"), "b", b"2"))
        await until_state(one, FolderState.IN_SYNC)
        assert not one.network.counts
        assert not two.network.counts
    async with devices(tmp_path) as stage:
        await stage.start("one")  # its logs have no gap


@pytest.mark.row("F06")
async def test_a_home_that_cannot_be_written_ends_no_log(
    stage: Stage, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder goes on in the log that it has, says what is wrong, and writes down what it owes
    when there is space.
    """
    monkeypatch.setattr("peer.folders.floor_keeping.FLOOR_INTERVAL_S", 0.02)
    one, _ = pair
    folder, _ = await stage.share(one, pair[1])
    incarnation, keep = folder.engine.incarnation, folder.floor_keeper.keep
    written = asyncio.Event()

    async def full() -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async def has_space() -> None:
        await keep()
        written.set()

    folder.floor_keeper.keep = full
    (stage.root("one") / "a").write_bytes(b"1")
    await until(lambda: shows(stage.root("two"), "a", b"1"))
    await until_state(one, FolderState.TROUBLE)
    (told,) = (await one.status())["folders"][0]["errors"]
    assert "home cannot be written: database or disk is full" in told["reason"]
    folder.floor_keeper.keep = has_space
    await asyncio.wait_for(written.wait(), 15)
    await until_state(one, FolderState.IN_SYNC)
    assert folder_of(one) is folder
    assert folder.engine.incarnation == incarnation
    assert len(folder.engine.book.frontier()) == 1


async def test_a_missing_disk_is_not_asked_all_the_time(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        await one.add_folder(stage.root("one"), "f")
        await until_state(one, FolderState.IN_SYNC)
        folder, asked = folder_of(one), []
        assert folder.disk is not None
        present = folder.disk.marker_present
        folder.disk.marker_present = lambda i: asked.append(i) or False  # type: ignore[func-returns-value,method-assign,assignment]
        folder.rescan()
        await until_state(one, FolderState.NO_DISK)
        for _ in range(20):
            folder.wake()
            await asyncio.sleep(0)
        assert len(asked) == 1
        folder.disk.marker_present = present  # type: ignore[method-assign]


async def test_what_cannot_be_closed_keeps_nothing_else_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread of an open database would keep the process alive."""
    from peer.folders.folder import Folder
    from peer.journal.witness import Witness
    from peer.share_links.link_requests import ShareLinkRequests

    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        await one.add_folder(stage.root("one"), "f")
    closed: list[str] = []
    for kind in (Witness, ShareLinkRequests, Folder):

        async def close(self: Any, kind: Any = kind, real: Any = kind.close) -> None:
            await real(self)
            closed.append(kind.__name__)
            raise OSError(f"{kind.__name__} cannot be closed")

        monkeypatch.setattr(kind, "close", close)
    running = asyncio.ensure_future(
        daemon_module.run(tmp_path / "home-one", (LOOPBACK, 0), False, ["tls"])
    )
    await until(lambda: (tmp_path / "home-one" / "control.sock").exists())
    running.cancel()
    with pytest.raises(OSError, match="ShareLinkRequests cannot be closed"):
        await asyncio.wait_for(running, 60)
    assert closed == ["Folder", "Witness", "ShareLinkRequests"]
    home = await Home.open(tmp_path / "home-one")  # its lock was given back
    await home.close()
