"""Items that are missing from the disk, and whose removals they are: no person's, when the replica
had removed them as well; nobody's, when the person says so.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from crypto.ids import NodeId
from peer.core.batch import as_record
from peer.core.commands import Apply, Commit
from peer.core.disk_types import Path, Refusal, RefusalKind, RemoveDirectory
from peer.core.local_changes import carry_disk_facts, directory_heirs, members
from peer.core.misnamed import keep_names
from peer.core.rows import NOT_THERE, Directories, Row
from peer.core.tree import show
from peer.core.turn import Turn, is_directory
from protocol.nodes import NOTHING, ROOT, Node, versions, winning_place

SOMEBODYS: Final = frozenset({RefusalKind.NOT_EMPTY, RefusalKind.CHANGED, RefusalKind.EXISTS})
"""Refusals because of what somebody did there; the others are the disk's."""


async def without_removed(
    resident: Directories, missing: list[NodeId], moved: Collection[NodeId]
) -> list[NodeId]:
    """Those of the missing items that the replica has not removed as well. `moved`: what the same
    scan found elsewhere.

    The others are no person's deletions: a crash came between their removal here and the commit
    that would have said so. Told as deletions, they would be acts inside of what is gone.
    """
    removed = set(missing)
    held: set[NodeId] = set()
    while removed:
        turn = Turn(resident)
        await turn.load(removed)
        bases: dict[NodeId, Node] = {}
        nodes: dict[NodeId, list[NodeId]] = {}
        for item in sorted(removed):
            every = nodes[item] = await members(turn, item)
            await turn.load(every)
            is_removed = every and all(_is_removed(turn.rows[m]) for m in every)
            copies = [row for row in await turn.load_copies(every) if row.is_derived]
            is_known = all(row.state != NOTHING for row in copies)
            if is_removed and is_known and not _shares_a_name(turn, every):
                bases.update((m, turn.rows[m].state) for m in every)
                # What followed from it is on the disk, until its own record is shown.
                bases |= {row.id: await as_record(turn, row) for row in copies}
            else:
                removed.discard(item)
        if not bases:
            break
        await show(turn, bases)
        # There are live things in it; another of its nodes may stand for it now.
        shown = {i for i in removed if any(_is_shown(turn, node_id) for node_id in nodes[i])}
        removed -= shown
        if shown:
            continue
        emptied = _emptied(turn, missing)
        carried = {i for i in emptied if _is_carried(resident, i, moved)}
        kept, stuck = (carried, []) if carried else await _remove_emptied(turn, emptied)
        if kept or stuck:
            inside = {i for i in removed if _lies_below(resident.path(_home(turn, i)), stuck)}
            held |= inside  # neither told nor noted: the next scan finds them missing again
            # Somebody has put something in, or has moved it: what was deleted in there is told.
            inside |= {i for i in removed if _home(turn, i) in kept}
            removed -= inside or removed
            continue
        await keep_names(turn)
        await carry_disk_facts(turn)
        await turn.finish()
        await Commit(turn.rows_to_store(), turn.rows_to_delete())
        turn.merge()
        break
    return [item for item in missing if item not in removed and item not in held]


def _emptied(turn: Turn, missing: Collection[NodeId]) -> set[NodeId]:
    """The directories that were shown for the removed items alone, and that the crash left on the
    disk; the second scan would take them for new. What is missing was not left there: where it was
    may be something else.
    """
    shown = turn.resident.items
    gone = {i for i, item in turn.items.items() if item is None and i in shown and shown[i].inode}
    return gone - {*missing, *directory_heirs(turn).values()}


def _is_carried(resident: Directories, item: NodeId, moved: Collection[NodeId]) -> bool:
    """Whether a person moved a directory, or one above it: it is not where the tree has it, and the
    scan that found it elsewhere was the last to look there.
    """
    while item != ROOT:
        if item in moved:
            return True
        item = resident.items[item].parent
    return False


async def _remove_emptied(turn: Turn, gone: set[NodeId]) -> tuple[set[NodeId], list[Path]]:
    """Removes these directories. Gives those that somebody has put something in, and the paths of
    those that the disk would not remove.
    """
    paths = {i: turn.resident.path(i) for i in gone}
    deepest_first = sorted(gone, key=lambda i: (-len(paths[i]), i))
    if not deepest_first:
        return set(), []
    results = await Apply([RemoveDirectory(paths[i]) for i in deepest_first])
    kept: set[NodeId] = set()
    stuck: list[Path] = []
    for item, result in zip(deepest_first, results, strict=True):
        if not isinstance(result, Refusal) or result.kind is RefusalKind.GONE:
            continue
        if result.kind not in SOMEBODYS:
            stuck.append(paths[item])
        elif not any(_lies_below(path, [paths[item]]) for path in stuck):
            kept.add(item)
    return kept, stuck


def _lies_below(path: Path, above: Sequence[Path]) -> bool:
    return any(path[: len(one)] == one for one in above)


def _home(turn: Turn, item: NodeId) -> NodeId:
    """The directory that an item was shown in."""
    if is_directory(item):
        return turn.resident.items[item].parent
    return turn.resident.nodes[turn.before[item].parent].item


async def put_back(resident: Directories, items: Sequence[NodeId]) -> None:
    """The disk shall show these items again: from here on they were never written to it."""
    turn = Turn(resident)
    await turn.load(items)
    bases: dict[NodeId, Node] = {}
    for item in items:
        for member in await members(turn, item):
            row = turn.rows[member]
            row.disk = NOT_THERE
            turn.touched.add(member)
            if not row.is_derived:
                bases[member] = NOTHING
                continue
            # A copy without a record follows from its origin: that shows its winner alone.
            await turn.load([row.origin])
            base = turn.rows[row.origin].base
            first = versions(row.origin, base, turn.is_settled)[:1]
            bases.setdefault(row.origin, base._replace(contents=tuple(first)))
    await show(turn, bases)
    await keep_names(turn)
    await turn.finish()
    await Commit(turn.rows_to_store(), turn.rows_to_delete())
    turn.merge()


def _is_shown(turn: Turn, node_id: NodeId) -> bool:
    if not is_directory(node_id):
        return not turn.is_gone(node_id)
    directory = turn.directory(node_id)
    return directory is not None and bool(directory.item)


def _shares_a_name(turn: Turn, every: Sequence[NodeId]) -> bool:
    """Whether others have other names for as long as these are shown: a deletion keeps those."""
    for member in every:
        directory, shown = turn.directory(member), turn.rows[member].shown
        above, key = shown.parent, shown.key
        if directory is not None:
            above, key = directory.counted_in, directory.counted_key
        item = turn.item(turn.known_directory(above).item) if above else None
        if item is not None and key in item.crowded:
            return True
    return False


def _is_removed(row: Row) -> bool:
    places = row.state.places
    return bool(places) and not row.is_derived and winning_place(row.state).is_deleted
