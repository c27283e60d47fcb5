"""Brings back what rewritten files held before, from other devices, and keeps what they hold now.

A rewrite that is held was never recorded, so to the index the old bytes are there still; all there
is to do is on the disk. They are fetched first. Then the rewritten file is parked, the old bytes
are published in its place, and it goes beside them under a conflict name. After a crash in between
it is found where it is parked, and goes back or beside.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from crypto.ids import NodeId
from peer.core import commands as c
from peer.core.applying import sure_at
from peer.core.disk_types import PARKED, Move, Operation, Path, Publish, Refusal, RefusalKind, Stat
from peer.core.engine import Engine, Need
from peer.core.local_changes import link
from peer.core.rows import Directories, content_of
from peer.core.turn import Turn
from peer.disk.hinting import Hinting
from peer.folders.fetcher import Fetcher, Key
from peer.folders.performing import Performer
from peer.folders.rewrite_guard import RewriteGuard
from protocol.names import conflict_name

AT_ONCE: Final = 200
"""Files asked for, and brought back, in one step."""


class Restoring:
    """The rewritten files of one folder that a person wants back."""

    def __init__(
        self,
        engine: Engine,
        performer: Performer,
        fetcher: Fetcher,
        guard: RewriteGuard,
        hinting: Hinting,
    ) -> None:
        self._engine, self._performer, self._fetcher = engine, performer, fetcher
        self._guard, self._hinting = guard, hinting
        self._asked: dict[NodeId, Key] = {}
        self._todo: list[NodeId] = []
        self.lacking = 0
        """Of so many files nobody who was connected had the old bytes; they are held still."""

    def begin(self) -> None:
        """All rewritten files that are held now."""
        self.lacking = 0
        self._todo = [item for item in self._guard.held if item not in self._asked]

    @property
    def is_busy(self) -> bool:
        """Whether there are files to be brought back."""
        return bool(self._todo or self._asked)

    async def step(self, now: float) -> bool:
        """Asks for old bytes, or brings back what has come; False while it waits for them."""
        staged = [i for i, key in self._asked.items() if key in self._fetcher.staged][:AT_ONCE]
        if staged:
            await self._bring_back(staged, now)
            return True
        gone = [i for i, key in self._asked.items() if key not in self._fetcher.jobs]
        for item in gone:
            del self._asked[item]
        self.lacking += len(gone)
        if not self._asked and self._todo:
            items, self._todo = self._todo[:AT_ONCE], self._todo[AT_ONCE:]
            await self._ask(items)
            return True
        return bool(gone)

    async def _ask(self, items: Sequence[NodeId]) -> None:
        rows = await self._performer.perform(c.LoadRows(items))
        needs: list[Need] = []
        for item in items:
            shown = rows[item].shown
            content = content_of(rows[item].base, shown.hash)
            if content is None or not shown.parent:
                self._guard.brought_back([item])  # it is not shown any more
                continue
            self._asked[item] = (item, content.hash)
            content = content._replace(mtime_ns=shown.mtime_ns)
            needs.append(Need(item, content, item, shown.is_executable))
        await self._fetcher.need(needs, is_asked=True)

    async def _bring_back(self, items: Sequence[NodeId], now: float) -> None:
        performer, fetcher = self._performer, self._fetcher
        paths = {i: p for i in items if (p := await performer.drive(self._engine.path_of(i)))}
        await performer.perform(c.SyncStaged())
        parked = await self._park(paths)
        publish = {i: Publish(fetcher.staged[self._asked[i]], paths[i], None) for i in parked}
        results = await self._apply(publish)
        back = {i: stat for i, stat in results.items() if isinstance(stat, Stat)}
        await self._apply({i: Move(_parking(i), paths[i], parked[i]) for i in parked.keys() - back})
        await self._put_beside({i: paths[i] for i in back}, parked)
        await performer.drive(note_restored(self._engine.directories, back))
        for item in items:
            key = self._asked.pop(item)
            name = fetcher.staged.pop(key)
            if item not in back:
                await performer.on_disk(lambda n=name: performer.disk.discard_staged([n]))  # type: ignore[misc]
        self._guard.brought_back(items)  # what was not to be had is found by the scan
        for path in paths.values():
            self._hinting.add(path[:-1], False, now)

    async def _park(self, paths: Mapping[NodeId, Path]) -> dict[NodeId, Stat]:
        stats = await self._performer.perform(c.StatPaths(list(paths.values())))
        results = await self._apply(
            {
                item: Move(path, _parking(item), stat)
                for (item, path), stat in zip(paths.items(), stats, strict=True)
                if stat is not None
            }
        )
        return {item: stat for item, stat in results.items() if isinstance(stat, Stat)}

    async def _put_beside(
        self, paths: Mapping[NodeId, Path], parked: Mapping[NodeId, Stat]
    ) -> None:
        """What somebody saved stays, beside what it had replaced."""
        time_s, label = int(time.time()), self._engine.label
        tags = dict.fromkeys(paths, "")
        while tags:
            moves = {}
            for item, tag in tags.items():
                *above, name = paths[item]
                beside = (*above, conflict_name(name, label, time_s, tag))
                moves[item] = Move(_parking(item), beside, parked[item])
            results = await self._apply(moves)
            taken = [
                item
                for item, result in results.items()
                if isinstance(result, Refusal) and result.kind is RefusalKind.EXISTS
            ]
            # Whatever else is wrong, it stays parked, and the next start finds it.
            tags = {i: i.hex()[: len(tags[i]) + 4] for i in taken if len(tags[i]) < len(i.hex())}

    async def _apply(self, operations: Mapping[NodeId, Operation]) -> dict[NodeId, Stat | Refusal]:
        if not operations:
            return {}
        results = await self._performer.perform(c.Apply(list(operations.values())))
        return dict(zip(operations, results, strict=True))


def _parking(item: NodeId) -> Path:
    """Where `Performer.unpark` finds it after a crash."""
    return (*PARKED, item.hex())


async def note_restored(resident: Directories, stats: Mapping[NodeId, Stat]) -> None:
    """The disk shows these items again as the index says, in other files than before."""
    turn = Turn(resident)
    for item, stat in stats.items():
        await link(turn, item, stat, sure_at(stat))
    await turn.finish()
    await c.Commit(turn.rows_to_store(), turn.rows_to_delete())
    turn.merge()
