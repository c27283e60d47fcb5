"""Brings the synced tree a step towards the replica: shows new records, plans, writes, notes what
was done.

The order on the disk is staged bytes durable, renames, directories durable, then the index (DESIGN
5). What the disk refuses stays as it was in the tree too, and is looked at again by a scan before
anything else is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from crypto.ids import NodeId
from peer.core.commands import Apply, Commit, SyncStaged
from peer.core.deeds import deeds_of
from peer.core.disk_types import (
    PARKED,
    TRASH,
    Kind,
    Move,
    Path,
    Publish,
    Refusal,
    RefusalKind,
    Remove,
    SetExecutable,
    SetMtime,
    Stat,
)
from peer.core.leaving import add_those_who_leave
from peer.core.local_changes import carry_disk_facts, directory_heirs, is_coarse, link
from peer.core.planner import (
    DirectoryChange,
    FileChange,
    Planner,
    Step,
    are_new,
    plan_new_files,
)
from peer.core.rewinding import next_base
from peer.core.rows import Directories, Item, Row
from peer.core.tree import show
from peer.core.turn import Turn, is_directory
from peer.core.versions import ended, read_kept_name, trash_name
from protocol.nodes import NO_NODE, ROOT, Content, Node, copy_id

Staged = Mapping[tuple[NodeId, bytes], str]
"""(node, whole-file hash) -> the temp file that holds these bytes."""

OWN_DEVICE = 0
"""The folder's own disk, as `Stat.device` names it."""

OWN_WRITE = 1 << 62
"""A "now" by which nothing is racy: what we publish carries an mtime of its own, so a later write
shows.
"""


def sure_at(stat: Stat) -> int:
    """The "now" for what we have published. Where times are coarse nothing is sure: somebody may
    write to it and set the mtime back within the same second.
    """
    return stat.ctime_ns if is_coarse(stat.ctime_ns) else OWN_WRITE


@dataclass(frozen=True, slots=True)
class Lack:
    """Bytes that an item needs and that are not staged."""

    content: Content
    owner: NodeId
    """The node whose record asks for it: the node itself, or the origin of a derived copy."""
    is_executable: bool


@dataclass(slots=True)
class Applied:
    """What came of one step."""

    nodes: set[NodeId] = field(default_factory=set)
    """Nodes that the disk now shows as asked."""
    refused: dict[NodeId, Refusal] = field(default_factory=dict)
    """Items that the disk refused, with why."""
    paths: dict[NodeId, Path] = field(default_factory=dict)
    """Where each refused item was to be."""
    blamed: dict[NodeId, NodeId] = field(default_factory=dict)
    """Nodes that ask for a refused item, each with the item."""
    look_again: set[Path] = field(default_factory=set)
    """Directories that are not what the tree says: to be scanned before anything is tried again."""
    unstaged: dict[NodeId, Lack] = field(default_factory=dict)
    """Items whose bytes are not staged: nothing was done for them."""
    used: set[str] = field(default_factory=set)
    """Temp files that are no more."""
    kept: dict[NodeId, str] = field(default_factory=dict)
    """Items whose files went to the trash, and under which name."""
    made: list[Path] = field(default_factory=list)
    """New or moved directories: to be watched."""


