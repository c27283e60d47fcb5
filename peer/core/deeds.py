"""Who did what to the files of a folder: read off a turn, from what was shown before and after it.

Pure, and counted rather than listed: a turn may have a thousand files, and only the first few of
them are named.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from crypto.ids import LogId, NodeId
from peer.core.rows import DERIVED, DISPLACED, Row, content_of, place_of
from peer.core.turn import Turn
from protocol.nodes import NO_LOG, NO_NODE, ROOT, Kind

PATHS_MAX: Final = 10
"""Paths that are named of each kind of deed; of the others the number is enough, and `versions` has
them.
"""
DEPTH_MAX: Final = 1_000
"""Directories on a path; a turn in the middle of its work could have a circle."""

_DIRECTORY: Final = int(Kind.DIRECTORY)


class What(StrEnum):
    """What can be done to a file or directory."""

    CREATED = "created"
    CHANGED = "changed"
    RENAMED = "renamed"
    DELETED = "deleted"


class Named(NamedTuple):
    """One of those that are named."""

    path: str
    was: str = ""
    """Where it was before, if it was renamed."""


@dataclass(slots=True)
class Deeds:
    """What the device of one log did, as far as one turn shows it."""

    author: LogId
    label: str
    """That device's name then; empty where the record has none."""
    counts: dict[What, int] = field(default_factory=dict)
    paths: dict[What, list[Named]] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)
    """Paths at which a conflict is shown from now on; as many as are named of others."""


def deeds_of(turn: Turn) -> list[Deeds]:
    """What this turn shows otherwise than before; to be asked before it is merged."""
    found: dict[LogId, Deeds] = {}
    rows = turn.rows
    for node_id, before in turn.before.items():
        row = rows[node_id]
        now = row.shown
        if now is before or node_id[15] & 3 == _DIRECTORY:
            continue
        was_shown = bool(before.parent) and before.item == node_id
        if not now.parent:
            if was_shown:
                _note(found, turn, row, What.DELETED, (before.parent, before.name))
        elif now.item != node_id:
            continue  # another node of the same bytes shows it
        elif not before.parent:
            _note(found, turn, row, What.CREATED)
        elif not was_shown:
            continue
        elif now.hash != before.hash or now.is_executable != before.is_executable:
            _note(found, turn, row, What.CHANGED)
        elif (now.parent, now.name) != (before.parent, before.name):
            _note(found, turn, row, What.RENAMED, (before.parent, before.name))
    _note_directories(found, turn)
    return list(found.values())


def _note(
    found: dict[LogId, Deeds],
    turn: Turn,
    row: Row,
    what: What,
    before: tuple[NodeId, str] = (NO_NODE, ""),
) -> None:
    """One more; of most it is only the number."""
    author, label = _writer(row, what)
    deeds = found.get(author)
    if deeds is None:
        deeds = found[author] = Deeds(author, label)
    count = deeds.counts.get(what, 0)
    deeds.counts[what] = count + 1
    shown = row.shown
    if count < PATHS_MAX:
        deeds.label = deeds.label or label
        was = _joined(turn.resident.child_path(*before)) if before[0] else ""
        is_gone = what is What.DELETED
        named = Named(was) if is_gone else Named(_path(turn, shown.parent, shown.name), was)
        deeds.paths.setdefault(what, []).append(named)
    if (
        shown.flags & (DERIVED | DISPLACED)
        and what in (What.CREATED, What.RENAMED)
        and len(deeds.conflicts) < PATHS_MAX
    ):
        deeds.conflicts.append(_path(turn, shown.parent, shown.name))


def _writer(row: Row, what: What) -> tuple[LogId, str]:
    """Whose write it was that made this difference."""
    if what is What.CREATED or what is What.CHANGED:
        contents = row.base.contents
        content = contents[0] if len(contents) == 1 else content_of(row.base, row.shown.hash)
        if content is not None:
            return content.author, content.label
    place = place_of(row.base) or place_of(row.state)
    return (NO_LOG, "") if place is None else (place.author, place.label)


def _note_directories(found: dict[LogId, Deeds], turn: Turn) -> None:
    old_items = turn.resident.items
    for item_id, item in turn.items.items():
        old = old_items.get(item_id)
        if item_id == ROOT or (old is None and item is None):
            continue
        if old is None:
            what, was = What.CREATED, ""
        elif item is None:
            what, was = What.DELETED, _joined(turn.resident.path(item_id))
        elif (old.parent, old.name) != (item.parent, item.name):
            what, was = What.RENAMED, _joined(turn.resident.path(item_id))
        else:
            continue
        directory = turn.directory(item_id)
        place = directory.place if directory is not None else None
        author, label = (NO_LOG, "") if place is None else (place.author, place.label)
        deeds = found.get(author) or found.setdefault(author, Deeds(author, label))
        deeds.label = deeds.label or label
        deeds.counts[what] = deeds.counts.get(what, 0) + 1
        paths = deeds.paths.setdefault(what, [])
        if len(paths) < PATHS_MAX:
            now = was if item is None else _item_path(turn, item.parent, item.name)
            paths.append(Named(f"{now}/", f"{was}/" if what is What.RENAMED else ""))


def _path(turn: Turn, parent: NodeId, name: str) -> str:
    """Where the turn shows a name in a directory node."""
    directory = turn.directory(parent)
    return _item_path(turn, directory.item, name) if directory is not None else name


def _item_path(turn: Turn, item_id: NodeId, name: str) -> str:
    names = [name]
    while item_id != ROOT and len(names) < DEPTH_MAX:
        item = turn.item(item_id)
        if item is None:
            break
        names.append(item.name)
        item_id = item.parent
    return "/".join(reversed(names))


def _joined(path: tuple[str, ...] | None) -> str:
    return "/".join(path or ())
