"""The synced tree, kept up to date: what the records of this disk show, changed by what changed
(MERGE 5-11).

`show` takes new base records of some nodes and recomputes only what they can affect: their
conflict copies, the cycles they may close, the visibility of the directories above, and the names
in the directories where something came, went or changed. The result is the same as materialising
the whole folder from nothing, which is what its tests compare it with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from crypto.ids import NodeId
from peer.core.naming import name_slots
from peer.core.rows import (
    ADRIFT,
    DERIVED,
    HAS_COPIES,
    HIDDEN,
    Directories,
    Directory,
    Row,
    Shown,
    place_of,
)
from peer.core.turn import Turn, is_directory
from protocol.names import conflict_name
from protocol.nodes import (
    NO_LOG,
    NO_NODE,
    NOTHING,
    ROOT,
    Content,
    Node,
    Place,
    copy_id,
    is_copy,
    shown_mtime_ns,
    versions,
)

Slots = dict[NodeId, set[str] | None]
"""Directory node -> the name keys in it to look at again; None for all of them."""


async def show(turn: Turn, bases: Mapping[NodeId, Node]) -> None:
    """Makes the turn's tree that of the synced records with these put in."""
    await turn.load(bases)
    again = await _with_origins(turn, bases)
    slots: Slots = {}
    new_directories, lost = _set_directories(turn, bases)
    again |= {n for d in new_directories for n in turn.resident.orphans.get(d, ())}
    if lost:
        again |= {row.id for row in await turn.load_children(lost)}
    await turn.load(sorted(again))
    directories = {n for n in again if is_directory(n)} | set(new_directories)
    _place_directories(turn, directories | {n for n in bases if is_directory(n) and n != ROOT})
    for node_id, node in bases.items():
        if not is_directory(node_id):
            turn.rows[node_id].base = node
            turn.touched.add(node_id)
            if is_copy(node_id):
                turn.note_copy(node_id, node != NOTHING)
        if node == NOTHING and turn.rows[node_id].state == NOTHING:
            turn.removed.add(node_id)
    await _show_files(turn, sorted(n for n in again | set(bases) if not is_directory(n)), slots)
    _count_directories(turn, directories | set(bases), slots)
    await name_slots(turn, slots)


async def _with_origins(turn: Turn, bases: Mapping[NodeId, Node]) -> set[NodeId]:
    """The origins of recorded conflict copies among the nodes: what they show depends on the
    copy's record.
    """
    origins = {turn.rows[n].origin for n in bases if is_copy(n)} - {NO_NODE} - set(bases)
    await turn.load(sorted(origins))
    return {n for n in origins if turn.rows[n].base != NOTHING}


# ---------------------------------------- directories: parents and cycles [9]


def _set_directories(turn: Turn, bases: Mapping[NodeId, Node]) -> tuple[list[NodeId], list[NodeId]]:
    """Puts the new records in; returns the directories that were not known before, and those that
    are known no longer, since what put them somewhere does not count any more.
    """
    new, lost = [], []
    for node_id, node in bases.items():
        if is_directory(node_id):
            if node_id == ROOT:
                turn.rows[ROOT].base = node
                turn.touched.add(ROOT)
                continue
            was_known = is_known(turn, node_id)
            directory = turn.edit(node_id)
            directory.base = node
            directory.place = place_of(node)
            if not was_known:
                new.append(node_id)
            elif directory.place is None:
                directory.is_adrift = False
                lost.append(node_id)
            turn.rows[node_id].base = node
            turn.touched.add(node_id)
    return new, lost


def is_known(turn: Turn, node_id: NodeId) -> bool:
    """Whether this is a directory that is somewhere: a parent that counts."""
    directory = turn.directory(node_id)
    return directory is not None and (directory.place is not None or node_id == ROOT)


def _place_directories(turn: Turn, changed: Iterable[NodeId]) -> None:
    """Gives the changed directories their parents; everybody's, if there is or may be a cycle."""
    changed = sorted(set(changed))
    whole = bool(turn.resident.adrift)
    for node_id in changed:
        directory = turn.edit(node_id)
        place = directory.place
        if place is None or not is_known(turn, place.parent):
            whole = True
            continue
        directory.parent, directory.name = place.parent, place.name
    if whole or _has_cycle(turn, changed):
        _place_all(turn)


def place_again(resident: Directories) -> None:
    """Gives directories that were just loaded the parents that follow from all their records."""
    turn = Turn(resident)
    _place_all(turn)
    turn.merge()


