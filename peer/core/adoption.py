"""Takes what a disk already shows for what it is: before the first scan of a directory that held a
copy of the folder, or whose index was lost (MERGE 16).

From the top down: a file that has, or once had, the bytes of a node at a place that the node has,
or once had, is that node at that version; it is then moved, updated or removed by the plan like any
other. What is not adopted is found by the scan, as new, and told with Lamport time 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from crypto.ids import NodeId
from peer.core.commands import Commit, ListDirectories, LoadDirty, LoadRows, ReadFiles
from peer.core.disk_types import FileRead, Kind, Path, ReadRequest, Stat
from peer.core.local_changes import link
from peer.core.past import Superseded, read_past
from peer.core.rows import Directories, Row
from peer.core.tree import show
from peer.core.turn import Turn, is_directory
from protocol.logs import LogBook
from protocol.names import exact_key
from protocol.nodes import (
    NO_LOG,
    ROOT,
    Attributes,
    Content,
    Node,
    Place,
    versions,
    winning_place,
)

PAGE: Final = 2_000
LISTED_AT_ONCE: Final = 64

Slot = tuple[NodeId, str]
"""A directory node and a name in it."""


@dataclass(slots=True)
class _Found:
    """A node that something on the disk is taken for."""

    id: NodeId
    base: Node
    parent: NodeId
    """One of the directory nodes that it was found in."""
    name: str
    stat: Stat


class _Look(NamedTuple):
    """A file whose bytes decide."""

    path: Path
    stat: Stat
    members: tuple[NodeId, ...]
    ids: list[NodeId]


async def adopt(resident: Directories, book: LogBook, now_ns: int) -> int:
    """Adopts all that can be; returns how many items. The replica must be as complete as it gets.

    Holds an entry a node in memory, some 200 bytes, while it lasts.
    """
    listing = (await ListDirectories([()]))[0]
    if not listing.entries:
        return 0
    past = await read_past(book)
    return await _Adopter(resident, await _by_slot(resident, past), past, now_ns).run()


async def _by_slot(
    resident: Directories, past: Mapping[NodeId, Superseded]
) -> dict[Slot, list[NodeId]]:
    """The nodes that are or once were at each place."""
    found: dict[Slot, list[NodeId]] = {}

    def note(node_id: NodeId, places: Iterable[Place]) -> None:
        for slot in {(p.parent, exact_key(p.name)) for p in places}:
            found.setdefault(slot, []).append(node_id)

    after = (0, NodeId(b""))
    while rows := await LoadDirty(after, PAGE):
        for row in rows:
            old = past.get(row.id)
            note(row.id, [*row.state.places, *(old.places if old is not None else ())])
        last = rows[-1].id
        after = (1 if is_directory(last) else 2, last)
    for directory in resident.nodes.values():  # adopted in a run that was cut short
        if directory.id != ROOT and directory.place is not None:
            note(directory.id, [directory.place])
    return found


class _Adopter:
    def __init__(
        self,
        resident: Directories,
        at: Mapping[Slot, list[NodeId]],
        past: Mapping[NodeId, Superseded],
        now_ns: int,
    ) -> None:
        self._resident, self._at, self._past, self._now_ns = resident, at, past, now_ns
        self._taken: set[NodeId] = set()
        self._rows: dict[NodeId, Row] = {}

    async def run(self) -> int:
        todo: list[tuple[Path, tuple[NodeId, ...]]] = [((), (ROOT,))]
        count = 0
        while todo:
            batch, todo = todo[:LISTED_AT_ONCE], todo[LISTED_AT_ONCE:]
            found: list[_Found] = []
            looks: list[_Look] = []
            below: list[tuple[Path, list[NodeId]]] = []
            for (path, members), listing in zip(
                batch, await ListDirectories([path for path, _ in batch]), strict=True
            ):
                for name, stat in listing.entries or ():
                    key = exact_key(name)
                    ids = sorted({n for m in members for n in self._at.get((m, key), ())})
                    await self._load(ids)
                    if stat.kind is Kind.DIRECTORY:
                        here = self._directories(members, key, stat, ids)
                        below.append(((*path, key), [f.id for f in here]))
                        found += here
                    elif self._may_be_known(stat, ids):
                        looks.append(_Look((*path, key), stat, members, ids))
            found += await self._files(looks)
            kept = await self._take(found)
            count += len(kept)
            for child, ids in below:
                known = tuple(i for i in ids if i in kept)
                if known:
                    todo.append((child, known))
            self._rows.clear()
        return count

    async def _load(self, ids: Iterable[NodeId]) -> None:
        missing = [i for i in ids if i not in self._rows]
        if missing:
            self._rows.update(await LoadRows(missing))

    # ------------------------------------------------------------ which node

    def _places(
        self, node_id: NodeId, members: tuple[NodeId, ...], name: str
    ) -> Iterator[tuple[bool, Place]]:
        """The node's places here, each with whether it is the one that it has now."""
        state = self._rows[node_id].state
        now = winning_place(state) if state.places else None
        old = self._past.get(node_id)
        for place in [*state.places, *(old.places if old is not None else ())]:
            if place.parent in members and exact_key(place.name) == name:
                is_now = place == now and not place.is_deleted
                if not is_now:
                    # As it was before somebody deleted it, with all that it held; and below
                    # everything that was ever written.
                    place = place._replace(vector=(), is_deleted=False, saw=())
                yield is_now, place

    def _directories(
        self, members: tuple[NodeId, ...], name: str, stat: Stat, ids: Sequence[NodeId]
    ) -> list[_Found]:
        """All directories of this name that there are now; else the last that had it."""
        now: list[_Found] = []
        before: list[tuple[int, _Found]] = []
        for node_id in ids:
            if not is_directory(node_id) or node_id in self._taken or node_id not in self._rows:
                continue
            for is_now, place in self._places(node_id, members, name):
                state = self._rows[node_id].state
                base = state if is_now and len(state.places) == 1 else Node((place,))
                one = _Found(node_id, base, place.parent, name, stat)
                if is_now:
                    now.append(one)
                    break
                before.append((place.lamport, one))
        if not now and before:
            now = [max(before, key=lambda b: (b[0], b[1].id))[1]]
        self._taken.update(f.id for f in now)
        return now

    def _contents(self, node_id: NodeId) -> list[Content]:
        """What the node shows, then all else that it ever held."""
        state = self._rows[node_id].state
        old = self._past.get(node_id)
        shown = versions(node_id, state) if state.places else []
        return [*shown, *state.contents, *(old.contents if old is not None else ())]

    def _may_be_known(self, stat: Stat, ids: Iterable[NodeId]) -> bool:
        return any(
            not is_directory(i) and i in self._rows and i[15] & 3 == stat.kind
            and any(c.size == stat.size for c in self._contents(i))
            for i in ids
        )  # fmt: skip

    async def _files(self, looks: Sequence[_Look]) -> list[_Found]:
        found: list[_Found] = []
        reads = await ReadFiles([ReadRequest(k.path, k.stat) for k in looks]) if looks else []
        for look, read in zip(looks, reads, strict=True):
            if isinstance(read, FileRead):
                found += self._file(look, read)
        return found

    def _file(self, look: _Look, read: FileRead) -> list[_Found]:
        """The nodes that show these bytes here; else the one that last did, here or elsewhere."""
        now: list[_Found] = []
        before: list[tuple[tuple[bool, int], _Found]] = []
        for node_id in look.ids:
            if node_id[15] & 3 != read.stat.kind or node_id in self._taken:
                continue
            contents = self._contents(node_id) if node_id in self._rows else []
            content = next((c for c in contents if c.hash == read.file_hash), None)
            if content is None:
                continue
            for is_now, place in self._places(node_id, look.members, look.path[-1]):
                base = self._base(self._rows[node_id].state, place, content, read.stat)
                one = _Found(node_id, base, place.parent, look.path[-1], read.stat)
                if is_now and content.hash == contents[0].hash:
                    now.append(one)
                    break
                before.append(((is_now, content.lamport), one))
        if not now and before:
            now = [max(before, key=lambda b: (b[0], b[1].id))[1]]
        self._taken.update(f.id for f in now)
        return now

    def _base(self, state: Node, place: Place, content: Content, stat: Stat) -> Node:
        attributes = state.attributes
        if stat.kind is Kind.FILE and attributes.is_executable != stat.executable:
            attributes = Attributes(0, NO_LOG, stat.executable, stat.mtime_ns)
        return Node((place,), (content,), attributes)

    # ------------------------------------------------------------ into the tree

    async def _take(self, found: Sequence[_Found]) -> set[NodeId]:
        """Puts into the synced tree what it then shows just where the disk has it."""
        wanted = {f.id: f for f in found}
        while wanted:
            turn = Turn(self._resident)
            await show(turn, {f.id: f.base for f in wanted.values()})
            wrong = await _misplaced(turn, wanted)
            if not wrong:
                break
            wanted = {i: f for i, f in wanted.items() if i not in wrong}
        else:
            return set()
        for one in wanted.values():
            await link(turn, one.id, one.stat, self._now_ns)
        await turn.finish()
        await Commit(turn.rows_to_store(), turn.rows_to_delete())
        turn.merge()
        return set(wanted)


async def _misplaced(turn: Turn, wanted: Mapping[NodeId, _Found]) -> set[NodeId]:
    """What would be shown elsewhere than the disk has it, or would push something else away."""
    wrong = set()
    for one in wanted.values():
        parent = turn.known_directory(one.parent).item
        if is_directory(one.id):
            item = turn.item(turn.known_directory(one.id).item)
            is_right = item is not None and (item.parent, item.name) == (parent, one.name)
        else:
            shown = turn.rows[one.id].shown
            if shown.parent:
                await turn.load([shown.item])
            is_right = bool(shown.parent) and (
                turn.known_directory(shown.parent).item == parent
                and turn.rows[shown.item].shown.name == one.name
            )
        if not is_right:
            wrong.add(one.id)
    pushed = {
        row.shown.parent
        for row in turn.rows.values()
        if row.id not in wanted and row.disk.inode and not is_directory(row.id)
        and turn.before[row.id].name != row.shown.name
    }  # fmt: skip
    return wrong | {i for i, f in wanted.items() if f.parent in pushed}
