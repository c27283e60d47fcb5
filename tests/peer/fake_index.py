"""An index in a dictionary: index commands answered at once, to drive the engine's parts."""

from __future__ import annotations

from copy import copy
from typing import Any

from crypto.ids import LogId, NodeId
from peer import commands as c
from peer.rows import Facts, Row
from peer.turn import Turn, is_directory


class FakeIndex:
    def __init__(self) -> None:
        self.rows: dict[NodeId, Row] = {}
        self.changesets: dict[tuple[LogId, int], bytes] = {}
        self.values: dict[str, bytes] = {}

    def perform(self, command: c.Command[Any]) -> Any:
        rows = [r for r in self.rows.values() if r.shown.parent and not is_directory(r.id)]
        match command:
            case c.LoadRows(ids):
                return {i: copy(self.rows[i]) for i in ids if i in self.rows}
            case c.LoadSlots(slots):
                return [copy(r) for r in rows if (r.shown.parent, r.shown.key) in set(slots)]
            case c.LoadChildren(parents):
                return [copy(r) for r in rows if r.shown.parent in set(parents)]
            case c.LoadCopies(origins):
                return [copy(r) for r in self.rows.values() if r.origin in set(origins)]
            case c.LoadInodes(inodes):
                return [copy(r) for r in rows if r.disk.inode in set(inodes)]
            case c.FindPlace(hashes):
                return [copy(r) for r in rows if r.shown.hash in set(hashes) and r.disk.inode]
            case c.LoadFacts(parents):
                return [
                    Facts(r.id, r.shown.parent, r.shown.name, r.shown.flags,
                          r.shown.is_executable, r.disk)
                    for r in rows if r.shown.parent in set(parents) and r.shown.item == r.id
                ]  # fmt: skip
            case c.LoadDirty(after, limit):
                dirty = sorted(
                    ((not is_directory(r.id), r.id), r) for r in self.rows.values() if r.is_dirty
                )
                return [copy(r) for k, r in dirty if k > after][:limit]
            case c.Commit(rows=changed, deleted=gone, changesets=logged, values=values):
                for row in changed:
                    self.rows[row.id] = copy(row)
                    self.rows[row.id].stored = True
                for node_id in gone:
                    del self.rows[node_id]
                for log, seq, _, _, wire in logged:
                    self.changesets[log, seq] = wire
                self.values.update(values)
                return None
            case _:
                raise AssertionError(command)

    def commit(self, turn: Turn) -> None:
        self.perform(c.Commit(turn.rows_to_store(), turn.rows_to_delete()))
        turn.merge()
