"""From one shown tree to the next: the operations on the disk, in an order that never needs a
taken name.

Pure. The plan is told which directories and files were where and are to be where; it answers with
operations for `Disk.apply`. Every source and target path is that of the moment at which its turn
comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from crypto.ids import NodeId
from peer.disk_types import (
    PARKED,
    MakeDirectory,
    Move,
    Operation,
    Path,
    Publish,
    Remove,
    RemoveDirectory,
    SetExecutable,
    SetMtime,
    Stat,
)
from protocol.nodes import ROOT


@dataclass(frozen=True, slots=True)
class DirectoryChange:
    """A shown directory that comes, goes, moves, or is represented by another node from now on."""

    old: NodeId | None
    """The directory on the disk, by the item id that it had; None if it is to be made."""
    old_home: tuple[NodeId, str] | None
    new: NodeId | None
    """The item that it is to be; None if it is to go."""
    new_home: tuple[NodeId, str] | None
    stat: Stat | None = None


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file or symlink that comes, goes, moves or gets other bytes or attributes."""

    id: NodeId
    old_home: tuple[NodeId, str] | None
    """(directory by its old item id, name) on the disk; None if it is not there."""
    new_home: tuple[NodeId, str] | None
    """(directory by its new item id, name); None if it is to go."""
    stat: Stat | None = None
    temp_name: str | None = None
    """The staged bytes to publish; None if those on the disk stay."""
    executable: bool | None = None
    """To be set on what is there; None if it stays, or comes with the staged file."""
    mtime_ns: int | None = None


class Step(NamedTuple):
    """One operation and the item that it is for."""

    operation: Operation
    id: NodeId


