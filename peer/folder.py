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
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from crypto.chunks import ChunkHasher
from crypto.ids import ChunkId, FolderId, LogId, NodeId
from peer import commands as c
from peer.deletion_guard import DeletionGuard
from peer.disk_types import (
    Disk,
    DiskError,
    DiskFull,
    DiskGone,
    Path,
    RangeRequest,
    Refusal,
    RefusalKind,
)
from peer.engine import FIRST_PAGE, Engine, Survey
from peer.fetcher import Fetcher
from peer.hinting import Hinting
from peer.ignore import IGNORE_FILE, IgnoreRules
from peer.index_store import JOINED, ChunkPlace, IndexStore, Summary
from peer.joining import Joining
from peer.neighbours import Neighbours
from peer.observation import Entry
from peer.performing import Performer
from peer.serving import Serving
from peer.status import FolderState
from peer.watcher import Watcher
from protocol.changesets import INCARNATION_SIZE, Changeset, FrontierEntry, log_id_of
from protocol.events import ReceivedChunk
from protocol.names import exact_key
from protocol.nodes import ROOT, Node

log = logging.getLogger("holdfast.peer.folder")

READ_AT_ONCE: Final = 500
"""New files read and told in one changeset: others begin to fetch while the next are read."""
READ_BYTES_AT_ONCE: Final = 64 << 20
PAGE: Final = 2_000
IN_FLIGHT_FILES: Final = 4_000
STARVING_FILES: Final = 500
IN_FLIGHT_BYTES: Final = 256 << 20
APPLY_AT_ONCE: Final = 1_000
"""Staged files published in one durability round; fewer when nothing else is coming."""
STAGED_AT_ONCE: Final = 250
RIPE_S: Final = 0.1
"""How long a file that is ready waits for others that are still on their way."""
FRESH_MAX: Final = 200_000
"""Changed nodes remembered by id, 100 bytes each; beyond that the index is asked."""
RETRY_S: Final = 5.0
"""After the disk refused something, or was full."""
T = TypeVar("T")


@dataclass(slots=True)
class Progress:
    """What a folder has been doing, for `status`."""

    state: FolderState = FolderState.SCANNING
    summary: Summary = field(default_factory=lambda: Summary(0, 0, 0, 0))
    problems: dict[Path, str] = field(default_factory=dict)
    trouble: str = ""


