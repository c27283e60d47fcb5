"""What is called what: directories of one name become one, equal files one, other clashes get
conflict names.

Works from the top of the tree downwards, because which directory nodes are one decides whose
children meet (MERGE 10, 11). Only the names marked by the caller are looked at, and those that
they can push around.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from crypto.ids import NodeId
from crypto.primitives import digest
from peer.core.rows import DISPLACED, FOLDED, KEPT, Item, Row, place_of
from peer.core.turn import Turn, is_directory
from protocol.names import conflict_name, exact_key
from protocol.nodes import ROOT, Content, Place, versions, winning_place

Slots = dict[NodeId, set[str] | None]


class _Entry(NamedTuple):
    """One visible node in a directory that is being named."""

    id: NodeId
    name: str
    place: Place
    row: Row | None

    def rank(self) -> tuple[Any, ...]:
        return (self.place.rank, self.place.lamport, self.place.author, self.id)


async def name_slots(turn: Turn, slots: Slots) -> None:
    """Names everything under the marked keys, and what follows from directories that merged or
    parted.
    """
    pending: Slots = dict(slots)
    depths: dict[NodeId, int] = {ROOT: 0}
    while pending:
        level: dict[int, list[NodeId]] = {}
        for parent in pending:
            level.setdefault(_depth(turn, parent, depths), []).append(parent)
        parents = level[min(level)]
        items: dict[NodeId, set[str] | None] = {}
        for parent in parents:
            keys = pending.pop(parent)
            directory = turn.directory(parent)
            if directory is None or not directory.item:
                continue  # not visible: nothing in it is
            known = items.get(directory.item, set())
            items[directory.item] = None if keys is None or known is None else known | keys
        rows = await _load(turn, items)
        for item_id, wanted in items.items():
            for again in await _name_item(turn, item_id, wanted, rows.get(item_id, [])):
                pending[again] = None


def _depth(turn: Turn, node_id: NodeId, depths: dict[NodeId, int]) -> int:
    trail = []
    while node_id not in depths:
        trail.append(node_id)
        node_id = turn.known_directory(node_id).parent
    depth = depths[node_id]
    for below in reversed(trail):
        depth += 1
        depths[below] = depth
    return depth


async def _load(turn: Turn, items: dict[NodeId, set[str] | None]) -> dict[NodeId, list[Row]]:
    """The files under the wanted keys of each item, with one question for all of them."""
    slots: list[tuple[NodeId, str]] = []
    whole: list[NodeId] = []
    for item_id, keys in items.items():
        item = turn.item(item_id)
        assert item is not None
        if keys is not None and item.crowded and not item.crowded.isdisjoint(keys):
            keys |= item.crowded
        elif keys is not None and item.crowded and any("(conflict " in k for k in keys):
            keys |= item.crowded
        if keys is None:
            whole += item.members
        else:
            slots += [(member, key) for member in item.members for key in sorted(keys)]
    found: dict[NodeId, list[Row]] = {}
    rows = await turn.load_slots(slots) if slots else []
    if whole:
        rows += await turn.load_children(whole)
    for row in rows:
        found.setdefault(turn.known_directory(row.shown.parent).item, []).append(row)
    return found


async def _name_item(
    turn: Turn, item_id: NodeId, keys: set[str] | None, rows: list[Row]
) -> list[NodeId]:
    """Names what lies in one shown directory; returns directory nodes whose own children must be
    named anew.
    """
    item = turn.item(item_id)
    assert item is not None
    if keys is not None and len(item.members) == 1 and not item.crowded:
        keys = keys - _name_lone_files(turn, item, keys)
        if not keys:
            return []
        rows = [row for row in rows if row.shown.key in keys]
    entries = _entries(turn, item, keys, rows)
    crowd = _crowded(turn, entries)
    more = item.crowded - keys if crowd and keys is not None else set()
    while True:
        if more:
            assert keys is not None
            keys |= more
            slots = [(m, k) for m in item.members for k in sorted(keys)]
            entries = _entries(turn, item, keys, await turn.load_slots(slots))
            crowd = _crowded(turn, entries)
        names, more = await _give_names(turn, item, keys, entries, bool(crowd))
        if not more:
            break
    again: list[NodeId] = []
    for unit, name, flags in names:
        again += _assign(turn, item_id, unit, name, flags)
        if flags:
            crowd.add(turn.name_key(unit[0].name))
    still = frozenset(crowd) if keys is None else (item.crowded - keys) | crowd
    if still != item.crowded:
        turn.edit_item(item_id).crowded = frozenset(still)
    return again


def _name_lone_files(turn: Turn, item: Item, keys: set[str]) -> set[str]:
    """Gives their own names to files that are alone under their keys, as most are; says which keys
    these were. The directory is of one node and nothing in it is crowded.
    """
    subdirectories = turn.known_directory(item.id).subdirectories
    done: set[str] = set()
    for key in keys:
        row = turn.only_file_at(item.id, key)
        if row is None or key in subdirectories or not row.base.places:
            continue
        name = winning_place(row.base).name
        shown, is_executable = row.shown, row.base.attributes.is_executable
        flags = shown.flags & ~(DISPLACED | FOLDED)
        if (shown.item, shown.name, shown.flags, shown.is_executable) != (
            row.id, name, flags, is_executable
        ):  # fmt: skip
            shown = shown._replace(item=row.id, name=name, flags=flags, is_executable=is_executable)
            turn.show(row, shown)
        done.add(key)
    return done


Entries = dict[str, dict[tuple[Any, ...], list[_Entry]]]
"""Exact name key -> unit (directories together; files by kind and hash) -> its nodes, best first.
"""


def _entries(turn: Turn, item: Item, keys: set[str] | None, rows: Iterable[Row]) -> Entries:
    found: Entries = {}
    for row in rows:
        place = place_of(row.base)
        if place is None:
            place = Place((), 0, b"", ROOT, f"recovered {row.id.hex()}", is_soft=True)  # type: ignore[arg-type]
        entry = _Entry(row.id, place.name, place, row)
        unit = (row.id[15] & 3, row.shown.hash)
        found.setdefault(exact_key(place.name), {}).setdefault(unit, []).append(entry)
    for member in item.members:
        subdirectories = turn.known_directory(member).subdirectories
        for key in subdirectories if keys is None else keys:
            for node_id in subdirectories.get(key, ()):
                directory = turn.known_directory(node_id)
                assert directory.place is not None
                entry = _Entry(node_id, directory.name, directory.place, None)
                group = found.setdefault(exact_key(directory.name), {})
                group.setdefault(("directory",), []).append(entry)
    for group in found.values():
        for unit_entries in group.values():
            if len(unit_entries) > 1:
                unit_entries.sort(key=_Entry.rank, reverse=True)
    return found


def _crowded(turn: Turn, entries: Entries) -> set[str]:
    """The name keys under which not everything can have its own name."""
    seen: dict[str, int] = {}
    for name, group in entries.items():
        key = turn.name_key(name)
        seen[key] = seen.get(key, 0) + len(group)
    return {key for key, units in seen.items() if units > 1}


Named = list[tuple[list[_Entry], str, int]]


async def _give_names(
    turn: Turn, item: Item, keys: set[str] | None, entries: Entries, is_crowded: bool
) -> tuple[Named, set[str]]:
    """A name and flags for each unit: undisplaced first, then by rank (MERGE 11).

    The second value is not empty when a conflict name meets a name outside the keys: look at those
    too.
    """
    if not is_crowded:
        own = [unit for group in entries.values() for unit in group.values()]
        return [(unit, unit[0].name, 0) for unit in own], set()
    units: list[tuple[bool, list[_Entry]]] = []
    for group in entries.values():
        ordered = sorted(
            group.values(), key=lambda u: (is_directory(u[0].id), u[0].rank()), reverse=True
        )
        units += [(position > 0, unit) for position, unit in enumerate(ordered)]
    units.sort(key=lambda u: u[1][0].rank(), reverse=True)
    units.sort(key=lambda u: u[0])
    taken: set[str] = set()
    names: Named = []
    for displaced, unit in units:
        final, flags = unit[0].name, 0
        if displaced or turn.name_key(final) in taken:
            flags = DISPLACED if displaced else FOLDED
            for final in _conflict_names(turn, unit[0]):
                key = turn.name_key(final)
                if keys is not None and key not in keys and await _is_taken(turn, item, key):
                    return [], {key}
                if key not in taken:
                    break
        taken.add(turn.name_key(final))
        names.append((unit, final, flags))
    return names, set()


async def _is_taken(turn: Turn, item: Item, key: str) -> bool:
    if any(key in turn.known_directory(m).subdirectories for m in item.members):
        return True
    return bool(await turn.load_slots([(m, key) for m in item.members]))


def _conflict_names(turn: Turn, entry: _Entry) -> Iterable[str]:
    by: Place | Content = entry.place
    if entry.place.rank != 2 and entry.row is not None and entry.row.base.places:
        is_settled = turn.is_settled if turn.has_copies and not entry.row.is_derived else None
        by = versions(entry.id, entry.row.base, is_settled)[0]
    tag = digest("conflict", entry.id).hex()
    for length in (0, 4, 8, 16, 64):
        yield conflict_name(entry.name, by.label, by.time_s, tag[:length])


def _assign(
    turn: Turn, parent_item: NodeId, unit: list[_Entry], name: str, flags: int
) -> list[NodeId]:
    """Makes the unit one item of this name; for directories also says whose children meet anew."""
    first = unit[0]
    if first.row is not None:
        is_executable = _executable(unit)
        for entry in unit:
            row = entry.row
            assert row is not None
            is_first = entry.id == first.id
            kept = row.shown.flags & ~(DISPLACED | FOLDED)
            shown = row.shown._replace(
                item=first.id,
                name=name if is_first else "",
                flags=kept | flags if is_first else kept,
                is_executable=is_executable if is_first else row.base.attributes.is_executable,
            )
            turn.show(row, shown)
        return []
    return _assign_directories(turn, parent_item, unit, name, flags)


def _executable(unit: list[_Entry]) -> bool:
    if len(unit) == 1:
        assert unit[0].row is not None
        return unit[0].row.base.attributes.is_executable
    return max(e.row.base.attributes for e in unit if e.row is not None).is_executable


def _assign_directories(
    turn: Turn, parent_item: NodeId, unit: list[_Entry], name: str, flags: int
) -> list[NodeId]:
    members = tuple(entry.id for entry in unit)
    first = members[0]
    again: list[NodeId] = []
    if all(not turn.known_directory(m).is_live for m in members):
        flags |= KEPT
    crowded: frozenset[str] = frozenset()
    for member in members:
        old_id = turn.known_directory(member).item
        old = turn.resident.items.get(old_id) if old_id else None
        old_members = old.members if old is not None else (member,)
        if old_members != members and (len(old_members) > 1 or len(members) > 1):
            again.append(member)
        if old is not None:
            crowded |= old.crowded
        if old_id != first:
            turn.edit(member).item = first
            if old_id == member:
                turn.drop_item(member)
    old_item = turn.item(first)
    new = (members, parent_item, name, flags)
    if old_item is None or new != (
        old_item.members,
        old_item.parent,
        old_item.name,
        old_item.flags,
    ):
        item = turn.edit_item(first)
        item.members, item.parent, item.name, item.flags = new
        if again:
            item.crowded = crowded
    return again