async def apply_bases(
    resident: Directories,
    bases: Mapping[NodeId, Node],
    staged: Staged,
    keep_at_s: int | None = None,
) -> tuple[Turn, Applied]:
    """Applies these records to disk and tree; the caller has scanned whatever hints there were.

    `keep_at_s`: the time, if files that are replaced or removed are to be kept as versions.
    """
    done = Applied()
    keeps = keep_at_s is not None
    turn = Turn(resident)
    await turn.load(bases)
    # With what a scan has found since they were surveyed: nobody's act is undone.
    wanted = {i: next_base(turn.rows[i], node) for i, node in bases.items()}
    await add_those_who_leave(turn, wanted)
    while True:
        await show(turn, wanted)
        directories = _directory_changes(turn)
        files, unstaged = _file_changes(turn, staged, directories, keeps=keeps)
        if not unstaged:
            break
        done.unstaged |= {i: _lack(turn, i) for i in sorted(unstaged)}
        if not drop(turn, wanted, unstaged):
            wanted.clear()  # bytes that no wanted node can be blamed for: give up on this step
        turn = Turn(resident)
    if not wanted:
        return turn, done
    if not directories and are_new(files):
        steps = plan_new_files(files, resident.path)
    else:
        homes = _old_home(resident), _new_home(turn)
        steps = Planner(directories, files, *homes, turn.name_key).plan()
    failed, stats = await _carry_out(steps, done)
    unsure = await _settle_attributes(turn, steps, stats)
    # What the whole plan would show; nothing of it is another way where nothing failed.
    goal = {item: _as_shown(turn, item) for item in stats} if failed else {}
    for item in done.refused:
        done.blamed |= dict.fromkeys(_askers(turn, {item}) & set(wanted), item)
    while failed:
        if not drop(turn, wanted, failed):
            wanted.clear()
        turn = Turn(resident)
        await show(turn, wanted)
        # What the smaller step would show must be on the disk, as the larger one has left it.
        changes = _directory_changes(turn)
        now, _ = _file_changes(turn, staged, changes)
        news = {f.id for f in now if f.old_home is None} | {d.new for d in changes if not d.old}
        failed = {i for i in news if i is not None and i not in stats}
        # A directory that the disk has kept stays in the tree, with what was to go from it: the
        # next scan would take it for new.
        kept = {d.old for d in changes if d.old is not None and d.new is None} - stats.keys()
        failed |= kept | _were_in(turn, kept)
    if goal:
        for item in await _put_back(turn, steps, stats, done):
            goal[item] = _as_shown(turn, item)
    over = ended(turn, keep_at_s, done.kept) if keep_at_s is not None else ()
    await carry_disk_facts(turn)
    for item, stat in stats.items():
        shown = _as_shown(turn, item)
        if shown is not None and goal.get(item, shown) == shown:
            await link(turn, item, stat, stat.ctime_ns if item in unsure else sure_at(stat))
    done.nodes = set(wanted)
    await turn.finish()
    deeds = deeds_of(turn)
    await Commit(turn.rows_to_store(), turn.rows_to_delete(), ended=over, deeds=deeds)
    turn.merge()
    done.made = _made(turn.resident, directories, stats)
    return turn, done


async def _put_back(
    turn: Turn, steps: Iterable[Step], stats: dict[NodeId, Stat], done: Applied
) -> list[NodeId]:
    """What the larger step removed, and the smaller one, which is what the tree says, leaves where
    it was: the next scan would take it for deleted by a person. Gives what is there again.
    """
    removals = [
        (step.id, step.operation)
        for step in steps
        if isinstance(step.operation, Remove) and step.id in stats and step.id in done.kept
    ]
    await turn.load([item for item, _ in removals])
    removals = [(item, operation) for item, operation in removals if _stays(turn, item)]
    moves = [Move((*TRASH, done.kept[item]), o.path, stats[item]) for item, o in removals]
    results = await Apply(moves) if moves else []
    back = []
    for (item, operation), result in zip(removals, results, strict=True):
        if isinstance(result, Stat):
            stats[item] = result
            del done.kept[item]
            back.append(item)
        else:
            done.look_again.add(operation.path[:-1])
    return back


def _made(
    resident: Directories, directories: Iterable[DirectoryChange], stats: Mapping[NodeId, Stat]
) -> list[Path]:
    """New or moved directories, to be watched."""
    return [
        resident.path(d.new)
        for d in directories
        if d.new is not None and d.new in resident.items and d.new in stats
        and (d.old is None or d.old_home != d.new_home)
    ]  # fmt: skip


def _as_shown(turn: Turn, item: NodeId) -> object:
    """What the disk has to look like for this item; None for what is no item (any more)."""
    if is_directory(item):
        directory = turn.item(item)
        return directory and (directory.members, directory.parent, directory.name)
    row = turn.rows.get(item)
    return row.shown if row is not None and row.shown.item == item else None


def _stays(turn: Turn, item: NodeId) -> bool:
    """Whether a file is to be where it was."""
    row, before = turn.rows.get(item), turn.before.get(item)
    if row is None or before is None or row.shown.item != item or before.item != item:
        return False
    return bool(before.parent) and before[:2] == row.shown[:2] and before.name == row.shown.name


