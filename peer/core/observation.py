"""What the disk shows that the index does not know: listings compared with the synced tree (MERGE
13).

Only differences are kept, so a scan of a million unchanged files holds next to nothing. A file is
known by its path before its inode (editors save by rename), a move by an inode with unchanged size
and mtime, a directory by its inode, else by its path.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from crypto.ids import NodeId
from peer.core.commands import ListDirectories, LoadFacts, LoadInodes, LoadRows, StatPaths
from peer.core.disk_types import Kind, Listing, Path, Problem, Stat, Trouble
from peer.core.rows import Directories, DiskFacts, Facts, Item, Row
from peer.core.turn import Turn
from protocol import nodes
from protocol.names import exact_key, fold_key
from protocol.nodes import NO_NODE, ROOT

LISTED_AT_ONCE: Final = 64
"""Directories a listing command asks for at most, for new ones may hold any number of files."""
LISTED_FILES_MAX: Final = 4_000
"""About how many known files they hold together: some 10 ms of work, and 2 MB of what is known."""
ARRIVED_MAX: Final = 10_000
"""Once so many new files were found, some 6 MB, those in further directories are left for later."""

REPLACED: Final = "It was being replaced while its directory was listed."
TWO_SPELLINGS: Final = (
    "Another name here looks the same and is spelled with other characters. Rename one of them."
)


class Entry(NamedTuple):
    """Something on the disk, under a shown directory."""

    parent: NodeId
    """The shown directory it lies in, or the id just given to a new one."""
    name: str
    stat: Stat
    item: NodeId = NO_NODE
    """What it is taken for; none when it is new."""


@dataclass(slots=True)
class Observation:
    """The differences between a part of the disk and the synced tree."""

    new_directories: list[Entry] = field(default_factory=list)
    """Parents before children; `item` is the new node's id."""
    moved: list[Entry] = field(default_factory=list)
    missing: list[NodeId] = field(default_factory=list)
    """Items that are not on the disk any more, with everything that lay in them; none of them are
    known while a directory is unlisted.
    """
    to_read: list[Entry] = field(default_factory=list)
    """Files and symlinks that are new or look changed: their bytes decide."""
    later: list[NodeId] = field(default_factory=list)
    """Shown directories with more new files, that nothing is said of: they are to be looked at
    again.
    """
    relinked: list[Entry] = field(default_factory=list)
    """Directories that are the same, with another inode."""
    problems: list[Problem] = field(default_factory=list)
    listed: set[Path] = field(default_factory=set)

    @property
    def is_empty(self) -> bool:
        """Nothing to tell."""
        news = self.new_directories, self.moved, self.missing, self.to_read, self.later
        return not any(news)

    @property
    def is_whole(self) -> bool:
        """Whether the disk has listed all that was looked at."""
        return all(problem.trouble is not Trouble.UNLISTED for problem in self.problems)