def _has_cycle(turn: Turn, changed: Iterable[NodeId]) -> bool:
    reaches_root: set[NodeId] = {ROOT}
    for node_id in changed:
        trail: list[NodeId] = []
        on_trail: set[NodeId] = set()
        while node_id not in reaches_root:
            if node_id in on_trail:
                return True
            trail.append(node_id)
            on_trail.add(node_id)
            node_id = turn.known_directory(node_id).parent
        reaches_root.update(trail)
    return False


def _place_all(turn: Turn) -> None:
    """Every directory's parent: place, else previous place, else the root; the newest edge of a
    cycle gives way.
    """
    every = turn.all_directories()
    places = {n: d.place for n, d in every.items() if n != ROOT and d.place is not None}
    choices: dict[NodeId, list[tuple[NodeId, str]]] = {}
    adrift: set[NodeId] = set()
    for node_id, place in places.items():
        options = [(place.parent, place.name), place.previous, (ROOT, place.name)]
        choices[node_id] = [o for o in options if o[0] == ROOT or o[0] in places]
        if choices[node_id][0] != options[0]:
            adrift.add(node_id)
    step = dict.fromkeys(places, 0)

    def age(node_id: NodeId) -> tuple[bool, int, bytes, bool, NodeId]:
        place = places[node_id]
        return (node_id in adrift, *place.since, place.previous[0] != NO_NODE, node_id)

    while True:
        cycles = _cycles({n: choices[n][step[n]][0] for n in places})
        if not cycles:
            break
        for cycle in cycles:
            loser = max(cycle, key=age)
            step[loser] += 1
            adrift.add(loser)
    for node_id in places:
        parent, name = choices[node_id][step[node_id]]
        directory = every[node_id]
        is_adrift = node_id in adrift
        if (directory.parent, directory.name, directory.is_adrift) != (parent, name, is_adrift):
            directory = turn.edit(node_id)
            directory.parent, directory.name, directory.is_adrift = parent, name, is_adrift


def _cycles(parents: Mapping[NodeId, NodeId]) -> list[list[NodeId]]:
    seen: dict[NodeId, int] = {ROOT: -1}
    cycles = []
    for number, start in enumerate(sorted(parents)):
        trail, node_id = [], start
        while node_id not in seen:
            seen[node_id] = number
            trail.append(node_id)
            node_id = parents[node_id]
        if seen[node_id] == number:
            cycles.append(trail[trail.index(node_id) :])
    return cycles


# ---------------------------------------------------------------- files: what is shown where [5-7]


async def _show_files(turn: Turn, ids: list[NodeId], slots: Slots) -> None:
    """Finds out what these files show and the conflict copies that follow from them."""
    old_copies: dict[NodeId, list[Row]] = {}
    with_copies = [n for n in ids if turn.rows[n].shown.flags & HAS_COPIES]
    for copy in await turn.load_copies(with_copies):
        if copy.is_derived:
            old_copies.setdefault(copy.origin, []).append(copy)
    is_settled = turn.is_settled if turn.has_copies else None
    for node_id in ids:
        row = turn.rows[node_id]
        node = row.base
        if is_settled is None and _is_plain(row):
            place = node.places[0]
            _place_file(turn, row, place, node.contents[0], node, 0, slots)
            continue
        if row.is_derived and node_id not in turn.copies_added:
            continue  # follows from its origin
        if not node.places:
            if not node.contents:
                _move(turn, row, HIDDEN, slots)
                _drop_copies(turn, old_copies.get(node_id, ()), set(), slots)
                continue
            # Never lose bytes for want of a place (MERGE 9).
            place = Place((), 0, NO_LOG, ROOT, f"recovered {node_id.hex()}", is_soft=True)
            node = Node((place,), node.contents, node.attributes)
        found = place_of(node)
        assert found is not None
        ordered = versions(node_id, node, is_settled)
        losers = {copy_id(node_id, c): c for c in ordered[1:]}
        if losers:
            await turn.load(losers)
            for copy_name, loser in losers.items():
                _derive(turn, copy_name, node_id, found, loser, slots)
        _drop_copies(turn, old_copies.get(node_id, ()), set(losers), slots)
        flags = HAS_COPIES if losers else 0
        _place_file(turn, row, found, ordered[0] if ordered else None, node, flags, slots)