class Folder:
    """A folder that is attached to a directory of this device."""

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
    ) -> None:
        self.folder_id, self.engine, self.store = folder_id, engine, store
        self.disk, self.watcher = disk, watcher
        self.neighbours = neighbours
        self.progress = Progress()
        self.is_paused = False
        self.needs_incarnation = False
        """This device's log in the folder may not be written to any more."""
        self._rescan_interval_s = rescan_interval_s
        self._performer = Performer(store, disk, watcher)
        self._serving = Serving(store, serving_disk, hasher, self._path_of_chunk)
        self._wake = asyncio.Event()
        self._inbox: deque[tuple[tuple[bytes, ...], object, int]] = deque()
        self._hinting = Hinting()
        self._to_read: OrderedDict[tuple[NodeId, str], Entry] = OrderedDict()
        """By directory and name: what two scans found before it was read is one file."""
        self._rules = IgnoreRules()
        self._rescan_at = 0.0
        self._survey_from: tuple[int, NodeId] | None = FIRST_PAGE
        self._ready: dict[NodeId, Node] = {}
        self._fresh: deque[NodeId] = deque()
        """Nodes whose record or bytes have just come."""
        self._ripe_at = float("inf")
        self._retry_at = float("inf")
        self._ask_again_at = float("inf")
        self.guard = DeletionGuard()
        self._applied_told: list[FrontierEntry] = []
        self._calls: deque[tuple[Callable[[], Coroutine[Any, Any, Any]], asyncio.Future[Any]]] = (
            deque()
        )
        self._joining: Joining | None = None
        self._heard: dict[LogId, FrontierEntry] = {}
        """How far others hold the logs."""
        self.on_incarnation = on_incarnation
        self.fetcher: Fetcher | None = None
        if disk is not None:
            self.fetcher = Fetcher(
                folder_id,
                store,
                disk,
                self._performer.executor,
                hasher,
                neighbours,
                self._path_of_chunk,
                self.wake,
            )
        self._has_adopted = self._is_closed = False

    # ------------------------------------------------------------ driving the engine

    async def drive(self, routine: Coroutine[c.Command[Any], Any, T]) -> T:
        """Runs an engine routine, performing its commands."""
        return await self._performer.drive(routine)

    async def _on_disk(self, call: Callable[[], T]) -> T:
        return await self._performer.on_disk(call)

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
        self._ask_again_at = float("inf")
        if self.fetcher is not None:
            self.fetcher.retry()
        self.survey_again()

    @property
    def lacks_bytes(self) -> bool:
        """Whether there is something that nobody had when it was asked for."""
        return self.fetcher is not None and bool(self.fetcher.unavailable)

    def survey_again(self) -> None:
        """There may be something to apply."""
        self._survey_from = FIRST_PAGE
        self._ready.clear()
        self.wake()

    def rescan(self) -> None:
        """Compares the whole folder with the index at the next opportunity."""
        self._rescan_at = 0.0
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
        self._retry_at = now + RETRY_S
        self._ready.clear()

    async def _rest(self, loop: asyncio.AbstractEventLoop) -> None:
        """Waits for a note or the next deadline."""
        deadlines = [self._retry_at, self._ask_again_at]
        if self._ready:
            deadlines.append(self._ripe_at)
        if self.disk is not None and not self.is_paused:
            if self._joining is None or self._has_adopted:
                deadlines += [self._hinting.next_due(), self._rescan_at]
            else:
                deadlines.append(self._joining.deadline)
        timeout = max(0.0, min(deadlines) - loop.time())
        try:
            async with asyncio.timeout(min(timeout, 3600.0)):
                await self._wake.wait()
        except TimeoutError:
            pass
        if loop.time() >= self._retry_at:
            self._retry_at = float("inf")
            self._survey_from = FIRST_PAGE
            if self.fetcher is not None:
                self.fetcher.problems.clear()
        if loop.time() >= self._ask_again_at:
            self.ask_again()
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
        if self._inbox and not self._is_starving():
            await self._ingest()
            return True
        if self.needs_incarnation:
            await self.renew_incarnation()
            return True
        if self.disk is None or self.is_paused:
            self.progress.state = FolderState.PAUSED if self.disk else FolderState.OFFERED
            return False
        if self._joining is not None and not await self._arrive(self._joining, now):
            return False
        if now >= self._rescan_at:
            await self._scan([ROOT], True)
            self._rescan_at = asyncio.get_running_loop().time() + self._rescan_interval_s
            return True
        if self._to_read:
            await self._read_back()
            return True
        due = self._hinting.take_due(now)
        if due:
            await self._scan_hints(due)
            return True
        if self._inbox and self.fetcher is not None and await self._survey(self.fetcher):
            return True
        return await self._bring()

    # ------------------------------------------------------------ from the disk

    def _read_hints(self) -> None:
        assert self.watcher is not None
        hints = self.watcher.read()
        now = asyncio.get_running_loop().time()
        if hints.has_overflowed or hints.is_root_gone:
            self._rescan_at = 0.0
        for directory, names in hints.changed.items():
            self._hinting.add(tuple(map(exact_key, directory)), not names, now)
            if not directory and IGNORE_FILE in names:  # other rules: look at everything by them
                self._rescan_at = 0.0
        for problem in hints.unwatched:
            self.progress.problems[problem.path] = problem.reason
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

    async def _arrive(self, joining: Joining, now: float) -> bool:
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
        elif now < self._rescan_at and not self._to_read:  # all that was here has been told
            await self.end_joining()
        return True

    async def _holds_something(self) -> bool:
        assert self.disk is not None
        disk = self.disk
        return bool((await self._on_disk(lambda: disk.list_directories([()])))[0].entries)

    async def end_joining(self) -> None:
        """From now on what is new here is new everywhere."""
        self._joining, self.engine.is_joining = None, False
        await self.store.perform(c.Commit(values=[(JOINED, b"")]))

    async def _scan_hints(self, due: dict[Path, bool]) -> None:
        """Looks at the directories hinted at; where one is not known by its path yet, above it, and
        then at it: a renamed directory says so in the one that it came to.
        """
        seen: dict[Path, NodeId] = {}
        while due:
            flat: set[NodeId] = set()
            deep: set[NodeId] = set()
            unknown: dict[Path, bool] = {}
            for path, is_deep in due.items():
                item, is_exact = self.engine.find(path)
                if seen.get(path) == item:
                    continue  # it has not come nearer: it is gone again, or new and was looked into
                (deep if is_deep and is_exact else flat).add(item)
                if not is_exact:
                    unknown[path], seen[path] = is_deep, item
            if flat - deep:
                await self._scan(sorted(flat - deep), False)
            if deep:
                await self._scan(sorted(deep), True)
            due = unknown

    async def _scan(self, scope: list[NodeId], is_recursive: bool) -> None:
        assert self.disk is not None
        if is_recursive and ROOT in scope:
            self.progress.state = FolderState.SCANNING
            if not await self._on_disk(lambda: self.disk.marker_present(self.folder_id)):  # type: ignore[union-attr]
                raise DiskGone
            await self._read_rules()
        is_full = is_recursive and ROOT in scope
        scanned = await self.drive(
            self.engine.scan(
                scope, is_recursive, self._rules.is_ignored, time.time_ns(),
                lambda: self.guard.limit(is_full),
            )
        )  # fmt: skip
        if self.guard.note(scanned.held_deletions, is_full):
            await self.drive(self.engine.put_back(scanned.missing))
            self.survey_again()
        for path in scanned.listed:
            for known in [p for p in self.progress.problems if p[:-1] == path]:
                del self.progress.problems[known]
        for problem in scanned.problems:
            self.progress.problems[problem.path] = problem.reason
        if any(entry.name == IGNORE_FILE and entry.parent == ROOT for entry in scanned.to_read):
            await self._read_rules()
        self._to_read.update(((e.parent, e.name), e) for e in scanned.to_read)
        self._announce(scanned.authored)

    async def _read_rules(self) -> None:
        assert self.disk is not None
        disk = self.disk
        stat = (await self._on_disk(lambda: disk.stat([(IGNORE_FILE,)])))[0]
        if stat is None:
            self._rules = IgnoreRules()
            return
        request = RangeRequest((IGNORE_FILE,), 0, stat.size)
        data = (await self._on_disk(lambda: disk.read_ranges([request])))[0]
        try:
            self._rules = IgnoreRules.decode(data or b"")
        except ValueError as error:
            self.progress.problems[(IGNORE_FILE,)] = str(error)

    async def _read_back(self) -> None:
        self.progress.state = FolderState.SCANNING
        batch: list[Entry] = []
        size = 0
        while self._to_read and size < READ_BYTES_AT_ONCE and len(batch) < 2 * READ_AT_ONCE:
            # Whole directories where that is possible: what is new in them needs no look-up then.
            parent, _ = next(iter(self._to_read))
            if len(batch) >= READ_AT_ONCE and parent != batch[-1].parent:
                break
            _, entry = self._to_read.popitem(last=False)
            batch.append(entry)
            size += entry.stat.size
        read = await self.drive(self.engine.read_back(batch, time.time_ns()))
        now = asyncio.get_running_loop().time()
        for entry in read.again:
            path = self.engine.directories.path(entry.parent)
            self.progress.problems[(*path, entry.name)] = (
                "It keeps changing; waiting until it settles."
            )
            self._hinting.again(path, now)
        for problem in read.problems:
            self.progress.problems[problem.path] = problem.reason
        for hash_, data in read.data.items():
            self._serving.remember(hash_, data)
        self._announce(read.authored)

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
            self._fresh.extend(ingested.nodes)
        if len(self._fresh) > FRESH_MAX:
            self._fresh.clear()
            self._survey_from = FIRST_PAGE

    # ------------------------------------------------------------ to the disk

    async def _bring(self) -> bool:
        """Surveys, fetches and applies; False when the disk shows all that can be shown."""
        fetcher = self.fetcher
        assert fetcher is not None
        if self._retry_at < float("inf"):
            return False
        if fetcher.staged_owners and (
            len(fetcher.staged_owners) >= STAGED_AT_ONCE or not fetcher.jobs or self._is_ripe()
        ):
            owners, fetcher.staged_owners = fetcher.staged_owners, []
            await self._take_survey(fetcher, owners)
            return True
        if await self._survey(fetcher):
            return True
        if self._ready and (
            len(self._ready) >= APPLY_AT_ONCE
            or not fetcher.jobs
            or self._is_ripe()
            or any(node_id[15] & 3 == 1 for node_id in self._ready)
        ):
            await self._apply_ready(fetcher)
            return True
        if not fetcher.jobs and not fetcher.staged_owners:
            await self._note_settled(fetcher)
        return False

    def _is_starving(self) -> bool:
        """True when the links have little left to bring, though it is known what they could."""
        return (
            bool(self._fresh)
            and self.fetcher is not None
            and not self.is_paused
            and len(self.fetcher.jobs) < STARVING_FILES
            and self._retry_at == float("inf")
        )

    def _is_ripe(self) -> bool:
        """True when what is ready has waited long enough for company."""
        return asyncio.get_running_loop().time() >= self._ripe_at

    async def _survey(self, fetcher: Fetcher) -> bool:
        """Finds out what can be applied and what has to be fetched first; False if there is
        nothing to find out.
        """
        has_room = (
            len(fetcher.jobs) + len(fetcher.staged) < IN_FLIGHT_FILES
            and fetcher.pending_bytes < IN_FLIGHT_BYTES
        )
        if not has_room:
            return False
        if self._fresh:
            ids = [self._fresh.popleft() for _ in range(min(len(self._fresh), APPLY_AT_ONCE))]
            await self._take_survey(fetcher, ids)
        elif self._survey_from is not None:
            survey = await self.drive(
                self.engine.survey(self._survey_from, PAGE, fetcher.is_pending, fetcher.staged)
            )
            self._survey_from = survey.next_page
            await self._note_survey(fetcher, survey)
        else:
            return False
        return True

    async def _take_survey(self, fetcher: Fetcher, ids: Sequence[NodeId]) -> None:
        """Looks again at nodes whose records or bytes have come."""
        survey = await self.drive(self.engine.survey_nodes(ids, fetcher.is_pending, fetcher.staged))
        await self._note_survey(fetcher, survey)

    async def _note_survey(self, fetcher: Fetcher, survey: Survey) -> None:
        if survey.ready and not self._ready:
            self._ripe_at = asyncio.get_running_loop().time() + RIPE_S
        self._ready.update(survey.ready)
        if survey.needs:
            self.progress.state = FolderState.SYNCING
            await fetcher.need(survey.needs)

    async def _apply_ready(self, fetcher: Fetcher) -> None:
        self.progress.state = FolderState.SYNCING
        directories = {n: s for n, s in self._ready.items() if n[15] & 3 == 1}
        ready = directories or self._ready
        applied, needs = await self.drive(self.engine.apply(dict(ready), fetcher.staged))
        for node_id in list(ready):
            del self._ready[node_id]
        for key in [k for k, name in fetcher.staged.items() if name in applied.used]:
            del fetcher.staged[key]
        # What another node of the same bytes made superfluous.
        names = fetcher.drop([key for key in fetcher.staged if key[0] in applied.nodes])
        if names:
            await self._on_disk(lambda: self.disk.discard_staged(names))  # type: ignore[union-attr]
        if needs:
            await fetcher.need([n for n in needs if not fetcher.is_pending(n.node, n.content.hash)])
        self._note_refusals(applied.refused, applied.paths)
        now = asyncio.get_running_loop().time()
        for path in sorted(applied.look_again):
            self._hinting.add(path, False, now)

    def _note_refusals(self, refused: dict[NodeId, Refusal], paths: dict[NodeId, Path]) -> None:
        now = asyncio.get_running_loop().time()
        for item, refusal in refused.items():
            path = paths[item]
            if refusal.kind in (RefusalKind.CHANGED, RefusalKind.EXISTS, RefusalKind.GONE,
                                RefusalKind.NOT_EMPTY):  # fmt: skip
                self._hinting.add(path[:-1], False, now)
                if refusal.kind is RefusalKind.NOT_EMPTY:
                    self._hinting.add(path, False, now)
            else:
                self.progress.problems[path] = refusal.reason
            self._retry_at = min(self._retry_at, now + 0.2)

    async def _note_settled(self, fetcher: Fetcher) -> None:
        summary = await self.store.summary()
        self.progress.summary = summary
        need = summary.need_files + summary.need_directories
        if self.guard.held:
            self.progress.state = FolderState.ASKING
        elif need == 0:
            self.progress.state = FolderState.IN_SYNC
            frontier = self.engine.book.frontier()
            if frontier != self._applied_told:
                self._applied_told = frontier
                self.neighbours.applied(self.folder_id, frontier)
            if fetcher.staged:
                names = fetcher.drop(list(fetcher.staged))
                await self._on_disk(lambda: self.disk.discard_staged(names))  # type: ignore[union-attr]
        else:
            self.progress.state = FolderState.SYNCING
            if fetcher.unavailable:  # they may be on their way to those who are connected
                now = asyncio.get_running_loop().time()
                self._ask_again_at = min(self._ask_again_at, now + RETRY_S)

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
