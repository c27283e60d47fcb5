"""Performs the engine's commands: the index answers some, the disk's own thread the others.

Also puts right, before the first scan, what an earlier run left on the disk in the middle of its
work.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from crypto.ids import NodeId
from peer.core import commands as c
from peer.core.disk_types import (
    PARKED,
    TRASH,
    Disk,
    FileRead,
    Known,
    Listing,
    MakeDirectory,
    Move,
    Operation,
    Path,
    Problem,
    ReadRequest,
    Refusal,
    Remove,
    Stat,
    Trouble,
)
from peer.disk.watcher import Watcher
from peer.errors import DiskError
from peer.folders.index_store import IndexStore
from protocol.names import conflict_name

_ITEM: Final = re.compile(r"[0-9a-f]{32}")
_GOING: Final = re.compile(r"going-(\d+)-(\d+)-(-?\d+)-\d+-(\d+)(?:-as-(.+?))?(?:-left)*")
T = TypeVar("T")


class Performer:
    """One folder's index, disk and watcher, as its engine sees them."""

    def __init__(self, store: IndexStore, disk: Disk | None, watcher: Watcher | None) -> None:
        self.executor = ThreadPoolExecutor(1, "disk")
        """The one thread that uses the disk."""
        self._store, self._disk, self._watcher = store, disk, watcher

    @property
    def disk(self) -> Disk:
        """The disk of a folder that is attached."""
        assert self._disk is not None
        return self._disk

    async def drive(self, routine: Coroutine[c.Command[Any], Any, T]) -> T:
        """Runs an engine routine, performing its commands."""
        answer: Any = None
        try:
            while True:
                command = routine.send(answer)
                answer = await self.perform(command)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            routine.close()

    async def perform(self, command: c.Command[Any]) -> Any:
        """Answers one command."""
        match command:
            case c.ListDirectories(paths, known):
                return await self.on_disk(lambda: self._list(paths, known))
            case c.StatPaths(paths):
                return await self.on_disk(lambda: self.disk.stat(paths))
            case c.ReadFiles(requests):
                return await self.on_disk(lambda: self._read(requests))
            case c.StageFiles(files):
                return await self.on_disk(lambda: self.disk.stage(files))
            case c.SyncStaged():
                return await self.on_disk(self.disk.sync_staged)
            case c.Apply(operations):
                return await self.on_disk(lambda: self._apply(operations))
            case _:
                return await self._store.perform(command)

    async def on_disk(self, call: Callable[[], T]) -> T:
        """Runs a call in the disk's thread."""
        return await asyncio.get_running_loop().run_in_executor(self.executor, call)

    def _list(self, paths: Sequence[Path], known: Sequence[Known] | None) -> list[Listing]:
        if self._watcher is not None:  # watched before listed, nothing is missed
            self._watcher.watch(paths)
        return self.disk.list_directories(paths, known)

    def _read(self, requests: Sequence[ReadRequest]) -> list[FileRead | Problem]:
        results = self.disk.read_files(requests)
        # Whoever is told of a file must not hear after a power cut here that it is deleted.
        self.disk.sync_saved([r.path for r in results if isinstance(r, FileRead)])
        return results

    def _apply(self, operations: Sequence[Operation]) -> list[Stat | Refusal]:
        results = self.disk.apply(operations)
        touched = {
            path[:-1]
            for operation in operations
            for path in (getattr(operation, n, None) for n in ("path", "source", "target"))
            if path is not None
        }
        # What has come somewhere is to last before the removal of what it has left does: a disk
        # that forgets the one and keeps the other has neither. A new directory's contents come
        # before its name, for what they came from may lie beside it.
        came = {one.target[:-1] for one in operations if isinstance(one, Move)}
        came |= {one.path[:-1] for one in operations if isinstance(one, MakeDirectory)}
        in_order = sorted(touched, key=lambda path: (path not in came, -len(path), path))
        self.disk.sync_directories(in_order)
        return results

    # ------------------------------------------------------------ what an earlier run left

    async def list_own(self, path: Path) -> list[tuple[str, Stat]]:
        """What lies in a directory of Holdfast's own. Raises DiskError while the disk does not say
        all of it: what was parked or kept and is taken for gone is told as deleted, or forgotten.
        """
        (listing,) = await self.on_disk(lambda: self.disk.list_directories([path]))
        for problem in listing.problems:
            if problem.trouble in (Trouble.UNREADABLE, Trouble.UNLISTED):
                where = "/".join(problem.path)
                raise DiskError(f"{where}: {problem.reason} {DiskError.sentence()}")
        return listing.entries or []

    async def clean_incoming(self) -> None:
        """Deletes temp files of an earlier run: their bytes are fetched or copied again."""
        names = await self.on_disk(self.disk.staged_names)
        await self.on_disk(lambda: self.disk.discard_staged(names))

    async def unpark(self, path_of: Callable[[NodeId], Awaitable[Path | None]], label: str) -> None:
        """Puts back what a crash left parked in the middle of a plan, before a scan can miss it.

        Where its place is taken, it goes beside it under a conflict name; where the directory is
        not there, for the plan had come so far, to the root. Raises DiskError for what the disk
        does not let go: it would be told as deleted.
        """
        moves: list[Move] = []
        for name, stat in await self.list_own(PARKED):
            if not _ITEM.fullmatch(name):
                continue  # none of ours
            target = await path_of(NodeId(bytes.fromhex(name))) or _recovered(name)
            moves.append(Move((*PARKED, name), await self._free(target, name, label), stat))
        moves.sort(key=lambda move: len(move.target))  # a directory before what was in it
        homeless: list[Move] = []
        for move, _ in await self._refused(moves):
            name = move.source[-1]
            target = await self._free(_recovered(name), name, label)
            homeless.append(move._replace(target=target))
        for move, refusal in await self._refused(homeless):
            where = "/".join(move.source)
            raise DiskError(f"{where} cannot be put back: {refusal.reason} {DiskError.sentence()}")

    async def _free(self, target: Path, name: str, label: str) -> Path:
        """The path, or one beside it if something is there."""
        (there,) = await self.on_disk(lambda: self.disk.stat([target]))
        if there is None:
            return target
        return (*target[:-1], conflict_name(target[-1], label, int(time.time()), name[:8]))

    async def _refused(self, moves: Sequence[Move]) -> list[tuple[Move, Refusal]]:
        """Moves these, and gives those that the disk refused."""
        results = await self.on_disk(lambda: self._apply(moves)) if moves else []
        pairs = zip(moves, results, strict=True)
        return [(move, result) for move, result in pairs if isinstance(result, Refusal)]

    async def empty_trash(self) -> None:
        """Deletes what a crash left of replaced files, or keeps it where that was meant; what was
        saved anew meanwhile comes back.

        The name there says which file was meant to go, and which to come (`writer.going_name`).
        """
        operations: list[Operation] = []
        for name, stat in await self.list_own(TRASH):
            meant = _GOING.fullmatch(name)
            if meant is None:
                continue  # none of ours
            inode, size, mtime_ns, new_inode = map(int, meant.groups()[:4])
            keep = meant[5]
            is_meant = (stat.inode, stat.size, stat.mtime_ns) == (inode, size, mtime_ns)
            if stat.inode == new_inode or (is_meant and keep is None):
                operations.append(Remove((*TRASH, name), stat))
            elif is_meant:
                operations.append(Move((*TRASH, name), (*TRASH, keep), stat))
            else:
                operations.append(Move((*TRASH, name), _recovered(name), stat))
        if operations:
            await self.on_disk(lambda: self._apply(operations))


def _recovered(name: str) -> Path:
    """Where something goes that has no other place."""
    return (f"recovered {name}",)
