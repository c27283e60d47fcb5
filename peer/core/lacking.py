"""What this disk does not show yet: where it belongs, what it waits for, why it is not there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from crypto.ids import NodeId
from peer.core.commands import LoadRows
from peer.core.disk_types import Path
from peer.core.refusals import held_with_contents
from peer.core.rows import Directories, Row
from protocol.nodes import NOTHING, Content, Node, copy_id, deleted_contents, winning_place
from protocol.version_vector import is_within

TOLD_MAX: Final = 1_000
"""Files that are listed; of more than these it is only said how many there are."""
DEPTH_MAX: Final = 256
NEW: Final = (
    "Its content waits for {who}: no device or relay that is connected has it. It comes by itself"
    " when one does."
)
NEWER: Final = (
    "The content of a newer or a conflicting version of it waits for {who}: no device or relay that"
    " is connected has it. It comes by itself when one does."
)
COMING: Final = (
    "Its content is still to come from the super-nodes: what they hold is being read. It comes by"
    " itself."
)
NEWER_COMING: Final = (
    "The content of a newer or a conflicting version of it is still to come from the super-nodes:"
    " what they hold is being read. It comes by itself."
)


async def reasons(
    resident: Directories,
    unavailable: Mapping[NodeId, None],
    wrong: Mapping[NodeId, str],
    *,
    is_read_back: bool = False,
) -> dict[Path, str]:
    """Path -> why it is not as it is to be: nobody has the bytes, or what is wrong with them.
    `is_read_back`: it is not known yet what super-nodes have of them.
    """
    new, newer = (COMING, NEWER_COMING) if is_read_back else (NEW, NEWER)
    ids = list({**wrong, **unavailable})
    rows = await LoadRows(ids[:TOLD_MAX])
    known: dict[NodeId, Row] = dict(rows)
    told: dict[Path, str] = {}
    for node_id, row in rows.items():
        path = await _path(resident, row, known)
        why = (newer if row.shown.parent else new).format(who=_author(row))
        told[path] = wrong.get(node_id) or why
    if len(ids) > TOLD_MAX:
        told[()] = f"The same is true of {len(ids) - TOLD_MAX} more files."
    return told


def as_coming(why: str) -> str:
    """What was told of a file that nobody had, now that super-nodes are read."""
    for waits, comes in ((NEW, COMING), (NEWER, NEWER_COMING)):
        first, _, last = waits.partition("{who}")
        if why.startswith(first) and why.endswith(last):
            return comes
    return why


async def places(resident: Directories, ids: Iterable[NodeId]) -> dict[NodeId, Path]:
    """Where each of these is shown, or is to be; the latter of what is not here yet."""
    rows = await LoadRows(sorted(ids))
    known: dict[NodeId, Row] = dict(rows)
    return {node_id: await _path(resident, row, known) for node_id, row in rows.items()}


def _author(row: Row) -> str:
    """The name of the device that wrote the newest version, as it called itself then."""
    newest = max(row.state.contents, key=Content.key, default=None)
    return (newest.label if newest is not None else "") or "a device that has it"


async def _path(resident: Directories, row: Row, known: dict[NodeId, Row]) -> Path:
    """Where it is shown, else where its records put it."""
    shown = resident.child_path(row.shown.parent, row.shown.name) if row.shown.parent else None
    if shown is not None:
        return shown
    names: list[str] = []
    while row.state.places and len(names) < DEPTH_MAX:
        place = winning_place(row.state)
        names.append(place.name)
        above = resident.nodes.get(place.parent)
        if above is not None and above.item:
            return (*resident.path(above.item), *reversed(names))
        if place.parent not in known:
            known |= await LoadRows([place.parent])
        if place.parent not in known:
            break
        row = known[place.parent]
    return tuple(reversed(names))


async def add_parents(resident: Directories, rows: dict[NodeId, Row]) -> None:
    """Adds the directories above these, as far as the synced tree does not know them."""
    todo = list(rows.values())
    while todo:
        parents = {
            p
            for row in todo
            for place in row.state.places
            for p in (place.parent, place.previous[0])
            if p and p not in resident.nodes and p not in rows
        }
        todo = []
        if parents:
            todo = list((await LoadRows(sorted(parents))).values())
            rows.update({r.id: r for r in todo if r.state != NOTHING})


async def with_copies(rows: Sequence[Row]) -> Sequence[Row]:
    """Adds what has become of conflict copies that the disk shows of these. A copy that a deletion
    of its original left where it was has a record in the same changeset: without that it would be
    removed with the original, to come back later, and a crash in between be a person's deletion.
    """
    ids = {copy_id(r.id, c) for r in rows if len(r.synced.contents) > 1 for c in r.synced.contents}
    ids -= {r.id for r in rows}
    copies = await LoadRows(sorted(ids)) if ids else {}
    return [*rows, *(row for row in copies.values() if row.is_dirty)]


async def without(
    resident: Directories, held: Collection[NodeId], rows: Sequence[Row]
) -> Sequence[Row]:
    """Leaves out what is held back, and what is to lie in a new directory that is."""
    if not held:
        return rows
    above = {r.id: r for r in rows}
    await add_parents(resident, above)
    left_out = held_with_contents(held, above, resident.nodes)
    return [r for r in rows if r.id not in left_out]


def has_seen(new: Sequence[Content], old: Sequence[Content], state: Node) -> bool:
    """Whether each of the old contents is among the new ones, or was seen by one of them or by a
    deletion.
    """
    gone = deleted_contents(state)
    return all(
        is_within(c.vector, gone) or any(c == n or is_within(c.vector, n.vector) for n in new)
        for c in old
    )
