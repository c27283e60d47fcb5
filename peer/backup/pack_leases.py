"""How long nodes keep packs: they are asked again and again for what is wanted still, and by name
for what share links give. What nobody asks for ends by itself, after 90 days and a week of trash.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from crypto.errors import FormError
from crypto.ids import RelayId
from crypto.shares import Descriptor, decode_descriptor
from peer.backup.holder_lists import LEASE_S, holder_list
from peer.backup.pack_store import KnownPack
from peer.backup.share_receipts import lost_words
from peer.backup.share_transfers import NODE_TROUBLE, Opened
from protocol.storage_messages import (
    DESCRIBED_MAX,
    STANDBY,
    STATS_MAX,
    ShareState,
    Stat,
    StoreChanged,
    StoreDescribe,
    StoreDescribed,
    StoreRenew,
    StoreStat,
    StoreStats,
)

if TYPE_CHECKING:
    from peer.backup.folder_backup import FolderBackup

log = logging.getLogger(__name__)

RENEW_AFTER_S: Final = 7 * 86_400
"""Leases are prolonged weekly: a device that is away for two months loses nothing."""
AGAIN_AFTER_S: Final = 3600.0
"""A node that refused is asked again: there are twelve weeks until a lease ends."""
CATCH_UP_S: Final = 86_400.0
"""Between two looks at what a node has missed: each reads through all that is wanted."""


class PackLeases:
    """Those of one folder's packs, as one device prolongs them."""

    def __init__(self, backup: FolderBackup) -> None:
        self._backup = backup
        self._not_before = float("-inf")
        self._caught_up_at: dict[RelayId, float] = {}
        """When nodes were last asked for what they had not prolonged with the others."""
        self.refused: dict[RelayId, str] = {}
        """Nodes that did not prolong what they were asked to, in their words, until they do."""

    async def renew(self, *, of_all: bool = False) -> None:
        """Prolongs the leases of packs in which something is wanted still, where it is time; of all
        that is known where not everything is on this disk, for then nobody knows what is wanted.
        """
        backup, now, now_s = self._backup, asyncio.get_running_loop().time(), int(time.time())
        packs = await backup.store.packs()
        due = {pack.number for pack in packs if pack.renewed_s < now_s - RENEW_AFTER_S}
        behind = await self._behind(now, now_s)
        if not (due or behind) or now < self._not_before or not (of_all or backup.is_open):
            return
        wanted = None if of_all else await backup.wanted_slots()
        kept = [pack for pack in packs if wanted is None or pack.number in wanted]
        if some := [pack for pack in kept if pack.number in due]:
            if await self.prolong(some, now_s):
                await backup.store.renewed([pack.number for pack in some], now_s)
            else:
                self._not_before = now + AGAIN_AFTER_S
        for relay_id, numbers in behind.items():
            self._caught_up_at[relay_id] = now
            some = [pack for pack in kept if pack.number in numbers - due]
            if some and not await self.prolong(some, now_s, at=relay_id):
                self._not_before = now + AGAIN_AFTER_S

    async def _behind(self, now: float, now_s: int) -> dict[RelayId, set[int]]:
        """Packs of which nodes that are there, by their own word, have a lease that others of this
        week are longer than: they were away when it was prolonged. Once a day.
        """
        behind: dict[RelayId, set[int]] = {}
        there = self._backup.present().keys()
        for holding in await self._backup.store.holdings():
            caught_up_at = self._caught_up_at.get(holding.node, float("-inf"))
            is_short = holding.lease_s < now_s + LEASE_S - 2 * RENEW_AFTER_S
            if holding.node in there and is_short and now >= caught_up_at + CATCH_UP_S:
                behind.setdefault(holding.node, set()).add(holding.pack)
        return behind

    async def prolong(
        self, packs: Sequence[KnownPack], now_s: int, *, at: RelayId | None = None
    ) -> bool:
        """Prolongs leases at all nodes that are there, or at one of them, takes back what is in
        their trash, and takes down what they have lost; False if nobody was there, or one of them
        refused, which `refused` then names. The others have done it all the same.
        """
        released, present = await self._backup.store.released(), self._backup.present()
        is_done = bool(present)  # where all links have just ended nobody was asked
        for relay_id, node in present.items():
            if at not in (None, relay_id):
                continue
            here = [pack for pack in packs if (pack.number, relay_id) not in released]
            missing = await self._ask(relay_id, node, [pack.id for pack in here], now_s)
            gone = [pack for pack in here if pack.id in (missing or ())]
            back = await self._taken_back(relay_id, node, gone, now_s)
            is_done &= missing is not None and back is not None
            if back is not None:
                await self._lost_at(relay_id, node, [pack for pack in gone if pack.id not in back])
        return is_done

    async def prolong_named(self, ids: Sequence[bytes], now_s: int) -> bool:
        """Prolongs packs by their descriptors' ids, whether or not they are counted on here any
        more, and takes back what nodes have of them in their trash; False if nobody was there to be
        asked, or one refused.
        """
        present, store = self._backup.present(), self._backup.store
        names = {pack.number: pack.id for pack in await store.packs()}
        released = {(names.get(number), node) for number, node in await store.released()}
        is_done = bool(present)
        for relay_id, node in present.items():
            here = [id_ for id_ in ids if (id_, relay_id) not in released]
            missing = await self._ask(relay_id, node, here, now_s)
            is_done &= missing is not None
            if missing:
                gone = [id_ for id_ in here if id_ in missing]
                is_done &= await self._named_taken_back(node, gone, now_s)
        return is_done

    async def _named_taken_back(self, node: Opened, ids: Sequence[bytes], now_s: int) -> bool:
        """Takes those of these packs that a node has in its trash out of it, with whom the node
        takes for holders: here nobody may know them any more. False if it could not be asked.
        """
        client, namespace = node
        count = 0
        try:
            for start in range(0, len(ids), DESCRIBED_MAX):
                part = tuple(ids[start : start + DESCRIBED_MAX])
                request = StoreStat(client.number(), namespace, part)
                stats = (await client.ask(request, StoreStats)).stats
                trashed = {s.descriptor_id: s for s in stats if s.state == ShareState.TRASHED}
                described = StoreDescribe(client.number(), namespace, tuple(trashed))
                packs = (await client.ask(described, StoreDescribed)).packs if trashed else ()
                for pack in packs:
                    descriptor = decode_descriptor(pack.descriptor)
                    if descriptor.id() in trashed:
                        share = _told_as(trashed[descriptor.id()], descriptor)
                        await client.tell_holders(
                            namespace, descriptor, share, now_s + LEASE_S, pack.holders
                        )
                        count += 1
        except (*NODE_TROUBLE, FormError) as error:
            log.warning("what a super-node has in its trash is not taken back: %s", error)
            return False
        if count:
            log.warning("%d packs of share links are out of a trash", count)
        return True

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

    async def _taken_back(
        self, relay_id: RelayId, node: Opened, packs: Sequence[KnownPack], now_s: int
    ) -> Collection[bytes] | None:
        """Which of these packs a node had in its trash, for nobody asked for them in time: they are
        out of it. None if the node could not be asked.
        """
        backup, (client, namespace), back = self._backup, node, set[bytes]()
        released = await backup.store.released() if packs else set()
        try:
            for start in range(0, len(packs), STATS_MAX):
                part = packs[start : start + STATS_MAX]
                request = StoreStat(client.number(), namespace, tuple(pack.id for pack in part))
                stats = (await client.ask(request, StoreStats)).stats
                trashed = {s.descriptor_id: s for s in stats if s.state == ShareState.TRASHED}
                for pack in part:
                    held = await backup.store.holdings(pack.number)
                    own = [holding for holding in held if holding.node == relay_id]
                    if pack.id not in trashed or not own:
                        continue
                    share = _told_as(trashed[pack.id], pack.descriptor)
                    let_go = {id_ for number, id_ in released if number == pack.number}
                    holders = holder_list(
                        ((h.share, h.node) for h in held), backup.addresses, let_go
                    )
                    await client.tell_holders(
                        namespace, pack.descriptor, share, now_s + LEASE_S, holders
                    )
                    back.add(pack.id)
        except NODE_TROUBLE as error:
            log.warning("what a super-node has in its trash is not taken back: %s", error)
            return None
        if back:
            log.warning("%d packs are out of the trash of %s", len(back), client.address.host)
        return back

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


def _told_as(stat: Stat, descriptor: Descriptor) -> int:
    """As holding which share a node is told who the holders are. Of a damaged one it would wait for
    the rest, and could not mend it meanwhile.
    """
    return stat.number if stat.leaves == descriptor.leaves else STANDBY
