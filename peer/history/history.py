"""One folder's history: brings versions back, forgets them when their time is over, and gives way
when the disk is needed.

What comes back is put into the folder as if the person had put it there, and is told by the scan
that follows; what it replaces is a version in its turn. Everything here runs in the folder's one
task but for `restore`, which leaves a note for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from crypto.chunks import ChunkHasher
from crypto.ids import NodeId
from peer.core import commands as c
from peer.core.disk_types import (
    INCOMING,
    TRASH,
    Kind,
    Listing,
    MakeDirectory,
    Operation,
    Path,
    Problem,
    Publish,
    RangeRequest,
    Refusal,
    Remove,
    StageFile,
    Stat,
)
from peer.core.engine import Engine, Need
from peer.core.rows import Row, content_of
from peer.core.turn import is_directory
from peer.core.versions import PATH_SEPARATOR, Version, read_kept_name, trash_name
from peer.disk.copying_out import copy_out
from peer.disk.hinting import Hinting
from peer.folders.calls import CUT_SHORT
from peer.folders.fetcher import Fetcher, Key
from peer.folders.index_store import IndexStore
from peer.folders.performing import Performer
from peer.folders.rechecking import Rechecking
from peer.folders.rewrite_guard import RewriteGuard
from peer.history.spares import Spares
from peer.history.version_store import StoredVersion, VersionPolicy
from peer.search.search import Found, Query
from protocol.names import exact_key, fold_key, without_conflict_mark
from protocol.nodes import Content, new_node_id
from protocol.nodes import Kind as NodeKind

AT_ONCE: Final = 200
"""Versions asked for, and brought back, in one step; or forgotten."""
BYTES_AT_ONCE: Final = 256 << 20
EXPIRE_INTERVAL_S: Final = 600
"""How often it is looked whose time is over, and whether what is kept has become too much."""
GIVE_WAY_BYTES: Final = 64 << 20
"""How much is let go of at once when the disk is full and nobody knows how much is needed."""
NOT_HERE: Final = (
    "Its bytes are not on this device, and no device that is connected has them. Try again when"
    " another device is there."
)
CHANGED: Final = "What is there now has just been changed. Try again in a moment."
IN_THE_WAY: Final = "There is something else in its place. Restore it to another path with --to."


class Wanted(NamedTuple):
    """A version to be brought back."""

    version: Version
    target: Path
    """Where in the folder; the last names of it where it goes out of the folder."""
    out: str | None = None
    """An absolute path outside of the folder, where nothing is."""


@dataclass(slots=True)
class Restored:
    """What came of a request."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Why not, by path."""


@dataclass(eq=False, slots=True)
class _Request:
    answer: asyncio.Future[Restored]
    left: int
    result: Restored

    def note(self, wanted: Wanted, reason: str = "") -> None:
        """One of its versions is dealt with."""
        path = wanted.out or PATH_SEPARATOR.join(wanted.target)
        if reason:
            self.result.failed[path] = reason
        else:
            self.result.done.append(path)
        self.left -= 1
        if not self.left and not self.answer.done():
            self.answer.set_result(self.result)


