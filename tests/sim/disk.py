"""A disk in memory: inodes in a tree, the commands of the engine, and what people can do to it.

It answers as disk.py and writer.py do, refusals included. Inode numbers are used again at
once, as on ext4, and times stand still for 10 ms, as in the kernel: both are there to deceive the
scanner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from crypto.chunks import ChunkHasher
from peer.core import commands as c
from peer.core.disk_types import (
    INCOMING,
    INTERNAL_NAME,
    PARKED,
    FileRead,
    Kind,
    Listing,
    MakeDirectory,
    Move,
    Operation,
    Path,
    Problem,
    Publish,
    ReadRequest,
    Refusal,
    RefusalKind,
    Remove,
    RemoveDirectory,
    SetExecutable,
    SetMtime,
    StageFile,
    Stat,
    Trouble,
    is_unchanged,
)
from protocol.names import fold_key
from tests.peer.listings import shortened

HASHER: Final = ChunkHasher(b"k" * 32)
ROOT_INODE: Final = 1
TICK_NS: Final = 10_000_000
OFF_NS: Final = 1
"""No tick falls on a whole second: a disk with such times would be one that keeps no others."""


class Crash(Exception):
    """The machine lost power in the middle of something."""


class Clock:
    """The one clock of a world."""

    def __init__(self) -> None:
        self.now_ns = 1_700_000_000_000_000_000

    def pass_(self, duration_ns: int = TICK_NS) -> None:
        self.now_ns += duration_ns

    @property
    def stamp_ns(self) -> int:
        return self.now_ns // TICK_NS * TICK_NS - OFF_NS


@dataclass(slots=True)
class Inode:
    kind: Kind
    data: bytes = b""
    mtime_ns: int = 0
    ctime_ns: int = 0
    is_executable: bool = False
    entries: dict[str, int] = field(default_factory=dict)


class Place(NamedTuple):
    """A name in a directory, and the inode it has."""

    directory: int
    name: str
    inode: int


class _Refused(Exception):
    def __init__(self, kind: RefusalKind, actual: Stat | None = None) -> None:
        super().__init__(kind.value)
        self.refusal = Refusal(kind, kind.value, actual)


class FakeDisk:
    """One folder on one disk."""

    def __init__(self, clock: Clock, folds_case: bool = False) -> None:
        self.clock, self.folds_case = clock, folds_case
        self.inodes: dict[int, Inode] = {ROOT_INODE: Inode(Kind.DIRECTORY)}
        internal = self._new(ROOT_INODE, INTERNAL_NAME, Inode(Kind.DIRECTORY))
        for path in (INCOMING, PARKED):
            self._new(internal, path[-1], Inode(Kind.DIRECTORY))
        self.synced: set[str] = set()
        self.before_operation: Callable[[int, Operation], None] = lambda number, operation: None
        """Called before each operation of a plan: somebody may act, or the machine may crash."""
        self.operations = 0

    # ------------------------------------------------------------ the tree

    def find(self, directory: int, name: str) -> str | None:
        """The name as it is spelled on the disk, if it is there."""
        entries = self.inodes[directory].entries
        if name in entries:
            return name
        if self.folds_case:
            key = fold_key(name)
            return next((n for n in entries if fold_key(n) == key), None)
        return None

    def walk(self, directory: int = ROOT_INODE) -> Iterator[Place]:
        """Everything below a directory, from the top down, but for what is Holdfast's own."""
        todo = [directory]
        while todo:
            above = todo.pop(0)
            for name, inode in self.inodes[above].entries.items():
                if name == INTERNAL_NAME and above == ROOT_INODE:
                    continue
                yield Place(above, name, inode)
                if self.inodes[inode].kind is Kind.DIRECTORY:
                    todo.append(inode)

    def paths(self) -> dict[str, tuple[Kind, bytes, bool]]:
        """What is where: kind, bytes, executable."""
        at = {ROOT_INODE: ""}
        out = {}
        for place in self.walk():
            path = at[place.inode] = f"{at[place.directory]}/{place.name}"
            inode = self.inodes[place.inode]
            out[path[1:]] = (inode.kind, inode.data, inode.is_executable)
        return out

    def mtimes(self) -> dict[str, int]:
        """The modification time of each file."""
        at = {ROOT_INODE: ""}
        out = {}
        for place in self.walk():
            path = at[place.inode] = f"{at[place.directory]}/{place.name}"
            inode = self.inodes[place.inode]
            if inode.kind is Kind.FILE:
                out[path[1:]] = inode.mtime_ns
        return out

    def parked(self) -> list[str]:
        """What lies where plans park things."""
        return list(self.inodes[self._open(PARKED)].entries)

    def _new(self, directory: int, name: str, inode: Inode) -> int:
        assert self.find(directory, name) is None
        number = next(n for n in range(2, len(self.inodes) + 3) if n not in self.inodes)
        self.inodes[number] = inode
        self.inodes[directory].entries[name] = number
        inode.mtime_ns = inode.mtime_ns or self.clock.stamp_ns
        inode.ctime_ns = self.clock.stamp_ns
        return number

    def _open(self, path: Path) -> int:
        """A directory's inode; a refusal as the errors of openat give it."""
        number = ROOT_INODE
        for name in path:
            spelled = self.find(number, name)
            if spelled is None:
                raise _Refused(RefusalKind.GONE)
            number = self.inodes[number].entries[spelled]
            if self.inodes[number].kind is not Kind.DIRECTORY:
                raise _Refused(RefusalKind.CHANGED)
        return number

    def _at(self, path: Path) -> tuple[int, str]:
        if path[:1] == (INTERNAL_NAME,) and path[:2] != PARKED:
            raise _Refused(RefusalKind.ERROR)
        return self._open(path[:-1]), path[-1]

    def _stat(self, number: int) -> Stat:
        inode = self.inodes[number]
        size = len(inode.data)
        return Stat(
            inode.kind, number, 0, size, inode.mtime_ns, inode.ctime_ns, inode.is_executable
        )

    def _look(self, directory: int, name: str) -> Stat | None:
        spelled = self.find(directory, name)
        return None if spelled is None else self._stat(self.inodes[directory].entries[spelled])

    def look(self, path: Path) -> Stat | None:
        """What is at a path."""
        try:
            return self._look(*self._at(path)) if path else self._stat(ROOT_INODE)
        except _Refused:
            return None

    # ------------------------------------------------------------ what people do

    def make(self, directory: int, name: str, inode: Inode) -> int:
        """A new file, directory or symlink."""
        return self._new(directory, name, inode)

    def write(self, number: int, data: bytes) -> None:
        """Saves in place."""
        inode = self.inodes[number]
        inode.data = data
        inode.mtime_ns = inode.ctime_ns = self.clock.stamp_ns

    def chmod(self, number: int) -> None:
        """Turns the executable bit."""
        inode = self.inodes[number]
        inode.is_executable = not inode.is_executable
        inode.ctime_ns = self.clock.stamp_ns

    def touch(self, number: int) -> None:
        """A new mtime and nothing else."""
        inode = self.inodes[number]
        inode.mtime_ns = inode.ctime_ns = self.clock.stamp_ns

    def rename(self, place: Place, directory: int, name: str) -> None:
        """`mv -T`: over a file that is there."""
        spelled = self.find(directory, name)
        if spelled is not None:
            there = self.inodes[directory].entries[spelled]
            if there != place.inode:
                self.remove(Place(directory, spelled, there))
        del self.inodes[place.directory].entries[place.name]
        self.inodes[directory].entries[name] = place.inode
        self.inodes[place.inode].ctime_ns = self.clock.stamp_ns

    def swap(self, one: Place, other: Place) -> None:
        """Two things change places."""
        self.inodes[one.directory].entries[one.name] = other.inode
        self.inodes[other.directory].entries[other.name] = one.inode
        for number in (one.inode, other.inode):
            self.inodes[number].ctime_ns = self.clock.stamp_ns

    def remove(self, place: Place) -> None:
        """`rm -r`."""
        for below in [p.inode for p in self.walk(place.inode)] if place.inode != ROOT_INODE else []:
            del self.inodes[below]
        del self.inodes[place.directory].entries[place.name]
        del self.inodes[place.inode]

    # ------------------------------------------------------------ commands

    def perform(self, command: c.Command[Any]) -> Any:
        """Answers one disk command."""
        match command:
            case c.ListDirectories(paths, known):
                every = [self._list(path) for path in paths]
                if known is None:
                    return every
                return [shortened(listing, k) for listing, k in zip(every, known, strict=True)]
            case c.StatPaths(paths):
                return [self.look(path) for path in paths]
            case c.ReadFiles(requests):
                return [self._read(request) for request in requests]
            case c.StageFiles(files):
                return [self.stage(file) for file in files]
            case c.SyncStaged():
                self.synced |= set(self.inodes[self._open(INCOMING)].entries)
                return None
            case c.Apply(operations):
                return self._apply(operations)
            case _:
                raise AssertionError(command)

    def _list(self, path: Path) -> Listing:
        try:
            number = self._open(path)
        except _Refused:
            return Listing(path, 0, None, [])
        entries = [
            (name, self._stat(inode))
            for name, inode in self.inodes[number].entries.items()
            if path or name != INTERNAL_NAME
        ]
        return Listing(path, number, entries, [])

    def _read(self, request: ReadRequest) -> FileRead | Problem:
        path = request.path
        stat = self.look(path)
        if stat is None:
            return Problem(path, "gone", Trouble.GONE)
        if stat.kind is Kind.DIRECTORY or (request.expected or stat) != stat:
            return Problem(path, "changing", Trouble.CHANGING)
        if self.clock.now_ns - stat.ctime_ns < TICK_NS:
            self.clock.pass_()  # as the reader waits, so that no later write goes unseen
        data = self.inodes[stat.inode].data
        hash_ = HASHER.chunk_id(data)
        chunks = [(hash_, len(data))] if data and stat.kind is Kind.FILE else []
        return FileRead(path, stat, hash_, chunks, data, 0)

    def stage(self, file: StageFile) -> Stat:
        """Lays a file down in the incoming directory."""
        kind = Kind.FILE if file.target is None else Kind.SYMLINK
        data = file.data if file.target is None else file.target.encode()
        assert data is not None
        incoming = self._open(INCOMING)
        inode = Inode(kind, data, file.mtime_ns, 0, file.executable and kind is Kind.FILE)
        return self._stat(self._new(incoming, file.temp_name, inode))

    def discard_staged(self) -> None:
        """What a start does with the temp files of an earlier run."""
        incoming = self._open(INCOMING)
        for name, inode in list(self.inodes[incoming].entries.items()):
            self.remove(Place(incoming, name, inode))
        self.synced.clear()

    # ------------------------------------------------------------ operations

    def _apply(self, operations: Sequence[Operation]) -> list[Stat | Refusal]:
        made: dict[Stat, Stat] = {}
        results: list[Stat | Refusal] = []
        for number, operation in enumerate(operations):
            self.before_operation(number, operation)
            self.operations += 1
            try:
                result = self._do(operation, made)
            except _Refused as refused:
                results.append(refused.refusal)
                continue
            expected = getattr(operation, "expected", None)
            if expected is not None:
                made[expected] = result
            results.append(result)
        return results

    def _do(self, operation: Operation, made: dict[Stat, Stat]) -> Stat:
        match operation:
            case MakeDirectory(path):
                directory, name = self._at(path)
                self._require_nothing(directory, name)
                return self._stat(self._new(directory, name, Inode(Kind.DIRECTORY)))
            case Move():
                return self._move(operation, made)
            case Publish():
                return self._publish(operation, made)
            case Remove(path, expected):
                directory, name = self._at(path)
                actual = self._require(directory, name, expected, made)
                if actual.kind is Kind.DIRECTORY:
                    raise _Refused(RefusalKind.CHANGED, actual)
                self._remove(directory, name)
                return actual
            case RemoveDirectory(path):
                return self._remove_directory(*self._at(path))
            case SetExecutable(path, is_executable, expected):
                actual = self._require(*self._at(path), expected, made)
                if actual.kind is not Kind.FILE:
                    raise _Refused(RefusalKind.CHANGED, actual)
                self.inodes[actual.inode].is_executable = is_executable
                return self._changed(actual.inode)
            case SetMtime(path, mtime_ns, expected):
                actual = self._require(*self._at(path), expected, made)
                self.inodes[actual.inode].mtime_ns = mtime_ns
                return self._changed(actual.inode)

    def _changed(self, number: int) -> Stat:
        self.inodes[number].ctime_ns = self.clock.stamp_ns
        return self._stat(number)

    def _require(
        self,
        directory: int,
        name: str,
        expected: Stat,
        made: dict[Stat, Stat],
        is_renamed: bool = False,
    ) -> Stat:
        actual = self._look(directory, name)
        if actual is None:
            raise _Refused(RefusalKind.GONE)
        if not is_unchanged(made.get(expected, expected), actual, is_renamed=is_renamed):
            raise _Refused(RefusalKind.CHANGED, actual)
        return actual

    def _require_nothing(self, directory: int, name: str) -> None:
        there = self._look(directory, name)
        if there is not None:
            raise _Refused(RefusalKind.EXISTS, there)

    def _remove(self, directory: int, name: str) -> None:
        spelled = self.find(directory, name)
        assert spelled is not None
        del self.inodes[self.inodes[directory].entries.pop(spelled)]

    def _move(self, operation: Move, made: dict[Stat, Stat]) -> Stat:
        is_restored = operation.source[:1] == (INTERNAL_NAME,)
        from_, name = self._at(operation.source)
        to, new_name = self._at(operation.target)
        actual = self._require(from_, name, operation.expected, made, is_restored)
        there = self._look(to, new_name)
        if there is not None and there.inode != actual.inode:
            raise _Refused(RefusalKind.EXISTS, there)
        if to == actual.inode or any(p.inode == to for p in self.walk(actual.inode)):
            raise _Refused(RefusalKind.ERROR)
        spelled = self.find(from_, name)
        assert spelled is not None
        del self.inodes[from_].entries[spelled]
        self.inodes[to].entries[new_name] = actual.inode
        return self._changed(actual.inode)

    def _publish(self, operation: Publish, made: dict[Stat, Stat]) -> Stat:
        temp_name, expected = operation.temp_name, operation.expected
        incoming = self._open(INCOMING)
        assert temp_name in self.synced or self._look(incoming, temp_name) is None
        if self._look(incoming, temp_name) is None:
            raise _Refused(RefusalKind.GONE)
        directory, name = self._at(operation.target)
        if expected is None:
            self._require_nothing(directory, name)
        else:
            actual = self._require(directory, name, expected, made)
            if actual.kind is Kind.DIRECTORY:
                raise _Refused(RefusalKind.CHANGED, actual)
            self._remove(directory, name)
        number = self.inodes[incoming].entries.pop(temp_name)
        self.synced.discard(temp_name)
        self.inodes[directory].entries[name] = number
        return self._changed(number)

    def _remove_directory(self, directory: int, name: str) -> Stat:
        actual = self._look(directory, name)
        if actual is None:
            raise _Refused(RefusalKind.GONE)
        if actual.kind is not Kind.DIRECTORY:
            raise _Refused(RefusalKind.CHANGED, actual)
        if self.inodes[actual.inode].entries:
            raise _Refused(RefusalKind.NOT_EMPTY, actual)
        self._remove(directory, name)
        return actual
