"""Brings the synced tree a step towards the replica: shows new records, plans, writes, notes what
was done.

The order on the disk is staged bytes durable, renames, directories durable, then the index (DESIGN
5). What the disk refuses stays as it was in the tree too, and is looked at again by a scan before
anything else is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from crypto.ids import NodeId
from peer.commands import Apply, Commit, SyncStaged
from peer.disk_types import Kind, Path, Publish, Refusal, SetExecutable, SetMtime, Stat
from peer.local_changes import carry_disk_facts, link
from peer.planner import DirectoryChange, FileChange, Planner, Step
from peer.rows import Directories, Item, Row
from peer.tree import show
from peer.turn import Turn, is_directory
from protocol.nodes import NO_NODE, ROOT, Node

Staged = Mapping[tuple[NodeId, bytes], str]
"""(node, whole-file hash) -> the temp file that holds these bytes."""

OWN_DEVICE = 0
"""The folder's own disk, as `Stat.device` names it."""

OWN_WRITE = 1 << 62
"""A "now" by which nothing is racy: what we publish carries an mtime of its own, so a later write
shows.
"""


@dataclass(slots=True)
class Applied:
    """What came of one step."""

    nodes: set[NodeId] = field(default_factory=set)
    """Nodes that the disk now shows as asked."""
    refused: dict[NodeId, Refusal] = field(default_factory=dict)
    """Items that the disk refused, with why."""
    paths: dict[NodeId, Path] = field(default_factory=dict)
    """Where each refused item was to be."""
    unstaged: set[NodeId] = field(default_factory=set)
    """Items whose bytes are not staged: nothing was done for them."""
    used: set[str] = field(default_factory=set)
    """Temp files that are no more."""
    made: list[Path] = field(default_factory=list)
    """New or moved directories: to be watched."""


async def apply_bases(
    resident: Directories,
    bases: Mapping[NodeId, Node],
    staged: Staged,
) -> tuple[Turn, Applied]:
    """Applies these records to disk and tree; the caller has scanned whatever hints there were."""
    wanted = dict(bases)
    done = Applied()
    while True:
        turn = Turn(resident)
        await show(turn, wanted)
        directories = _directory_changes(turn)
        files, unstaged = _file_changes(turn, staged, directories)
        if not unstaged:
            break
        done.unstaged |= unstaged
        dropped = _drop(turn, wanted, unstaged)
        if not dropped:  # bytes that no wanted node can be blamed for: give up on this step
            wanted.clear()
    if not wanted:
        return Turn(resident), done
    steps = Planner(directories, files, _old_home(resident), _new_home(turn)).plan()
    stats: dict[NodeId, Stat] = {}
    if steps:
        if any(f.temp_name for f in files):
            await SyncStaged()
        results = await Apply([s.operation for s in steps])
        _note_results(steps, results, stats, done)
        done.used |= {f.temp_name for f in files if f.temp_name and f.id not in done.refused}
        await _settle_attributes(turn, steps, stats)
    if done.refused:
        _drop(turn, wanted, set(done.refused))
        turn = Turn(resident)
        await show(turn, wanted)
    await carry_disk_facts(turn)
    for item, stat in stats.items():
        await link(turn, item, stat, OWN_WRITE)
    done.nodes = set(wanted)
    await turn.finish()
    await Commit(turn.rows_to_store(), turn.rows_to_delete())
    turn.merge()
    done.made = [
        resident.path(d.new)
        for d in directories
        if d.new is not None and d.new in resident.items and d.new not in done.refused
        and (d.old is None or d.old_home != d.new_home)
    ]  # fmt: skip
    return turn, done


