"""From one shown tree to the next: the operations on the disk, in an order that never needs a
taken name.

Pure. The plan is told which directories and files were where and are to be where; it answers with
operations for `Disk.apply`. Every path is that of the moment at which its turn comes. Whatever
moves waits until its target is free and the directory above it is in place; only where things wait
for each other in a circle is one of them parked for a moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from crypto.ids import NodeId
from peer.core.disk_types import (
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
from protocol.nodes import NO_NODE, ROOT

Home = tuple[NodeId, str]
"""A directory's item id and a name in it."""


@dataclass(frozen=True, slots=True)
class DirectoryChange:
    """A shown directory that comes, goes, moves, or is represented by another node from now on."""

    old: NodeId | None
    """The directory on the disk, by the item id that it had; None if it is to be made."""
    old_home: Home | None
    new: NodeId | None
    """The item that it is to be; None if it is to go."""
    new_home: Home | None
    stat: Stat | None = None


class FileChange(NamedTuple):
    """A file or symlink that comes, goes, moves or gets other bytes or attributes."""

    id: NodeId
    old_home: Home | None
    """(directory by its old item id, name) on the disk; None if it is not there."""
    new_home: Home | None
    """(directory by its new item id, name); None if it is to go."""
    stat: Stat | None = None
    temp_name: str | None = None
    """The staged bytes to publish; None if those on the disk stay."""
    executable: bool | None = None
    """To be set on what is there; None if it stays, or comes with the staged file."""
    mtime_ns: int | None = None
    after: tuple[NodeId, ...] = ()
    """Files that have to be on the disk first: the conflict copies of what is replaced here, or the
    file that a copy goes back into.
    """
    keep: str | None = None
    """The trash name under which the bytes on the disk are kept, if they go."""


class Step(NamedTuple):
    """One operation and the item that it is for."""

    operation: Operation
    id: NodeId
    needs: tuple[NodeId, ...] = ()
    """Items whose earlier steps must not have been refused: this one would hit something else."""
    round: int = 0
    """No step needs another one of its own round, so a round may be handed to the disk whole."""
    over: NodeId = NO_NODE
    """The item that goes with it: it is replaced by what is published."""


@dataclass(slots=True)
class _Unit:
    """A directory or file that the plan brings from one slot to another."""

    id: NodeId
    source: Home | None
    """Where it is, the directory by its id on the disk."""
    target: Home | None
    directory: DirectoryChange | None
    file: FileChange | None
    is_done: bool = False
    is_parked: bool = False

    @property
    def vacates(self) -> bool:
        """Its slot will be free."""
        return self.source is not None and self.source != self.target


def plan_new_files(files: Sequence[FileChange], path_of: Callable[[NodeId], Path]) -> list[Step]:
    """The plan for files that come, each under a name that nothing has, into directories that are
    there: none of them waits for another.
    """
    paths: dict[NodeId, Path] = {}
    steps = []
    for file in files:
        assert file.new_home is not None
        assert file.temp_name is not None
        directory, name = file.new_home
        path = paths.get(directory)
        if path is None:
            path = paths[directory] = path_of(directory)
        steps.append(Step(Publish(file.temp_name, (*path, name), None), file.id))
    return steps


def are_new(files: Iterable[FileChange]) -> bool:
    """Whether plan_new_files may plan these, if no directory changes."""
    return all(f.old_home is None and f.new_home and f.temp_name and not f.after for f in files)


