"""Has super-nodes keep the packs that this device's links name, for as long as the links live.

A link names packs as they were when it was made. Once the folder has dropped what is in them, or
has it written anew into others, nobody else asks for the old ones, and their leases would end. So
the device that made a link asks, by name; of a link that has ended it says nothing any more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from crypto.ids import FolderId
from peer.backup.pack_leases import RENEW_AFTER_S, PackLeases
from peer.share_links.link_ending import TROUBLE
from peer.share_links.link_store import LinkStore

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 300.0
"""What is due and could not be asked is asked then; a lease lasts twelve times as long as it takes
to be due."""


class LinkLeases:
    """One daemon's."""

    def __init__(
        self,
        store: Callable[[], Awaitable[LinkStore | None]],
        leases: Callable[[FolderId], PackLeases | None],
        ended: Callable[[Collection[str]], Awaitable[Collection[bytes]]],
    ) -> None:
        """`store` gives the list of links, if there ever was one; `leases` those of a folder that
        is kept at super-nodes; `ended` the links that are over by the word of these relays.
        """
        self._store, self._leases, self._ended = store, leases, ended
        self._done_s: dict[FolderId, float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.step(time.time())
            except TROUBLE as error:
                log.info("packs of share links are not prolonged: %s", error)

    async def step(self, now_s: float) -> None:
        """Prolongs what is due at that time."""
        store = await self._store()
        named = [] if store is None else await store.named(int(now_s))
        due = [each for each in named if not self._is_done(each.folder_id, now_s)]
        if store is None or not due:
            return
        over = await self._ended({each.relay for each in due})
        await store.unname(over)
        packs: dict[FolderId, set[bytes]] = defaultdict(set)
        for each in due:
            if each.link_id not in over:
                packs[each.folder_id].add(each.descriptor_id)
        for folder_id, ids in packs.items():
            leases = self._leases(folder_id)
            if leases is not None and await leases.prolong_named(sorted(ids), int(now_s)):
                self._done_s[folder_id] = now_s

    def _is_done(self, folder_id: FolderId, now_s: float) -> bool:
        done_s = self._done_s.get(folder_id, float("-inf"))
        return done_s <= now_s < done_s + RENEW_AFTER_S