def _lack(turn: Turn, item: NodeId) -> Lack:
    row = turn.rows[item]
    content = next(c for c in row.base.contents if c.hash == row.shown.hash)
    owner = row.origin if row.is_derived else item
    return Lack(content, owner, row.shown.is_executable)


def _askers(turn: Turn, items: set[NodeId]) -> set[NodeId]:
    """The nodes whose records ask for these items."""
    askers = set(items)
    for row in turn.rows.values():
        before = turn.before[row.id]
        if row.shown.item in items or (before.parent and before.item in items):
            askers |= {row.id, row.origin}
        elif row.origin in items:
            askers.add(row.id)
    for node_id, directory in turn.directories.items():
        old = turn.resident.nodes.get(node_id)
        if directory.item in items or (old is not None and old.item in items):
            askers.add(node_id)
    return askers


def _were_in(turn: Turn, directories: set[NodeId]) -> set[NodeId]:
    """The items that were shown directly in these directories."""
    nodes, items = turn.resident.nodes, turn.resident.items
    files = {
        b.item for b in turn.before.values() if b.parent and nodes[b.parent].item in directories
    }
    return files | {i for i in turn.items if i in items and items[i].parent in directories}


def drop(turn: Turn, wanted: dict[NodeId, Node], items: set[NodeId]) -> bool:
    """Takes out the records behind these items; False when none of them is wanted."""
    dropped = _askers(turn, items) & set(wanted)
    for node_id in dropped:
        del wanted[node_id]
    # What was to lie in a directory that did not come about cannot come either.
    below = {
        n
        for n, node in wanted.items()
        if any(p.parent in dropped and p.parent not in turn.resident.nodes for p in node.places)
    }
    if below:
        drop(turn, wanted, below)
    return bool(dropped)


# ---------------------------------------------------------------- on the disk


async def _carry_out(
    steps: Sequence[Step], done: Applied
) -> tuple[set[NodeId], dict[NodeId, Stat]]:
    """Has the disk do the steps, but for those that rest on a refused one; gives the items that
    are not as they should be, and what the disk says of the others.
    """
    failed: set[NodeId] = set()
    stats: dict[NodeId, Stat] = {}
    parked: dict[NodeId, tuple[Move, Stat]] = {}
    if any(isinstance(s.operation, Publish) for s in steps):
        await SyncStaged()
    for _, group in groupby(steps, key=lambda step: step.round):
        ready = []
        for step in group:
            if failed.isdisjoint(step.needs):
                ready.append(step)
            else:
                failed |= {step.id, step.over} - {NO_NODE}
        results = await Apply([s.operation for s in ready]) if ready else []
        for step, result in zip(ready, results, strict=True):
            operation = step.operation
            if isinstance(result, Refusal):
                failed |= {step.id, step.over} - {NO_NODE}
                _note_refusal(step, result, done)
                continue
            stats[step.id] = result
            if isinstance(operation, Publish | Remove) and operation.keep and operation.expected:
                _note_kept(operation.keep, done)
            if isinstance(operation, Publish):
                done.used.add(operation.temp_name)
            elif isinstance(operation, Move):
                parked.pop(step.id, None)
                if operation.target[:2] == PARKED:
                    parked[step.id] = (operation, result)
    for item, (move, stat) in reversed(parked.items()):
        failed.add(item)
        await _unpark(move, stat, done)
    for item in failed:
        stats.pop(item, None)
    return failed, stats


def _note_kept(name: str, done: Applied) -> None:
    found = read_kept_name(name)
    assert found is not None
    done.kept[found[0]] = name


def _note_refusal(step: Step, refusal: Refusal, done: Applied) -> None:
    done.refused.setdefault(step.id, refusal)
    if refusal.kind is RefusalKind.UNSTAGED and isinstance(step.operation, Publish):
        done.used.add(step.operation.temp_name)
    paths = [p for n in ("target", "path", "source") if (p := getattr(step.operation, n, None))]
    done.paths.setdefault(step.id, paths[0])
    for path in paths:
        # One of the directories above may be gone or another one: only those above it show that.
        done.look_again.update(path[:depth] for depth in range(len(path)))
    if refusal.kind is RefusalKind.NOT_EMPTY:
        done.look_again.add(paths[0])


