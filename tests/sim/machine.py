"""One device of a town: disk, index and clock, and the product's own folder and network on top.

What survives a power cut is the disk, as far as it was synced, the index as far as it was
committed, and the incarnation. All else is made anew by the next start, as folder_setup.py
does it.
"""

from __future__ import annotations

import asyncio
import contextvars
import sqlite3
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from crypto.ids import FolderId, LogId
from peer.connectivity.connection import Connection
from peer.connectivity.network import Network
from peer.core import commands as c
from peer.core.disk_types import Path
from peer.core.engine import Engine
from peer.device.ledgers import FolderMembership, Ledgers
from peer.disk.disk import PosixDisk
from peer.disk.watcher import Hints, Watcher
from peer.folders.deletion_guard import UNLIMITED
from peer.folders.folder import Folder
from peer.folders.index_store import JOINED, IndexBehind, IndexStore
from peer.folders.joining import Joining
from peer.folders.limits import Limits
from peer.folders.upkeep import Policy, Upkeep
from protocol.changesets import log_id_of
from protocol.handshake import PeerKeys
from protocol.logs import LogBook
from tests.protocol import people
from tests.sim.database import Database, new_index
from tests.sim.disk import HASHER
from tests.sim.filesystem import FileSystem
from tests.sim.loop import LIFE, Life, PowerCut
from tests.sim.system import Cutter
from tests.sim.users import Person

if TYPE_CHECKING:
    from tests.sim.town import Town

NAMES = ["Anna", "Bert", "Cleo", "Dora", "Emil"]
RESCAN_S = 300.0
EPOCH_NS = 1_700_000_000 * 10**9


class SimWatcher(Watcher):
    """What the kernel says of changed names; now and then its queue overflows."""

    def __init__(self, fd: int, machine: Machine) -> None:
        self._fd, self._machine = fd, machine
        self._hints = Hints()

    def fileno(self) -> int:
        return self._fd

    def watch(self, paths: Any) -> list[Any]:
        return []

    def note(self, directory: Path, name: str, is_directory: bool) -> None:
        """Something happened to a name; a directory that comes may bring anything with it."""
        loop = self._machine.town.loop
        if loop.random.random() < 0.01:
            self._hints = Hints(has_overflowed=True)
        self._hints.add(directory, name)
        if is_directory:
            self._hints.changed[(*directory, name)] = set()
        loop.has_news(self._fd)

    def read(self) -> Hints:
        hints, self._hints = self._hints, Hints()
        return hints

    def close(self) -> None:
        pass


class WatchedStore(IndexStore):
    """The index store, with somebody who looks at every commit."""

    def __init__(self, db: Database, machine: Machine) -> None:
        super().__init__(db)  # type: ignore[arg-type]
        self._machine = machine

    async def perform(self, command: c.Command[Any]) -> Any:
        if not isinstance(command, c.Commit):
            return await super().perform(command)
        self._machine.commit = command
        answer = await super().perform(command)
        self._machine.commit = None
        return answer


