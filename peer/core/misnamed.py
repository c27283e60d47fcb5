"""What a disk that folds case still shows under another name when a clash is over, or turns out
otherwise, by what a person did there.

The name is given back there and nowhere else: no record says so, and until the plan has renamed it
the tree keeps the name that is on the disk. Else the next scan would take that for a person's
rename, and tell it to disks on which nothing ever clashed (MERGE 11).
"""

from __future__ import annotations

from collections.abc import Collection

from crypto.ids import NodeId
from peer.core.rows import FOLDED, MISNAMED
from peer.core.turn import Turn, is_directory


async def keep_names(turn: Turn, placed: Collection[NodeId] = ()) -> None:
    """Lets what loses its name to folded case, or gets it back, keep the one that it has on the
    disk, and marks it as to be applied again. `placed`: nodes that a person has just put somewhere.
    """
    if not turn.resident.folds_case:
        return
    _keep_names_of_directories(turn, placed)
    for node_id, old in list(turn.before.items()):
        is_first = old.parent and old.item == node_id and not is_directory(node_id)
        if not is_first or turn.is_gone(node_id):
            continue
        first = turn.rows[node_id].shown.item  # another node may stand for it now
        await turn.load([first])
        row, shown = turn.rows[first], turn.rows[first].shown
        is_joined = first != node_id and turn.before[first].item == first
        is_folded = (old.flags | shown.flags) & FOLDED
        if shown.name == old.name or not is_folded or is_joined or first in placed:
            continue
        turn.show(row, shown._replace(name=old.name, flags=shown.flags | FOLDED))
        _note_crowded(turn, shown.parent, shown.key)
        # A copy without a record follows from its origin: that is what can be applied again.
        marked = row.origin if row.is_derived else first
        await turn.load([marked])
        shown = turn.rows[marked].shown
        turn.show(turn.rows[marked], shown._replace(flags=shown.flags | MISNAMED))


def _keep_names_of_directories(turn: Turn, placed: Collection[NodeId]) -> None:
    resident = turn.resident.items
    for item_id in sorted(turn.items):
        old = resident.get(item_id)
        heir = turn.known_directory(item_id).item
        item = turn.item(heir) if heir else None
        is_joined = heir != item_id and heir in resident
        if old is None or item is None or is_joined or heir in placed:
            continue
        if item.name != old.name and (old.flags | item.flags) & FOLDED:
            item = turn.edit_item(heir)
            item.name, item.flags = old.name, item.flags | FOLDED | MISNAMED
            directory = turn.known_directory(heir)
            _note_crowded(turn, directory.counted_in, directory.counted_key)


def _note_crowded(turn: Turn, parent: NodeId, key: str) -> None:
    """The next look at this key has to be at all that is crowded with it."""
    item = turn.item(turn.known_directory(parent).item)
    assert item is not None
    if key not in item.crowded:
        turn.edit_item(item.id).crowded = item.crowded | {key}
