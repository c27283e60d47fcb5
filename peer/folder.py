"""One folder at work: performs its engine's commands, feeds it what happens, and tells others what
it wrote.

A single task runs the engine, so that what a scan saw, what arrived and what is applied never
overlap. Everything else (watcher, links, fetcher) only leaves notes for it and wakes it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from crypto.chunks import ChunkHasher
from crypto.ids import ChunkId, FolderId, LogId
from peer import commands as c
from peer.deletion_guard import DeletionGuard
from peer.delivery import Delivery
from peer.disk_types import Disk, DiskError, DiskFull, DiskGone, Path
from peer.engine import Engine
from peer.fetcher import Fetcher
from peer.index_store import JOINED, ChunkPlace, IndexStore, Summary
from peer.intake import Intake
from peer.joining import Joining
from peer.neighbours import Neighbours
from peer.performing import Performer
from peer.progress import Progress
from peer.serving import Serving
from peer.status import FolderState
from peer.watcher import Watcher
from protocol.changesets import INCARNATION_SIZE, Changeset, FrontierEntry, log_id_of
from protocol.events import ReceivedChunk

log = logging.getLogger("holdfast.peer.folder")

T = TypeVar("T")


class Folder:
    """A folder of this device: attached to one of its directories, or only offered."""

    def __init__(
        self,
        folder_id: FolderId,
        engine: Engine,
        store: IndexStore,
        disk: Disk | None,
        serving_disk: Disk | None,
        watcher: Watcher | None,
        neighbours: Neighbours,
        rescan_interval_s: float,
        hasher: ChunkHasher,
        on_incarnation: Callable[[FolderId, bytes], Awaitable[None]],
        deletions_pass_max: Callable[[Summary], int],
    ) -> None:
        self.folder_id, self.engine, self.store = folder_id, engine, store
        self.disk, self.watcher = disk, watcher
        self.neighbours = neighbours
        self.progress = Progress()
        self.is_paused = False
        self.guard = DeletionGuard(lambda: deletions_pass_max(self.progress.summary))
        self.needs_incarnation = False
        """This device's log in the folder may not be written to any more."""
        self._performer = Performer(store, disk, watcher)
        self._serving = Serving(store, serving_disk, hasher, self._path_of_chunk)
        self._wake = asyncio.Event()
        self._inbox: deque[tuple[tuple[bytes, ...], object, int]] = deque()
        self._applied_told: list[FrontierEntry] = []
        self._calls: deque[tuple[Callable[[], Coroutine[Any, Any, Any]], asyncio.Future[Any]]] = (
            deque()
        )
        self._joining: Joining | None = None
        self._heard: dict[LogId, FrontierEntry] = {}
        """How far others hold the logs."""
        self.on_incarnation = on_incarnation
        self.intake: Intake | None = None
        self.delivery: Delivery | None = None
        if disk is not None:
            self._attach(disk, rescan_interval_s, hasher)
        self._has_adopted = self._is_closed = False

    def _attach(self, disk: Disk, rescan_interval_s: float, hasher: ChunkHasher) -> None:
        performer, progress = self._performer, self.progress
        fetcher = Fetcher(
            self.folder_id, self.store, disk, performer.executor, hasher, self.neighbours,
            self._path_of_chunk, self.wake,
        )  # fmt: skip
        self.intake = Intake(
            self.folder_id, self.engine, disk, performer, progress, self.guard,
            rescan_interval_s,
            self._announce, self._serving.remember, self.survey_again,
        )  # fmt: skip
        self.delivery = Delivery(
            self.engine, disk, performer, fetcher, self.intake.hinting, progress
        )

    # ------------------------------------------------------------ driving the engine

    async def drive(self, routine: Coroutine[c.Command[Any], Any, T]) -> T:
        """Runs an engine routine, performing its commands."""
        return await self._performer.drive(routine)

    @property
    def fetcher(self) -> Fetcher | None:
        """What gets the bytes of a folder that is attached."""
        return None if self.delivery is None else self.delivery.fetcher

    # ------------------------------------------------------------ notes from outside

    def wake(self) -> None:
        """Something is there for the engine."""
        self._wake.set()

    def changesets_received(self, wires: tuple[bytes, ...], origin: object, batch: int) -> None:
        """Changesets came over a link."""
        self._inbox.append((wires, origin, batch))
        self.wake()

    def membership_changed(self) -> None:
        """Ledgers or keys have grown: what waited for them may go on."""
        self.changesets_received((), None, 0)

    def take_over(self, old: Folder) -> None:
        """Goes on with what arrived while the folder was opened anew."""
        self._inbox.extend(old._inbox)
        self._heard.update(old._heard)
        self._tell_joining()
        self._calls.extend(old._calls)
        self.wake()

    def ask_again(self) -> None:
        """Somebody came, or has more than before: what nobody had may be had now."""
        if self.delivery is not None:
            self.delivery.ask_again()
        self.wake()

    @property
    def lacks_bytes(self) -> bool:
        """Whether there is something that nobody had when it was asked for."""
        return self.fetcher is not None and bool(self.fetcher.unavailable)

    def survey_again(self) -> None:
        """There may be something to apply."""
        if self.delivery is not None:
            self.delivery.survey_again()
        self.wake()

    def rescan(self) -> None:
        """Compares the whole folder with the index at the next opportunity."""
        if self.intake is not None:
            self.intake.rescan()
        self.wake()

    def answer_deletions(self, is_meant: bool) -> None:
        """The person said whether the held deletions are meant."""
        (self.guard.allow if is_meant else self.guard.restore)()
        self.rescan()

    def pause(self, is_paused: bool) -> None:
        """Stops or resumes scanning and applying."""
        self.is_paused = is_paused
        if not is_paused:
            self.rescan()
        self.wake()

    async def call(self, routine: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs something in the engine's task, between its routines."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.append((routine, future))
        self.wake()
        return await future

    async def renew_incarnation(self) -> None:
        """Goes on in a new log; the old one stays as it is."""
        incarnation = os.urandom(INCARNATION_SIZE)
        await self.on_incarnation(self.folder_id, incarnation)
        self.engine.incarnation = incarnation
        self.needs_incarnation = False

    # ------------------------------------------------------------ the one task

    async def run(self) -> None:
        """Works until cancelled."""
        loop = asyncio.get_running_loop()
        if self.watcher is not None:
            loop.add_reader(self.watcher.fileno(), self._read_hints)
        try:
            if self.disk is not None:
                await self._performer.clean_incoming()
                await self._performer.unpark(
                    lambda item: self.drive(self.engine.path_of(item)), self.engine.label
                )
            while True:
                try:
                    worked = await self._step(loop.time())
                    if self.progress.state in (FolderState.NO_DISK, FolderState.NO_SPACE):
                        self.progress.state = FolderState.SYNCING
                        self.progress.trouble = ""
                except DiskGone as error:
                    self._trouble(FolderState.NO_DISK, error, loop.time())
                    worked = False
                except DiskFull as error:
                    self._trouble(FolderState.NO_SPACE, error, loop.time())
                    worked = False
                except (DiskError, sqlite3.OperationalError) as error:
                    self._trouble(FolderState.TROUBLE, error, loop.time())
                    worked = False
                if not worked:
                    await self._rest(loop)
        finally:
            if self.watcher is not None:
                loop.remove_reader(self.watcher.fileno())

    def _trouble(self, state: FolderState, error: Exception, now: float) -> None:
        self.progress.state, self.progress.trouble = state, str(error) or (error.__doc__ or "")
        log.warning("%s: %s", state.value, self.progress.trouble)
        if self.delivery is not None:
            self.delivery.wait_for_disk(now)

    async def _rest(self, loop: asyncio.AbstractEventLoop) -> None:
        """Waits for a note or the next deadline."""
        deadlines = [float("inf")]
        if self.delivery is not None:
            deadlines.append(self.delivery.next_due())
        if self.intake is not None and not self.is_paused:
            if self._joining is None or self._has_adopted:
                deadlines.append(self.intake.next_due())
            else:
                deadlines.append(self._joining.deadline)
        timeout = max(0.0, min(deadlines) - loop.time())
        try:
            async with asyncio.timeout(min(timeout, 3600.0)):
                await self._wake.wait()
        except TimeoutError:
            pass
        if self.delivery is not None:
            self.delivery.time_came(loop.time())
        self._wake.clear()

    async def _step(self, now: float) -> bool:
        """One piece of work, the most urgent; False when there is none."""
        if self._calls:
            routine, future = self._calls.popleft()
            try:
                future.set_result(await routine())
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - handed to whoever asked
                future.set_exception(error)
            return True
        intake, delivery = self.intake, self.delivery
        is_starving = delivery is not None and not self.is_paused and delivery.is_starving
        if self._inbox and not is_starving:
            await self._ingest()
            return True
        if self.needs_incarnation:
            await self.renew_incarnation()
            return True
        if intake is None or delivery is None or self.is_paused:
            self.progress.state = FolderState.PAUSED if intake else FolderState.OFFERED
            return False
        if self._joining is not None and not await self._arrive(self._joining, intake, now):
            return False
        if await intake.step(now):
            return True
        if self._inbox and await delivery.survey():
            return True
        if await delivery.step():
            return True
        if delivery.is_at_rest:
            await self._note_settled(delivery)
        return False

    # ------------------------------------------------------------ from the disk

    def _read_hints(self) -> None:
        assert self.watcher is not None
        assert self.intake is not None
        self.intake.hints_come(self.watcher, asyncio.get_running_loop().time())
        self.wake()

    def begin_joining(self, joining: Joining) -> None:
        """Before its first scan this disk has to be compared with what others know (MERGE 16)."""
        self._joining = joining
        self.engine.is_joining = True
        self._tell_joining()

    def _tell_joining(self) -> None:
        if self._joining is not None and self._heard:
            now = asyncio.get_running_loop().time()
            self._joining.told(self._heard.values(), now)

    async def _arrive(self, joining: Joining, intake: Intake, now: float) -> bool:
        """One step towards having joined; False while there is nothing to do but wait."""
        self.progress.state = FolderState.SCANNING
        if not self._has_adopted:
            if not joining.is_ready(self.engine.book.seq_of, now) and await self._holds_something():
                return False
            adopted = await self.drive(self.engine.adopt(time.time_ns()))
            log.info("%d files and directories were here already", adopted)
            self._has_adopted = True
            self.survey_again()
            self.rescan()
        elif (
            not intake.is_rescan_due(now) and intake.has_read_all
        ):  # all that was here has been told
            await self.end_joining()
        return True

    async def _holds_something(self) -> bool:
        assert self.disk is not None
        disk = self.disk
        return bool((await self._performer.on_disk(lambda: disk.list_directories([()])))[0].entries)

    async def end_joining(self) -> None:
        """From now on what is new here is new everywhere."""
        self._joining, self.engine.is_joining = None, False
        await self.store.perform(c.Commit(values=[(JOINED, b"")]))

    def _announce(self, changesets: Sequence[Changeset]) -> None:
        if changesets:
            self.neighbours.announce(self.folder_id, changesets)

    # ------------------------------------------------------------ from others

    async def _ingest(self) -> None:
        while self._inbox:
            wires, origin, batch = self._inbox.popleft()
            before = {e.log_id: e for e in self.engine.book.frontier()}
            ingested = await self.drive(self.engine.ingest(wires))
            changed = [e for e in self.engine.book.frontier() if before.get(e.log_id) != e]
            self.neighbours.acknowledge(self.folder_id, origin, batch, changed)
            if ingested.refused or ingested.forks:
                self.neighbours.misbehaved(origin, ingested)
            if self.delivery is not None:
                self.delivery.nodes_came(ingested.nodes)

    # ------------------------------------------------------------ to the disk

    async def _note_settled(self, delivery: Delivery) -> None:
        summary = await self.store.summary()
        self.progress.summary = summary
        need = summary.need_files + summary.need_directories
        await delivery.note_lack(need)
        if self.guard.held:
            self.progress.state = FolderState.ASKING
        elif need:
            self.progress.state = FolderState.SYNCING
        else:
            self.progress.state = FolderState.IN_SYNC
            frontier = self.engine.book.frontier()
            if frontier != self._applied_told:
                self._applied_told = frontier
                self.neighbours.applied(self.folder_id, frontier)

    # ------------------------------------------------------------ serving

    def _path_of_chunk(self, place: ChunkPlace) -> Path | None:
        return self.engine.directories.child_path(place.parent, place.name)

    async def read_chunks(self, ids: Sequence[ChunkId]) -> list[bytes | None]:
        """The bytes of chunks, each verified; None for those that this device has not."""
        if self._is_closed:
            return [None] * len(ids)
        return await self._serving.read_chunks(ids)

    async def changesets(self, log_id: LogId, after_seq: int, bytes_max: int) -> list[bytes]:
        """Stored changesets of one log after a position."""
        found: list[bytes] = await self.store.perform(
            c.LoadChangesets(log_id, after_seq, bytes_max)
        )
        return found

    async def receive_chunks(
        self, chunks: Sequence[ReceivedChunk]
    ) -> tuple[list[ChunkId], list[ChunkId]]:
        """Chunks that came over links; returns the good and the bad ones."""
        assert self.fetcher is not None
        if self._is_closed:
            return [], []
        try:
            return await self.fetcher.received(chunks)
        except DiskError as error:
            self._trouble(FolderState.NO_SPACE, error, asyncio.get_running_loop().time())
            return [], []

    def note_frontier(self, entries: Sequence[FrontierEntry]) -> None:
        """Somebody said how far they hold the logs."""
        book = self.engine.book
        own = log_id_of(self.folder_id, self.engine.keys.device_id, self.engine.incarnation)
        # If they hold more of our log than we do, this database is an old one (CRYPTO 3).
        if any(e.log_id == own and e.seq > book.seq_of(own) for e in entries):
            self.needs_incarnation = True
        self._heard.update((e.log_id, e) for e in entries)
        if self._joining is not None:
            self._joining.told(entries, asyncio.get_running_loop().time())
        self.wake()

    async def close(self) -> None:
        """Closes database, watcher and threads."""
        self._is_closed = True
        if self.fetcher is not None:
            self.fetcher.drop(list(self.fetcher.jobs))
        self._performer.executor.shutdown(wait=True)
        self._serving.close()
        if self.watcher is not None:
            self.watcher.close()
        await self.store.close()
