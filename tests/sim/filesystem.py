"""A file system with a page cache: what was written is seen at once, and lasts only once synced.

A power cut keeps any set of the directory operations that were not synced, as long as none is kept
without one that it rests on (an earlier one of the same name, or the one that brought its
directory), and of each file that was not synced what it was before, what it is, or a torn part.
Inode numbers are used again at once, as on ext4, and times stand still for 10 ms, as in the kernel:
both are there to deceive the scanner.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from random import Random

from peer.core.disk_types import INCOMING, INTERNAL_NAME, TRASH, Kind, Path
from protocol.names import fold_key
from tests.sim.disk import OFF_NS, ROOT_INODE, TICK_NS, Inode, Place

Slot = tuple[int, str]
Change = tuple[tuple[int, str, int], ...]
"""One step of the journal: (directory, name, inode or 0 for none), all of it or nothing."""


@dataclass(slots=True)
class CachedInode(Inode):
    """An inode in memory and what of it is on the platter."""

    number: int = 0
    freed: int = 0
    """The number that it had until it was deleted, and has again if a power cut takes that back."""
    links: int = 0
    opened: int = 0
    durable: tuple[bytes, int, bool] = (b"", 0, False)
    """Bytes, mtime, executable, as last synced."""
    durable_entries: dict[str, int] = field(default_factory=dict)
    is_dirty: bool = True
    is_ours: bool = False
    """Holdfast made it, not a person."""
    is_torn: bool = False
    """A power cut left something in it that nobody wrote."""
    is_set_back: bool = False
    """A power cut took what a person had written over it."""


def error(number: int, name: str = "") -> OSError:
    """What the kernel says."""
    return OSError(number, os.strerror(number), name)


class FileSystem:
    """One disk. Inodes have keys that are never used again; their numbers are."""

    def __init__(self, clock_ns: Callable[[], int], random: Random, folds_case: bool) -> None:
        self.clock_ns, self.random, self.folds_case = clock_ns, random, folds_case
        self.inodes: dict[int, CachedInode] = {}
        self.pending: list[Change] = []
        self.homes: dict[int, Slot] = {}
        """Where each directory is."""
        self.is_dead = False
        self.unsure: set[bytes] = set()
        """What the disk failed to write back, and does not try again."""
        self.before_call: Callable[[str, str], None] = lambda call, name: None
        """Called before each system call of Holdfast's: a fault, a person's act or a power cut."""
        self.on_change: Callable[[Path, str], None] = lambda directory, name: None
        """Tells the watcher."""
        self.writes = 0
        self.tick_ns = TICK_NS
        """How fine its times are; of a second or two they are whole seconds."""
        self.blind: dict[int, int] = {}
        """Directories that cannot be listed, and single things that cannot be looked at: by key,
        with the error.
        """
        self.tears = 0
        """So many listings leave something out that is there."""
        self._next_key = ROOT_INODE
        self._free: list[int] = []
        self._numbers = 1
        self._add(CachedInode(Kind.DIRECTORY))

    @property
    def stamp_ns(self) -> int:
        off_ns = OFF_NS if self.tick_ns == TICK_NS else 0
        return self.clock_ns() // self.tick_ns * self.tick_ns - off_ns

    # ------------------------------------------------------------ the tree

    def _add(self, inode: CachedInode) -> int:
        key, self._next_key = self._next_key, self._next_key + 1
        inode.number = heappop(self._free) if self._free else self._numbers
        self._numbers = max(self._numbers, inode.number + 1)
        inode.mtime_ns = inode.mtime_ns or self.stamp_ns
        inode.ctime_ns = self.stamp_ns
        self.inodes[key] = inode
        return key

    def _change(self, *change: tuple[int, str, int]) -> None:
        """Changes names, in memory and in the journal that is still to be written."""
        self.pending.append(change)
        self.writes += 1
        released = []
        for directory, name, key in change:
            entries = self.inodes[directory].entries
            old = entries.pop(name, 0)
            if old:
                self.inodes[old].links -= 1
                released.append(old)
            if key:
                entries[name] = key
                self.inodes[key].links += 1
                self.inodes[key].ctime_ns = self.stamp_ns
                if self.inodes[key].kind is Kind.DIRECTORY:
                    self.homes[key] = (directory, name)
            self.inodes[directory].mtime_ns = self.stamp_ns
        for key in released:
            self._release(key)
        for directory, name, _ in change:
            path = self.path(directory)
            if path is not None and path[:1] != (INTERNAL_NAME,) and name != INTERNAL_NAME:
                self.on_change(path, name)

    def _release(self, key: int) -> None:
        inode = self.inodes[key]
        if inode.links == 0 and inode.opened == 0 and inode.number:
            heappush(self._free, inode.number)
            inode.number, inode.freed = 0, inode.number

    def path(self, key: int) -> Path | None:
        """Where a directory is; None if it is gone."""
        names: list[str] = []
        while key != ROOT_INODE:
            if self.inodes[key].links == 0:
                return None
            key, name = self.homes[key]
            names.append(name)
        return tuple(reversed(names))

    def find(self, directory: int, name: str) -> str | None:
        """The name as it is spelled on the disk, if it is there."""
        entries = self.inodes[directory].entries
        if name in entries:
            return name
        if self.folds_case:
            key = fold_key(name)
            return next((n for n in entries if fold_key(n) == key), None)
        return None

    def look(self, directory: int, name: str) -> int:
        """The key of what has a name; 0 for nothing. Raises when the directory is none."""
        if self.inodes[directory].kind is not Kind.DIRECTORY:
            raise error(errno.ENOTDIR, name)
        spelled = self.find(directory, name)
        return 0 if spelled is None else self.inodes[directory].entries[spelled]

    def walk(self, directory: int = ROOT_INODE) -> Iterator[Place]:
        """Everything below a directory, from the top down, but for what is Holdfast's own."""
        todo = [directory]
        while todo:
            above = todo.pop(0)
            for name, key in list(self.inodes[above].entries.items()):
                if name == INTERNAL_NAME and above == ROOT_INODE:
                    continue
                yield Place(above, name, key)
                if self.inodes[key].kind is Kind.DIRECTORY:
                    todo.append(key)

    def paths(self) -> dict[str, tuple[Kind, bytes, bool]]:
        """What is where: kind, bytes, executable."""
        at = {ROOT_INODE: ""}
        out = {}
        for place in self.walk():
            path = at[place.inode] = f"{at[place.directory]}/{place.name}"
            inode = self.inodes[place.inode]
            out[path[1:]] = (inode.kind, inode.data, inode.is_executable)
        return out

    def contents(self, *kinds: Kind) -> set[bytes]:
        """The bytes of all files and symlinks, and of what is in the trash or parked."""
        kinds = kinds or (Kind.FILE, Kind.SYMLINK)
        found = set()
        internal = self.inodes[ROOT_INODE].entries.get(INTERNAL_NAME)
        todo = [ROOT_INODE]
        while todo:
            above = todo.pop()
            for name, key in self.inodes[above].entries.items():
                if above == internal and name == INCOMING[-1]:
                    continue  # what is staged is nobody's yet
                if self.inodes[key].kind is Kind.DIRECTORY:
                    todo.append(key)
                elif self.inodes[key].kind in kinds:
                    found.add(self.inodes[key].data)
        return found

    def is_half_done(self) -> bool:
        """Whether a crash cut a plan short: something is on its way to the trash."""
        above = ROOT_INODE
        for name in TRASH:
            if name not in self.inodes[above].entries:
                return False
            above = self.inodes[above].entries[name]
        return any(name.startswith("going-") for name in self.inodes[above].entries)

    def is_directory(self, path: Path) -> bool:
        """Whether there is a directory at a path."""
        key = ROOT_INODE
        for name in path:
            if self.inodes[key].kind is not Kind.DIRECTORY:
                return False
            key = self.look(key, name)
            if not key:
                return False
        return self.inodes[key].kind is Kind.DIRECTORY

    # ------------------------------------------------------------ what people do

    def make(self, directory: int, name: str, inode: Inode) -> int:
        """A new file, directory or symlink."""
        made = CachedInode(inode.kind, inode.data, is_executable=inode.is_executable)
        key = self._add(made)
        self._change((directory, name, key))
        return key

    def write(self, key: int, data: bytes, *, keeps_time: bool = False) -> None:
        """Saves in place; some programs set the mtime back."""
        inode = self.inodes[key]
        inode.data, inode.is_dirty, inode.is_ours = data, True, False
        inode.is_torn = inode.is_set_back = False
        self._touched(key, is_written=not keeps_time)

    def chmod(self, key: int) -> None:
        """Turns the executable bit."""
        self.inodes[key].is_executable = not self.inodes[key].is_executable
        self._touched(key)

    def touch(self, key: int) -> None:
        """A new mtime and nothing else."""
        self._touched(key, is_written=True)

    def _touched(self, key: int, is_written: bool = False) -> None:
        inode = self.inodes[key]
        inode.ctime_ns = self.stamp_ns
        inode.is_dirty = True
        if is_written:
            inode.mtime_ns = self.stamp_ns
        for place in self.walk():
            if place.inode == key:
                path = self.path(place.directory)
                if path is not None:
                    self.on_change(path, place.name)

    def rename(self, place: Place, directory: int, name: str) -> None:
        """`mv -T`: over a file that is there."""
        spelled = self.find(directory, name)
        there = self.inodes[directory].entries[spelled] if spelled is not None else 0
        change = [(place.directory, place.name, 0)]
        if spelled is not None and spelled != name and there != place.inode:
            change.append((directory, spelled, 0))
        self._change(*change, (directory, name, place.inode))

    def swap(self, one: Place, other: Place) -> None:
        """Two things change places."""
        self.exchange((one.directory, one.name), (other.directory, other.name))

    def exchange(self, one: Slot, other: Slot) -> None:
        """Swaps two names in one step."""
        first, second = self.inodes[one[0]].entries[one[1]], self.inodes[other[0]].entries[other[1]]
        self.inodes[first].links += 1  # neither is gone in between
        self.inodes[second].links += 1
        self._change((*one, second), (*other, first))
        self.inodes[first].links -= 1
        self.inodes[second].links -= 1

    def remove(self, place: Place) -> None:
        """`rm -r`."""
        for below in reversed(list(self.walk(place.inode))):
            self._change((below.directory, below.name, 0))
        self._change((place.directory, place.name, 0))

    # ------------------------------------------------------------ what lasts

    def sync_file(self, key: int) -> None:
        """Bytes, length, times and mode of one file are on the platter."""
        inode = self.inodes[key]
        inode.durable = (inode.data, inode.mtime_ns, inode.is_executable)
        inode.is_dirty = False

    def lose_file(self, key: int) -> None:
        """Writing back failed: the pages count as clean, and are not on the platter (F04)."""
        self.inodes[key].is_dirty = False
        self.unsure.add(self.inodes[key].data)

    def sync_directory(self, key: int) -> None:
        """The names in a directory last, with all that they rest on."""
        wanted = {i for i, change in enumerate(self.pending) if any(s[0] == key for s in change)}
        rests = self._rests_on()
        todo = list(wanted)
        while todo:
            for below in rests[todo.pop()]:
                if below not in wanted:
                    wanted.add(below)
                    todo.append(below)
        self._write_journal(wanted)

    def sync_all(self) -> None:
        """Everything lasts."""
        self._write_journal(set(range(len(self.pending))))
        for key, inode in list(self.inodes.items()):
            if inode.links == 0 and inode.opened == 0 and key != ROOT_INODE:
                del self.inodes[key]
                self.homes.pop(key, None)
            elif inode.is_dirty:
                self.sync_file(key)

    def _write_journal(self, wanted: set[int]) -> None:
        for i in sorted(wanted):
            for directory, name, key in self.pending[i]:
                entries = self.inodes[directory].durable_entries
                entries.pop(name, None)
                if key:
                    entries[name] = key
        self.pending = [change for i, change in enumerate(self.pending) if i not in wanted]

    def _rests_on(self) -> list[set[int]]:
        """For each change the earlier ones without which it makes no sense."""
        last: dict[Slot, int] = {}
        brought: dict[int, int] = {}
        rests: list[set[int]] = []
        for i, change in enumerate(self.pending):
            needs = {last[s[:2]] for s in change if s[:2] in last}
            needs |= {brought[s[0]] for s in change if s[0] in brought}
            needs |= {brought[s[2]] for s in change if s[2] in brought}
            rests.append(needs)
            for directory, name, key in change:
                last[directory, name] = i
                if key:
                    brought[key] = i
        return rests

    def cut(self) -> FileSystem:
        """The power fails: what is there when the machine starts again."""
        random = self.random
        share = random.choice([0.0, 0.3, 0.7, 1.0])
        kept: set[int] = set()
        for i, needs in enumerate(self._rests_on()):
            if needs <= kept and random.random() < share:
                kept.add(i)
        self._write_journal(kept)
        self.is_dead = True
        after = FileSystem(self.clock_ns, random, self.folds_case)
        after._next_key, after.writes, after.unsure = self._next_key, self.writes, self.unsure
        after.tick_ns = self.tick_ns
        after.inodes = {ROOT_INODE: self.inodes[ROOT_INODE]}
        todo = [ROOT_INODE]
        while todo:
            above = todo.pop(0)
            inode = self.inodes[above]
            inode.entries = dict(inode.durable_entries)
            for name, key in inode.entries.items():
                below = self.inodes[key]
                if key not in after.inodes:
                    after.inodes[key] = below
                    below.links = 0
                    if below.kind is Kind.DIRECTORY:
                        todo.append(key)
                        after.homes[key] = (above, name)
                    else:
                        _survive(below, random)
                below.links += 1
        after._renumber()
        return after

    def _renumber(self) -> None:
        taken: set[int] = {0}
        again = []
        inodes = list(self.inodes.values())
        for inode in [i for i in inodes if i.number] + [i for i in inodes if not i.number]:
            inode.opened, inode.is_dirty = 0, False
            inode.number = inode.number or inode.freed
            if inode.number in taken:
                again.append(inode)
            taken.add(inode.number)
        self._numbers = max(taken) + 1
        self._free = [n for n in range(1, self._numbers) if n not in taken]
        heapify(self._free)
        for inode in again:
            inode.number = heappop(self._free) if self._free else self._numbers
            self._numbers = max(self._numbers, inode.number + 1)


def _survive(inode: CachedInode, random: Random) -> None:
    """What is left of a file when the power fails."""
    durable, mtime_ns, is_executable = inode.durable
    now = inode.data
    if inode.kind is Kind.SYMLINK:  # its target is in the inode
        inode.durable = (now, inode.mtime_ns, inode.is_executable)
        return
    if (durable, mtime_ns, is_executable) == (now, inode.mtime_ns, inode.is_executable):
        return
    fate = random.randrange(4)
    if fate == 0 and inode.is_dirty:
        pass  # written back in time
    elif fate == 1 and inode.is_dirty and len(now) > 1 and durable != now:
        inode.data, inode.is_torn = now[: random.randrange(len(now))], True
    else:
        inode.is_torn = durable == b"" != now
        inode.is_set_back = not inode.is_ours and durable != now
        inode.data, inode.mtime_ns, inode.is_executable = durable, mtime_ns, is_executable
    inode.durable = (inode.data, inode.mtime_ns, inode.is_executable)


__all__ = ["CachedInode", "FileSystem", "Slot", "error"]