class Planner:
    """Builds one plan; `old_path` gives the disk path of a directory by the item id that it had
    before.
    """

    def __init__(
        self,
        directories: Iterable[DirectoryChange],
        files: Iterable[FileChange],
        old_home: Callable[[NodeId], tuple[NodeId, str] | None],
        new_home: Callable[[NodeId], tuple[NodeId, str] | None],
    ) -> None:
        self.directories = list(directories)
        self.files = list(files)
        self.steps: list[Step] = []
        self._old_home, self._new_home = old_home, new_home
        self._disk_of: dict[NodeId, NodeId] = {
            d.new: d.old for d in self.directories if d.new is not None and d.old is not None
        }
        """New item id -> the id by which the directory on the disk is known here."""
        self._made: set[NodeId] = {
            d.new for d in self.directories if d.new is not None and d.old is None
        }
        self._home: dict[NodeId, tuple[NodeId, str] | Path] = {}
        """Where a directory is by now, if not where it was; a Path when it is parked."""
        self._paths: dict[NodeId, Path] = {}

    def plan(self) -> list[Step]:
        """The operations, in order."""
        targets = {self._slot(d.new_home) for d in self.directories if self._moves(d)}
        targets |= {
            self._slot(f.new_home) for f in self.files if f.new_home and self._file_moves(f)
        }
        self._clear(targets)
        for change in sorted((d for d in self.directories if d.new), key=self._depth):
            self._settle_directory(change)
        for file in self.files:
            if file.new_home is not None:
                self._settle_file(file)
        self._remove()
        return self.steps

    # ------------------------------------------------------------ where things are

    def _disk(self, item: NodeId) -> NodeId:
        return self._disk_of.get(item, item)

    def _slot(self, home: tuple[NodeId, str] | None) -> tuple[NodeId, str] | None:
        """A name in a directory, the directory by its id on the disk."""
        return (self._disk(home[0]), home[1]) if home is not None else None

    def _path(self, disk: NodeId) -> Path:
        """Where the directory is at this point of the plan."""
        if disk == ROOT:
            return ()
        known = self._paths.get(disk)
        if known is not None:
            return known
        home = self._home.get(disk) or self._old_home(disk)
        assert home is not None
        if isinstance(home[0], str):
            return home
        path: Path = (*self._path(home[0]), home[1])
        self._paths[disk] = path
        return path

    def _moved(self, disk: NodeId, home: tuple[NodeId, str] | Path) -> None:
        self._home[disk] = home
        self._paths.clear()

    def _moves(self, change: DirectoryChange) -> bool:
        return change.new is not None and self._slot(change.new_home) != change.old_home

    def _file_moves(self, file: FileChange) -> bool:
        return self._slot(file.new_home) != file.old_home

    def _depth(self, change: DirectoryChange) -> int:
        depth, item = 0, change.new
        while item is not None and item != ROOT:
            home = self._new_home(item)
            item = home[0] if home is not None else None
            depth += 1
        return depth

    # ------------------------------------------------------------ steps

    def _clear(self, targets: set[tuple[NodeId, str] | None]) -> None:
        """Takes out of the way whatever stands at a name that something else is to have."""
        self._parked: dict[NodeId, Path] = {}
        replaced = {
            self._slot(f.new_home) for f in self.files if f.temp_name and self._file_moves(f)
        }
        self._replaced: dict[tuple[NodeId, str], FileChange] = {}
        for file in self.files:
            if file.old_home is None or file.old_home not in targets:
                continue
            if file.new_home is None and file.old_home in replaced:
                self._replaced[file.old_home] = file  # published over
            elif file.new_home is None:
                self._add(Remove(self._file_path(file), _known(file.stat)), file.id)
                self._replaced[file.old_home] = file
            elif self._file_moves(file):
                park = _parking(file.id)
                self._add(Move(self._file_path(file), park, _known(file.stat)), file.id)
                self._parked[file.id] = park
        for change in self.directories:
            if change.old is None or change.old_home not in targets:
                continue
            if change.new is None or self._moves(change):
                park = _parking(change.old)
                self._add(Move(self._path(change.old), park, _known(change.stat)), change.old)
                self._moved(change.old, park)

    def _settle_directory(self, change: DirectoryChange) -> None:
        assert change.new is not None
        assert change.new_home is not None
        slot = self._slot(change.new_home)
        assert slot is not None
        target: Path = (*self._path(slot[0]), slot[1])
        if change.old is None:
            self._add(MakeDirectory(target), change.new)
            self._moved(change.new, slot)
        elif self._moves(change):
            self._add(Move(self._path(change.old), target, _known(change.stat)), change.new)
            self._moved(change.old, slot)

    def _file_path(self, file: FileChange) -> Path:
        assert file.old_home is not None
        return (*self._path(file.old_home[0]), file.old_home[1])

    def _settle_file(self, file: FileChange) -> None:
        slot = self._slot(file.new_home)
        assert slot is not None
        target: Path = (*self._path(slot[0]), slot[1])
        parked = self._parked.get(file.id)
        if file.temp_name is not None:
            expected = None
            if file.old_home is not None and not self._file_moves(file):
                expected = file.stat
            over = self._replaced.get(slot)
            if over is not None and not any(
                isinstance(s.operation, Remove) and s.id == over.id for s in self.steps
            ):
                expected = over.stat
            self._add(Publish(file.temp_name, target, expected), file.id)
            if file.old_home is not None and self._file_moves(file):
                self._add(Remove(parked or self._file_path(file), _known(file.stat)), file.id)
            return
        stat = _known(file.stat)
        if self._file_moves(file):
            source = parked or self._file_path(file)
            self._add(Move(source, target, stat), file.id)
        if file.executable is not None:
            self._add(SetExecutable(target, file.executable, stat), file.id)
        if file.mtime_ns is not None:
            self._add(SetMtime(target, file.mtime_ns, stat), file.id)

    def _remove(self) -> None:
        for file in self.files:
            if file.new_home is None and file.old_home is not None:
                if file.old_home not in self._replaced:
                    self._add(Remove(self._file_path(file), _known(file.stat)), file.id)
        gone = [d for d in self.directories if d.new is None and d.old is not None]
        paths = [(self._path(d.old), d.old) for d in gone if d.old is not None]
        for path, old in sorted(paths, key=lambda p: len(p[0]), reverse=True):
            self._add(RemoveDirectory(path), old)

    def _add(self, operation: Operation, item: NodeId) -> None:
        self.steps.append(Step(operation, item))


def _parking(item: NodeId) -> Path:
    return (*PARKED, item.hex())


def _known(stat: Stat | None) -> Stat:
    assert stat is not None
    return stat