def _drop(turn: Turn, wanted: dict[NodeId, Node], items: set[NodeId]) -> bool:
    """Takes out the records behind these items; False when none of them is wanted."""
    blamed = set(items)
    for row in turn.rows.values():
        before = turn.before[row.id]
        if row.shown.item in items or (before.parent and before.item in items):
            blamed |= {row.id, row.origin}
        elif row.origin in items:
            blamed.add(row.id)
    for node_id, directory in turn.directories.items():
        old = turn.resident.nodes.get(node_id)
        if directory.item in items or (old is not None and old.item in items):
            blamed.add(node_id)
    dropped = blamed & set(wanted)
    for node_id in dropped:
        del wanted[node_id]
    # What was to lie in a directory that did not come about cannot come either.
    below = {
        n
        for n, node in wanted.items()
        if any(p.parent in dropped and p.parent not in turn.resident.nodes for p in node.places)
    }
    if below:
        _drop(turn, wanted, below)
    return bool(dropped)


def _note_results(
    steps: Iterable[Step],
    results: Iterable[Stat | Refusal],
    stats: dict[NodeId, Stat],
    done: Applied,
) -> None:
    for step, result in zip(steps, results, strict=True):
        if isinstance(result, Refusal):
            done.refused.setdefault(step.id, result)
            operation = step.operation
            target = getattr(operation, "target", None) or getattr(operation, "path", None)
            done.paths.setdefault(step.id, target or ())
        else:
            stats[step.id] = result
    for item in done.refused:
        stats.pop(item, None)


async def _settle_attributes(turn: Turn, steps: Iterable[Step], stats: dict[NodeId, Stat]) -> None:
    """What was published with other attributes than are shown now gets them."""
    fixes: list[Step] = []
    for step in steps:
        row, stat = turn.rows.get(step.id), stats.get(step.id)
        if not isinstance(step.operation, Publish) or row is None or stat is None:
            continue
        target = step.operation.target
        if stat.kind is Kind.FILE and stat.executable != row.shown.is_executable:
            fixes.append(Step(SetExecutable(target, row.shown.is_executable, stat), step.id))
        elif stat.kind is Kind.FILE and stat.mtime_ns != row.shown.mtime_ns:
            fixes.append(Step(SetMtime(target, row.shown.mtime_ns, stat), step.id))
    if fixes:
        results = await Apply([s.operation for s in fixes])
        for step, result in zip(fixes, results, strict=True):
            if isinstance(result, Stat):
                stats[step.id] = result


# ---------------------------------------------------------------- what differs


def _old_home(resident: Directories) -> Callable[[NodeId], tuple[NodeId, str] | None]:
    def home(item_id: NodeId) -> tuple[NodeId, str] | None:
        item = resident.items.get(item_id)
        return (item.parent, item.name) if item is not None else None

    return home


def _new_home(turn: Turn) -> Callable[[NodeId], tuple[NodeId, str] | None]:
    def home(item_id: NodeId) -> tuple[NodeId, str] | None:
        item = turn.item(item_id)
        return (item.parent, item.name) if item is not None else None

    return home


def _directory_changes(turn: Turn) -> list[DirectoryChange]:
    resident = turn.resident.items
    new_items = {i: item for i, item in turn.items.items() if item is not None and i != ROOT}
    old_items = {i: resident[i] for i in turn.items if i in resident and i != ROOT}
    taken: dict[NodeId, NodeId] = {}
    for new_id, item in new_items.items():
        options = [new_id, *item.members]
        old_id = next((o for o in options if o in old_items and old_items[o].inode), None)
        if old_id is not None:
            taken[old_id] = new_id
    old_of = {new: old for old, new in taken.items()}
    changes = []
    for new_id, item in new_items.items():
        old_id = old_of.get(new_id)
        old = old_items[old_id] if old_id is not None else None
        changes.append(
            DirectoryChange(
                old_id, _home(old), new_id, (item.parent, item.name), _directory_stat(old)
            )
        )
    for old_id, old in old_items.items():
        if old_id not in taken and old.inode:
            changes.append(DirectoryChange(old_id, _home(old), None, None, _directory_stat(old)))
    return changes


