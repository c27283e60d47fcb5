"""An index in dictionaries, with the look-ups that SQLite has indexes for, and its way to reload.

Rows go through the columns of index_store.py when a device starts again, so that what the
columns cannot say is lost here too.
"""

from __future__ import annotations

from typing import Any

from crypto.ids import LogId, NodeId
from peer.core import commands as c
from peer.core.rows import ADRIFT, DISPLACED, FOLDED, Directories, Facts, Row, place_of
from peer.core.tree import place_again
from peer.core.turn import is_directory
from peer.folders import index_store
from protocol.nodes import NOTHING, ROOT, is_copy
from tests.peer.fake_index import authored, first_of, measured

_COLUMNS = [0, 2, 3, *range(5, 19)]
"""Of the values that a row is stored as, those that it is loaded from."""


class SimIndex:
    """The index of one folder on one device; what it holds outlives the device's other memory."""

    def __init__(self) -> None:
        self.rows: dict[NodeId, Row] = {}
        self.changesets: dict[tuple[LogId, int], tuple[bytes, int, bytes]] = {}
        """(log, seq) -> hash, Lamport time, wire bytes."""
        self.values: dict[str, bytes] = {}
        self.aside: dict[tuple[LogId, int, bytes], tuple[int, bytes]] = {}
        """(log, seq, hash) -> Lamport time, wire bytes of what is on no log."""
        self.written: dict[NodeId, None] = {}
        """Rows that were committed since somebody last looked."""
        self._children: dict[NodeId, dict[NodeId, None]] = {}
        self._copies: dict[NodeId, dict[NodeId, None]] = {}

    def perform(self, command: c.Command[Any]) -> Any:
        """Answers one index command."""
        match command:
            case c.LoadRows(ids):
                return {i: self.rows[i].copy() for i in ids if i in self.rows}
            case c.LoadSlots(slots):
                return [
                    row.copy()
                    for parent, key in dict.fromkeys(slots)
                    for row in self._files_in(parent)
                    if row.shown.key == key
                ]
            case c.LoadChildren(parents):
                return [r.copy() for p in dict.fromkeys(parents) for r in self._files_in(p)]
            case c.LoadCopies(origins):
                return [
                    self.rows[i].copy()
                    for o in dict.fromkeys(origins)
                    for i in self._copies.get(o, ())
                ]
            case c.LoadInodes(inodes):
                wanted = set(inodes) - {0}
                return [r.copy() for r in self._files() if r.disk.inode in wanted]
            case c.FindPlace(hashes):
                return [r.copy() for r in self._files() if r.shown.hash in hashes and r.disk.inode]
            case c.LoadFacts(parents):
                return [
                    Facts(*r.disk, r.shown.is_executable, r.shown.name, r.id, r.shown.parent)
                    for p in dict.fromkeys(parents)
                    for r in self._files_in(p)
                    if r.shown.item == r.id
                ]
            case c.LoadDirty(after, limit):
                dirty = sorted(
                    (1 if is_directory(r.id) else 2, r.id) for r in self.rows.values() if r.is_dirty
                )
                return [self.rows[i].copy() for at, i in dirty if (at, i) > after][:limit]
            case c.LoadChangesets(log, after_seq, bytes_max):
                wires = {at: wire for at, (_, _, wire) in self.changesets.items()}
                return first_of(wires, log, after_seq, bytes_max)
            case c.LoadAuthored(log, after_id, limit):
                return authored(self.rows, log, after_id, limit)
            case c.MeasureLog(log, from_seq):
                wires = {at: wire for at, (_, _, wire) in self.changesets.items()}
                kept = first_of(wires, log, from_seq - 1, 1 << 62)
                return measured(self.rows, log, kept)
            case c.DropChangesets(log, before_seq, limit):
                old = [at for at in sorted(self.changesets) if at[0] == log and at[1] < before_seq]
                for at in old[:limit]:
                    del self.changesets[at]
                return len(old[:limit])
            case c.Commit():
                return self._commit(command)
            case _:
                raise AssertionError(command)

    def _files(self) -> list[Row]:
        return [r for r in self.rows.values() if r.shown.parent and not is_directory(r.id)]

    def _files_in(self, parent: NodeId) -> list[Row]:
        return [self.rows[i] for i in self._children.get(parent, ())]

    def _commit(self, commit: c.Commit) -> None:
        for row in commit.rows:
            self._drop(row.id)
            row = row.copy()
            row.stored = True
            self.rows[row.id] = row
            self.written[row.id] = None
            if row.shown.parent and not is_directory(row.id):
                self._children.setdefault(row.shown.parent, {})[row.id] = None
            if row.origin:
                self._copies.setdefault(row.origin, {})[row.id] = None
        for node_id in commit.deleted:
            self._drop(node_id)
        for log, first in commit.cut:
            for at in [at for at in self.changesets if at[0] == log and at[1] >= first]:
                hash_, lamport, wire = self.changesets.pop(at)
                self.aside[*at, hash_] = (lamport, wire)
        for log, seq, hash_, lamport, wire in commit.aside:
            self.aside[log, seq, hash_] = (lamport, wire)
        for log, seq, hash_, lamport, wire in commit.changesets:
            self.changesets.setdefault((log, seq), (hash_, lamport, wire))
        self.values.update(commit.values)

    def _drop(self, node_id: NodeId) -> None:
        old = self.rows.pop(node_id, None)
        if old is not None:
            self._children.get(old.shown.parent, {}).pop(node_id, None)
            self._copies.get(old.origin, {}).pop(node_id, None)

    # ------------------------------------------------------------ a new start

    def load_directories(self, folds_case: bool) -> Directories:
        """The resident directories from the rows, as IndexStore.load_directories makes them."""
        for node_id, row in self.rows.items():
            values = index_store._values(row)
            again = index_store._row([values[i] for i in _COLUMNS])
            again.encoded = row.encoded
            assert again == row, f"{again} was {row}"
            self.rows[node_id] = again
        resident = Directories(folds_case)
        rows = [r for r in self.rows.values() if is_directory(r.id)]
        for row in rows:
            if row.id == ROOT:
                resident.nodes[ROOT].base = row.base
            elif row.synced != NOTHING:
                index_store._add_directory(resident, row)
        for row in rows:
            directory = resident.nodes.get(row.id)
            if directory is not None and directory.counted_in and row.id != ROOT:
                above = resident.nodes[directory.counted_in]
                above.children += 1
                key = directory.counted_key
                above.subdirectories[key] = (*above.subdirectories.get(key, ()), row.id)
        if resident.adrift:
            place_again(resident)
        index_store._add_items(resident, rows)
        for row in self._files():
            resident.nodes[row.shown.parent].children += 1
            if row.shown.flags & ADRIFT:
                place = place_of(row.base)
                if place is not None:
                    resident.orphans.setdefault(place.parent, set()).add(row.id)
        for row in self.rows.values():
            if row.shown.parent and row.shown.flags & (DISPLACED | FOLDED):
                resident.items[resident.nodes[row.shown.parent].item].crowded |= {row.shown.key}
            if row.origin and not row.is_derived and row.base != NOTHING and is_copy(row.id):
                resident.copies.add(row.id)
        return resident
