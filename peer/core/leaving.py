"""Finds the files that leave a name which a directory takes, so that both happen in one step.

Directories come first, and without their files. A directory whose name still belongs to a file
would be written with that file beside it, under a conflict name, until the file's turn comes; a
crash in between would make that move look like a person's.
"""

from __future__ import annotations

from crypto.ids import NodeId
from peer.core.rewinding import next_base
from peer.core.rows import Row, place_of
from peer.core.turn import Turn, is_directory
from protocol.nodes import Node, winning_place


async def add_those_who_leave(turn: Turn, wanted: dict[NodeId, Node]) -> None:
    """Adds to the wanted records those of files, and of the directories that they go to."""
    todo = [i for i in wanted if is_directory(i)]
    while todo:
        slots = [slot for i in todo for slot in _slots_taken(turn, wanted[i])]
        rows = await turn.load_slots(slots) if slots else []
        leaving = [r for r in rows if r.id not in wanted and _leaves(r)]
        todo = []
        for row in leaving:
            above = await _unknown_above(turn, wanted, row)
            if above is None:
                continue  # nobody knows where it goes: it stays beside
            wanted[row.id] = next_base(
                row, Node(row.state.places, row.synced.contents, row.state.attributes)
            )
            for directory in above:
                wanted[directory.id] = next_base(directory, directory.state)
                todo.append(directory.id)


def _slots_taken(turn: Turn, node: Node) -> list[tuple[NodeId, str]]:
    """Where files lie that have the name of this directory, in directories shown already."""
    place = place_of(node)
    if place is None or place.is_deleted:
        return []
    parent = turn.resident.nodes.get(place.parent)
    item = turn.resident.items.get(parent.item) if parent is not None else None
    if item is None:
        return []
    return [(member, turn.name_key(place.name)) for member in item.members]


def _leaves(row: Row) -> bool:
    """Whether the replica has this file, as the disk shows it, somewhere else or nowhere."""
    if row.is_derived or not row.state.places or not row.synced.places:
        return False
    there, here = winning_place(row.state), winning_place(row.synced)
    return there.is_deleted or (there.parent, there.name) != (here.parent, here.name)


async def _unknown_above(turn: Turn, wanted: dict[NodeId, Node], row: Row) -> list[Row] | None:
    """The directories that have to be made first; None if one of them is nowhere."""
    place = winning_place(row.state)
    above: list[Row] = []
    while not place.is_deleted and place.parent not in turn.resident.nodes:
        if place.parent in wanted:
            break
        await turn.load([place.parent])
        directory = turn.rows[place.parent]
        if not directory.state.places or len(above) > len(turn.rows):
            return None
        above.append(directory)
        place = winning_place(directory.state)
    return above
