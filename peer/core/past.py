"""What nodes were before: places and contents that newer writes have superseded, read back from the
stored logs.

The replica keeps maximal writes only. A disk whose index was lost, or a directory that held a copy
of the folder before it was attached, shows older ones, and they must be known for what they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from crypto.ids import LogId, NodeId
from peer.core.commands import LoadChangesets, LoadRows
from protocol.changesets import SEQ_MAX, Changeset, decode_changeset
from protocol.logs import LogBook
from protocol.nodes import NOTHING, Content, Node, Place
from protocol.records import Records, Stamp, decode_records

READ_BYTES: Final = 1 << 20


class _Checked(Mapping[LogId, int]):
    """A frontier that covers every vector: what was accepted once has passed that check, and a fork
    may have cut a log back since.
    """

    def __getitem__(self, log_id: LogId) -> int:
        return SEQ_MAX

    def __iter__(self) -> Iterator[LogId]:
        return iter(())

    def __len__(self) -> int:
        return 0


@dataclass(slots=True)
class Superseded:
    """Writes of one node that are not in its record any more."""

    places: list[Place] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)


async def read_past(book: LogBook) -> dict[NodeId, Superseded]:
    """All superseded writes, by node; nodes that were written once have none."""
    past: dict[NodeId, Superseded] = {}
    for log_id in book.log_ids():
        seq = 0
        while wires := await LoadChangesets(log_id, seq, READ_BYTES):
            for wire in wires:
                changeset = decode_changeset(wire)
                seq = changeset.slot.seq
                if not book.is_void(changeset):
                    told = read_records(book, changeset)
                    await _note(past, told.nodes if told is not None else {})
    return past


def read_records(book: LogBook, changeset: Changeset) -> Records | None:
    """The records of a changeset that was checked when it came; None without its epoch's key."""
    records = book.look_into(changeset)
    if records is None:
        return None
    slot = changeset.slot
    return decode_records(records, Stamp(changeset.log_id, slot.seq, slot.lamport), _Checked())


async def _note(past: dict[NodeId, Superseded], told: dict[NodeId, Node]) -> None:
    rows = await LoadRows(sorted(told))
    for node_id, node in told.items():
        row = rows.get(node_id)
        state = row.state if row is not None else NOTHING
        places = [p for p in node.places if p not in state.places]
        contents = [c for c in node.contents if c not in state.contents]
        if places or contents:
            old = past.setdefault(node_id, Superseded())
            old.places += places
            old.contents += contents
