"""How long nodes keep packs: they are asked again and again for what is wanted still, and by name
for what share links give. What nobody asks for ends by itself, after 90 days and a week of trash.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from crypto.ids import RelayId
from peer.backup.holder_lists import LEASE_S
from peer.backup.pack_store import KnownPack
from peer.backup.share_receipts import lost_words
from peer.backup.share_transfers import NODE_TROUBLE, Opened
from protocol.storage_messages import STATS_MAX, StoreChanged, StoreRenew

if TYPE_CHECKING:
    from peer.backup.folder_backup import FolderBackup

log = logging.getLogger(__name__)

RENEW_AFTER_S: Final = 7 * 86_400
"""Leases are prolonged weekly: a device that is away for two months loses nothing."""
AGAIN_AFTER_S: Final = 3600.0
"""A node that refused is asked again: there are twelve weeks until a lease ends."""


class PackLeases:
    """Those of one folder's packs, as one device prolongs them."""

    def __init__(self, backup: FolderBackup) -> None:
        self._backup = backup
        self._not_before = float("-inf")
        self.refused: dict[RelayId, str] = {}
        """Nodes that did not prolong what they were asked to, in their words, until they do."""

    async def renew(self) -> None:
        """Prolongs the leases of packs in which something is wanted still, where it is time."""
        backup, now, now_s = self._backup, asyncio.get_running_loop().time(), int(time.time())
        due = [p for p in await backup.store.packs() if p.renewed_s < now_s - RENEW_AFTER_S]
        if not due or now < self._not_before or not backup.is_open:
            return
        wanted = await backup.wanted_slots()
        kept = [pack for pack in due if pack.number in wanted]
        if await self.prolong(kept, now_s):
            await backup.store.renewed([pack.number for pack in kept], now_s)
        else:
            self._not_before = now + AGAIN_AFTER_S

    async def prolong(self, packs: Sequence[KnownPack], now_s: int) -> bool:
        """Prolongs leases at all nodes that are there, and takes down what these have lost; False
        if one of them refused, which `refused` then names. The others have done it all the same.
        """
        released, is_done = await self._backup.store.released(), True
        for relay_id, node in self._backup.present().items():
            here = [pack for pack in packs if (pack.number, relay_id) not in released]
            gone = await self._ask(relay_id, node, [pack.id for pack in here], now_s)
            is_done &= gone is not None
            await self._lost_at(relay_id, node, [pack for pack in here if pack.id in (gone or ())])
        return is_done

    async def prolong_named(self, ids: Sequence[bytes], now_s: int) -> bool:
        """Prolongs packs by their descriptors' ids, whether or not they are counted on here any
        more; False if nobody was there to be asked, or one refused.
        """
        present, store = self._backup.present(), self._backup.store
        names = {pack.number: pack.id for pack in await store.packs()}
        released = {(names.get(number), node) for number, node in await store.released()}
        is_done = bool(present)
        for relay_id, node in present.items():
            here = [id_ for id_ in ids if (id_, relay_id) not in released]
            is_done &= await self._ask(relay_id, node, here, now_s) is not None
        return is_done

    async def _ask(
        self, relay_id: RelayId, node: Opened, ids: Sequence[bytes], now_s: int
    ) -> Collection[bytes] | None:
        """Which of these packs a node does not know; None if it refuses."""
        client, missing = node.client, set[bytes]()
        try:
            for start in range(0, len(ids), STATS_MAX):
                part = tuple(ids[start : start + STATS_MAX])
                request = StoreRenew(client.number(), node.namespace, now_s + LEASE_S, part)
                changed = await client.ask(request, StoreChanged)
                missing |= {part[index] for index in changed.missing if index < len(part)}
        except NODE_TROUBLE as error:
            log.warning("a super-node does not keep packs for longer: %s", error)
            self.refused[relay_id] = f"It did not prolong what it keeps. {error}"
            return None
        if ids:
            self.refused.pop(relay_id, None)
        return missing

    async def _lost_at(self, relay_id: RelayId, node: Opened, packs: Sequence[KnownPack]) -> None:
        """A node does not know these packs: what it held of them is made again, and if it only
        stood by for one it is told of it again.
        """
        store, host = self._backup.store, node.client.address.host
        for pack in packs:
            for holding in await store.holdings(pack.number):
                if holding.node == relay_id:
                    words = await lost_words(store.notes, pack.id, holding.share, relay_id, host)
                    log.warning("%s", words)
                    await store.drop(pack.number, holding.share, relay_id)
        await store.untell((pack.number, relay_id) for pack in packs)
