"""From the records to the disk: finds out what the disk does not show yet, has its bytes fetched,
and applies what is complete.

Everything here runs in the folder's one task.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from crypto.ids import NodeId
from peer.core.applying import Applied
from peer.core.disk_types import Disk, Path, RefusalKind
from peer.core.engine import FIRST_PAGE, Engine, Survey
from peer.core.lacking import places, reasons
from peer.core.refusals import Refusals
from peer.disk.hinting import Hinting
from peer.folders.fetcher import Fetcher
from peer.folders.pausing import Pausing
from peer.folders.performing import Performer
from peer.folders.progress import Progress
from peer.status import FolderState
from protocol.nodes import Node

PAGE: Final = 2_000
IN_FLIGHT_FILES: Final = 4_000
STARVING_FILES: Final = 500
BACKLOG_MAX: Final = 3_000
"""Nodes to be surveyed before more changesets are taken in: their rows are still at hand then."""
IN_FLIGHT_BYTES: Final = 256 << 20
APPLY_AT_ONCE: Final = 1_000
"""Staged files published in one durability round; fewer when nothing else is coming."""
STAGED_AT_ONCE: Final = 250
RIPE_S: Final = 0.1
"""How long a file that is ready waits for others that are still on their way."""
FRESH_MAX: Final = 200_000
"""Changed nodes remembered by id, 100 bytes each; beyond that the index is asked."""
NO_ROOM_S: Final = 5.0
"""When to look again whether the disk has room."""
ASK_AGAIN_S: Final = 5.0
"""When to ask for bytes again that nobody had."""
RETRY_SOON_S: Final = 0.2
"""After something on the disk was not as planned: it is looked at again first."""
SETTLED: Final = frozenset((FolderState.IN_SYNC, FolderState.PARTLY_PAUSED))
"""In these a folder looks after its logs and its history."""
PASSING: Final = frozenset(
    {
        RefusalKind.CHANGED,
        RefusalKind.EXISTS,
        RefusalKind.GONE,
        RefusalKind.NOT_EMPTY,
        RefusalKind.UNSTAGED,
    }
)
"""Refusals because the disk is not what the plan saw."""


class Delivery:
    """What one folder's disk is still to show."""

    def __init__(
        self,
        engine: Engine,
        disk: Disk,
        performer: Performer,
        fetcher: Fetcher,
        hinting: Hinting,
        progress: Progress,
        is_asking: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_asking`: changes of this disk are held; what they are in the way of has to wait."""
        self.fetcher = fetcher
        self.pausing = Pausing(engine, performer, fetcher, self.nodes_came)
        self._is_asking = is_asking
        self._engine, self._disk, self._performer = engine, disk, performer
        self._hinting, self._progress = hinting, progress
        self._survey_from: tuple[int, NodeId] | None = FIRST_PAGE
        self._ready: dict[NodeId, Node] = {}
        self._fresh: deque[NodeId] = deque()
        """Nodes whose record or bytes have just come."""
        self._ripe_at = 0.0
        """Until something is ready, what is staged is looked at as it comes."""
        self._retry_at = float("inf")
        self._ask_again_at = float("inf")
        self._refusals = Refusals()
        self._waits_for_room = False

    # ------------------------------------------------------------ when

    def next_due(self) -> float:
        """When there will be something to do."""
        is_waiting = self._retry_at < float("inf")
        ripe_at = self._ripe_at if self._ready and not is_waiting else float("inf")
        return min(self._retry_at, self._ask_again_at, self._refusals.patience.retry_at, ripe_at)

    def time_came(self, now: float) -> None:
        """Tries again what is due for it."""
        if now >= self._retry_at:
            self._retry_at = float("inf")
            self._survey_from = FIRST_PAGE
            if self._waits_for_room:
                self._waits_for_room = False
                self._refusals.held.clear()
                self.fetcher.problems.clear()
        if self._refusals.time_came(now):
            self.fetcher.problems.clear()
            self.survey_again()
        if now >= self._ask_again_at:
            self.ask_again()

    def wait_for_disk(self, until: float) -> None:
        """The disk is full, gone or broken: nothing is tried for a while."""
        self._retry_at = until
        self._ready.clear()

    def ask_again(self) -> None:
        """Somebody came, or has more than before: what nobody had may be had now."""
        self._ask_again_at = float("inf")
        self.fetcher.retry()
        self.survey_again()

    def survey_again(self) -> None:
        """There may be something to apply."""
        self._survey_from = FIRST_PAGE
        self._ready.clear()

    def nodes_came(self, nodes: Sequence[NodeId]) -> None:
        """Records of these nodes have come."""
        self._refusals.changed(nodes)
        self._fresh.extend(nodes)
        if len(self._fresh) > FRESH_MAX:
            self._fresh.clear()
            self._survey_from = FIRST_PAGE

    @property
    def has_backlog(self) -> bool:
        """True when enough is known that has not even been looked at."""
        return len(self._fresh) > BACKLOG_MAX and self._retry_at == float("inf")

    @property
    def is_pressing(self) -> bool:
        """True when it matters more than what others have to tell."""
        return self.is_starving or self.has_backlog

    @property
    def is_starving(self) -> bool:
        """True when the links have little left to bring, though it is known what they could."""
        return (
            bool(self._fresh)
            and len(self.fetcher.jobs) < STARVING_FILES
            and self._retry_at == float("inf")
        )

    async def step(self) -> bool:
        """Surveys, fetches and applies; False when the disk shows all that can be shown."""
        fetcher = self.fetcher
        if fetcher.coming:
            coming, fetcher.coming = fetcher.coming, set()
            await self._tell_no_more(coming)
        if self._retry_at < float("inf"):
            return False
        if fetcher.staged_owners and (
            len(fetcher.staged_owners) >= STAGED_AT_ONCE or not fetcher.jobs or self._is_ripe()
        ):
            owners, fetcher.staged_owners = fetcher.staged_owners, []
            await self._take_survey(owners)
            return True
        if await self.survey():
            return True
        if self._ready and (
            len(self._ready) >= APPLY_AT_ONCE
            or not fetcher.jobs
            or self._is_ripe()
            or any(node_id[15] & 3 == 1 for node_id in self._ready)
        ):
            await self._apply_ready()
            return True
        if (fetcher.no_room or fetcher.has_refused) and not fetcher.jobs and not self._ready:
            # Only what is to come waits; what is saved here meanwhile is told at once.
            if fetcher.no_room:
                self._progress.state, self._progress.trouble = FolderState.NO_SPACE, fetcher.no_room
            fetcher.no_room, fetcher.has_refused = "", False
            self._waits_for_room = True
            self._retry_at = asyncio.get_running_loop().time() + NO_ROOM_S
        return False

    @property
    def is_at_rest(self) -> bool:
        """True when nothing is on its way, and nothing waits for the disk."""
        fetcher = self.fetcher
        return not fetcher.jobs and not fetcher.staged_owners and self._retry_at == float("inf")

    @property
    def is_asked_again(self) -> bool:
        """True when what is told of what is lacking is about to be found out anew."""
        return self._survey_from is not None

    async def note_lack(self, need: int) -> None:
        """At rest, with so many nodes that the disk does not show."""
        fetcher = self.fetcher
        await self.pausing.settle()
        if not need:
            self._refusals.all_done()
            fetcher.forget_begun()
        told = self._refusals.told()
        if need:
            told |= await self._lacking()
        self._progress.undelivered = told  # at once: who looks meanwhile sees what was told before
        if need and fetcher.unavailable:  # they may be on their way to those who are connected
            now = asyncio.get_running_loop().time()
            self._ask_again_at = min(self._ask_again_at, now + ASK_AGAIN_S)
        elif not need and fetcher.staged:
            names = fetcher.drop(list(fetcher.staged))
            await self._performer.on_disk(lambda: self._disk.discard_staged(names))

    @property
    def lacking_state(self) -> FolderState:
        """How a folder stands that is at rest and does not show all there is."""
        fetcher = self.fetcher
        if fetcher.unavailable:  # some of it is on its way, or may be
            return FolderState.SYNCING
        if self._progress.undelivered:
            return FolderState.TROUBLE
        return FolderState.PARTLY_PAUSED if fetcher.resting else FolderState.SYNCING

    async def _lacking(self) -> dict[Path, str]:
        """What is not here, and why."""
        fetcher = self.fetcher
        wrong = {fetcher.owners.get(key, key[0]): text for key, text in fetcher.problems.items()}
        unavailable = {fetcher.owners.get(key, key[0]): None for key in fetcher.unavailable}
        if wrong:
            self._refusals.patience.wait(asyncio.get_running_loop().time())
        if not wrong and not unavailable:
            return {}
        is_read_back = self._progress.is_read_back
        return await self._performer.drive(
            reasons(self._engine.directories, unavailable, wrong, is_read_back=is_read_back)
        )

    async def _tell_no_more(self, nodes: Iterable[NodeId]) -> None:
        """Bytes of these have come, so nobody is to read any longer that they wait for somebody.
        All else that was told stays until it is found out anew.
        """
        told = self._progress.undelivered
        if told:
            paths = await self._performer.drive(places(self._engine.directories, nodes))
            for path in paths.values():
                told.pop(path, None)

    def _is_ripe(self) -> bool:
        """True when what is ready has waited long enough for company."""
        return asyncio.get_running_loop().time() >= self._ripe_at

    async def survey(self) -> bool:
        """Finds out what can be applied and what has to be fetched first; False if there is
        nothing to find out.
        """
        fetcher = self.fetcher
        has_room = (
            len(fetcher.jobs) + len(fetcher.staged) < IN_FLIGHT_FILES
            and fetcher.pending_bytes < IN_FLIGHT_BYTES
        )
        if not has_room:
            return False
        if self._fresh:
            ids = [self._fresh.popleft() for _ in range(min(len(self._fresh), APPLY_AT_ONCE))]
            await self._take_survey(ids)
        elif self._survey_from is not None:
            page, self._survey_from = self._survey_from, None
            survey = await self._performer.drive(
                self._engine.survey(
                    page, PAGE, fetcher.staged, fetcher.is_lost, self._refusals.held
                )
            )
            if self._survey_from is None:  # nobody asked meanwhile to begin anew
                self._survey_from = survey.next_page
            await self._note_survey(survey)
        else:
            return False
        return True

    async def _take_survey(self, ids: Sequence[NodeId]) -> None:
        """Looks again at nodes whose records or bytes have come."""
        fetcher = self.fetcher
        fetcher.look_again(ids)
        survey = await self._performer.drive(
            self._engine.survey_nodes(ids, fetcher.staged, fetcher.is_lost, self._refusals.held)
        )
        await self._note_survey(survey)

    async def _note_survey(self, survey: Survey) -> None:
        if survey.ready and not self._ready:
            self._ripe_at = asyncio.get_running_loop().time() + RIPE_S
        self._ready.update(survey.ready)
        if survey.needs:
            self._progress.state = FolderState.SYNCING
            await self.fetcher.need(survey.needs)

    async def _apply_ready(self) -> None:
        fetcher = self.fetcher
        self._progress.state = FolderState.SYNCING
        directories = {n: s for n, s in self._ready.items() if n[15] & 3 == 1}
        ready = directories or dict(self._ready)
        applied, needs = await self._performer.drive(
            self._engine.apply(dict(ready), fetcher.staged, int(time.time()))
        )
        for node_id in list(ready):
            self._ready.pop(node_id, None)  # somebody may have asked to survey again meanwhile
        for key in [k for k, name in fetcher.staged.items() if name in applied.used]:
            del fetcher.staged[key]
        # What another node of the same bytes made superfluous.
        names = fetcher.drop([key for key in fetcher.staged if key[0] in applied.nodes])
        if names:
            await self._performer.on_disk(lambda: self._disk.discard_staged(names))
        if needs:
            # What had to be left out of this step waits for these bytes too.
            left_out = [n for n in ready if n not in applied.nodes]
            await fetcher.need([n._replace(owner=o) for n in needs for o in [n.owner, *left_out]])
        self._refusals.done(applied.nodes)
        await self._tell_no_more(applied.nodes)
        self._note_refusals(applied)
        now = asyncio.get_running_loop().time()
        for path in sorted(applied.look_again):
            self._hinting.add(path, False, now)

    def _note_refusals(self, applied: Applied) -> None:
        """Looks again where the disk is not as planned; what it would not do has to wait, and is
        told.
        """
        now = asyncio.get_running_loop().time()
        is_asking = self._is_asking()
        for item, refusal in applied.refused.items():
            path = applied.paths[item]
            if refusal.kind in PASSING and not is_asking and self._refusals.passes(item):
                self._hinting.add(path[:-1], False, now)
                if refusal.kind is RefusalKind.NOT_EMPTY:
                    self._hinting.add(path, False, now)
                self._retry_at = min(self._retry_at, now + RETRY_SOON_S)
                continue
            if refusal.kind is RefusalKind.NO_SPACE:
                self.fetcher.no_room = refusal.reason
            askers = [node for node, asked in applied.blamed.items() if asked == item]
            self._ready.clear()  # what is to lie in a refused directory is not ready any more
            for node in askers:
                self._refusals.note(node, path, refusal.reason, now)
            self._progress.undelivered[path] = refusal.reason
            # The rest of the step is tried without them.
            self._retry_at = min(self._retry_at, now + (RETRY_SOON_S if askers else NO_ROOM_S))
