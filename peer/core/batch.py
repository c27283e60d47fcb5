"""The records of one scan: what a person did, and what keeps everything else as it is shown (MERGE
4-7, 12, 14).

A batch becomes one changeset: one Lamport time, one position in this device's log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from crypto.ids import LogId, NodeId
from peer.core.rewinding import as_seen
from peer.core.rows import ADRIFT, DISPLACED, FOLDED, KEPT, Item, Row, place_of
from peer.core.turn import Turn, is_directory
from protocol import version_vector as vv
from protocol.nodes import (
    NO_ATTRIBUTES,
    NO_LOG,
    NO_NODE,
    NOTHING,
    ROOT,
    Attributes,
    Content,
    Node,
    Place,
    copy_id,
    deleted_contents,
    join,
    versions,
    winning_place,
)
from protocol.records import Stamp
from protocol.version_vector import Vector


async def as_record(turn: Turn, row: Row) -> Node:
    """What a derived copy's record is: its write verbatim, its place as shown and with no vector
    (MERGE 5), so that it is the same whoever writes it.
    """
    await turn.load([row.shown.item])
    first = turn.rows[row.shown.item].shown
    parent = turn.known_directory(row.shown.parent).item
    place = winning_place(row.base)._replace(parent=parent, name=first.name)
    return Node((place,), row.base.contents)


class Batch:
    """Collects writes; every vector comes from what the disk showed, never from the newer replica
    (MERGE 4).
    """

    def __init__(self, turn: Turn, stamp: Stamp, label: str, time_s: int) -> None:
        self.turn, self.stamp, self.label, self.time_s = turn, stamp, label, time_s
        self.delta: dict[NodeId, Node] = {}
        self.origins: dict[NodeId, NodeId] = {}
        self.is_of_unknown_age = False
        """New nodes get Lamport time 0, so that they lose against all that is known (MERGE 16)."""
        self.forks: Mapping[LogId, int] = {}
        """Where logs have been forked: what the disk shows may be of a branch that does not count.
        """
        self._own: Vector = ((stamp.log, stamp.seq),)

    # ------------------------------------------------------------ single writes

    async def place(
        self,
        node_id: NodeId,
        parent: NodeId,
        name: str,
        previous: tuple[NodeId, str] = (NO_NODE, ""),
        is_deleted: bool = False,
        is_soft: bool = False,
    ) -> None:
        """Writes where a node is; a deletion keeps its parent and name."""
        await self._touch(node_id)
        node = self._as_shown(node_id)
        saw: Vector = deleted_contents(node) if node.places else ()
        lamport = self._lamport(node.places)
        since = (lamport, self.stamp.log)
        if is_deleted:
            saw = vv.join(saw, *(c.vector for c in node.contents))
            since = winning_place(node).since
        if not is_directory(node_id):
            previous, since = (NO_NODE, ""), (0, NO_LOG)
        write = Place(
            self._vector(node.places), lamport, self.stamp.log, parent, name, previous,
            is_deleted, is_soft, saw, since, self.time_s, self.label,
        )  # fmt: skip
        self._emit(node_id, Node(places=(write,)))

    def make_file(
        self,
        node_id: NodeId,
        parent: NodeId,
        name: str,
        hash_: bytes,
        size: int,
        manifest: bytes,
        mtime_ns: int,
        is_executable: bool,
    ) -> None:
        """Writes a file or symlink that was not before, whose id was made in this turn."""
        stamp = self.stamp
        lamport = 0 if self.is_of_unknown_age else stamp.lamport
        place = Place(
            self._own, lamport, stamp.log, parent, name, time_s=self.time_s, label=self.label
        )
        content = Content(
            self._own, lamport, stamp.log, hash_, size, manifest, mtime_ns, self.time_s, self.label
        )
        attributes = NO_ATTRIBUTES
        if is_executable:
            attributes = Attributes(stamp.lamport, stamp.log, True, mtime_ns)
        self.delta[node_id] = Node((place,), (content,), attributes)

    async def delete(self, node_id: NodeId) -> None:
        """Writes that a person deleted this node, with the contents that they saw."""
        await self.turn.load([node_id])
        old = winning_place(self._as_shown(node_id))
        await self.place(node_id, old.parent, old.name, old.previous, is_deleted=True)

    async def content(
        self, node_id: NodeId, hash_: bytes, size: int, manifest: bytes, mtime_ns: int
    ) -> None:
        """Writes new bytes, or a symlink's new target."""
        await self._touch(node_id)
        node = self._as_shown(node_id)
        write = Content(
            self._vector(node.contents), self._lamport(node.contents), self.stamp.log, hash_, size,
            manifest, mtime_ns, self.time_s, self.label,
        )  # fmt: skip
        self._emit(node_id, Node(contents=(write,)))

    async def attributes(self, node_id: NodeId, is_executable: bool, mtime_ns: int) -> None:
        """Writes the executable bit and mtime."""
        await self.turn.load([node_id])
        if self.turn.rows[node_id].is_derived:
            await self._touch(node_id)
        write = Attributes(self.stamp.lamport, self.stamp.log, is_executable, mtime_ns)
        self._emit(node_id, Node(attributes=write))

    def _emit(self, node_id: NodeId, node: Node) -> None:
        self.delta[node_id] = join(self.delta.get(node_id, NOTHING), node)

    def _lamport(self, seen: Sequence[Place | Content]) -> int:
        return 0 if self.is_of_unknown_age and not seen else self.stamp.lamport

    def _vector(self, writes: Iterable[Place | Content]) -> Vector:
        return vv.join(*(w.vector for w in writes), self._own)

    def _as_shown(self, node_id: NodeId) -> Node:
        node = self.turn.rows[node_id].base
        if self.forks:
            node = as_seen(node, self.turn.rows[node_id].state, self.forks)
        if not node.places and node.contents:  # shown as recovered in the root (MERGE 9)
            place = Place((), 0, NO_LOG, ROOT, f"recovered {node_id.hex()}", is_soft=True)
            return node._replace(places=(place,))
        return node

    async def _touch(self, node_id: NodeId) -> None:
        """Before a node is written, what is derived from it gets records of its own (MERGE 5)."""
        turn = self.turn
        await turn.load([node_id])
        row = turn.rows[node_id]
        if is_directory(node_id) or not row.shown.parent:
            return
        if row.is_derived:
            await self._keep(row)
            return
        if len(row.base.contents) > 1:
            settled = turn.is_settled if turn.has_copies else None
            losers = [copy_id(node_id, c) for c in versions(node_id, row.base, settled)[1:]]
            await turn.load(losers)
            for loser in losers:
                await self._keep(turn.rows[loser])

    async def _keep(self, row: Row) -> None:
        self._emit(row.id, await as_record(self.turn, row))
        self.origins[row.id] = row.origin

    # ------------------------------------------------------------ what must not move [12]

    async def keep_as_shown(
        self,
        left: set[NodeId],
        gone_from: Iterable[NodeId],
        missing: set[NodeId],
        arrived: Iterable[tuple[NodeId, str]] = (),
    ) -> None:
        """Soft places for what a person's acts would otherwise rename or move.

        `left`: shown directories in which something was moved away, deleted or edited;
        `gone_from`: items that were moved or deleted; `missing`: items that are not on the disk
        any more; `arrived`: the shown directories and names of what was made or moved there.
        """
        if self.turn.resident.folds_case:
            for item_id, name in arrived:
                await self._settle_folded(item_id, name, missing)
        for item_id in sorted(left):
            item = self.turn.item(item_id)
            if item is not None and item.crowded:
                await self._settle_names(item, missing)
        for item_id in gone_from:
            await self._settle_ancestors(item_id, missing)

    async def _settle_names(self, item: Item, missing: set[NodeId]) -> None:
        turn = self.turn
        slots = [(m, k) for m in item.members for k in sorted(item.crowded)]
        rows = await turn.load_slots(slots)
        names = {
            r.id: r.shown.name for r in rows if r.shown.item == r.id and r.shown.flags & DISPLACED
        }
        for row in rows:
            if row.shown.item in names and row.shown.item not in missing:
                await self._fix(row.id, item.id, names[row.shown.item])
        for member, key in slots:
            for node_id in turn.known_directory(member).subdirectories.get(key, ()):
                shown = turn.item(turn.known_directory(node_id).item)
                if shown is not None and shown.flags & DISPLACED and shown.id not in missing:
                    await self._fix(node_id, item.id, shown.name)

    async def _settle_folded(self, item_id: NodeId, name: str, missing: set[NodeId]) -> None:
        """On a disk that folds case: what has a conflict name there alone, and whose record's name
        somebody has just given to something else (MERGE 12c).
        """
        turn, item = self.turn, self.turn.item(item_id)
        key = turn.name_key(name)
        if item is None or key not in item.crowded:
            return
        rows = await turn.load_slots([(m, key) for m in item.members])
        names = {
            r.id: r.shown.name for r in rows if r.shown.item == r.id and r.shown.flags & FOLDED
        }
        for row in rows:
            first, place = row.shown.item, place_of(row.base)
            if first in names and first not in missing and place and place.name == name:
                await self._fix(row.id, item.id, names[first])
        for member in item.members:
            for node_id in turn.known_directory(member).subdirectories.get(key, ()):
                shown = turn.item(turn.known_directory(node_id).item)
                if shown is None or not shown.flags & FOLDED or shown.id in missing:
                    continue
                if turn.known_directory(node_id).name == name:
                    await self._fix(node_id, item.id, shown.name)

    async def _settle_ancestors(self, item_id: NodeId, missing: set[NodeId]) -> None:
        turn = self.turn
        await turn.load([item_id])
        if is_directory(item_id):
            shown = turn.item(item_id)
            above_id = shown.parent if shown is not None else NO_NODE
        else:
            parent = turn.rows[item_id].shown.parent
            above_id = turn.known_directory(parent).item if parent else NO_NODE
        while above_id and above_id != ROOT:
            above = turn.item(above_id)
            if above is None:
                return
            if above.id not in missing:
                for member in above.members:
                    directory = turn.known_directory(member)
                    is_kept = bool(above.flags & KEPT) and member == above.id
                    if directory.is_adrift or is_kept:
                        await self._fix(member, above.parent, directory.name)
            above_id = above.parent

    async def _fix(self, node_id: NodeId, parent: NodeId, name: str) -> None:
        await self.turn.load([node_id])
        if not self.delta.get(node_id, NOTHING).places:
            await self.place(node_id, parent, name, (parent, name), is_soft=True)


def is_adrift(row: Row) -> bool:
    """True for a file that is shown in the root because its directory is unknown."""
    return bool(row.shown.flags & ADRIFT)