def _is_plain(row: Row) -> bool:
    """One place and one content that nobody deleted, as most files are: no versions to choose from,
    while no conflict copy of the folder has a record.
    """
    places, contents, _ = row.base
    return (
        len(places) == 1
        and len(contents) == 1
        and not places[0].saw
        and not row.shown.flags & (DERIVED | HAS_COPIES)
    )


def _derive(
    turn: Turn, copy: NodeId, origin: NodeId, place: Place, loser: Content, slots: Slots
) -> None:
    """Shows a conflict copy that has no record: the losing write under a conflict name."""
    name = conflict_name(place.name, loser.label, loser.time_s)
    made_up = Place((), 0, NO_LOG, place.parent, name, is_soft=True)
    row = turn.rows[copy]
    row.origin = origin
    row.base = Node((made_up,), (loser,))
    turn.touched.add(copy)
    turn.removed.discard(copy)
    _place_file(turn, row, made_up, loser, row.base, DERIVED, slots)


def _drop_copies(turn: Turn, rows: Iterable[Row], keep: set[NodeId], slots: Slots) -> None:
    for row in rows:
        if row.id not in keep and row.is_derived and row.id not in turn.copies_added:
            _move(turn, row, HIDDEN, slots)
            turn.remove(row)


def _place_file(
    turn: Turn,
    row: Row,
    place: Place,
    content: Content | None,
    node: Node,
    flags: int,
    slots: Slots,
) -> None:
    if content is None:
        _move(turn, row, HIDDEN, slots)
        return
    parent = place.parent
    if not is_known(turn, parent):
        turn.resident.orphans.setdefault(parent, set()).add(row.id)
        parent, flags = ROOT, flags | ADRIFT
    # What was not shown yet is taken to get its own name, as it mostly does.
    is_new = not row.shown.parent
    shown = Shown(
        parent,
        turn.name_key(place.name),
        row.id if is_new else row.shown.item,
        place.name if is_new else row.shown.name,
        flags,
        content.hash,
        content.size,
        node.attributes.is_executable,
        shown_mtime_ns(content, node.attributes),
    )
    _move(turn, row, shown, slots)


def _move(turn: Turn, row: Row, shown: Shown, slots: Slots) -> None:
    """Shows a file elsewhere or otherwise, counts it where it lies, marks the names concerned."""
    old = row.shown
    if old.parent != shown.parent:
        if old.parent:
            turn.edit(old.parent).children -= 1
        if shown.parent:
            turn.edit(shown.parent).children += 1
    if old.parent:
        mark(slots, old.parent, old.key)
    if shown.parent:
        mark(slots, shown.parent, shown.key)
    turn.show(row, shown)


def mark(slots: Slots, parent: NodeId, key: str) -> None:
    """Notes that the names under this key have to be looked at again."""
    known = slots.setdefault(parent, set())
    if known is not None:
        known.add(key)


# ---------------------------------------------------------------- which directories are visible [8]


def _count_directories(turn: Turn, changed: Iterable[NodeId], slots: Slots) -> None:
    """Counts visible children upwards until nothing changes; a directory is visible if live or not
    empty.
    """
    touched = {n for n in changed if is_directory(n)} | turn.directories.keys()
    todo = sorted(touched - {ROOT})
    while todo:
        node_id = todo.pop()
        directory = turn.known_directory(node_id)
        is_visible = directory.is_live or directory.children > 0
        home = directory.parent if is_visible else NO_NODE
        key = turn.name_key(directory.name) if is_visible else ""
        was, was_key = directory.counted_in, directory.counted_key
        if (was, was_key) != (home, key):
            directory = turn.edit(node_id)
            if was:
                _forget_child(turn.edit(was), was_key, node_id)
                mark(slots, was, was_key)
                todo.append(was)
            if home:
                above = turn.edit(home)
                above.children += 1
                above.subdirectories[key] = (*above.subdirectories.get(key, ()), node_id)
                todo.append(home)
            directory.counted_in, directory.counted_key = home, key
            todo = [n for n in todo if n != ROOT]
        if home:
            mark(slots, home, key)
        elif directory.item:
            directory = turn.edit(node_id)
            if directory.item == node_id:
                turn.drop_item(node_id)
            directory.item = NO_NODE


def _forget_child(above: Directory, key: str, node_id: NodeId) -> None:
    above.children -= 1
    rest = tuple(n for n in above.subdirectories[key] if n != node_id)
    if rest:
        above.subdirectories[key] = rest
    else:
        del above.subdirectories[key]