class Observer:
    """Compares listings with the tree, a batch of directories at a time."""

    def __init__(
        self,
        turn: Turn,
        new_id: Callable[[], NodeId],
        is_ignored: Callable[[Path, bool], bool],
        is_recursive: bool,
    ) -> None:
        self.turn, self.new_id, self.is_ignored = turn, new_id, is_ignored
        self.is_recursive = is_recursive
        self.found = Observation()
        self._todo: list[tuple[NodeId, Path, bool]] = []
        self._arrived: list[Entry] = []
        self._replaced: list[Entry] = []
        self._unseen: dict[NodeId, Facts] = {}
        self._unseen_directories: dict[NodeId, None] = {}
        self._taken: set[NodeId] = set()
        self._fresh: set[NodeId] = set()
        self._absent: dict[NodeId, Path] = {}
        """What of that has a name that was not listed."""
        self._beside: dict[int, str] = {}
        """Inode number -> name, of what was listed in their directories."""
        self._later: dict[NodeId, Path] = {}
        """Directories with new files beyond as many as are kept."""
        self._arrived_max = ARRIVED_MAX

    async def observe(self, scope: Iterable[NodeId]) -> Observation:
        """Looks at these shown directories, and below them if recursive."""
        self._todo = [(i, self.turn.resident.path(i), False) for i in scope]
        while self._todo:
            batch = self._next_batch()
            facts = await self._facts(item for item, _, is_new in batch if not is_new)
            listings = await ListDirectories(
                [path for _, path, _ in batch], [facts.get(item, {}) for item, _, _ in batch]
            )
            inodes = {
                s.inode
                for listing in listings
                for _, s in listing.entries or ()
                if s.kind is Kind.DIRECTORY
            }
            for (item, path, is_new), listing in zip(batch, listings, strict=True):
                self._compare(item, path, is_new, listing, facts.get(item, {}), inodes)
        if self._unseen or self._unseen_directories:
            await self._look_for_moved()
        self.found.later = list(self._later)
        await self._match_files()
        await self._expand_missing()
        return self.found

    async def _look_for_moved(self) -> None:
        """Something is gone, and may be one of the new files that were left for later."""
        self._todo = [(item, path, item in self._fresh) for item, path in self._later.items()]
        self._later.clear()
        self._arrived_max = sys.maxsize
        while self._todo:
            batch = self._next_batch()
            facts = await self._facts(item for item, _, is_new in batch if not is_new)
            listings = await ListDirectories([path for _, path, _ in batch])
            for (item, path, _), listing in zip(batch, listings, strict=True):
                if listing.entries is None:
                    self.found.problems += listing.problems
                    continue
                known = facts.get(item, {})
                files = [
                    (name, stat)
                    for name, stat in listing.entries
                    if stat.kind is not Kind.DIRECTORY and exact_key(name) not in known
                ]
                listing = listing._replace(entries=files, problems=[])
                self._compare(item, path, True, listing, {}, set())

    def _next_batch(self) -> list[tuple[NodeId, Path, bool]]:
        files = count = 0
        nodes = self.turn.resident.nodes
        for item, _, is_new in self._todo[:LISTED_AT_ONCE]:
            count += 1
            members = () if is_new else self._item(item).members
            files += sum(nodes[member].children for member in members)
            if files >= LISTED_FILES_MAX:
                break
        batch = self._todo[:count]
        del self._todo[:count]
        return batch

    async def _facts(self, items: Iterable[NodeId]) -> dict[NodeId, dict[str, Facts]]:
        members = {m: i for i in items for m in self._item(i).members}
        out: dict[NodeId, dict[str, Facts]] = {i: {} for i in members.values()}
        if members:
            for facts in await LoadFacts(list(members)):
                out[members[facts.parent]][facts.name] = facts
        return out

    def _item(self, item_id: NodeId) -> Item:
        item = self.turn.resident.items[item_id]
        return item

    def _subdirectories(self, item_id: NodeId) -> dict[str, NodeId]:
        """Shown name -> shown directory."""
        directories, items = self.turn.resident.nodes, self.turn.resident.items
        out = {}
        for member in self._item(item_id).members:
            for ids in directories[member].subdirectories.values():
                for node_id in ids:
                    shown = items[directories[node_id].item]
                    out[shown.name] = shown.id
        return out

    def _compare(
        self,
        item: NodeId,
        path: Path,
        is_new: bool,
        listing: Listing,
        facts: Mapping[str, Facts],
        inodes: set[int],
    ) -> None:
        self.found.problems += listing.problems
        if listing.entries is None:
            return
        self.found.listed.add(path)
        below = {} if is_new else self._subdirectories(item)
        kept = {p.path[-1] for p in listing.problems if p.path}
        names = facts if listing.unseen is None else listing.unseen
        unseen = {name: facts[name] for name in names}
        seen = facts.keys() - names
        is_later = len(self._arrived) >= self._arrived_max
        for name, stat in listing.entries:
            shown_name = name if name.isascii() else exact_key(name)
            if shown_name != name and (
                shown_name in seen or any(shown_name == other for other, _ in listing.entries)
            ):
                self.found.problems.append(Problem((*path, name), TWO_SPELLINGS, Trouble.BAD_NAME))
                continue
            if stat.kind is Kind.DIRECTORY:
                known = below.pop(shown_name, NO_NODE)
                self._compare_directory(item, path, shown_name, stat, known, inodes)
                continue
            fact = facts.get(shown_name)
            unseen.pop(shown_name, None)
            if fact is not None and fact.is_executable == stat.executable and fact.disk == (
                stat.inode, stat.size, stat.mtime_ns, stat.ctime_ns
            ):  # fmt: skip
                continue
            if self.is_ignored((*path, shown_name), False):
                continue
            if fact is None and is_later:
                self._later[item] = path
            elif fact is None or fact.id[15] & 3 != stat.kind:
                if fact is not None:
                    self._unseen[fact.id] = fact
                self._arrived.append(Entry(item, shown_name, stat))
            elif fact.disk.inode == stat.inode:
                self._taken.add(fact.id)
                self.found.to_read.append(Entry(item, shown_name, stat, fact.id))
            else:
                self._replaced.append(Entry(item, shown_name, stat, fact.id))
                self._unseen[fact.id] = fact
        if unseen or below:
            self._beside |= {facts[name].disk.inode: name for name in seen}
            self._beside |= {stat.inode: name for name, stat in listing.entries}
        for name, fact in unseen.items():
            if name not in kept and not self.is_ignored((*path, name), False):
                self._unseen[fact.id] = fact
                self._absent[fact.id] = (*path, name)
        for name, known in below.items():
            if name not in kept and not self.is_ignored((*path, name), True):
                self._unseen_directories[known] = None
                self._absent[known] = (*path, name)

    def _compare_directory(
        self, item: NodeId, path: Path, name: str, stat: Stat, known: NodeId, inodes: set[int]
    ) -> None:
        child = (*path, name)
        by_inode = self.turn.resident.by_inode.get(stat.inode, NO_NODE)
        # Numbers are used again: another directory, that is gone, may have had this one before.
        if known and self._item(known).inode == stat.inode:
            self._taken.add(known)
            if self.is_recursive:
                self._todo.append((known, child, False))
            return
        if self.is_ignored(child, True):
            return
        if by_inode and by_inode not in self._taken and by_inode != ROOT:
            self._take_directory(by_inode)
            self.found.moved.append(Entry(item, name, stat, by_inode))
            if known:
                self._unseen_directories[known] = None
            if self.is_recursive:
                self._todo.append((by_inode, child, False))
            return
        if known and known not in self._taken and self._item(known).inode not in inodes:
            self._take_directory(known)
            self.found.relinked.append(Entry(item, name, stat, known))
            self._todo.append((known, child, False))
            return
        if known:
            self._unseen_directories[known] = None
        fresh = self.new_id()
        self._fresh.add(fresh)
        self.found.new_directories.append(Entry(item, name, stat, fresh))
        self._todo.append((fresh, child, True))

    def _take_directory(self, item: NodeId) -> None:
        self._taken.add(item)
        self._unseen_directories.pop(item, None)

    # ------------------------------------------------------------ files [13]

    async def _match_files(self) -> None:
        entries = self._arrived + self._replaced
        inodes = {e.stat.inode for e in entries if e.stat.links == 1}
        owners: dict[int, Row] = {}
        if inodes:
            for row in await LoadInodes(sorted(inodes)):
                owners[row.disk.inode] = row
        here = {e.stat.inode: e.stat for e in entries}
        for entry in self._replaced:
            owner = owners.get(entry.stat.inode)
            old = self._unseen[entry.item].disk
            rotated = (
                owner is not None
                and owner.id != entry.item
                and _is_unchanged(owner, entry.stat)
                and old.inode in here
                and _same_bytes(old, here[old.inode])
            )
            if rotated:  # a swap or a rotation: each goes on as itself
                self._arrived.append(entry._replace(item=NO_NODE))
            else:
                self._taken.add(entry.item)
                self.found.to_read.append(entry)
        await self._match_arrived(owners)

    async def _match_arrived(self, owners: Mapping[int, Row]) -> None:
        elsewhere: list[tuple[Entry, Row]] = []
        for entry in self._arrived:
            owner = owners.get(entry.stat.inode) if entry.stat.links == 1 else None
            if owner is None or owner.id in self._taken or not _is_unchanged(owner, entry.stat):
                self.found.to_read.append(entry)
            elif owner.id in self._unseen:
                self._take_file(entry, owner)
            else:
                elsewhere.append((entry, owner))
        old_paths = [self._path_of(owner) for _, owner in elsewhere]
        stats = await StatPaths(old_paths) if old_paths else []
        for (entry, owner), stat in zip(elsewhere, stats, strict=True):
            if owner.id in self._taken or (stat is not None and stat.inode == entry.stat.inode):
                self.found.to_read.append(entry)  # a second hard link is a file of its own
            else:
                self._take_file(entry, owner)

    def _take_file(self, entry: Entry, owner: Row) -> None:
        self._taken.add(owner.id)
        entry = entry._replace(item=owner.id)
        self.found.moved.append(entry)
        # A rename itself makes the ctime another one, so only the bytes say whether it was changed
        # too, by a program that sets the time back (taggers do), or is another file.
        is_same = owner.disk.ctime_ns == entry.stat.ctime_ns != 0
        if not is_same or owner.shown.is_executable != entry.stat.executable:
            self.found.to_read.append(entry)

    def _path_of(self, row: Row) -> Path:
        directories = self.turn.resident
        return (*directories.path(directories.nodes[row.shown.parent].item), row.shown.name)

    # ------------------------------------------------------------ what is gone

    async def _expand_missing(self) -> None:
        if not self.found.is_whole:
            return  # it may have been moved to where the disk does not say what is there
        taken = self._taken | await self._overlooked()
        missing = [i for i in self._unseen if i not in taken]
        todo = [i for i in self._unseen_directories if i not in taken]
        seen: set[NodeId] = set()
        while todo:
            level, todo = [i for i in todo if i not in seen], []
            seen.update(level)
            missing += level
            for item, facts in (await self._facts(level)).items():
                missing += [f.id for f in facts.values() if f.id not in self._taken]
                todo += [i for i in self._subdirectories(item).values() if i not in self._taken]
        self.found.missing = list(dict.fromkeys(missing))

    async def _overlooked(self) -> set[NodeId]:
        """What was not listed and is there: a large directory is listed in pieces, and what is
        saved by rename between two of them may be in neither.
        """
        absent = {i: path for i, path in self._absent.items() if i not in self._taken}
        if not absent:
            return set()
        stats = zip(absent.items(), await StatPaths(list(absent.values())), strict=True)
        there = {i: path for (i, path), stat in stats if stat and not self._is_listed(path, stat)}
        for path in there.values():
            self.found.problems.append(Problem(path, REPLACED, Trouble.CHANGING))
        return set(there)

    def _is_listed(self, path: Path, stat: Stat) -> bool:
        """Whether a disk that folds case found it by a name that is spelled in another way."""
        name = self._beside.get(stat.inode)
        return name is not None and fold_key(name) == fold_key(path[-1])


async def moved_on(
    entries: Sequence[Entry], rows: Mapping[NodeId, Row], resident: Directories
) -> list[Entry]:
    """The entries whose node has moved to another path since they were found: what is at theirs is
    another node's by now.
    """
    firsts = {r.shown.item for r in rows.values() if r.shown.parent} - rows.keys()
    shown = {**rows, **(await LoadRows(sorted(firsts)) if firsts else {})}
    out = []
    for entry in entries:
        row = rows.get(entry.item)
        if row is None or not row.shown.parent:
            continue
        first = shown[row.shown.item].shown
        if (resident.nodes[first.parent].item, first.name) != (entry.parent, entry.name):
            out.append(entry)
    return out


def _same_bytes(disk: DiskFacts, stat: Stat) -> bool:
    return (disk.size, disk.mtime_ns) == (stat.size, stat.mtime_ns)


def _is_unchanged(row: Row, stat: Stat) -> bool:
    """A known inode with the size and mtime it had: the same file. Numbers are reused, times are
    hardly; that the bytes are the same is for a look at them to say.
    """
    return row.id[15] & 3 == stat.kind and _same_bytes(row.disk, stat)


assert int(nodes.Kind.DIRECTORY) == int(Kind.DIRECTORY)
