"""Says of files that this disk does not show yet where they belong and why they are not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from crypto.ids import NodeId
from peer.commands import LoadRows
from peer.disk_types import Path
from peer.rows import Directories, Row
from protocol.nodes import winning_place

TOLD_MAX: Final = 1_000
"""Files that are listed; of more than these it is only said how many there are."""
DEPTH_MAX: Final = 256
NEW: Final = (
    "No connected device has its bytes. Connect one that does; they come by themselves then."
)
NEWER: Final = (
    "A newer or a conflicting version of it is with no connected device. Connect one that has it."
)


async def reasons(
    resident: Directories, unavailable: Mapping[NodeId, None], wrong: Mapping[NodeId, str]
) -> dict[Path, str]:
    """Path -> why it is not as it is to be: nobody has the bytes, or what is wrong with them."""
    ids = list({**wrong, **unavailable})
    rows = await LoadRows(ids[:TOLD_MAX])
    known: dict[NodeId, Row] = dict(rows)
    told: dict[Path, str] = {}
    for node_id, row in rows.items():
        path = await _path(resident, row, known)
        reason = wrong.get(node_id) or (NEWER if row.shown.parent else NEW)
        told[path] = reason
    if len(ids) > TOLD_MAX:
        told[()] = f"The same is true of {len(ids) - TOLD_MAX} more files."
    return told


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
