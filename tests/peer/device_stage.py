"""Whole devices in one process: daemons on loopback with homes and folders in a temporary place."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from crypto.ids import DeviceId
from peer.daemon import Daemon
from peer.device import setup
from peer.device.config import Config
from peer.device.home import Home
from peer.folders.folder import Folder
from peer.status import FolderState
from protocol.handshake import PeerKeys
from protocol.link import Link, LinkKind
from protocol.links import authenticate_client, dial
from tests.nonces import NonceRegistry, watched_nonces

LOOPBACK = "127.0.0.1"
DEADLINE_S = 45.0
STAGING_DEADLINE_S = 60.0
"""For making and pairing devices, which is not what is tested, on a busy machine."""
LOOKS_A_SECOND = 20
"""A tenth of those that one who waits has on a machine with nothing else to do."""


class _Over(Exception):
    """The test is over: end all tasks."""


class Stage:
    """Daemons that run until the test ends."""

    def __init__(self, base: Path, tasks: asyncio.TaskGroup, links: tuple[str, ...]) -> None:
        self.base, self.tasks, self.links = base, tasks, links
        self.running: list[Daemon] = []
        self.has_discovery = False

    def home(self, name: str) -> Path:
        return self.base / f"home-{name}"

    def root(self, name: str) -> Path:
        """The directory that a device has for its folder."""
        root = self.base / name
        root.mkdir(exist_ok=True)
        return root

    async def start(self, name: str, **settings: Any) -> Daemon:
        config = Config(
            listen=((LOOPBACK, 0),), discovery=self.has_discovery, links=self.links, **settings
        )
        async with asyncio.timeout(STAGING_DEADLINE_S):
            daemon = Daemon(await Home.open(self.home(name)), config, self.tasks)
            self.running.append(daemon)
            await daemon.start()
        return daemon

    async def found(self, name: str, **settings: Any) -> Daemon:
        """The first device of a new user."""
        await setup.init_home(self.home(name), name)
        return await self.start(name, **settings)

    async def join(self, daemon: Daemon, name: str) -> Daemon:
        """One more device of the user."""
        async with asyncio.timeout(STAGING_DEADLINE_S):
            code = (await daemon.invite())["code"]
            await setup.join(self.home(name), code, (LOOPBACK, port_of(daemon)), name)
        return await self.start(name)

    async def meet(self, one: Daemon, two: Daemon) -> None:
        """Links two devices that were not told where the other is."""
        two.dialling.heard_of(device_id(one), LOOPBACK, port_of(one))
        await until(lambda: are_linked(one, two))

    async def share(self, one: Daemon, two: Daemon) -> tuple[Folder, Folder]:
        """One folder, `f`, on both, in the directories named as the devices."""
        async with asyncio.timeout(STAGING_DEADLINE_S):
            await one.add_folder(self.root(one.name), "f")
            await until(lambda: any(two._name_of(s) == "f" for s in two.stored.values()))
            await two.attach_folder("f", self.root(two.name))
        return folder_of(one), folder_of(two)


@asynccontextmanager
async def devices(base: Path, links: tuple[str, ...] = ("tls",)) -> AsyncIterator[Stage]:
    """A stage; its daemons have ended when this has, or the test fails and says which tasks run. It
    fails too if they sealed two things under one key and nonce (ATTACKS A06).
    """
    with watched_nonces(NonceRegistry()):
        async with _devices(base, links) as stage:
            yield stage


@asynccontextmanager
async def _devices(base: Path, links: tuple[str, ...]) -> AsyncIterator[Stage]:
    opened: asyncio.Future[Stage] = asyncio.get_running_loop().create_future()
    is_over = asyncio.Event()
    # A task of its own: a fixture is left in another task than it was entered in, and a task group
    # tells of a child's failure only the task that entered it.
    keeper = asyncio.get_running_loop().create_task(_keep(base, links, opened, is_over))
    try:
        yield await opened
    finally:
        is_over.set()
        await asyncio.wait({keeper}, timeout=2 * DEADLINE_S)
        if not keeper.done():
            running = sorted(str(task.get_coro()) for task in asyncio.all_tasks())
            raise AssertionError("these tasks do not end:\n" + "\n".join(running))
        for _ in range(10):  # a transport that was aborted closes its socket some rounds later
            await asyncio.sleep(0)
        keeper.result()


async def _keep(
    base: Path, links: tuple[str, ...], opened: asyncio.Future[Stage], is_over: asyncio.Event
) -> None:
    stage: Stage | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            stage = Stage(base, tasks, links)
            opened.set_result(stage)
            await is_over.wait()
            for daemon in stage.running:
                daemon.network.close_all()
            raise _Over
    except* _Over:
        pass
    finally:
        for daemon in stage.running if stage is not None else ():
            await daemon.close()
            await daemon.home.close()


async def make_homes(base: Path, first: str, *others: str) -> None:
    """Homes of one user's devices, none of them running: to be copied, for pairing takes time."""
    async with devices(base) as stage:
        daemon = await stage.found(first)
        for name in others:
            code = (await daemon.invite())["code"]
            await setup.join(stage.home(name), code, (LOOPBACK, port_of(daemon)), name)


def copy_homes(homes: Path, base: Path) -> None:
    for home in homes.iterdir():
        shutil.copytree(home, base / home.name)


def port_of(daemon: Daemon) -> int:
    return daemon._listener.port


def folder_of(daemon: Daemon) -> Folder:
    (folder,) = daemon.network.folders.values()
    return folder


async def until(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Waits for what others bring about; a test that waits in vain fails here.

    A machine so busy that this loop gets no turns gives none to the devices either, which run in
    it: so the deadline is one in looks, too.
    """
    deadline, looks_left = time.monotonic() + deadline_s, deadline_s * LOOKS_A_SECOND
    while not condition():
        looks_left -= 1
        if time.monotonic() > deadline and looks_left <= 0:
            raise TimeoutError(f"it did not come about in {deadline_s} s")
        await asyncio.sleep(0.005)


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Moves the loop's clock on: timers that are due by then run at once."""
    loop = asyncio.get_running_loop()
    time = loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + seconds)


def are_linked(one: Daemon, two: Daemon) -> bool:
    return all(
        any(c.device_id == b.home.keys.device_id and c.name for c in a.network.status())
        for a, b in ((one, two), (two, one))
    )


def keys_of(daemon: Daemon) -> PeerKeys:
    keys = daemon.home.keys
    return PeerKeys(keys.device_id, keys.sign_public, keys.dh_public)


async def evil_link(victim: Daemon, impostor: Home, kind: LinkKind = LinkKind.TLS) -> Link:
    """A link that is authenticated with a real device's keys, for somebody to misuse."""
    link = await dial(kind, LOOPBACK, port_of(victim))
    await authenticate_client(link, impostor.keys, keys_of(victim))
    return link


def device_id(daemon: Daemon) -> DeviceId:
    return daemon.home.keys.device_id


def shows(root: Path, name: str, data: bytes) -> bool:
    return (root / name).is_file() and (root / name).read_bytes() == data


async def state_of(daemon: Daemon) -> str:
    return (await daemon.status())["folders"][0]["state"]


async def until_state(daemon: Daemon, state: FolderState) -> None:
    async with asyncio.timeout(60):
        while await state_of(daemon) != state:
            await asyncio.sleep(0.01)