async def _unpark(move: Move, stat: Stat, done: Applied) -> None:
    """Puts something that could not get where it should back where it was, or as near as can be."""
    item = move.target[-1]
    beside = (*move.source[:-1], f"{move.source[-1]} (parked {item[:8]})")
    for target in (move.source, beside, (f"recovered {item}",)):
        (result,) = await Apply([Move(move.target, target, stat)])
        if isinstance(result, Stat):
            done.look_again.update(target[:depth] for depth in range(len(target)))
            return


async def _settle_attributes(
    turn: Turn, steps: Iterable[Step], stats: dict[NodeId, Stat]
) -> set[NodeId]:
    """What was published with other attributes than are shown now gets them; returns the items that
    did not get them, since somebody had moved them on: the next scan looks what they have.
    """
    unsure: set[NodeId] = set()
    fixes: list[Step] = []
    for operation, item, *_ in steps:
        row, stat = turn.rows.get(item), stats.get(item)
        if not isinstance(operation, Publish) or row is None or stat is None or item[15] & 3:
            continue
        target, shown = operation.target, row.shown
        if stat.executable != shown.is_executable:
            fixes.append(Step(SetExecutable(target, shown.is_executable, stat), item))
        if stat.mtime_ns != shown.mtime_ns:
            fixes.append(Step(SetMtime(target, shown.mtime_ns, stat), item))
    if fixes:
        results = await Apply([s.operation for s in fixes])
        for step, result in zip(fixes, results, strict=True):
            if isinstance(result, Stat):
                stats[step.id] = result
            else:
                unsure.add(step.id)
    return unsure


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
    touched = sorted(i for i in turn.items if i != ROOT)
    new_items = {i: item for i in touched if (item := turn.items[i]) is not None}
    old_items = {i: resident[i] for i in touched if i in resident}
    old_of = directory_heirs(turn)
    taken = set(old_of.values())
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
    turn: Turn, staged: Staged, directories: Iterable[DirectoryChange], *, keeps: bool = False
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
        for i, r in sorted(old.items())
        if i not in new
        and r.shown.parent
        and r.shown.item not in old
        and r.shown.item in new
        and new[r.shown.item].shown.hash == turn.before[i].hash
    }
    copies: dict[NodeId, list[NodeId]] = {}
    for item_id, row in sorted(new.items()):
        if row.origin and item_id not in old:
            copies.setdefault(row.origin, []).append(item_id)
    changes: list[FileChange] = []
    unstaged: set[NodeId] = set()
    for item_id, row in sorted(new.items()):
        before_id = item_id if item_id in old else heirs.get(item_id, NO_NODE)
        change, is_there = _file_change(turn, row, before_id, staged, disk_of, keeps=keeps)
        if change is not None and item_id in copies:
            change = change._replace(after=tuple(copies[item_id]))
        if change is not None:
            changes.append(change)
            if not is_there:
                unstaged.add(item_id)
    gone = set(old) - set(new) - set(heirs.values())
    for item_id in sorted(gone):
        home, row = _old_file_home(turn, item_id), old[item_id]
        # Of a copy that is the file itself again, the only bytes here may be its own.
        after = (row.origin,) if row.origin in new else ()
        keep = _trash_name(turn, item_id) if keeps else None
        changes.append(
            FileChange(item_id, home, None, _file_stat(row, turn), after=after, keep=keep)
        )
    return changes, unstaged


def _old_file_home(turn: Turn, item_id: NodeId) -> tuple[NodeId, str]:
    before = turn.before[item_id]
    return (turn.resident.nodes[before.parent].item, before.name)


def _trash_name(turn: Turn, item_id: NodeId) -> str | None:
    return trash_name(item_id, turn.before[item_id].hash, turn.rows[item_id].disk)


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
    *,
    keeps: bool,
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
        keep = _trash_name(turn, before_id) if keeps else None
        return FileChange(row.id, old_home, new_home, stat, temp, keep=keep), temp is not None
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
        for content in row.base.contents:  # it was to be a conflict copy, and is shown instead
            if content.hash == row.shown.hash:
                found = found or staged.get((copy_id(row.id, content), content.hash))
    return found
