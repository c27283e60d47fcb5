"""From the disk to the records: looks where something may have changed, reads what is new, and has
the engine record it.

Everything here runs in the folder's one task, but for `hints_come`, which leaves notes only.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from crypto.ids import FolderId, NodeId
from peer.core.disk_types import (
    Disk,
    DiskError,
    DiskGone,
    Kind,
    Path,
    Problem,
    RangeRequest,
    ReadRequest,
    Trouble,
)
from peer.core.engine import Engine, ReadBack, Scanned
from peer.core.observation import Entry
from peer.core.patience import Patience
from peer.disk.hinting import Hinting
from peer.disk.ignore import IGNORE_BYTES_MAX, IGNORE_FILE, IgnoreRules, UnknownRules
from peer.disk.watcher import Watcher
from peer.folders.deletion_guard import DeletionGuard
from peer.folders.performing import Performer
from peer.folders.progress import CHANGING, Progress
from peer.folders.rewrite_guard import RewriteGuard
from peer.status import FolderState
from protocol.changesets import Changeset
from protocol.names import exact_key
from protocol.nodes import ROOT

READ_AT_ONCE: Final = 500
"""New files read and told in one changeset: others begin to fetch while the next are read."""
READ_BYTES_AT_ONCE: Final = 64 << 20
LATER_AT_ONCE: Final = 50
"""Directories looked at again for their new files; a scan itself stops taking files at some point.
"""
UNREAD_RETRY_MAX_S: Final = 600.0
"""What cannot be read is looked at by itself at last every ten minutes: a permission that is given
is an event, but a disk that reads again, or descriptors that are free again, are none.
"""


class Intake:
    """What one folder's disk has to tell."""

    def __init__(
        self,
        folder_id: FolderId,
        engine: Engine,
        disk: Disk,
        performer: Performer,
        progress: Progress,
        guard: DeletionGuard,
        rewrites: RewriteGuard,
        rescan_interval_s: float,
        on_authored: Callable[[Sequence[Changeset]], None],
        on_read: Callable[[bytes, bytes], None],
        on_missing: Callable[[], None],
    ) -> None:
        """`on_authored`: others are to be told; `on_read`: a small content by its hash, for which
        others will ask; `on_missing`: something is to be put back on the disk.
        """
        self.hinting = Hinting()
        self._guard, self._rewrites = guard, rewrites
        self._folder_id, self._engine, self._disk = folder_id, engine, disk
        self._performer, self._progress = performer, progress
        self._rescan_interval_s = rescan_interval_s
        self._on_authored, self._on_read, self._on_missing = on_authored, on_read, on_missing
        self.has_looked = False
        """All that the disk had to tell at the start has been read and recorded."""
        self.on_rewritten: Callable[[Sequence[Entry]], None] = lambda entries: None
        """Files that were in sync have new bytes, and that was recorded."""
        self._rescan_at = 0.0
        self._rules: IgnoreRules = UnknownRules()
        self._rules_problem = ""
        """Why those of the ignore file are not followed, or not as it is now."""
        self._to_read: OrderedDict[tuple[NodeId, str], Entry] = OrderedDict()
        """By directory and name: what two scans found before it was read is one file."""
        self._known: set[tuple[NodeId, str]] = set()
        """Those of them that are not new: they may have been rewritten."""
        self._later: dict[NodeId, None] = {}
        """Directories with more new files than a scan tells of at once."""
        self._unread: set[Path] = set()
        self._unlisted: set[Path] = set()
        """Directories that are looked at with any other: what is gone there may be here."""
        self._patience = Patience(UNREAD_RETRY_MAX_S)

    def is_ignored(self, path: Path, is_directory: bool) -> bool:
        """Whether a path is left out by the folder's rules, as they were last read."""
        return self._rules.is_ignored(path, is_directory)

    @property
    def has_read_all(self) -> bool:
        """Whether all that scans found has been recorded."""
        return not self._to_read and not self._later

    def looks_first(self, is_joining: bool) -> bool:
        """Whether no news is to be taken in before the disk was looked at once: what a crash left
        half done is told apart from edits by what was known then. A device that joins compares its
        disk with the news instead, and a disk in trouble keeps nobody waiting.
        """
        return not (self.has_looked or is_joining or self._progress.trouble)

    def is_rescan_due(self, now: float) -> bool:
        """Whether everything is to be looked at."""
        return now >= self._rescan_at

    def next_due(self) -> float:
        """When there will be something to look at."""
        return min(self.hinting.next_due(), self._rescan_at, self._patience.retry_at)

    def rescan(self) -> None:
        """Everything is to be looked at."""
        self._rescan_at = 0.0

    def hints_come(self, watcher: Watcher, now: float) -> None:
        """The watcher has something to say."""
        hints = watcher.read()
        if hints.has_overflowed or hints.is_root_gone:
            self.rescan()
        for directory, names in hints.changed.items():
            is_closed = directory in hints.closed
            path = tuple(map(exact_key, directory))
            self.hinting.add(path, not names, now, is_closed=is_closed)
            if not directory and IGNORE_FILE in names:  # other rules: look at everything by them
                self.rescan()
        for problem in hints.unwatched:
            self._progress.problems[problem.path] = problem.reason

    async def step(self, now: float) -> bool:
        """Takes one piece of news from the disk; False if there is none."""
        try:
            return await self._take(now)
        except DiskError:
            self.rescan()  # what was being looked at or read is to be found again
            raise

    async def _take(self, now: float) -> bool:
        if self.is_rescan_due(now):
            await self._scan([ROOT], True)
            self._rescan_at = asyncio.get_running_loop().time() + self._rescan_interval_s
        elif self._patience.time_came(now):
            if self._rules_problem:
                self.rescan()
            for path in self._unread | self._unlisted:
                self.hinting.add(path[:-1], not path, now)
        elif self._to_read:
            await self._read_back()
        elif due := self.hinting.take_due(now):
            await self._scan_hints(due)
        elif self._later:
            scope = list(self._later)[:LATER_AT_ONCE]
            for item in scope:
                del self._later[item]
            await self._scan(scope, False)
        else:
            return False
        self.has_looked = self.has_looked or not self._to_read
        return True

    async def _scan_hints(self, due: dict[Path, bool]) -> None:
        """Looks at the directories hinted at; where one is not known by its path yet, above it, and
        then at it: a renamed directory says so in the one that it came to.
        """
        seen: dict[Path, NodeId] = {}
        while due:
            flat: set[NodeId] = set()
            deep: dict[Path, NodeId] = {}
            unknown: dict[Path, bool] = {}
            for path, is_deep in due.items():
                item, is_exact = self._engine.find(path)
                if seen.get(path) == item:
                    continue  # it has not come nearer: it is gone again, or new and was looked into
                if is_deep and is_exact:
                    deep[path] = item
                else:
                    flat.add(item)
                if not is_exact:
                    unknown[path], seen[path] = is_deep, item
            flat -= set(deep.values())
            if flat:
                await self._scan(sorted(flat), False)
            # What was seen above them may have put other directories there.
            found = {path: self._engine.find(path) for path in deep}
            if scope := {item for item, is_exact in found.values() if is_exact}:
                await self._scan(sorted(scope), True)
            unknown |= {path: True for path, (_, is_exact) in found.items() if not is_exact}
            due = unknown

    async def _scan(self, scope: list[NodeId], is_recursive: bool) -> None:
        if is_recursive and ROOT in scope:
            self._progress.state = FolderState.SCANNING
            if not await self._performer.on_disk(
                lambda: self._disk.marker_present(self._folder_id)
            ):
                raise DiskGone
            await self._read_rules()
        is_full = is_recursive and ROOT in scope
        if is_full:
            self._rewrites.begin_full()
        else:
            scope = [*scope, *self._unlisted_beside(scope)]
        scanned = await self._performer.drive(
            self._engine.scan(
                scope, is_recursive, self._rules.is_ignored, time.time_ns(),
                lambda: self._guard.limit(is_full),
            )
        )  # fmt: skip
        if self._guard.note(scanned.held_deletions, is_full):
            await self._performer.drive(self._engine.put_back(scanned.missing))
            self._on_missing()
        known = self._progress.problems
        listed = scanned.listed
        beside = self._unlisted - listed  # that they are there still does not say what is in them
        for path in [p for p in known if p in listed or (p[:-1] in listed and p not in beside)]:
            del known[path]
            self._progress.skipped.discard(path)
            self._unread.discard(path)
        if any(entry.name == IGNORE_FILE and entry.parent == ROOT for entry in scanned.to_read):
            await self._read_rules()
        if self._rules_problem:
            known[(IGNORE_FILE,)] = self._rules_problem
        self._note_unlisted(scanned)
        self._note_problems(scanned.problems)
        self._to_read.update(((e.parent, e.name), e) for e in scanned.to_read)
        self._later.update(dict.fromkeys(scanned.later))
        self._known.update((e.parent, e.name) for e in scanned.to_read if e.item)
        if not self._to_read:
            await self._decide()
        self._on_authored(scanned.authored)

    async def _read_rules(self) -> None:
        """Reads the ignore file. Where that fails those from before go on, or nothing new is told:
        without rules, what is private would be.
        """
        try:
            data = await self._performer.on_disk(self._read_ignore_file)
            self._rules = IgnoreRules() if data is None else IgnoreRules.decode(data)
            self._rules_problem = ""
        except ValueError as error:
            self._rules_problem = str(error)
            if isinstance(self._rules, UnknownRules):
                self._rules_problem += " Until it can be, nothing new here is told to others."

    def _read_ignore_file(self) -> bytes | None:
        """What is in it; None if there is none. Raises ValueError with a sentence."""
        path = (IGNORE_FILE,)
        (read,) = self._disk.read_files([ReadRequest(path)])
        if isinstance(read, Problem):
            if read.trouble is Trouble.GONE:
                return None
            raise ValueError(f"{IGNORE_FILE} cannot be followed: {read.reason}")
        if read.stat.kind is not Kind.FILE:
            raise ValueError(f"{IGNORE_FILE} cannot be followed: it is not a file.")
        if read.data is not None:
            return read.data
        size = min(read.stat.size, IGNORE_BYTES_MAX + 1)
        (data,) = self._disk.read_ranges([RangeRequest(path, 0, size)])
        if data is None:
            raise ValueError(f"{IGNORE_FILE} cannot be followed: it is changing.")
        return data

    async def _read_back(self) -> None:
        self._progress.state = FolderState.SCANNING
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
        now = asyncio.get_running_loop().time()
        may_pass = self._engine.is_joining or not self._rewrites.sets_apart(len(self._known), now)
        self._known.difference_update((e.parent, e.name) for e in batch)
        read = await self._record(batch, may_pass)
        if not may_pass:
            found = {e.item for e in read.rewritten}
            self._rewrites.set_apart(
                read.rewritten, [e.item for e in batch if e.item and e.item not in found]
            )
        if not self._to_read:
            await self._decide()

    async def _decide(self) -> None:
        """All that was found has been read: whether the rewrites among it are told."""
        entries = self._rewrites.decide(asyncio.get_running_loop().time())
        while entries:
            part, entries = entries[:READ_AT_ONCE], entries[READ_AT_ONCE:]
            await self._record(part, True)

    async def _record(self, batch: Sequence[Entry], may_pass: bool) -> ReadBack:
        """Reads a batch and has it recorded, and told; without what was rewritten if need be."""
        read = await self._performer.drive(
            self._engine.read_back(batch, time.time_ns(), records_rewritten=may_pass)
        )
        now = asyncio.get_running_loop().time()
        if may_pass:
            self.on_rewritten(read.rewritten)
        if may_pass and not self._engine.is_joining:
            self._rewrites.note_recorded((e.item for e in read.rewritten), now)
        if read.has_strays:
            self.rescan()
        for entry in read.again:
            path = self._engine.directories.path(entry.parent)
            self._progress.problems[(*path, entry.name)] = CHANGING
            self.hinting.again(path, now)
        self._note_problems(read.problems)
        for hash_, data in read.data.items():
            self._on_read(hash_, data)
        self._on_authored(read.authored)
        return read

    def _unlisted_beside(self, scope: Sequence[NodeId]) -> list[NodeId]:
        """What was not listed is looked at with anything else: only with that is it known whether
        something is gone.
        """
        found = (self._engine.find(path) for path in self._unlisted)
        return sorted({item for item, is_exact in found if is_exact}.difference(scope))

    def _note_unlisted(self, scanned: Scanned) -> None:
        """Remembers the directories that the disk did not list. When it lists them all again, all
        that was gone meanwhile is looked for.
        """
        had_some = bool(self._unlisted)
        left = self._unlisted - scanned.listed
        self._unlisted = {path for path in left if self._engine.find(path)[1]}
        self._unlisted.update(p.path for p in scanned.problems if p.trouble is Trouble.UNLISTED)
        if had_some and not self._unlisted:
            self.rescan()

    def _note_problems(self, problems: Sequence[Problem]) -> None:
        """Tells of what is left out; what cannot be read is tried again ever more rarely."""
        for problem in problems:
            self._progress.problems[problem.path] = problem.reason
            if problem.trouble is Trouble.CHANGING:
                self.hinting.again(problem.path[:-1], asyncio.get_running_loop().time())
            if problem.trouble is Trouble.SPECIAL:
                self._progress.skipped.add(problem.path)
            if problem.trouble is Trouble.UNREADABLE:
                self._unread.add(problem.path)
        if self._unread or self._unlisted or self._rules_problem:
            self._patience.wait(asyncio.get_running_loop().time())
        else:
            self._patience.end()
