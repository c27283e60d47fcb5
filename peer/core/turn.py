"""One turn of the engine: what it loaded, what it changed, nothing written until it commits.

A turn is an overlay. Rows and directories are copied before they change, so a turn that fails, or
a plan that the disk refuses, is dropped without a trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from crypto.ids import NodeId
from peer.core.commands import LoadChildren, LoadCopies, LoadRows, LoadSlots
from peer.core.rows import (
    ADRIFT,
    HIDDEN,
    MISNAMED,
    NOT_THERE,
    Directories,
    Directory,
    Item,
    Row,
    Shown,
)
from protocol.names import exact_key, fold_key
from protocol.nodes import NO_NODE, NOTHING, ROOT, Kind, Node, is_copy, new_node_id

_DIRECTORY: Final = int(Kind.DIRECTORY)
"""A plain number: what is asked ten times for a file is not to look into an enumeration."""


class Turn:
    """The working set of one turn."""

    def __init__(
        self, directories: Directories, random: Callable[[int], bytes] = lambda size: bytes(size)
    ) -> None:
        self.resident = directories
        self._random = random
        self.rows: dict[NodeId, Row] = {}
        self.before: dict[NodeId, Shown] = {}
        """How the synced tree showed each loaded row when the turn began."""
        self.bases: dict[NodeId, Node] = {}
        """The records behind that, of files and symlinks."""
        self.touched: set[NodeId] = set()
        self.removed: set[NodeId] = set()
        self.directories: dict[NodeId, Directory] = {}
        self.items: dict[NodeId, Item | None] = {}
        self.copies_added: set[NodeId] = set()
        self.copies_dropped: set[NodeId] = set()
        self.name_key = fold_key if directories.folds_case else exact_key
        self._slots: dict[tuple[NodeId, str], set[NodeId]] = {}

    # ------------------------------------------------------------ rows

    async def load(self, ids: Iterable[NodeId]) -> None:
        """Brings these rows in; nodes that the index does not know become new, empty rows."""
        missing = [i for i in ids if i not in self.rows]
        if not missing:
            return
        recent = self.resident.recent
        found = await LoadRows([i for i in missing if i not in recent])
        for node_id in missing:
            row = recent.get(node_id)
            if row is not None:
                self._adopt(row.copy())
            else:
                self._adopt(found.get(node_id) or Row(node_id))

    def _adopt(self, row: Row) -> Row:
        known = self.rows.get(row.id)
        if known is not None:
            return known
        self.rows[row.id] = row
        self.before[row.id] = row.shown
        if row.shown.hash:
            self.bases[row.id] = row.base
        if row.shown.parent and not is_directory(row.id):
            self._slots.setdefault((row.shown.parent, row.shown.key), set()).add(row.id)
        return row

    def new_row(self, node_id: NodeId) -> Row:
        """A row for a node that was certainly never seen (its id was made in this turn)."""
        return self._adopt(Row(node_id))

    def fresh_id(self, kind: int) -> NodeId:
        """A random id for a node of this kind."""
        return new_node_id(Kind(kind), self._random)

    def is_gone(self, node_id: NodeId) -> bool:
        """True when the tree does not show this node (any more)."""
        return bool(node_id) and not self.rows[node_id].shown.parent

    async def load_slots(self, slots: Iterable[tuple[NodeId, str]]) -> list[Row]:
        """Visible files and symlinks at these (parent node, key) pairs, this turn's changes
        included.
        """
        slots = list(slots)
        ask = [s for s in slots if self._may_be_stored(s[0])]
        if ask:
            for row in await LoadSlots(ask):
                self._adopt(row)
        rows, known = self.rows, self._slots
        return [rows[i] for s in slots if s in known for i in _in_order(known[s])]

    def only_file_at(self, parent: NodeId, key: str) -> Row | None:
        """The visible file or symlink at a pair that load_slots has brought in, if it is the only
        one.
        """
        ids = self._slots.get((parent, key), ())
        return self.rows[next(iter(ids))] if len(ids) == 1 else None

    async def load_children(self, parents: Iterable[NodeId]) -> list[Row]:
        """All visible files and symlinks in these directory nodes, this turn's changes included."""
        wanted = set(parents)
        ask = [p for p in sorted(wanted) if self._may_be_stored(p)]
        if ask:
            for row in await LoadChildren(ask):
                self._adopt(row)
        return [
            self.rows[i]
            for slot, ids in list(self._slots.items())
            if slot[0] in wanted
            for i in sorted(ids)
        ]

    async def load_copies(self, origins: Iterable[NodeId]) -> list[Row]:
        """Rows of the conflict copies of these nodes, this turn's changes included."""
        wanted = set(origins)
        if not wanted:
            return []
        for row in await LoadCopies(sorted(wanted)):
            self._adopt(row)
        return [
            r for r in list(self.rows.values()) if r.origin in wanted and r.id not in self.removed
        ]

    def _may_be_stored(self, parent: NodeId) -> bool:
        known = self.resident.nodes.get(parent)
        return known is not None and known.children > 0

    def show(self, row: Row, shown: Shown) -> None:
        """Changes how the tree shows a row, keeping the slots in step."""
        old = row.shown
        if old == shown:
            return
        if (old.parent, old.key) != (shown.parent, shown.key):
            if old.parent:
                self._slots[old.parent, old.key].discard(row.id)
            if shown.parent:
                self._slots.setdefault((shown.parent, shown.key), set()).add(row.id)
        row.shown = shown
        self.touched.add(row.id)

    def remove(self, row: Row) -> None:
        """Takes a derived copy's row away; nothing of it is left to keep."""
        self.show(row, HIDDEN)
        row.base = NOTHING
        self.touched.add(row.id)
        if row.state == NOTHING:
            self.removed.add(row.id)

    # ------------------------------------------------------------ directories

    def directory(self, node_id: NodeId) -> Directory | None:
        """The directory node as this turn has it, for reading."""
        return self.directories.get(node_id) or self.resident.nodes.get(node_id)

    def known_directory(self, node_id: NodeId) -> Directory:
        """The same, for one that is known to be there."""
        found = self.directory(node_id)
        assert found is not None
        return found

    def edit(self, node_id: NodeId) -> Directory:
        """The directory node as this turn's own copy, made if it is new."""
        found = self.directories.get(node_id)
        if found is None:
            old = self.resident.nodes.get(node_id)
            if old is None:
                found = Directory(node_id, NOTHING, None)
            else:
                found = replace(old, subdirectories=dict(old.subdirectories))
            self.directories[node_id] = found
        return found

    def item(self, item_id: NodeId) -> Item | None:
        """The shown directory as this turn has it, for reading."""
        if item_id in self.items:
            return self.items[item_id]
        return self.resident.items.get(item_id)

    def edit_item(self, item_id: NodeId) -> Item:
        """The shown directory as this turn's own copy, made if it is new."""
        found = self.items.get(item_id)
        if found is None:
            old = None if item_id in self.items else self.resident.items.get(item_id)
            found = replace(old) if old is not None else Item(item_id, (item_id,), NO_NODE, "")
            self.items[item_id] = found
        return found

    def drop_item(self, item_id: NodeId) -> None:
        """This directory is not shown any more, or not by this id."""
        self.items[item_id] = None

    def all_directories(self) -> dict[NodeId, Directory]:
        """Every directory node as this turn has it; only for the rare whole-folder passes."""
        return {**self.resident.nodes, **self.directories}

    def is_settled(self, copy: NodeId) -> bool:
        """True if this conflict copy has a record in the synced tree."""
        if copy in self.copies_added:
            return True
        return copy in self.resident.copies and copy not in self.copies_dropped

    @property
    def has_copies(self) -> bool:
        """Whether any conflict copy has a record at all."""
        return bool(self.resident.copies or self.copies_added)

    def note_copy(self, node_id: NodeId, is_recorded: bool) -> None:
        """Remembers that a conflict copy has, or no longer has, a record on this disk."""
        assert is_copy(node_id)
        (self.copies_added if is_recorded else self.copies_dropped).add(node_id)
        (self.copies_dropped if is_recorded else self.copies_added).discard(node_id)

    # ------------------------------------------------------------ the end of the turn

    async def finish(self) -> None:
        """Writes what changed about directories into their rows; counts follow from the rest at
        the next start.
        """
        changed = set()
        for node_id, directory in self.directories.items():
            if node_id != ROOT:
                changed.add(node_id)
                changed.add(directory.item or node_id)
        changed |= {i for i in self.items if i != ROOT}
        await self.load(sorted(changed))
        for node_id in changed:
            directory = self.known_directory(node_id)
            # Where it would be shown is computed again at the next start, if it is off its record.
            shown = HIDDEN._replace(flags=ADRIFT) if directory.is_adrift else HIDDEN
            if directory.counted_in:
                item = self.item(directory.item)
                assert item is not None
                is_first = directory.item == node_id
                shown = Shown(
                    directory.counted_in,
                    directory.counted_key,
                    directory.item,
                    item.name if is_first else "",
                    (item.flags if is_first else 0) | (ADRIFT if directory.is_adrift else 0),
                )
            row = self.rows[node_id]
            if row.shown != shown:
                row.shown = shown
                self.touched.add(node_id)
            if shown.item != node_id and row.disk != NOT_THERE:
                row.disk = NOT_THERE
                self.touched.add(node_id)

    def rows_to_store(self) -> list[Row]:
        """What the index has to be told."""
        return [r for i, r in self.rows.items() if i in self.touched and i not in self.removed]

    def rows_to_delete(self) -> list[NodeId]:
        """Rows of which nothing is left."""
        return [i for i in sorted(self.removed) if self.rows[i].stored]

    def merge(self) -> None:
        """The commit is durable: what was overlay becomes the resident truth."""
        resident = self.resident
        for node_id, directory in self.directories.items():
            resident.nodes[node_id] = directory
            (resident.adrift.add if directory.is_adrift else resident.adrift.discard)(node_id)
            if directory.base == NOTHING and node_id != ROOT:
                del resident.nodes[node_id]
        for item_id, item in self.items.items():
            old = resident.items.get(item_id)
            if old is not None and resident.by_inode.get(old.inode) == item_id:
                del resident.by_inode[old.inode]
            if item is None:
                resident.items.pop(item_id, None)
        for item_id, item in sorted(self.items.items()):
            if item is not None:
                old = resident.items.get(item_id)
                resident.items[item_id] = item
                is_news = old is None or old.inode != item.inode
                if item.inode and (is_news or item.inode not in resident.by_inode):
                    resident.by_inode[item.inode] = item_id
        resident.copies |= self.copies_added
        resident.copies -= self.copies_dropped
        for node_id in self.touched:
            row = self.rows[node_id]
            row.stored = True
            resident.remember(row)
            if row.shown.flags & MISNAMED:
                resident.misnamed[node_id] = None


def _in_order(ids: set[NodeId]) -> Iterable[NodeId]:
    return ids if len(ids) < 2 else sorted(ids)


def is_directory(node_id: NodeId) -> bool:
    """True for a directory node's id."""
    return node_id[15] & 3 == _DIRECTORY
