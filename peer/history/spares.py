"""Spare copies of what the person here wrote last, so that overwriting it does not lose it.

When a device replaces a file for another one, the old file is still there and goes to the trash.
When a person saves over it, it is gone before anybody looks; other devices keep what they had, but
there may be none. So an edited file that was left alone for a while is copied: the copy is a
version's file once the version has ended, and nothing but in the way before.

New files get none: they are on their way to the other devices as they are, and a second copy of
everything would halve the disk.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Mapping, Set
from typing import Final

from crypto.ids import NodeId
from peer.core import commands as c
from peer.core.disk_types import TRASH, DiskFull, Move, Path, Publish, Refusal, Remove, Stat
from peer.core.engine import Engine
from peer.core.observation import Entry
from peer.core.rows import DiskFacts, Row
from peer.core.versions import kept_name
from peer.folders.performing import Performer
from peer.history.version_store import StoredVersion, VersionPolicy, VersionStore

SETTLE_S: Final = 10.0
"""What was shown for less than this was in the middle of being written."""
RATE_BYTES_S: Final = 256 << 10
"""A large file waits longer: at most so much is written a second for a file that keeps changing."""
SPARE_BYTES_MAX: Final = 64 << 20
"""Larger files get no copy."""
_SPARE: Final = re.compile(r"spare-([0-9a-f]{32})-([0-9a-f]{2,128})")
_Key = tuple[NodeId, bytes]


class Spares:
    """The spare copies of one attached folder; used by its one task."""

    def __init__(
        self,
        engine: Engine,
        versions: VersionStore,
        performer: Performer,
        policy: VersionPolicy,
        free_min_bytes: int,
    ) -> None:
        self._engine, self._versions, self._performer = engine, versions, performer
        self._policy, self._free_min_bytes = policy, free_min_bytes
        self._due: dict[NodeId, float] = {}
        self._held: dict[_Key, Stat] = {}
        self._seen = 0
        """The number of the last version that was looked at."""
        self._serial = 0
        self.settle_s = SETTLE_S

    def note_rewritten(self, entries: Iterable[Entry]) -> None:
        """The person here has written these anew."""
        if not self._policy.all_s:
            return
        now = asyncio.get_running_loop().time()
        for entry in entries:
            if 0 < entry.stat.size <= SPARE_BYTES_MAX and not entry.item[15] & 3:
                wait_s = self.settle_s + entry.stat.size / RATE_BYTES_S
                self._due.setdefault(entry.item, now + wait_s)

    def next_due(self) -> float:
        """When there will be something to copy."""
        return min(self._due.values(), default=float("inf"))

    async def load(self, trash: Mapping[str, Stat]) -> dict[str, Stat]:
        """After a start, or when something else used the trash: which copies lie there, and what
        became of what they are copies of. Returns those that are versions' files by now, by name.
        """
        found = ((_SPARE.fullmatch(name), stat) for name, stat in trash.items())
        self._held = {
            (NodeId(bytes.fromhex(name[1])), bytes.fromhex(name[2])): stat
            for name, stat in found
            if name is not None
        }
        rows = await self._rows({node for node, _ in self._held})
        over_ns = (time.time() - self._policy.all_s) * 1e9
        kept: dict[str, Stat] = {}
        for (node, hash_), stat in list(self._held.items()):
            row = rows.get(node)
            if row is None or row.shown.hash != hash_:
                kept |= await self._end(node, hash_, await self._versions.ended_with(node, hash_))
            elif stat.ctime_ns < over_ns:
                await self._discard(node, hash_)
        self._seen = await self._versions.last_number()
        return kept

    async def step(self, now: float) -> bool:
        """Gives one copy to the version that it is of, or makes one; False if there is nothing to
        do for now.
        """
        if self._held and await self._take_ended():
            return True
        due = next((node for node, at in self._due.items() if at <= now), None)
        if due is None:
            return False
        del self._due[due]
        row = (await self._rows([due])).get(due)
        if row is not None and row.shown.item == due and (due, row.shown.hash) not in self._held:
            await self._copy(due, row)
        return True

    async def yield_up(self, unavailable: Set[_Key]) -> bool:
        """What nobody has, a copy may be of: then it is kept as if it had been found in the trash,
        and `History.take_stock` makes a version of it, whose bytes can be fetched.
        """
        if not self._held or not unavailable:  # asked in every step of the folder
            return False
        wanted = {hash_ for _, hash_ in unavailable}
        found = [(node, hash_) for node, hash_ in self._held if hash_ in wanted]
        for node, hash_ in found:
            await self._keep(node, hash_)
        return bool(found)

    async def give_way(self, size: int, spared: Set[bytes] = frozenset()) -> int:
        """Lets go of copies until so many bytes more are free, but for those of these contents;
        returns how many are.
        """
        freed = 0
        for (node, hash_), stat in list(self._held.items()):
            if freed >= size:
                break
            if hash_ in spared:
                continue
            await self._discard(node, hash_)
            freed += stat.size
        return freed

    # ------------------------------------------------------------ making one

    async def _copy(self, node: NodeId, row: Row) -> None:
        path = await self._performer.drive(self._engine.path_of(node))
        free = await self._performer.on_disk(self._performer.disk.free_bytes)
        # As for versions: what is kept for later may not take more than what is left for now.
        taken = sum(stat.size for stat in self._held.values())
        if path is None or free - self._free_min_bytes < taken + 2 * row.shown.size:
            return
        self._serial += 1
        temp, name = f"spare-{node.hex()}-{self._serial:x}", _name(node, row.shown.hash)
        if not await self._performer.on_disk(lambda: self._stage(temp, path, row)):
            return
        await self._performer.perform(c.SyncStaged())
        (result,) = await self._performer.perform(c.Apply([Publish(temp, (*TRASH, name), None)]))
        if isinstance(result, Refusal):
            disk = self._performer.disk
            await self._performer.on_disk(lambda: disk.discard_staged([temp]))
        else:
            self._held[node, row.shown.hash] = result

    def _stage(self, temp: str, path: Path, row: Row) -> bool:
        """Copies a file if it still is what is shown; in the disk's thread."""
        staged = self._performer.disk.open_staged(temp, row.shown.size)
        try:
            is_same = (
                staged.copy_range(path, 0, 0, row.shown.size)
                and staged.file_hash() == row.shown.hash
            )
        except DiskFull:
            is_same = False
        if is_same:
            staged.finish(row.shown.mtime_ns, row.shown.is_executable)
        else:
            staged.abandon()
        return is_same

    # ------------------------------------------------------------ what becomes of it

    async def _take_ended(self) -> bool:
        """Whether the end of a version decided about a copy."""
        ended = await self._versions.since(self._seen)
        for stored in ended:
            self._seen = stored.number
            key = stored.version.node, stored.version.hash
            if key in self._held:
                await self._end(*key, stored)
        return bool(ended)

    async def _end(self, node: NodeId, hash_: bytes, of: StoredVersion | None) -> dict[str, Stat]:
        """The copy is that version's file from now on, and returned by its name; or of no use, if
        that has its own: what another device replaced is in the trash itself.
        """
        if of is not None and of.version.kept is not None:
            await self._discard(node, hash_)
            return {}
        kept = await self._keep(node, hash_)
        # A crash before this is put right by `History.take_stock`, as is a copy of nothing that is
        # known: it may be all that is left of something.
        if of is not None:
            for name in kept:
                await self._versions.keep(of.number, name)
        return kept

    async def _keep(self, node: NodeId, hash_: bytes) -> dict[str, Stat]:
        stat = self._held.pop((node, hash_))
        facts = DiskFacts(stat.inode, stat.size, stat.mtime_ns, stat.ctime_ns)
        kept = kept_name(node, hash_, facts)
        move = Move((*TRASH, _name(node, hash_)), (*TRASH, kept), stat)
        (result,) = await self._performer.perform(c.Apply([move]))
        return {} if isinstance(result, Refusal) else {kept: result}

    async def _discard(self, node: NodeId, hash_: bytes) -> None:
        removal = Remove((*TRASH, _name(node, hash_)), self._held.pop((node, hash_)))
        await self._performer.perform(c.Apply([removal]))

    async def _rows(self, nodes: Iterable[NodeId]) -> dict[NodeId, Row]:
        return await self._performer.perform(c.LoadRows(list(nodes)))  # type: ignore[no-any-return]


def _name(node: NodeId, hash_: bytes) -> str:
    return f"spare-{node.hex()}-{hash_.hex()}"
