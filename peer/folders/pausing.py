"""Files that a person has paused: their bytes are not fetched until they are let go on.

What is paused is the file and not a version of it: a newer one waits as well, and only its bytes
do. It is renamed and deleted with all others, and what comes of it from this disk is told. A pause
ends by itself as soon as nothing of the file is lacking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from crypto.ids import NodeId
from peer.core.commands import Commit, LoadDirty
from peer.core.disk_types import Path
from peer.core.engine import Engine, Need
from peer.core.lacking import places
from peer.core.rows import Row, place_of
from peer.core.turn import is_directory
from peer.errors import NotOnItsWay, UsageError
from peer.folders.fetcher import Fetcher
from peer.folders.index_store import PAUSED
from peer.folders.performing import Performer

PAGE: Final = 2_000
PAUSED_MAX: Final = 1_000
"""Who wants more of them to wait pauses the folder."""
_ID_SIZE: Final = 16
_FIRST_FILE: Final = (2, NodeId(b""))


class Pausing:
    """One folder's; all of it runs in the folder's one task."""

    def __init__(
        self,
        engine: Engine,
        performer: Performer,
        fetcher: Fetcher,
        nodes_came: Callable[[Sequence[NodeId]], None],
    ) -> None:
        """`nodes_came` has files looked at again."""
        self._engine, self._performer, self._fetcher = engine, performer, fetcher
        self._nodes_came = nodes_came

    def restore(self, values: Mapping[str, bytes]) -> None:
        """What was paused when the index was last used is paused still."""
        kept = values.get(PAUSED, b"")[: PAUSED_MAX * _ID_SIZE]
        starts = range(0, len(kept) - _ID_SIZE + 1, _ID_SIZE)
        self._fetcher.pause(NodeId(kept[at : at + _ID_SIZE]) for at in starts)

    async def pause(self, path: Path) -> None:
        """Lets a file that is on its way wait. Raises NotOnItsWay for any other."""
        node, needs = await self._find(path)
        fetcher = self._fetcher
        if node not in fetcher.paused and len(fetcher.paused) >= PAUSED_MAX:
            raise UsageError(f"{PAUSED_MAX:,} files are paused already: pause the folder instead.")
        await self._keep({*fetcher.paused, node})
        fetcher.pause([node])
        await fetcher.need(needs)  # so it is listed at once, also one whose turn had not come

    async def resume(self, path: Path) -> None:
        """Lets a file go on from where it was. Raises NotOnItsWay for one that does not wait."""
        fetcher = self._fetcher
        where = await self._performer.drive(places(self._engine.directories, fetcher.paused))
        nodes = {node for node in fetcher.paused if where.get(node) == path}
        if not nodes:
            raise NotOnItsWay("This file is not paused. `holdfast status` shows those that are.")
        await self._keep(fetcher.paused - nodes)
        fetcher.resume(nodes)
        self._nodes_came([*nodes])

    async def settle(self) -> None:
        """At rest it is known what is lacking: whatever is not has nothing to wait for."""
        fetcher = self._fetcher
        if not fetcher.paused:
            return
        needs = await self._lacking(fetcher.paused)
        fetcher.resting = {(need.node, need.content.hash): need for need in needs}
        over = fetcher.paused - {need.owner for need in needs}
        if over:
            await self._keep(fetcher.paused - over)
            fetcher.resume(over)

    async def _keep(self, paused: set[NodeId]) -> None:
        await self._performer.perform(Commit(values=[(PAUSED, b"".join(sorted(paused)))]))

    async def _lacking(self, nodes: set[NodeId]) -> list[Need]:
        fetcher = self._fetcher
        routine = self._engine.survey_nodes(sorted(nodes), fetcher.staged)
        return [n for n in (await self._performer.drive(routine)).needs if n.owner in nodes]

    async def _find(self, path: Path) -> tuple[NodeId, list[Need]]:
        """The file of this path whose bytes are lacking, wherever it is shown just now."""
        after = _FIRST_FILE
        while path:
            rows = await self._performer.perform(LoadDirty(after, PAGE))
            named = [r.id for r in rows if not is_directory(r.id) and _is_called(r, path[-1])]
            where = await self._performer.drive(places(self._engine.directories, named))
            for node in (n for n in named if where.get(n) == path):
                if needs := await self._lacking({node}):
                    return node, needs
            if len(rows) < PAGE:
                break
            after = (2, rows[-1].id)
        raise NotOnItsWay


def _is_called(row: Row, name: str) -> bool:
    place = place_of(row.state)
    return row.shown.name == name or (place is not None and place.name == name)
