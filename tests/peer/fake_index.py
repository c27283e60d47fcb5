"""An index in a dictionary: index commands answered at once, to drive the engine's parts."""

from __future__ import annotations

from copy import copy
from typing import Any

from crypto.ids import LogId, NodeId
from peer.core import commands as c
from peer.core.rows import Facts, Row
from peer.core.turn import Turn, is_directory
from peer.folders.node_format import encode_node
from protocol.changesets import decode_changeset
from protocol.nodes import NOTHING


class FakeIndex:
    def __init__(self) -> None:
        self.rows: dict[NodeId, Row] = {}
        self.changesets: dict[tuple[LogId, int], bytes] = {}
        self.values: dict[str, bytes] = {}
        self.aside: dict[tuple[LogId, int, bytes], bytes] = {}

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
                    Facts(*r.disk, r.shown.is_executable, r.shown.name, r.id, r.shown.parent)
                    for r in rows
                    if r.shown.parent in set(parents) and r.shown.item == r.id
                ]
            case c.LoadDirty(after, limit):
                dirty = sorted(
                    ((not is_directory(r.id), r.id), r) for r in self.rows.values() if r.is_dirty
                )
                return [copy(r) for k, r in dirty if k > after][:limit]
            case c.LoadChangesets(log, after_seq, bytes_max):
                return first_of(self.changesets, log, after_seq, bytes_max)
            case c.LoadAuthored(log, after_id, limit):
                return authored(self.rows, log, after_id, limit)
            case c.MeasureLog(log, from_seq):
                kept = first_of(self.changesets, log, from_seq - 1, 1 << 62)
                return measured(self.rows, log, kept)
            case c.DropChangesets(log, before_seq, limit):
                old = [at for at in sorted(self.changesets) if at[0] == log and at[1] < before_seq]
                for at in old[:limit]:
                    del self.changesets[at]
                return len(old[:limit])
            case c.Commit(
                rows=changed, deleted=gone, changesets=logged, values=values, aside=aside, cut=cut
            ):
                for row in changed:
                    self.rows[row.id] = copy(row)
                    self.rows[row.id].stored = True
                for node_id in gone:
                    del self.rows[node_id]
                for log, first in cut:
                    for at in [at for at in self.changesets if at[0] == log and at[1] >= first]:
                        wire = self.changesets.pop(at)
                        self.aside[*at, decode_changeset(wire).hash] = wire
                for log, seq, hash_, _, wire in aside:
                    self.aside[log, seq, hash_] = wire
                for log, seq, _, _, wire in logged:
                    self.changesets.setdefault((log, seq), wire)
                self.values.update(values)
                return None
            case _:
                raise AssertionError(command)

    def commit(self, turn: Turn) -> None:
        self.perform(c.Commit(turn.rows_to_store(), turn.rows_to_delete()))
        turn.merge()


def first_of(
    changesets: dict[tuple[LogId, int], bytes], log: LogId, after_seq: int, bytes_max: int
) -> list[bytes]:
    """Of one log's changesets, the first after a position, up to some bytes in all."""
    out: list[bytes] = []
    size = 0
    for _, seq in sorted(at for at in changesets if at[0] == log and at[1] > after_seq):
        wire = changesets[log, seq]
        if out and size + len(wire) > bytes_max:
            break
        out.append(wire)
        size += len(wire)
    return out


def authored(rows: dict[NodeId, Row], log: LogId, after: int, limit: int) -> list[tuple[int, Row]]:
    """As the index store's LoadAuthored; the numbers are the ids'."""
    known = sorted(i for i, row in rows.items() if row.state != NOTHING)
    numbered = [(int.from_bytes(i), rows[i]) for i in known]
    found = [
        (number, copy(row))
        for number, row in numbered
        if number > after and (row.origin or encode_node(row.state).count(log))
    ]
    return found[:limit]


def measured(rows: dict[NodeId, Row], log: LogId, wires: list[bytes]) -> c.LogSize:
    """As the index store's MeasureLog."""
    told = authored(rows, log, 0, len(rows))
    return c.LogSize(sum(map(len, wires)), sum(len(encode_node(row.state)) for _, row in told))
