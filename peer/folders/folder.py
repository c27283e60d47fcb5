"""One folder at work: performs its engine's commands, feeds it what happens, and tells others what
it wrote.

A single task runs the engine, so that what a scan saw, what arrived and what is applied never
overlap. Everything else (watcher, links, fetcher) only leaves notes for it and wakes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from crypto.chunks import ChunkHasher
from crypto.ids import ChunkId, FolderId, LogId
from peer.core import commands as c
from peer.core.disk_types import TRASH, Disk, DiskError, DiskFull, DiskGone, Path
from peer.core.engine import Engine
from peer.disk.watcher import Watcher
from peer.folders.calls import Calls
from peer.folders.conflicts import Conflicts
from peer.folders.deletion_guard import DeletionGuard
from peer.folders.delivery import SETTLED, Delivery
from peer.folders.fetcher import Fetcher
from peer.folders.floor import Floor
from peer.folders.floor_keeping import FloorKeeper, keep_nothing
from peer.folders.index_store import (
    JOINED,
    ChunkPlace,
    IndexBehind,
    IndexStore,
    Summary,
    index_error,
)
from peer.folders.intake import Intake
from peer.folders.joining import Joining
from peer.folders.limits import Limits
from peer.folders.neighbours import Neighbours
from peer.folders.performing import Performer
from peer.folders.progress import Progress
from peer.folders.restoring import Restoring
from peer.folders.rewrite_guard import RewriteGuard
from peer.folders.serving import Offer, Serving
from peer.folders.upkeep import Upkeep
from peer.folders.wholeness import Wholeness
from peer.history.history import History
from peer.status import FolderState
from protocol.changesets import INCARNATION_SIZE, Changeset, FrontierEntry, log_id_of
from protocol.errors import BadEpoch, NotEntitled, TooLong
from protocol.events import ReceivedChunk

log = logging.getLogger(__name__)

RETRY_S: Final = 5.0
"""After the disk refused something, was full or gone, nothing is tried for so long."""
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
        limits: Limits,
        hasher: ChunkHasher,
        on_incarnation: Callable[[FolderId, bytes], Awaitable[None]],
    ) -> None:
        self.folder_id, self.engine, self.store = folder_id, engine, store
        self.disk, self.watcher = disk, watcher
        self.neighbours = neighbours
        self.progress = Progress()
        self.is_paused = False
        self.guard = DeletionGuard(lambda: limits.deletions_pass_max(self.progress.summary))
        self.rewrites = RewriteGuard(lambda: limits.rewrites_pass_max(self.progress.summary))
        self.restoring: Restoring | None = None
        self.history: History | None = None
        self.conflicts: Conflicts | None = None
        self.needs_incarnation = False
        """This device's log in the folder may not be written to any more."""
        self._performer = Performer(store, disk, watcher)
        self._serving = Serving(store, serving_disk, hasher, self._path_of_chunk)
        self.read_starts = self._serving.read_starts
        self._wake = asyncio.Event()
        self._inbox: deque[tuple[tuple[bytes, ...], object, int]] = deque()
        self._applied_told: list[FrontierEntry] = []
        self.calls = Calls(self.wake)
        self._next: Folder | None = None  # that has taken this one's place
        self._joining: Joining | None = None
        self._heard: dict[LogId, FrontierEntry] = {}
        """How far others hold the logs."""
        self.on_incarnation = on_incarnation
        self.floor_keeper = FloorKeeper(Floor(), keep_nothing)
        self._takes_what_there_is = False
        self._wholeness = Wholeness()
        self.upkeep = Upkeep(engine, limits.policy, {})
        self.intake: Intake | None = None
        self.delivery: Delivery | None = None
        if disk is not None:
            self._attach(disk, limits, hasher)
        self._has_adopted = self._is_closed = self._is_tidy = False
        self._blocked_until = float("-inf")

    def _attach(self, disk: Disk, limits: Limits, hasher: ChunkHasher) -> None:
        performer, progress = self._performer, self.progress
        fetcher = Fetcher(
            self.folder_id, self.store, disk, performer.executor, hasher, self.neighbours,
            self._path_of_chunk, self.wake, limits.free_min_bytes,
        )  # fmt: skip
        self.intake = Intake(
            self.folder_id, self.engine, disk, performer, progress, self.guard, self.rewrites,
            limits.rescan_interval_s,
            self._announce, self._serving.remember, self.survey_again,
        )  # fmt: skip
        self.delivery = Delivery(
            self.engine, disk, performer, fetcher, self.intake.hinting, progress,
            lambda: self.asks,
        )  # fmt: skip
        hinting = self.intake.hinting
        self.restoring = Restoring(self.engine, performer, fetcher, self.rewrites, hinting)
        self.history = History(
            self.engine, self.store, performer, fetcher, hinting, self.rewrites, limits.versions,
            limits.free_min_bytes, hasher, limits.recheck_s, self.wake,
        )  # fmt: skip
        self.intake.on_rewritten = self.history.spares.note_rewritten
        self.conflicts = Conflicts(self.history, performer, hinting)

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
        if self._next is not None:  # whoever took them has found the old folder before
            self._next.changesets_received(wires, origin, batch)
            return
        self._inbox.append((wires, origin, batch))
        self.wake()

    def membership_changed(self) -> None:
        """Ledgers or keys have grown: what waited for them may go on."""
        self.changesets_received((), None, 0)

    def take_over(self, old: Folder) -> None:
        """Goes on with what arrived while the folder was opened anew."""
        self._inbox.extend(old._inbox)
        self._heard.update(old._heard)
        self.progress.is_read_back = old.progress.is_read_back
        self._tell_joining()
        self.calls.take_over(old.calls)
        old._next = self
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

    @property
    def asks(self) -> bool:
        """Whether deletions or rewrites wait for the person's word."""
        return bool(self.guard.held or self.rewrites.held)

    def answer(self, is_meant: bool) -> None:
        """The person said whether the held deletions and rewrites are meant."""
        if is_meant:
            self.guard.allow()
            self.rewrites.allow()
            self.rescan()
            return
        if self.guard.held:
            self.guard.restore()
            self.rescan()
        if self.restoring is not None:
            self.restoring.begin()
        self.wake()

    def pause(self, is_paused: bool) -> None:
        """Stops or resumes scanning and applying."""
        self.is_paused = is_paused
        if not is_paused:
            self.rescan()
        self.wake()

    async def call(self, routine: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs something in the engine's task, between its routines."""
        return await self.calls.ask(routine)

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
        self.membership_changed()  # it may have while this device was not running
        if self.watcher is not None:
            loop.add_reader(self.watcher.fileno(), self._read_hints)
        try:
            while True:
                try:
                    worked = await self._step(loop.time())
                except DiskError as error:
                    self._trouble(error, loop.time())
                    worked = False
                except sqlite3.OperationalError as error:
                    told = index_error("used", error)
                    self._trouble(told, loop.time())
                    await self._rest(loop)
                    raise IndexBehind(told) from error
                except (BadEpoch, NotEntitled, TooLong) as error:
                    # The keys after a removal are not here yet; or one changeset cannot hold it.
                    self._trouble(error, loop.time())
                    worked = False
                if not worked:
                    await self._rest(loop)
        finally:
            if self.watcher is not None:
                loop.remove_reader(self.watcher.fileno())

    async def _tidy(self, delivery: Delivery) -> None:
        """Puts right what an earlier run left in the middle of its work, or this one before the
        disk failed.
        """
        delivery.fetcher.begin_anew()
        await self._performer.clean_incoming()
        await self._performer.empty_trash()
        if self.history is not None:
            await self.history.tidy(is_full=self.progress.state is FolderState.NO_SPACE)
        await self._performer.unpark(
            lambda item: self.drive(self.engine.path_of(item)), self.engine.label
        )
        self.progress.summary = await self.store.summary()  # the guards go by it
        self._is_tidy = True

    def _trouble(self, error: Exception, now: float) -> None:
        state = FolderState.TROUBLE
        if isinstance(error, DiskGone):
            state = FolderState.NO_DISK
        elif isinstance(error, DiskFull):
            state = FolderState.NO_SPACE
        reason = str(error) or error.__doc__ or ""
        if reason != self.progress.trouble:  # once, however often it is tried
            log.warning("%s: %s", state.value, reason)
        self.progress.state, self.progress.trouble = state, reason
        self._blocked_until = now + RETRY_S
        self._is_tidy = False
        if self.delivery is not None:
            self.delivery.wait_for_disk(self._blocked_until)
        if self.intake is not None and state is not FolderState.NO_SPACE:
            self.intake.rescan()  # what a failing disk showed is looked at anew

    async def _rest(self, loop: asyncio.AbstractEventLoop) -> None:
        """Waits for a note or the next deadline; while the disk is in trouble for that alone."""
        while (left := self._blocked_until - loop.time()) > 0 and not self.calls:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._wake.wait()
        if self._inbox and self.is_paused:  # what came meanwhile was not waited for
            self._wake.set()
        deadlines = [self._wholeness.deadline]
        if self.delivery is not None and not self.is_paused:
            if not self._wholeness.is_waiting:  # else what is ready may not be shown yet
                deadlines.append(self.delivery.next_due())
            if self.progress.state in SETTLED and self.delivery.is_at_rest:
                if self.progress.state is FolderState.IN_SYNC:
                    deadlines.append(self.floor_keeper.due)
                if self.history is not None:
                    deadlines.append(self.history.next_due())
        if self.intake is not None and not self.is_paused:
            if self._joining is None or self._has_adopted:
                deadlines.append(self.intake.next_due())
            elif self._joining.deadline > loop.time():  # else it waits for somebody
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
        if self.calls:
            await self.calls.answer()
            return True
        intake, delivery = self.intake, self.delivery
        is_whole = self._wholeness.is_whole(self.engine.book, now)
        awaits_logs = self._joining is not None and not self._has_adopted  # delivers nothing yet
        is_pressed = is_whole and not awaits_logs and delivery is not None and delivery.is_pressing
        looks_first = intake is not None and intake.looks_first(self._joining is not None)
        if self._inbox and (self.is_paused or not (looks_first or is_pressed)):
            await self._ingest()
            return True
        if self.needs_incarnation or self.engine.needs_incarnation:
            await self.renew_incarnation()
            return True
        if intake is None or delivery is None or self.is_paused:
            self.progress.state = FolderState.PAUSED if intake else FolderState.OFFERED
            return intake is None and await self._keep_up()
        if not self._is_tidy:
            await self._tidy(delivery)
            return True
        if self._joining is not None and not await self._arrive(self._joining, intake, now):
            return False
        if await intake.step(now):
            if misnamed := self.engine.take_misnamed():
                delivery.nodes_came(misnamed)
            return True
        if self.restoring is not None and await self.restoring.step(now):
            return True
        if self.history is not None and await self.history.step(now):
            return True
        if is_whole and self._inbox and await delivery.survey():
            return True
        if is_whole and await delivery.step():
            return True
        if self._inbox:
            await self._ingest()
            return True
        if not is_whole:
            self.progress.state = FolderState.SYNCING
        elif delivery.is_at_rest:
            await self._note_settled(delivery)
            return self.progress.state in SETTLED and await self._keep_up()
        return False

    async def _keep_up(self) -> bool:
        """A piece of what a folder at rest does for its logs; False when there is none."""
        authored = await self.drive(self.upkeep.step(int(time.time())))
        self._announce(authored or ())
        if authored is None and self.history is not None:
            return await self.history.keep_up()
        return authored is not None

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
            lacking = self._tell_lacking() if now >= joining.deadline else self._lacking
            is_ready = joining.is_ready(self.engine.book.seq_of, now)
            is_waiting = (lacking or not is_ready) and not self._takes_what_there_is
            if is_waiting and await self._holds_something():
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

    @property
    def floor(self) -> Floor:
        """Less than this of the logs is an old state."""
        return self.floor_keeper.floor

    @property
    def _lacking(self) -> int:
        return self.floor.lacking(self.engine.book)

    def _tell_lacking(self) -> int:
        """Says how much is missing of what is known to be somewhere, and how much it is."""
        lacking = self._lacking
        if lacking:
            self.progress.trouble = (
                f"This is an older state than there was: {lacking} changes are missing. Connect a"
                f" device that has them, or take what there is: `holdfast answer"
                f" {self.engine.name or self.folder_id.hex()} accept`."
            )
        elif self.progress.trouble.startswith("This is an older state"):
            self.progress.trouble = ""
        return lacking

    @property
    def asks_for_newer(self) -> bool:
        """Whether it waits for a device that knows more."""
        return self._lacking > 0

    async def take_older(self) -> None:
        """The person wants what there is."""
        self.floor.settle_for(self.engine.book)
        self._takes_what_there_is = True
        self._tell_lacking()
        await self.floor_keeper.keep()
        self.survey_again()

    async def _holds_something(self) -> bool:
        assert self.disk is not None
        disk = self.disk
        (listing,) = await self._performer.on_disk(lambda: disk.list_directories([()]))
        return bool(listing.entries or listing.problems)  # or perhaps: the disk does not say

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
            wires, origin, batch = self._inbox[0]
            before = {e.log_id: e for e in self.engine.book.frontier()}
            incarnation = self.engine.incarnation
            ingested = await self.drive(self.engine.ingest(wires))
            changed = [e for e in self.engine.book.frontier() if before.get(e.log_id) != e]
            self.neighbours.acknowledge(self.folder_id, origin, batch, changed)
            if self.engine.incarnation != incarnation:
                await self.on_incarnation(self.folder_id, self.engine.incarnation)
            if ingested.refused or ingested.forks:
                self.neighbours.misbehaved(self.folder_id, origin, ingested)
            if self.delivery is not None:
                self.delivery.nodes_came(ingested.nodes)
            # Not before: cut short, it is taken in once more, by the folder that is opened anew.
            self._inbox.popleft()

    # ------------------------------------------------------------ to the disk

    async def _note_settled(self, delivery: Delivery) -> None:
        summary = await self.store.summary()
        if delivery.is_asked_again:  # meanwhile: what was told is true until it is known better
            return
        self.progress.summary, self.progress.trouble = summary, ""
        need = summary.need_files + summary.need_directories
        await delivery.note_lack(need)
        if self.asks:
            self.progress.state = FolderState.ASKING
        elif self._tell_lacking():
            self.progress.state = FolderState.SYNCING
        elif need:
            self.progress.state = delivery.lacking_state
        else:
            self.progress.state = FolderState.IN_SYNC
            book = self.engine.book
            now = asyncio.get_running_loop().time()
            await self.floor_keeper.rise(book, self.engine.keys.device_id, now)
            self.progress.trouble = self.floor_keeper.trouble
            frontier = book.frontier()
            if frontier != self._applied_told:
                self._applied_told = frontier
                self.neighbours.applied(self.folder_id, frontier)

    # ------------------------------------------------------------ serving

    def _path_of_chunk(self, place: ChunkPlace) -> Path | None:
        if not place.parent:
            return (*TRASH, place.name)
        return self.engine.directories.child_path(place.parent, place.name)

    @property
    def is_closed(self) -> bool:
        """Whether another one has taken its place, or will as soon as its index can be opened."""
        return self._is_closed

    async def summary(self) -> Summary:
        """Counts for `status`; as they last were, if the index does not tell."""
        return await self._serving.summary(self.progress.summary)

    async def read_chunks(self, ids: Sequence[ChunkId]) -> list[bytes | None]:
        """The bytes of chunks, each verified; None for those that this device has not, or cannot
        find for now: who lacks them asks again.
        """
        return await self._serving.read_chunks(ids)

    async def changesets(self, log_id: LogId, after_seq: int, bytes_max: int) -> Offer | None:
        """What to tell of one log to somebody who holds it up to a position; None while it cannot
        be read.
        """
        return await self._serving.offer(self.engine.book, log_id, after_seq, bytes_max)

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
            self._trouble(error, asyncio.get_running_loop().time())
            return [], []
        except RuntimeError:  # the disk's thread has ended meanwhile
            if not self._is_closed:
                raise
            return [], []

    def note_frontier(self, entries: Sequence[FrontierEntry]) -> None:
        """Somebody said how far they hold the logs."""
        if self._next is not None:
            self._next.note_frontier(entries)
            return
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
        if self._is_closed:
            return
        self._is_closed = self._serving.is_closed = True
        self.calls.close()
        if self.history is not None:
            self.history.close()
        if self.progress.state is FolderState.IN_SYNC:
            self.floor_keeper.note(self.engine.book, self.engine.keys.device_id)
            await self.floor_keeper.write()
        if self.fetcher is not None:
            self.fetcher.drop(list(self.fetcher.jobs))
            self.fetcher.forget_begun()
        self._performer.executor.shutdown(wait=True)
        self._serving.close()
        if self.watcher is not None:
            self.watcher.close()
        await self.store.close()
