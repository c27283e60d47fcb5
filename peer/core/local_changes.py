"""Turns what was observed on the disk into records, and the tree into what the disk shows (MERGE
12, 14).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crypto.ids import NodeId
from peer.core.batch import Batch
from peer.core.chunker import average_of
from peer.core.disk_types import FileRead, Kind, Stat
from peer.core.misnamed import keep_names
from peer.core.observation import Entry, Observation
from peer.core.rows import NOT_THERE, DiskFacts, Row
from peer.core.tree import show
from peer.core.turn import Turn, is_directory
from protocol.nodes import NO_NODE, NOTHING, ROOT, Content, join
from protocol.records import MANIFEST_ENTRY, encode_manifest

RACY_NS = 12_000_000
"""The coarsest tick of a Linux kernel's file timestamps is 10 ms (100 Hz): within it two writes
can look like one.
"""
COARSE_NS = 2_000_000_000
"""The same of disks that keep times in seconds (HFS+, ext with inodes of 128 bytes) or in two of
them (FAT).
"""
NS_PER_S = 1_000_000_000


def is_coarse(ctime_ns: int) -> bool:
    """Whether a time is of a disk that keeps no fractions of a second, as far as it shows."""
    return ctime_ns % NS_PER_S == 0


def facts_of(stat: Stat, now_ns: int) -> DiskFacts:
    """What to remember of a file; without its ctime when it was changed too shortly ago to be
    sure. A ctime in the future is of before the clock was set back, and long past.
    """
    _, inode, _, size, mtime_ns, ctime_ns, *_ = stat
    tick_ns = COARSE_NS + RACY_NS if is_coarse(ctime_ns) else RACY_NS
    is_racy = 0 <= now_ns - ctime_ns < tick_ns and stat.kind is Kind.FILE
    return DiskFacts(inode, size, mtime_ns, 0 if is_racy else ctime_ns)


async def record_structure(
    batch: Batch,
    directories: Sequence[Entry],
    moved: Sequence[Entry],
    missing: Sequence[NodeId],
    all_missing: set[NodeId],
) -> None:
    """Writes new directories, moves and deletions, and what must not move because of them."""
    turn = batch.turn
    left: set[NodeId] = set()
    gone_from: list[NodeId] = []
    for entry in directories:
        turn.new_row(entry.item)
        await batch.place(entry.item, entry.parent, entry.name)
    await turn.load([*missing, *(e.item for e in moved)])
    for item_id in missing:
        left.add(_parent(turn, item_id))
        for member in await members(turn, item_id):
            await batch.delete(member)
        gone_from.append(item_id)
    for entry in moved:
        old_parent = _parent(turn, entry.item)
        old_name = _name(turn, entry.item)
        every = await members(turn, entry.item)
        first = every if is_directory(entry.item) else every[:1]
        for member in first:
            await batch.place(member, entry.parent, entry.name, (old_parent, old_name))
        await _keep_executable(batch, entry.item)
        for member in every[len(first) :]:
            await batch.delete(member)
        left.add(old_parent)
        gone_from.append(entry.item)
    arrived = [(e.parent, e.name) for e in (*directories, *moved)]
    await batch.keep_as_shown(left - {NO_NODE}, gone_from, all_missing, arrived)


async def _keep_executable(batch: Batch, item_id: NodeId) -> None:
    """A file that was shown for several of equal bytes had the executable bit of the newest; when
    it is moved it goes alone, and nobody has turned that bit.
    """
    row = batch.turn.rows.get(item_id)
    if row is not None and not is_directory(item_id):
        shown = row.shown
        if shown.parent and shown.is_executable != row.base.attributes.is_executable:
            await batch.attributes(item_id, shown.is_executable, shown.mtime_ns)


async def record_files(
    batch: Batch, files: Iterable[tuple[Entry, FileRead]], all_missing: set[NodeId]
) -> list[tuple[NodeId, Stat]]:
    """Writes new and changed contents; returns (node, stat) of every file that is now as on the
    disk.
    """
    turn = batch.turn
    left: set[NodeId] = set()
    linked: list[tuple[NodeId, Stat]] = []
    arrived: list[tuple[NodeId, str]] = []
    files = list(files)
    await turn.load([e.item for e, _ in files if e.item])
    for entry, read in files:
        stat = read.stat
        manifest = _manifest(read)
        if turn.is_gone(entry.item):
            entry = entry._replace(item=NO_NODE)
        if not entry.item:
            node_id = batch.turn.fresh_id(stat.kind)
            turn.new_row(node_id)
            batch.make_file(
                node_id, entry.parent, entry.name, read.file_hash, stat.size, manifest,
                stat.mtime_ns, stat.executable and stat.kind is Kind.FILE,
            )  # fmt: skip
            linked.append((node_id, stat))
            arrived.append((entry.parent, entry.name))
            continue
        row = turn.rows[entry.item]
        if row.shown.item != entry.item:
            entry = entry._replace(item=row.shown.item)  # another node represents it by now
            await turn.load([entry.item])
            row = turn.rows[entry.item]
        linked.append((entry.item, stat))
        every = await members(turn, entry.item)
        executable = stat.executable and stat.kind is Kind.FILE
        if row.shown.hash != read.file_hash:
            await batch.content(entry.item, read.file_hash, stat.size, manifest, stat.mtime_ns)
            left.add(_parent(turn, entry.item))
            for member in every[1:]:
                await batch.delete(member)
            if executable != row.base.attributes.is_executable:
                await batch.attributes(entry.item, executable, stat.mtime_ns)
        elif stat.kind is Kind.FILE and (
            executable != row.shown.is_executable or stat.mtime_ns != row.shown.mtime_ns
        ):
            for member in every:
                await batch.attributes(member, executable, stat.mtime_ns)
    await batch.keep_as_shown(left - {NO_NODE}, (), all_missing, arrived)
    return linked


def _manifest(read: FileRead) -> bytes:
    if read.stat.kind is Kind.SYMLINK:
        return read.data or b""
    return encode_manifest(read.chunks) if len(read.chunks) > 1 else b""


async def members(turn: Turn, item_id: NodeId) -> list[NodeId]:
    """All nodes that are shown as this item, the representative first."""
    if is_directory(item_id):
        item = turn.item(item_id)
        return list(item.members) if item is not None else []
    await turn.load([item_id])
    shown = turn.rows[item_id].shown
    if not shown.parent:
        return []
    parent = turn.item(turn.known_directory(shown.parent).item)
    assert parent is not None
    rows = await turn.load_slots([(m, shown.key) for m in parent.members])
    rest = [r.id for r in rows if r.shown.item == item_id and r.id != item_id]
    return [item_id, *rest]


def _parent(turn: Turn, item_id: NodeId) -> NodeId:
    if is_directory(item_id):
        item = turn.item(item_id)
        return item.parent if item is not None else NO_NODE
    parent = turn.rows[item_id].shown.parent
    return turn.known_directory(parent).item if parent else NO_NODE


def _name(turn: Turn, item_id: NodeId) -> str:
    if is_directory(item_id):
        item = turn.item(item_id)
        return item.name if item is not None else ""
    return turn.rows[item_id].shown.name


async def take_in(batch: Batch) -> None:
    """Puts the batch's records into replica and tree: both have seen what this device wrote."""
    turn = batch.turn
    await turn.load(batch.delta)
    for copy, origin in batch.origins.items():
        turn.rows[copy].origin = origin
    bases = {}
    for node_id, node in batch.delta.items():
        row = turn.rows[node_id]
        if row.state is NOTHING:
            bases[node_id] = row.state = node
        else:
            bases[node_id] = join(row.synced, node)
            row.state = join(row.state, node)
        turn.touched.add(node_id)
    await show(turn, bases)
    placed = {n for n, d in batch.delta.items() if any(not p.is_soft for p in d.places)}
    await keep_names(turn, placed)
    await carry_disk_facts(turn)