class Planner:
    """Builds one plan; the homes say where directories were, and where they are to be."""

    def __init__(
        self,
        directories: Iterable[DirectoryChange],
        files: Iterable[FileChange],
        old_home: Callable[[NodeId], Home | None],
        new_home: Callable[[NodeId], Home | None],
        name_key: Callable[[str], str] = str,
    ) -> None:
        """`name_key`: what the disk takes for one name has one key."""
        self._name_key = name_key
        self.steps: list[Step] = []
        self._old_home, self._new_home = old_home, new_home
        directories = list(directories)
        self._disk_of = {d.new: d.old for d in directories if d.new and d.old}
        """The directory on the disk that a new item is made of; any other one is its own."""
        self._home: dict[NodeId, Home] = {}
        """Where a directory is by now, if not where it was."""
        self._parked: dict[NodeId, Path] = {}
        self._paths: dict[NodeId, Path] = {}
        self._carried: dict[NodeId, NodeId] = {}
        """Directories that were moved so far, and the items that they were moved for."""
        self._round = 0
        self._active: set[NodeId] = set()
        """Items with a step in the current round that later steps may need."""
        in_order = sorted(directories, key=self._depth)
        self._units = [self._directory_unit(d) for d in in_order]
        self._units += [self._file_unit(f) for f in files]
        self._occupant = {self._key(u.source): u for u in self._units if u.source and u.vacates}
        self._inside: dict[NodeId, list[_Unit]] = {}
        for unit in self._units:
            if unit.source and unit.vacates:
                self._inside.setdefault(unit.source[0], []).append(unit)
        self._placed_by = {self._disk(u.id): u for u in self._units if u.directory and u.target}
        self._by_id = {u.id: u for u in self._units if u.file is not None}
        self._waiting: dict[object, list[_Unit]] = {}
        self._todo: deque[_Unit] = deque()

    def plan(self) -> list[Step]:
        """The operations, in order."""
        self._todo.extend(u for u in self._units if u.target is not None)
        while True:
            while self._todo:
                self._try(self._todo.popleft())
            if not any(self._waiting.values()):
                break
            self._make_way()
        for unit in self._units:
            if unit.file is not None and unit.target is None:
                self._remove(unit)
        for unit in reversed(self._units):
            if unit.directory is not None and unit.target is None:
                self._remove(unit)
        return self.steps

    # ------------------------------------------------------------ where things are

    def _directory_unit(self, change: DirectoryChange) -> _Unit:
        item = change.new or change.old
        assert item is not None
        return _Unit(item, change.old_home, self._slot(change.new_home), change, None)

    def _file_unit(self, file: FileChange) -> _Unit:
        return _Unit(file.id, file.old_home, self._slot(file.new_home), None, file)

    def _disk(self, item: NodeId) -> NodeId:
        return self._disk_of.get(item, item)

    def _slot(self, home: Home | None) -> Home | None:
        """A name in a directory, the directory by its id on the disk."""
        return (self._disk(home[0]), home[1]) if home is not None else None

    def _key(self, slot: Home) -> Home:
        """What the disk takes for one slot."""
        return (slot[0], self._name_key(slot[1]))

    def _path(self, disk: NodeId) -> Path:
        """Where the directory is at this point of the plan."""
        if disk == ROOT:
            return ()
        known = self._paths.get(disk) or self._parked.get(disk)
        if known is not None:
            return known
        home = self._home.get(disk) or self._old_home(disk)
        assert home is not None
        path: Path = (*self._path(home[0]), home[1])
        self._paths[disk] = path
        return path

    def _slot_path(self, slot: Home) -> Path:
        return (*self._path(slot[0]), slot[1])

    def _source_path(self, unit: _Unit) -> Path:
        if unit.is_parked:
            return _parking(unit)
        assert unit.source is not None
        return self._slot_path(unit.source)

    def _depth(self, change: DirectoryChange) -> tuple[int, int]:
        """From the top of the new tree downwards, then what goes from the top of the old one."""
        home_of = self._new_home if change.new is not None else self._old_home
        depth, item = 0, change.new or change.old
        while item is not None and item != ROOT:
            home = home_of(item)
            item = home[0] if home is not None else None
            depth += 1
        return (change.new is None, depth)

    # ------------------------------------------------------------ in which order

    def _try(self, unit: _Unit) -> None:
        """Puts a unit where it belongs, or notes what it waits for."""
        if unit.is_done:
            return
        blocker = self._blocker(unit)
        if blocker is not None:
            self._waiting.setdefault(blocker, []).append(unit)
        elif unit.directory is not None:
            self._place_directory(unit)
        else:
            self._place_file(unit)

    def _blocker(self, unit: _Unit) -> object:
        """A directory, slot or file that has to be dealt with first."""
        assert unit.target is not None
        slot: Home | None = unit.target
        while slot is not None and slot[0] != ROOT:
            above = self._placed_by.get(slot[0])
            if above is not None and not above.is_done:
                return slot[0]
            if unit.file is not None:
                break  # its directory is there, wherever that is by now
            # A directory may be on its way into what lies in it: all above has to be out first.
            slot = self._home.get(slot[0]) or self._old_home(slot[0])
        there = self._occupant.get(self._key(unit.target))
        if there is not None and there is not unit and not self._is_replaced(there, unit):
            return self._key(unit.target)
        for other in unit.file.after if unit.file is not None else ():
            found = self._by_id.get(other)
            if found is not None and found.target is not None and not found.is_done:
                return other
        return None

    def _is_replaced(self, there: _Unit, unit: _Unit) -> bool:
        """New bytes take the place of a file that goes, in one step."""
        return (
            there.file is not None
            and there.target is None
            and unit.file is not None
            and unit.file.temp_name is not None
            and unit.source is None
            and there.source == unit.target  # else the old one's spelling would stay
        )

    def _wake(self, key: object) -> None:
        self._todo.extend(self._waiting.pop(key, ()))

    def _vacated(self, unit: _Unit) -> None:
        """What was in this unit's way is not any more."""
        if unit.source is not None and self._occupant.get(self._key(unit.source)) is unit:
            del self._occupant[self._key(unit.source)]
            self._inside[unit.source[0]].remove(unit)
            self._wake(self._key(unit.source))

    def _done(self, unit: _Unit) -> None:
        unit.is_done = True
        self._vacated(unit)
        self._wake(unit.id if unit.file is not None else self._disk(unit.id))

    def _make_way(self) -> None:
        """Everything waits: frees one name that something waits for, at the least price."""
        slots = [key for key, units in self._waiting.items() if units and isinstance(key, tuple)]
        blockers = [self._occupant[slot] for slot in slots]
        goes = next((u for u in blockers if u.target is None and self._can_go(u)), None)
        if goes is not None:
            self._remove(goes)
            return
        stays = next((u for u in blockers if u.target is not None and u.file is not None), None)
        stays = stays or next((u for u in blockers if u.target is not None), None)
        self._park(stays or self._stuck_inside(blockers[0]))

    def _can_go(self, unit: _Unit) -> bool:
        return all(u.target is None and self._can_go(u) for u in self._inside.get(unit.id, ()))

    def _stuck_inside(self, unit: _Unit) -> _Unit:
        """Something that has to leave a directory before that can go."""
        for below in self._inside[unit.id]:
            if below.target is not None:
                return below
        return self._stuck_inside(next(u for u in self._inside[unit.id] if not self._can_go(u)))

    # ------------------------------------------------------------ steps

    def _park(self, unit: _Unit) -> None:
        change = unit.directory or unit.file
        assert change is not None
        self._add(Move(self._source_path(unit), _parking(unit), _known(change.stat)), unit)
        unit.is_parked = True
        if unit.directory is not None:
            disk = self._disk(unit.id)
            self._parked[disk] = _parking(unit)
            self._carry(unit)
        self._vacated(unit)

    def _carry(self, unit: _Unit) -> None:
        """A directory was moved: all paths through it are new, and rest on its being moved."""
        self._paths.clear()
        self._carried[self._disk(unit.id)] = unit.id
        self._active.add(unit.id)

    def _place_directory(self, unit: _Unit) -> None:
        change, slot = unit.directory, unit.target
        assert change is not None
        assert slot is not None
        disk = self._disk(unit.id)
        if change.old is None:
            self._add(MakeDirectory(self._slot_path(slot)), unit)
            self._home[disk] = slot
        elif unit.vacates:
            source = self._source_path(unit)
            self._add(Move(source, self._slot_path(slot), _known(change.stat)), unit)
            self._home[disk] = slot
            self._parked.pop(disk, None)
            self._carry(unit)
        self._done(unit)

    def _place_file(self, unit: _Unit) -> None:
        file, slot = unit.file, unit.target
        assert file is not None
        assert slot is not None
        target = self._slot_path(slot)
        if unit.vacates:
            move = Move(self._source_path(unit), target, _known(file.stat))
            self._add(move, unit, after=file.after)
        if file.temp_name is not None:
            there = self._occupant.get(self._key(slot))
            expected, over = file.stat if file.old_home is not None else None, NO_NODE
            keep = file.keep
            if there is not None and there is not unit:
                assert there.file is not None
                expected, over, keep = there.file.stat, there.id, there.file.keep
                there.is_done = True
                self._vacated(there)
            publish = Publish(file.temp_name, target, expected, keep=keep)
            self._add(publish, unit, over, file.after)
            self._active.add(unit.id)
        else:
            if file.executable is not None:
                self._add(SetExecutable(target, file.executable, _known(file.stat)), unit)
            if file.mtime_ns is not None:
                self._add(SetMtime(target, file.mtime_ns, _known(file.stat)), unit)
        self._done(unit)

    def _remove(self, unit: _Unit) -> None:
        """Takes a unit off the disk, and before it what is in it."""
        if unit.is_done or unit.source is None:
            return
        for below in list(self._inside.get(unit.id, ())):
            self._remove(below)
        if unit.file is not None:
            remove = Remove(self._source_path(unit), _known(unit.file.stat), unit.file.keep)
            self._add(remove, unit, after=unit.file.after)
        else:
            self._add(RemoveDirectory(self._source_path(unit)), unit)
        self._done(unit)

    def _add(
        self,
        operation: Operation,
        unit: _Unit,
        over: NodeId = NO_NODE,
        after: tuple[NodeId, ...] = (),
    ) -> None:
        needs = dict.fromkeys(after)
        if self._carried:
            for slot in (unit.source if not unit.is_parked else None, unit.target):
                needs |= dict.fromkeys(self._carried_above(slot))
        needs.pop(unit.id, None)
        if not self._active.isdisjoint(needs):
            self._active.clear()
            self._round += 1
        self.steps.append(Step(operation, unit.id, tuple(needs), self._round, over))

    def _carried_above(self, slot: Home | None) -> Iterable[NodeId]:
        """The directories on the way to a slot that were moved in this plan."""
        while slot is not None and slot[0] != ROOT:
            disk = slot[0]
            if disk in self._carried:
                yield self._carried[disk]
            slot = None if disk in self._parked else self._home.get(disk) or self._old_home(disk)


def _parking(unit: _Unit) -> Path:
    item = unit.directory.old if unit.directory is not None else unit.id
    assert item is not None
    return (*PARKED, item.hex())


def _known(stat: Stat | None) -> Stat:
    assert stat is not None
    return stat
