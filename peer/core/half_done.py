"""What a plan had put on the disk and a crash kept from the index: at the first scan of a run it is
taken for what the plan meant, and not for the act of a person here.

Told as an act of this device, equal bytes would be one file with what the others have; but whoever
edits or deletes that file meanwhile does not know of the act, and would find a conflict copy, or a
file that outlives its deletion. So nodes that the replica knows and this disk does not show yet are
looked at once more: where the disk is to the letter what they would make of it (place, bytes, mtime
and executable bit), they are shown from then on. Everything else is left to the scan, but for
conflict copies that the plan was to take away: told as deleted or replaced here, their bytes would
be ended everywhere, where the plan may have meant to show them as the original.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from crypto.ids import NodeId
from peer.core.applying import drop
from peer.core.commands import Commit, LoadDirty, ReadFiles
from peer.core.deeds import deeds_of
from peer.core.disk_types import FileRead, Kind, Path, ReadRequest, Stat
from peer.core.local_changes import carry_disk_facts, directory_heirs, link, members
from peer.core.observation import Entry, Observation
from peer.core.rows import Directories, Row, Shown
from peer.core.tree import show
from peer.core.turn import Turn, is_directory
from protocol.names import exact_key
from protocol.nodes import NO_NODE, ROOT, Node, copy_id, versions, winning_place

PAGE: Final = 2_000
READ_AT_ONCE: Final = 100

Slot = tuple[NodeId, str]
"""A directory on the disk (the item that it is, or the id that the scan gave it) and a name."""


async def take_up(resident: Directories, found: Observation, now_ns: int) -> int:
    """Notes in the tree what a plan did before a crash; returns of how many nodes. If there were
    any, the disk is to be compared with the tree anew.
    """
    news = (*found.new_directories, *found.moved, *found.to_read)
    there = {(e.parent, exact_key(e.name)): e for e in news}
    if not there:
        return 0
    wanted = await _candidates(resident, found, there)
    if not wanted:
        return 0
    hashes = await _read(resident, found, there, wanted)
    bases = {node_id: row.state for node_id, row in wanted.items()}
    while bases:
        turn = Turn(resident)
        await show(turn, bases)
        look = _Look(turn, found, there, hashes)
        wrong = look.wrong()
        if not wrong:
            await _keep(turn, look.links, now_ns)
            return len(bases)
        if not drop(turn, bases, wrong):
            break
    return 0


async def forget_copies(resident: Directories, found: Observation) -> int:
    """Stops to show the conflict copies that a plan took away, as though they had not come to this
    disk yet; returns how many. If there were any, the disk is to be compared anew.
    """
    turn = Turn(resident)
    suspects = await _gone_files(turn, found)
    await turn.load(sorted({row.origin for row in suspects if row.is_derived}))
    bases: dict[NodeId, Node] = {}
    for copy in suspects:
        if copy.is_derived and _is_over(copy, origin := turn.rows[copy.origin]):
            base = bases.get(origin.id, origin.base)
            rest = (c for c in base.contents if copy_id(origin.id, c) != copy.id)
            bases[origin.id] = base._replace(contents=tuple(rest))
    if bases:
        await show(turn, bases)
        await turn.finish()
        await Commit(turn.rows_to_store(), turn.rows_to_delete())
        turn.merge()
    return len(bases)


def _is_over(copy: Row, origin: Row) -> bool:
    """Whether a plan for the original is to take its conflict copy away."""
    losers = versions(origin.id, origin.state)[1:]
    return origin.is_dirty and copy.id not in {copy_id(origin.id, c) for c in losers}


async def _gone_files(turn: Turn, found: Observation) -> list[Row]:
    """The files that are not where the tree shows them. Where something else is in the place of
    one, that is what a person saved, unless the tree shows it elsewhere.
    """
    gone = [item for item in found.missing if not is_directory(item)]
    replaced = [e for e in found.to_read if e.item and not is_directory(e.item)]
    await turn.load([*gone, *(entry.item for entry in replaced)])
    movers = {turn.rows[item].disk.inode for item in gone}
    over = [e.item for e in replaced if e.stat.inode in movers]
    return [turn.rows[item] for item in (*gone, *over)]


# ---------------------------------------------------------------- which nodes


async def _candidates(
    resident: Directories, found: Observation, there: Mapping[Slot, Entry]
) -> dict[NodeId, Row]:
    """Nodes that are to be where something new is, or were there; with what they are to be."""
    names = {name for _, name in there}
    at: dict[Slot, list[Row]] = {}
    after = (0, NodeId(b""))
    while rows := await LoadDirty(after, PAGE):
        for row in rows:
            place = winning_place(row.state) if row.state.places else None
            if place is not None and not place.is_deleted and exact_key(place.name) in names:
                at.setdefault((place.parent, exact_key(place.name)), []).append(row)
        last = rows[-1].id
        after = (1 if is_directory(last) else 2, last)
    wanted: dict[NodeId, Row] = {}
    nodes: dict[NodeId, Sequence[NodeId]] = {}
    """By what the scan called a new directory: the nodes that it may be."""
    for (parent, name), entry in there.items():
        above = resident.items.get(parent)
        inside = above.members if above is not None else nodes.get(parent, ())
        rows = [row for node_id in inside for row in at.get((node_id, name), ())]
        rows = [row for row in rows if row.id[15] & 3 == entry.stat.kind]
        nodes[entry.item] = [row.id for row in rows]
        wanted.update((row.id, row) for row in rows)
    # What was there before makes room in the same turn.
    turn = Turn(resident)
    missing = set(found.missing)
    new = {entry.item for entry in found.new_directories}
    known = {e.item for e in there.values() if e.item and e.item not in new}
    await turn.load([*known, *missing])
    for item in sorted(known | missing):
        if item in missing and not _is_in_the_way(turn, item, there):
            continue
        for member in await members(turn, item):
            await turn.load([member])
            if turn.rows[member].is_dirty:
                wanted[member] = turn.rows[member]
    return wanted


def _is_in_the_way(turn: Turn, item_id: NodeId, there: Mapping[Slot, Entry]) -> bool:
    """Whether something else is where the tree shows an item, or a directory above it."""
    resident, shown = turn.resident, turn.rows[item_id].shown
    if item_id not in resident.items:
        if not shown.parent:
            return False
        item_id = resident.nodes[shown.parent].item
        if (item_id, shown.name) in there:
            return True
    while item_id != ROOT:
        item = resident.items[item_id]
        if (item.parent, item.name) in there:
            return True
        item_id = item.parent
    return False


# ---------------------------------------------------------------- which bytes


async def _read(
    resident: Directories,
    found: Observation,
    there: Mapping[Slot, Entry],
    wanted: Mapping[NodeId, Row],
) -> dict[Slot, bytes]:
    """The hashes of the files that may be what a plan has put there."""
    sizes = {content.size for row in wanted.values() for content in row.state.contents}
    directories = {
        e.item: e for e in (*found.new_directories, *found.moved) if is_directory(e.item)
    }

    def path_of(item: NodeId) -> Path:
        entry = directories.get(item)
        if entry is not None:
            return (*path_of(entry.parent), entry.name)
        if item == ROOT:
            return ()
        above = resident.items[item]
        return (*path_of(above.parent), above.name)

    todo = [
        (slot, entry)
        for slot, entry in there.items()
        if entry.stat.kind is not Kind.DIRECTORY and entry.stat.size in sizes
    ]
    hashes: dict[Slot, bytes] = {}
    for start in range(0, len(todo), READ_AT_ONCE):
        part = todo[start : start + READ_AT_ONCE]
        requests = [ReadRequest((*path_of(e.parent), e.name), e.stat) for _, e in part]
        for (slot, _), read in zip(part, await ReadFiles(requests), strict=True):
            if isinstance(read, FileRead):
                hashes[slot] = read.file_hash
    return hashes


# ---------------------------------------------------------------- whether it is so


class _Look:
    """Compares what a turn would show anew with what a scan found on the disk."""

    def __init__(
        self,
        turn: Turn,
        found: Observation,
        there: Mapping[Slot, Entry],
        hashes: Mapping[Slot, bytes],
    ) -> None:
        self.links: list[tuple[NodeId, Stat]] = []
        """What is on the disk of what the turn shows anew."""
        self._turn, self._there, self._hashes = turn, there, hashes
        self._missing = set(found.missing)
        self._left = self._missing | {entry.item for entry in found.moved}
        self._heirs = directory_heirs(turn)
        self._new: dict[NodeId, NodeId] = {}
        """By shown directory, what the scan called it."""

    def wrong(self) -> set[NodeId]:
        """The items that the turn would change and that are not so on the disk."""
        turn = self._turn
        wrong: set[NodeId] = set()
        for item in sorted((i for i in turn.items if i != ROOT), key=self._depth):
            if not self._is_directory_right(item):
                wrong.add(item)
        for node_id, before in list(turn.before.items()):
            if not is_directory(node_id) and not self._is_file_right(node_id, before):
                wrong.add(node_id)
        return wrong

    def _depth(self, item: NodeId) -> tuple[int, NodeId]:
        depth, above = 0, self._turn.item(item)
        while above is not None and above.id != ROOT:
            depth, above = depth + 1, self._turn.item(above.parent)
        return depth, item

    def _on_disk(self, item: NodeId) -> NodeId:
        """What the scan calls a shown directory."""
        if item in self._turn.resident.items:
            return item
        return self._heirs.get(item) or self._new.get(item, NO_NODE)

    def _is_directory_right(self, item: NodeId) -> bool:
        now, resident = self._turn.item(item), self._turn.resident
        if now is None:
            heirs = self._heirs.values()
            return item not in resident.items or item in self._missing or item in heirs
        known = self._on_disk(item)
        slot = self._on_disk(now.parent), now.name
        if known and (resident.items[known].parent, resident.items[known].name) == slot:
            return True
        entry = self._there.get(slot)
        if entry is None or entry.stat.kind is not Kind.DIRECTORY:
            return False
        if known and entry.item != known:
            return False
        self._new[item] = entry.item
        self.links.append((item, entry.stat))
        return True

    def _is_file_right(self, node_id: NodeId, before: Shown) -> bool:
        now, was, slot = self._turn.rows[node_id].shown, None, None
        if before.parent and before.item == node_id:
            was = self._turn.resident.nodes[before.parent].item, before.name
        if now.parent and now.item == node_id:
            slot = self._on_disk(self._turn.known_directory(now.parent).item), now.name
        if was is not None and was != slot:  # then it is there no longer
            if node_id not in self._left and was not in self._there:
                return False
        if slot is None:
            return True
        if was == slot and _looks(before) == _looks(now):
            return True
        entry = self._there.get(slot)
        if entry is None or entry.stat.kind != node_id[15] & 3:
            return False
        stat = entry.stat
        is_same = self._hashes.get(slot) == now.hash
        if stat.kind is Kind.FILE:
            is_same &= (stat.executable, stat.mtime_ns) == (now.is_executable, now.mtime_ns)
        if is_same:
            self.links.append((node_id, stat))
        return is_same


def _looks(shown: Shown) -> tuple[bytes, bool, int]:
    return shown.hash, shown.is_executable, shown.mtime_ns


async def _keep(turn: Turn, links: Sequence[tuple[NodeId, Stat]], now_ns: int) -> None:
    await carry_disk_facts(turn)
    for node_id, stat in links:
        await link(turn, node_id, stat, now_ns)
    await turn.finish()
    await Commit(turn.rows_to_store(), turn.rows_to_delete(), deeds=deeds_of(turn))
    turn.merge()