class Machine:
    """One device: what survives a power cut, and the process that runs on it."""

    def __init__(self, number: int, place: people.Place, town: Town, folds_case: bool) -> None:
        self.number, self.place, self.town = number, place, town
        self.name = NAMES[number]
        self.random = Random(f"{town.seed} {self.name}")
        self.skew_ns = 0
        self.files = FileSystem(self.clock_ns, self.random, folds_case)
        self.index = new_index()
        self.incarnation = place.incarnation
        self.person = Person(self.files, town.account, self.random, town.names)  # type: ignore[arg-type]
        self.commit: c.Commit | None = None
        """What is being committed, perhaps when the machine ends."""
        self.has_watcher = self.random.random() < 0.8
        self.policy = Policy(
            self.random.choice([5, 20, 10**6]),
            1,
            20,
            self.random.choice([0, 60, 10**6]),
            self.random.choice([200, 2_000, 1 << 19]),
        )
        """What is kept for a month elsewhere may go at once here."""
        self.is_paused = False
        self.is_powered = True
        self.life = Life(is_over=True)
        self.folder: Folder | None = None
        self.network: Network | None = None
        self.tasks: asyncio.TaskGroup | None = None
        self.database = Database(self.index)
        self._task: asyncio.Task[None] | None = None
        self.context = contextvars.copy_context()
        self._mount(self.files)
        PosixDisk(self.root, HASHER, Cutter()).create_marker(self.folder_id)  # type: ignore[arg-type]
        self.files.sync_all()

    @property
    def root(self) -> str:
        return f"/{self.name}"

    @property
    def folder_id(self) -> FolderId:
        return self.place.ledger.folder_id

    @property
    def peer_keys(self) -> PeerKeys:
        keys = self.place.keys
        return PeerKeys(keys.device_id, keys.sign_public, keys.dh_public)

    @property
    def is_up(self) -> bool:
        return self.tasks is not None and not self.life.is_over

    def own_log(self) -> LogId:
        """The log that this machine writes to now."""
        return log_id_of(self.folder_id, self.place.keys.device_id, self.incarnation)

    def clock_ns(self) -> int:
        """This machine's clock, which may be years off."""
        return EPOCH_NS + int(self.town.loop.now_s * 1e9) + self.skew_ns

    def _mount(self, files: FileSystem) -> None:
        self.files = files
        self.person.disk = files  # type: ignore[assignment]
        self.town.system.roots[self.root] = files
        files.before_call = partial(self.town.faults.before_call, self)
        if self.has_watcher:
            files.on_change = self._hint

    def _hint(self, directory: Path, name: str) -> None:
        watcher = self.folder.watcher if self.folder is not None else None
        if isinstance(watcher, SimWatcher) and not self.life.is_over:
            watcher.note(directory, name, self.files.is_directory((*directory, name)))

    # ------------------------------------------------------------ on and off

    def start(self) -> None:
        """A new process."""
        assert self.life.is_over
        self.is_powered = True
        self.life = Life()
        self.context = contextvars.copy_context()
        self.context.run(LIFE.set, self.life)
        self.context.run(self.town.time.clock.set, self.clock_ns)
        self._task = self.town.loop.create_task(self._live(self.life), context=self.context)

    def kill(self) -> None:
        """The process ends in the middle of whatever it does; the kernel's cache stays."""
        if self.life.is_over:
            return
        self.life.is_over = True
        if self.network is not None:  # with what it counted
            self.town.watch.check_peers(self, self.network.counts)
        self.database.abandon()
        self.town.break_links(self)
        task, self._task = self._task, None
        self.tasks = None
        if task is not None:
            self.town.loop.call_soon(task.cancel)

    def cut_power(self) -> None:
        """The machine is off; what was not synced may be gone."""
        self.kill()
        self.is_powered = False
        held = self.files.contents()
        self._mount(self.files.cut())
        self.town.watch.power_was_cut(self, held)

    async def _live(self, life: Life) -> None:
        try:
            await self._run(life)
        except* (asyncio.CancelledError, PowerCut):
            pass
        except* (sqlite3.OperationalError, IndexBehind):
            # What is in memory may say more than the index: it is read anew.
            self.town.loop.call_soon(self.town.down, self, False)
        except* Exception as errors:  # noqa: BLE001 - told by the town's next check
            if not life.is_over:
                self.town.loop.defects.append(_first(errors))

    async def _run(self, life: Life) -> None:
        self.database = database = Database(self.index)
        database.before = partial(self.town.faults.before_statement, self)
        database.after_commit = self._committed
        store = WatchedStore(database, self)
        book = LogBook(self.place.ledger, self.place.epochs)
        values = await store.values()
        book.restore(values, await store.positions())
        directories = await store.load_directories(self.files.folds_case)
        self.town.watch.loaded(self, directories)
        self.commit = None
        disk = PosixDisk(self.root, HASHER, Cutter())  # type: ignore[arg-type]
        serving = PosixDisk(self.root, HASHER, Cutter())  # type: ignore[arg-type]
        watcher = SimWatcher(self.number, self) if self.has_watcher else None
        engine = Engine(
            directories, book, self.place.keys, self.incarnation, self.name, self.random.randbytes
        )
        async with asyncio.TaskGroup() as tasks:
            network = Network(self._ledgers(), tasks, _ignore, _nothing)
            network.own_name = self.name
            folder = Folder(
                self.folder_id, engine, store, disk, serving, watcher, network,
                Limits(RESCAN_S, 0, lambda summary: UNLIMITED, lambda summary: UNLIMITED), HASHER,
                self._take_incarnation,
            )  # fmt: skip
            folder.upkeep = Upkeep(engine, self.policy, values)
            await folder.drive(engine.load_name())
            if JOINED not in values:
                now = self.town.loop.time()
                folder.begin_joining(Joining(now, {}, has_others=True))
            folder.is_paused = self.is_paused
            network.add_folder(folder)
            tasks.create_task(network.keep_time())
            tasks.create_task(folder.run())
            self.folder, self.network, self.tasks = folder, network, tasks

    def _committed(self) -> None:
        if self.commit is not None:
            self.town.watch.committed(self, self.commit)
        self.town.faults.after_commit(self)

    def _ledgers(self) -> Ledgers:
        ledgers = Ledgers(None, self.place.keys, self.random.randbytes)  # type: ignore[arg-type]
        ledgers.users = self.place.users
        ledgers.user_id = next(iter(self.place.users))
        membership = FolderMembership(self.place.ledger, self.place.epochs)
        ledgers.folders = {self.folder_id: membership}
        return ledgers

    async def _take_incarnation(self, folder_id: FolderId, incarnation: bytes) -> None:
        self.incarnation = incarnation
        self.town.note("incarnation", self.name, incarnation)

    # ------------------------------------------------------------ what is lost beside files

    def lose_index(self) -> None:
        """The index is gone: a new one, and a new log (MERGE 16)."""
        assert self.life.is_over
        self.index = new_index()
        self.incarnation = self.random.randbytes(8)
        self.town.watch.forget(self)

    def copy_index(self) -> sqlite3.Connection:
        """A backup of the index as it is."""
        copy = sqlite3.connect(":memory:", isolation_level=None)
        if self.index.in_transaction:
            return new_index()
        self.index.backup(copy)
        return copy


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _ignore(connection: Connection) -> None:
    pass


async def _nothing() -> None:
    pass