class History:
    """The versions of one attached folder."""

    def __init__(
        self,
        engine: Engine,
        store: IndexStore,
        performer: Performer,
        fetcher: Fetcher,
        hinting: Hinting,
        rewrites: RewriteGuard,
        policy: VersionPolicy,
        free_min_bytes: int,
        hasher: ChunkHasher,
        recheck_s: float,
        wake: Callable[[], None],
    ) -> None:
        self._engine, self._performer, self._fetcher = engine, performer, fetcher
        self._versions, self._names = store.versions, store.names
        self._hinting, self._rewrites, self._policy = hinting, rewrites, policy
        self._wake = wake
        self.rechecking = Rechecking(
            engine, store, performer, fetcher, hinting, hasher, recheck_s, wake
        )
        self._todo: deque[tuple[Wanted, _Request]] = deque()
        self._asked: dict[Key, tuple[Wanted, _Request]] = {}
        self.spares = Spares(engine, store.versions, performer, policy, free_min_bytes)
        self._expire_at_s = 0
        self.kept = (0, 0)
        """How many versions are kept here, and their bytes, as of a few minutes ago."""
        engine.keeps_versions = policy.all_s > 0
        fetcher.make_room = self.make_room

    # ------------------------------------------------------------ what there is

    async def of_path(self, path: Path) -> tuple[Content | None, list[StoredVersion]]:
        """What is shown at a path now, and what was before."""
        row = await self.row_at(path)
        nodes = [row.id] if row is not None else []
        found = await self._versions.of_file(PATH_SEPARATOR.join(path), nodes)
        if row is None:
            return None, found
        return content_of(row.base, row.shown.hash), found

    async def at_time(self, directory: Path, at_s: int) -> list[Version]:
        """What was shown below a directory at a time, where it differs from what is now."""
        found = await self._versions.shown_at(PATH_SEPARATOR.join(directory), at_s)
        then = [v.version for v in found if v.version.written_s <= at_s]
        out = []
        for version in then:
            row = await self.row_at(tuple(version.path.split(PATH_SEPARATOR)))
            if row is None or row.shown.hash != version.hash:
                out.append(version)
        return out

    async def deleted(self, directory: Path, limit: int) -> list[StoredVersion]:
        """Deleted files below a directory that are not there again, the latest first."""
        found = await self._versions.deleted(PATH_SEPARATOR.join(directory), limit)
        return [stored for stored in found if not await self._is_there(stored.version)]

    async def _is_there(self, version: Version) -> bool:
        """Whether its path is taken again, or a conflict copy is where its original was."""
        *above, name = version.path.split(PATH_SEPARATOR)
        if await self.row_at((*above, name)) is not None:
            return True
        original = without_conflict_mark(name)
        row = await self.row_at((*above, original)) if original != name else None
        return row is not None and row.shown.hash == version.hash

    async def find(self, query: Query, limit: int) -> list[Found]:
        """What is shown and has such a name."""
        return await self._names.find(self._engine.directories, query, limit)

    async def row_at(self, path: Path) -> Row | None:
        """The file or symlink that is shown there."""
        if not path:
            return None
        resident = self._engine.directories
        item, is_exact = self._engine.find(path[:-1])
        if not is_exact:
            return None
        name, key = path[-1], fold_key if resident.folds_case else exact_key
        wanted = without_conflict_mark(name)
        # A file whose name was taken lies under the name that it wanted. Cut to length for the
        # mark, that is not known any more: then it is one of those that several want.
        tries = [{key(name)}]
        if wanted != name:
            tries += [{key(wanted)}, set(resident.items[item].crowded)]
        for keys in tries:
            slots = [(member, one) for member in resident.items[item].members for one in keys]
            rows: list[Row] = await self._performer.perform(c.LoadSlots(slots)) if slots else []
            for row in rows:
                if row.shown.item == row.id and row.shown.name == name:
                    return row
        return None

    async def rows_below(self, directory: Path) -> dict[Path, Row]:
        """All files and symlinks that are shown below a directory, by their paths."""
        resident = self._engine.directories
        item, is_exact = self._engine.find(directory)
        if not is_exact:
            return {}
        paths: dict[NodeId, Path] = {}
        waiting = {item: directory}
        while waiting:
            item, path = waiting.popitem()
            for member in resident.items[item].members:
                paths[member] = path
                for ids in resident.nodes[member].subdirectories.values():
                    for below in {resident.nodes[id_].item for id_ in ids}:
                        waiting[below] = (*path, resident.items[below].name)
        rows: list[Row] = await self._performer.perform(c.LoadChildren(list(paths)))
        return {
            (*paths[row.shown.parent], row.shown.name): row
            for row in rows
            if row.shown.item == row.id
        }

    async def on_disk(self, path: Path) -> Stat | None:
        """What is at a path now."""
        found: list[Stat | None] = await self._performer.perform(c.StatPaths([path]))
        return found[0]

    async def listed(self, directories: Sequence[Path]) -> list[Listing]:
        """What is in these directories now."""
        performer = self._performer
        return await performer.on_disk(lambda: performer.disk.list_directories(directories))

    # ------------------------------------------------------------ bringing back

    async def restore(self, wanted: Sequence[Wanted], result: Restored | None = None) -> Restored:
        """Brings these versions back; answers when each of them is there, or cannot be. `result`
        says meanwhile how far it is.
        """
        result = Restored() if result is None else result
        if not wanted:
            return result
        request = _Request(asyncio.get_running_loop().create_future(), len(wanted), result)
        self._todo.extend((one, request) for one in wanted)
        self._wake()
        return await request.answer

    def close(self) -> None:
        """Whoever waits for versions is told that they do not come."""
        for wanted, request in (*self._todo, *self._asked.values()):
            request.note(wanted, CUT_SHORT)
        self._todo.clear()
        self._asked.clear()

    async def step(self, now: float) -> bool:
        """Asks for the bytes of a few, or brings back those that have come; False if there is
        nothing to do but wait.
        """
        staged = [key for key in self._asked if key in self._fetcher.staged]
        if staged:
            await self._bring(staged, now)
            return True
        gone = [key for key in self._asked if key not in self._fetcher.jobs]
        for key in gone:
            wanted, request = self._asked.pop(key)
            request.note(wanted, self._fetcher.problems.pop(key, "") or NOT_HERE)
            self._fetcher.unavailable.discard(key)
            self._fetcher.owners.pop(key, None)
        if not self._asked and self._todo:
            await self._ask()
            return True
        if await self.spares.yield_up(self._fetcher.unavailable):
            await self.take_stock()
            return True
        return await self.rechecking.step(now) or bool(gone)

    async def _ask(self) -> None:
        needs: list[Need] = []
        size = 0
        while self._todo and len(needs) < AT_ONCE and size < BYTES_AT_ONCE:
            wanted, request = self._todo.popleft()
            version = wanted.version
            kind = NodeKind.SYMLINK if version.is_symlink else NodeKind.FILE
            # An id of its own: the node may be wanted with these bytes, or shown with them.
            node = new_node_id(kind, self._engine.random)
            self._asked[node, version.hash] = wanted, request
            needs.append(Need(node, version.content(), node, version.is_executable))
            size += version.size
        await self._fetcher.need(needs)

    async def _bring(self, keys: Sequence[Key], now: float) -> None:
        performer, fetcher = self._performer, self._fetcher
        jobs = {key: (*self._asked.pop(key), fetcher.staged.pop(key)) for key in keys}
        await performer.perform(c.SyncStaged())
        left = []
        for wanted, request, temp in jobs.values():
            if wanted.out is not None:
                source, out = (*INCOMING, temp), wanted.out
                reason = await performer.on_disk(
                    lambda s=source, o=out, v=wanted.version: copy_out(performer.disk, s, v, o)  # type: ignore[misc]
                )
                left.append(temp)
            else:
                reason = await self._put(wanted.target, temp)
                if reason:
                    left.append(temp)
                else:
                    self._hinting.add(wanted.target[:-1], False, now)
            request.note(wanted, reason)
        self._expire_at_s = 0  # what was replaced is in the trash, and becomes a version by a scan
        await performer.on_disk(lambda: performer.disk.discard_staged(left))

    async def _put(self, target: Path, temp: str) -> str:
        """Publishes a staged file in the folder; returns why not, or nothing."""
        reason = await self._make_parents(target)
        if reason:
            return reason
        (there,) = await self._performer.perform(c.StatPaths([target]))
        keep = None
        if there is not None:
            if there.kind is Kind.DIRECTORY:
                return IN_THE_WAY
            row = await self.row_at(target)
            if row is None or not is_as_known(row, there):
                return CHANGED
            if self._engine.keeps_versions:
                keep = trash_name(row.id, row.shown.hash, row.disk)
            self._rewrites.expect(row.id)
        return await self.apply([Publish(temp, target, there, keep=keep)])

    # ------------------------------------------------------------ by a program's hand

    async def row_of(self, node: NodeId) -> tuple[Path, Row] | None:
        """The file or symlink of this id, if it is shown, and where."""
        (row,) = [*(await self._performer.perform(c.LoadRows([node]))).values()] or [None]
        if row is None or row.shown.item != node or is_directory(node):
            return None
        path = self._engine.directories.child_path(row.shown.parent, row.shown.name)
        return None if path is None else (path, row)

    async def read(self, path: Path, offset: int, length: int) -> bytes | None:
        """A piece of a file as it is on the disk; None if it cannot be read, or is shorter."""
        wanted = [RangeRequest(path, offset, length)]
        performer = self._performer
        (data,) = await performer.on_disk(lambda: performer.disk.read_ranges(wanted))
        return data

    async def write(self, target: Path, data: bytes, time_ns: int, *, is_executable: bool) -> str:
        """Puts these bytes there, as a person's own edit; returns why not, or nothing."""
        temp = f"put-{self._engine.random(8).hex()}"
        (staged,) = await self._performer.perform(
            c.StageFiles([StageFile(temp, data, None, time_ns, is_executable)])
        )
        if isinstance(staged, Problem):
            return staged.reason
        await self._performer.perform(c.SyncStaged())
        reason = await self._put(target, temp)
        if reason:
            performer = self._performer
            await performer.on_disk(lambda: performer.disk.discard_staged([temp]))
        self._hinting.add(target[:-1], False, asyncio.get_running_loop().time())
        return reason

    async def remove(self, path: Path, row: Row) -> str:
        """Deletes a file as a person would, and keeps it as a version; returns why not, or
        nothing.
        """
        (there,) = await self._performer.perform(c.StatPaths([path]))
        if there is None or not is_as_known(row, there):
            return CHANGED
        keep = trash_name(row.id, row.shown.hash, row.disk) if self._engine.keeps_versions else None
        reason = await self.apply([Remove(path, there, keep)])
        self._hinting.add(path[:-1], False, asyncio.get_running_loop().time())
        return reason

    async def _make_parents(self, target: Path) -> str:
        above = [target[:depth] for depth in range(1, len(target))]
        stats = await self._performer.perform(c.StatPaths(above)) if above else []
        if any(stat is not None and stat.kind is not Kind.DIRECTORY for stat in stats):
            return IN_THE_WAY
        missing = [path for path, stat in zip(above, stats, strict=True) if stat is None]
        reason = await self.apply([MakeDirectory(path) for path in missing])
        if missing:
            now = asyncio.get_running_loop().time()
            self._hinting.add(missing[0][:-1], True, now)
        return reason

    async def apply(self, operations: Sequence[Operation]) -> str:
        """Does what a person has decided; returns why not, or nothing."""
        if not operations:
            return ""
        results = await self._performer.perform(c.Apply(operations))
        for operation, result in zip(operations, results, strict=True):
            keep = getattr(operation, "keep", None)
            if keep is None or isinstance(result, Refusal) or not self._engine.keeps_versions:
                continue
            if (found := read_kept_name(keep)) is not None:
                self._engine.set_aside[found[0]] = keep
        return next((r.reason for r in results if isinstance(r, Refusal)), "")

    # ------------------------------------------------------------ letting go

    async def keep_up(self) -> bool:
        """A piece of what a folder at rest does for its history; False when there is none."""
        now, now_s = asyncio.get_running_loop().time(), int(time.time())
        if await self.spares.step(now) or await self.expire(now_s):
            return True
        return await self.rechecking.look(now_s, now)

    def next_due(self) -> float:
        """When there will be something for it."""
        return min(self.spares.next_due(), self.rechecking.next_due())

    async def expire(self, now_s: int) -> bool:
        """Forgets those whose time is over, a few at once; False when it is up to date."""
        if self._expire_at_s - EXPIRE_INTERVAL_S <= now_s < self._expire_at_s:
            return False
        spared = self._coming_back()
        over = await self._versions.over(now_s, self._policy, AT_ONCE)
        if over := [each for each in over if each.version.hash not in spared]:
            await self._forget(over)
            return True
        await self.take_stock()
        # What is kept for later may not take more than what is left for now.
        self.kept = await self._versions.kept()
        kept = self.kept[1]
        free = await self._performer.on_disk(self._performer.disk.free_bytes)
        if kept > free:
            await self.make_room((kept - free) // 2)
        self._expire_at_s = now_s + EXPIRE_INTERVAL_S
        return False

    async def tidy(self, *, is_full: bool) -> None:
        """After a start, or after the disk failed or was full."""
        await self.take_stock()
        if is_full:
            await self.make_room()

    async def make_room(self, size: int = GIVE_WAY_BYTES) -> int:
        """Lets go of some until so many bytes more are free; returns how many are."""
        spared, limit = self._coming_back(), AT_ONCE
        freed = await self.spares.give_way(size, spared)
        while freed < size:
            found = await self._versions.first_to_go(limit)
            part: list[StoredVersion] = []
            for version in found:
                if freed >= size:
                    break
                if version.version.hash not in spared:
                    part.append(version)
                    freed += version.version.size
            if part:
                await self._forget(part)
            elif len(found) < limit:
                break
            else:
                limit *= 2  # all of these are spared
        return freed

    def _coming_back(self) -> set[bytes]:
        """The contents that somebody is having brought back: they give way to nothing, least of all
        to themselves.
        """
        return {wanted.version.hash for wanted, _ in (*self._todo, *self._asked.values())}

    async def _forget(self, versions: Sequence[StoredVersion]) -> None:
        """The file first: a crash in between leaves a version without bytes, and no bytes without a
        version.
        """
        names = [v.version.kept for v in versions if v.version.kept is not None]
        stats = await self._performer.perform(c.StatPaths([(*TRASH, name) for name in names]))
        await self.apply(
            [
                Remove((*TRASH, name), stat)
                for name, stat in zip(names, stats, strict=True)
                if stat is not None
            ]
        )
        await self._versions.forget(versions)

    async def take_stock(self) -> None:
        """Compares the trash with what the index says of it: a crash may have come between, and a
        person may have emptied it.
        """
        found = dict(await self._performer.list_own(TRASH))
        found |= await self.spares.load(found)
        there = {name: stat for name, stat in found.items() if read_kept_name(name)}
        known = await self._versions.kept_names() | {*self._engine.set_aside.values()}
        if lost := known - there.keys():
            await self._versions.lose(lost)
        for name in sorted(there.keys() - known):
            await self._versions.adopt(await self._found(name, there[name]))

    async def _found(self, name: str, stat: Stat) -> Version:
        """As much as can be said of a file in the trash that no version is known of."""
        node, hash_ = read_kept_name(name) or (NodeId(b""), b"")
        path = await self._performer.drive(self._engine.path_of(node)) or ("recovered", name)
        row = (await self._performer.perform(c.LoadRows([node]))).get(node) or Row(node)
        content = content_of(row.base, hash_) or content_of(row.state, hash_)
        manifest, written_s, label = b"", max(0, stat.mtime_ns // 1_000_000_000), ""
        if content is not None:
            manifest, written_s, label = content.manifest, content.time_s, content.label
        return Version(
            node, hash_, stat.size, stat.mtime_ns, stat.executable, manifest, written_s, label,
            PATH_SEPARATOR.join(path), int(time.time()), not row.shown.parent, name,
        )  # fmt: skip


def is_as_known(row: Row, stat: Stat) -> bool:
    """Whether a file is what the index says, as far as every rename leaves it alone."""
    return (row.disk.inode, row.disk.size, row.disk.mtime_ns) == (
        stat.inode, stat.size, stat.mtime_ns
    )  # fmt: skip