def directory_heirs(turn: Turn) -> dict[NodeId, NodeId]:
    """For shown directories that the turn touched: the shown directory whose place on the disk each
    goes on with, by the ids that they have and had.
    """
    resident = turn.resident.items
    items = sorted(i for i in turn.items if i != ROOT)
    new = [i for i in items if turn.items[i] is not None]
    old = [i for i in items if i in resident and resident[i].inode]
    heirs = {i: i for i in new if i in resident and resident[i].inode}
    taken = set(heirs)
    owners = {m: i for i in old if i not in taken for m in resident[i].members}
    for item_id in new:
        item = turn.items[item_id]
        if item_id in heirs or item is None:
            continue
        found = next((owners[m] for m in item.members if m in owners), None)
        if found is not None and found not in taken:
            heirs[item_id] = found
            taken.add(found)
    return heirs


async def carry_disk_facts(turn: Turn) -> None:
    """When another node came to represent an item, what is on the disk is now that node's."""
    for heir, before in directory_heirs(turn).items():
        turn.edit_item(heir).inode = turn.resident.items[before].inode
        if heir != before:
            await turn.load([heir, before])
            turn.rows[heir].disk, turn.rows[before].disk = turn.rows[before].disk, NOT_THERE
            turn.touched |= {heir, before}
    for node_id in list(turn.before):
        old, row = turn.before[node_id], turn.rows[node_id]
        if not old.parent or old.item != node_id or is_directory(node_id) or not row.disk.inode:
            continue
        first = row.shown.item
        if row.shown.parent and first != node_id:
            await turn.load([first])
            now = turn.rows[first]
            if not now.disk.inode and now.shown.hash == old.hash:
                now.disk = row.disk
                turn.touched.add(first)
        if not row.shown.parent or first != node_id:
            row.disk = NOT_THERE
            turn.touched.add(node_id)


async def link(turn: Turn, node_id: NodeId, stat: Stat, now_ns: int) -> None:
    """Notes which disk entry shows this node now."""
    row = turn.rows.get(node_id)
    if row is not None and row.shown.item == node_id and not is_directory(node_id):
        row.disk = facts_of(stat, now_ns)
        turn.touched.add(node_id)
        return
    if is_directory(node_id):
        directory = turn.directory(node_id)
        if directory is not None and directory.item:
            turn.edit_item(directory.item).inode = stat.inode
            await turn.load([directory.item])
            turn.rows[directory.item].disk = DiskFacts(stat.inode)
            turn.touched.add(directory.item)
        return
    await turn.load([node_id])
    first = turn.rows[node_id].shown.item
    if first:
        await turn.load([first])
        turn.rows[first].disk = facts_of(stat, now_ns)
        turn.touched.add(first)


def is_rewritten(row: Row | None, read: FileRead) -> bool:
    """Whether a file that was in sync holds other bytes now."""
    return row is not None and bool(row.shown.parent) and row.shown.hash != read.file_hash


def average_before(row: Row | None) -> int | None:
    """The average chunk that the file was cut with before: it stays what it was when a file
    changes.
    """
    if row is None or not row.base.contents or row.id[15] & 3 != Kind.FILE:
        return None
    content = max(row.base.contents, key=Content.key)
    return average_of(MANIFEST_ENTRY.iter_unpack(content.manifest))


__all__ = [
    "Observation",
    "average_before",
    "carry_disk_facts",
    "directory_heirs",
    "facts_of",
    "is_coarse",
    "is_rewritten",
    "link",
    "members",
    "record_files",
    "record_structure",
    "take_in",
]