def _home(item: Item | None) -> tuple[NodeId, str] | None:
    return (item.parent, item.name) if item is not None else None


def _directory_stat(item: Item | None) -> Stat | None:
    if item is None:
        return None
    return Stat(Kind.DIRECTORY, item.inode, OWN_DEVICE, 0, 0, 0, False)


def _file_changes(
    turn: Turn, staged: Staged, directories: Iterable[DirectoryChange]
) -> tuple[list[FileChange], set[NodeId]]:
    """The files that come, go or change, and the items whose bytes are not there yet."""
    disk_of = {d.new: d.old for d in directories if d.new is not None and d.old is not None}
    rows = {i: r for i, r in turn.rows.items() if not is_directory(i)}
    old = {
        i: r
        for i, r in rows.items()
        if turn.before[i].parent and turn.before[i].item == i and r.disk.inode
    }
    new = {i: r for i, r in rows.items() if r.shown.parent and r.shown.item == i}
    heirs = {
        r.shown.item: i
        for i, r in old.items()
        if i not in new
        and r.shown.parent
        and r.shown.item not in old
        and r.shown.item in new
        and new[r.shown.item].shown.hash == turn.before[i].hash
    }
    changes: list[FileChange] = []
    unstaged: set[NodeId] = set()
    for item_id, row in new.items():
        before_id = item_id if item_id in old else heirs.get(item_id, NO_NODE)
        change, is_there = _file_change(turn, row, before_id, staged, disk_of)
        if change is not None:
            changes.append(change)
            if not is_there:
                unstaged.add(item_id)
    gone = set(old) - set(new) - set(heirs.values())
    for item_id in gone:
        home = _old_file_home(turn, item_id)
        changes.append(FileChange(item_id, home, None, _file_stat(old[item_id], turn)))
    return changes, unstaged


def _old_file_home(turn: Turn, item_id: NodeId) -> tuple[NodeId, str]:
    before = turn.before[item_id]
    return (turn.resident.nodes[before.parent].item, before.name)


def _file_stat(row: Row, turn: Turn) -> Stat:
    disk = row.disk
    executable = turn.before[row.id].is_executable
    return Stat(
        Kind(row.id[15] & 3), disk.inode, OWN_DEVICE, disk.size, disk.mtime_ns, disk.ctime_ns,
        executable,
    )  # fmt: skip


def _file_change(
    turn: Turn,
    row: Row,
    before_id: NodeId,
    staged: Staged,
    disk_of: Mapping[NodeId, NodeId],
) -> tuple[FileChange | None, bool]:
    shown = row.shown
    new_home = (turn.known_directory(shown.parent).item, shown.name)
    if not before_id:
        temp = _staged_for(turn, row, staged)
        return FileChange(row.id, None, new_home, None, temp), temp is not None
    before = turn.before[before_id]
    old_home = _old_file_home(turn, before_id)
    stat = _file_stat(turn.rows[before_id], turn)
    if before.hash != shown.hash:
        temp = _staged_for(turn, row, staged)
        return FileChange(row.id, old_home, new_home, stat, temp), temp is not None
    disk_home = (disk_of.get(new_home[0], new_home[0]), new_home[1])
    is_file = not row.id[15] & 3
    executable = shown.is_executable if shown.is_executable != before.is_executable else None
    mtime = shown.mtime_ns if is_file and shown.mtime_ns != stat.mtime_ns else None
    if disk_home == old_home and executable is None and mtime is None:
        return None, True
    return FileChange(row.id, old_home, new_home, stat, None, executable, mtime), True


def _staged_for(turn: Turn, row: Row, staged: Staged) -> str | None:
    found = staged.get((row.id, row.shown.hash))
    if found is None:  # another member of the same item may have brought the bytes
        for other in turn.rows.values():
            if other.shown.item == row.id and (other.id, row.shown.hash) in staged:
                return staged[other.id, row.shown.hash]
    return found
