"""Making shares again that are lost, and moving them to where fewer are lost together.

Nodes that stand by rebuild what a lost node held without any device. A device does it where nobody
stands by, at once where a person asks for it, and where a node was found to lie.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from crypto.ids import RelayId
from crypto.packs import PackSlot
from peer.backup.holder_lists import holder_list
from peer.backup.node_pool import node_of
from peer.backup.pack_notes import Heal
from peer.backup.pack_store import Holding, KnownPack
from peer.backup.placement import assign, better, spread
from peer.backup.share_receipts import receipt_of
from peer.backup.share_transfers import NODE_TROUBLE, PackLost, cut_pack
from protocol.backup_records import BackupRecord
from protocol.errors import WrongChunk

if TYPE_CHECKING:
    from peer.backup.folder_backup import FolderBackup

log = logging.getLogger(__name__)


class Healed(NamedTuple):
    """What came of a pass over all packs."""

    rebuilt: int = 0
    """Shares that were made and stored again."""
    lacking: int = 0
    """Packs that lack shares all the same."""
    lost: int = 0
    """Packs of which too few are to be had to make any; what nobody holds is forgotten, and what is
    in it and on this disk is stored anew in another pack.
    """


class ShareHealing:
    """The shares of one folder, as far as a device makes them again."""

    def __init__(self, backup: FolderBackup) -> None:
        self._backup = backup
        self.seen = (0, 0)
        """How many packs the last pass, or the one that goes on, has looked after, of how many."""

    async def complete(self, record: BackupRecord, *, counts_away: bool = True) -> Healed:
        """Has shares stored that nobody holds. A node that is away counts as one that holds what it
        held, unless `counts_away` is False: it is back soon, or the others take its part. A node
        that holds two shares counts for one of them: the other is made for another node.
        """
        backup, store = self._backup, self._backup.store
        there = {place.relay_id for place in record.places}
        if not counts_away:
            there &= backup.present().keys()
        held_by_pack: dict[int, list[tuple[int, RelayId]]] = {}
        for holding in await store.holdings():
            if holding.node in there:
                held_by_pack.setdefault(holding.pack, []).append((holding.share, holding.node))
        slots: dict[int, list[PackSlot]] | None = None
        rebuilt = lacking = lost = 0
        packs = await store.packs()
        for number, pack in enumerate(packs):
            self.seen = (number, len(packs))
            every = held_by_pack.get(pack.number, [])
            held, count = spread(every), pack.descriptor.count
            to_be_had = len({share for share, _ in every})
            if len(held) >= count:
                if pack.stored_s is None:
                    await store.stored(pack.number, int(time.time()))
                continue
            if counts_away and pack.stored_s is not None:
                slots = await backup.wanted_slots() if slots is None else slots
                if pack.number not in slots:
                    # It is left to its lease; a share put anew would make it live for ever.
                    if to_be_had < pack.descriptor.needed:
                        await store.forget([pack.number])
                    continue
            if counts_away and to_be_had < pack.descriptor.needed:
                # Nobody can make it any more; what is in it and on this disk goes into another.
                log.warning("pack %s is lost: too few nodes hold shares of it", pack.id.hex()[:16])
                await store.forget([pack.number])
                lost += 1
                continue
            nodes = [node_of(node.client) for node in backup.present().values()]
            stored: list[Holding] = []
            if assign(nodes, count, held):
                try:
                    stored = await self._heal(pack, held)
                except PackLost as error:
                    log.info("%s", error)
                    lost += 1
            rebuilt += len(stored)
            lacking += len(held) + len(stored) < count
        return Healed(rebuilt, lacking, lost)

    async def _heal(self, pack: KnownPack, held: Mapping[int, RelayId]) -> list[Holding]:
        """What is stored now of what was missing; raises PackLost."""
        backup, descriptor = self._backup, pack.descriptor
        data = await backup.pack_bytes(pack)
        cut = await asyncio.to_thread(
            cut_pack, descriptor.pack_id, data, descriptor.needed, descriptor.count
        )
        stored = await backup.put(cut, held, turn=0)
        stored = [holding._replace(pack=pack.number) for holding in stored]
        await backup.store.hold(stored)
        for holding in stored:
            await self._note(pack, holding.share, holding.node)
        if len(held) + len(stored) >= descriptor.count:
            await backup.store.stored(pack.number, int(time.time()))
        return stored

    async def _note(self, pack: KnownPack, share: int, node: RelayId) -> None:
        log.info(
            "share %d of pack %s was rebuilt and stored at %s",
            share, pack.id.hex()[:16], self._backup.addresses.get(node, "a super-node"),
        )  # fmt: skip
        heal = Heal(int(time.time()), pack.id, share, node, True)
        await self._backup.store.notes.healed(heal)

    # ------------------------------------------------------------ moving

    async def rebalance(self) -> int:
        """Moves shares to nodes that are more independent of the others than those that hold them;
        says how many. A node that only adds room takes none: were packs spread over more sets of
        nodes, it would be likelier that some set of them is lost.
        """
        backup, store = self._backup, self._backup.store
        nodes = [node_of(node.client) for node in backup.present().values()]
        held_by_pack: dict[int, list[tuple[int, RelayId]]] = {}
        for holding in await store.holdings():
            held_by_pack.setdefault(holding.pack, []).append((holding.share, holding.node))
        known: dict[tuple[tuple[int, RelayId], ...], tuple[int, RelayId] | None] = {}
        moved = 0
        for pack in await store.packs():
            held = spread(held_by_pack.get(pack.number, []))
            while len(held) == pack.descriptor.count:
                key = tuple(sorted(held.items()))
                if key not in known:
                    known[key] = better(nodes, held)
                move = known[key]
                if move is None or not await self._move(pack, held, *move):
                    break
                held[move[0]] = move[1]
                moved += 1
        return moved

    async def _move(
        self, pack: KnownPack, held: Mapping[int, RelayId], share: int, target: RelayId
    ) -> bool:
        """The old holder is let go of only once the new one has signed that it has the share."""
        backup, present = self._backup, self._backup.present()
        source = held[share]
        if source not in present or target not in present:
            return False
        after = {**held, share: target}
        holders = holder_list(after.items(), backup.addresses, {source})
        # What nobody wants any more is not kept for longer by being moved.
        lease_s = max(h.lease_s for h in await backup.store.holdings(pack.number))
        try:
            data = await present[source].client.fetch(
                present[source].namespace, pack.descriptor, share
            )
            kept = await present[target].client.put(
                present[target].namespace, pack.descriptor, share, data,
                lease_s, holders,
            )  # fmt: skip
            receipt = receipt_of(present[target].client, pack.descriptor, share, kept)
        except (*NODE_TROUBLE, WrongChunk) as error:
            log.info("a share could not be moved: %s", error)
            return False
        await backup.store.notes.keep_receipt(receipt)
        await backup.store.hold(
            [Holding(pack.number, share, target, kept.lease_until_s, kept.time_s)]
        )
        await backup.store.release(pack.number, share, source)
        log.info(
            "share %d of pack %s was moved from %s to %s, which fails less together with others",
            share, pack.id.hex()[:16], backup.addresses.get(source, "a super-node"),
            backup.addresses.get(target, "a super-node"),
        )  # fmt: skip
        return True
