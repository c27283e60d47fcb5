"""Telling nodes who holds what of a pack, and which of them stand by for it.

Nodes meet, find out who is lost and rebuild its shares without any device, but who holds what they
know from devices alone. Of the nodes that a person named, those that hold none of a pack stand by
for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final

from crypto.ids import RelayId
from peer.backup.pack_store import KnownPack, PackStore
from peer.backup.share_receipts import lost_words
from peer.backup.share_transfers import NODE_TROUBLE, Opened
from protocol.storage_messages import (
    HOLDERS_MAX,
    STANDBY,
    STATS_MAX,
    Holder,
    ShareState,
    StoreStat,
    StoreStats,
)

log = logging.getLogger(__name__)

LEASE_S: Final = 90 * 86_400
"""The longest that a node gives."""
TOLD_AT_ONCE: Final = 16
"""Packs that a node is told of together: it writes them in one commit."""


def holder_list(
    held: Iterable[tuple[int, RelayId]],
    addresses: Mapping[RelayId, str],
    released: Set[RelayId] = frozenset(),
) -> tuple[Holder, ...]:
    """What nodes are told of a pack: who holds which share, and of the rest of those with an
    address who stands by.
    """
    shares = sorted((share, node) for share, node in held if node in addresses)
    busy = {node for _, node in shares} | released
    spare = sorted(node for node in addresses if node not in busy)
    everybody = [*shares, *((STANDBY, node) for node in spare)][:HOLDERS_MAX]
    return tuple(Holder(share, addresses[node]) for share, node in everybody)


def mark_of(holders: Sequence[Holder]) -> bytes:
    """A hash of a list, to know whether a node was told of it already."""
    told = "\n".join(f"{holder.number} {holder.address}" for holder in holders)
    return hashlib.sha256(told.encode()).digest()


class HolderLists:
    """The lists of one folder's packs."""

    def __init__(self, store: PackStore) -> None:
        self._store = store

    async def tell(
        self, present: Mapping[RelayId, Opened], addresses: Mapping[RelayId, str]
    ) -> None:
        """Tells nodes that can be reached what they do not know yet; what fails is told again at
        the next time.
        """
        held: dict[int, list[tuple[int, RelayId]]] = {}
        leases: dict[int, int] = {}
        for holding in await self._store.holdings():
            held.setdefault(holding.pack, []).append((holding.share, holding.node))
            leases[holding.pack] = max(leases.get(holding.pack, 0), holding.lease_s)
        let_go: dict[int, set[RelayId]] = {}
        for number, node in await self._store.released():
            let_go.setdefault(number, set()).add(node)
        told = await self._store.told()
        due: dict[RelayId, list[tuple[KnownPack, int, tuple[Holder, ...]]]] = {}
        for pack in await self._store.packs():
            shares = held.get(pack.number, [])
            released = let_go.get(pack.number, set())
            holders = holder_list(shares, addresses, released)
            mark, own = mark_of(holders), {node: share for share, node in shares}
            for node in present.keys() - released:
                if told.get((pack.number, node)) != mark:
                    due.setdefault(node, []).append((pack, own.get(node, STANDBY), holders))
        for node, some in due.items():
            try:
                await self._tell_node(node, present[node], some, leases)
            except NODE_TROUBLE as error:
                log.info("a super-node cannot be told who holds what: %s", error)

    async def _tell_node(
        self,
        node: RelayId,
        opened: Opened,
        some: Sequence[tuple[KnownPack, int, tuple[Holder, ...]]],
        leases: Mapping[int, int],
    ) -> None:
        """Each under the lease that its pack has anyhow: whether it is wanted for longer, those who
        prolong leases know.
        """
        client, namespace = opened
        whole = await self._whole_at(
            opened, [pack.id for pack, share, _ in some if share != STANDBY]
        )
        for start in range(0, len(some), TOLD_AT_ONCE):
            part = []
            for pack, share, holders in some[start : start + TOLD_AT_ONCE]:
                if share != STANDBY and (pack.id, share) not in whole:
                    notes, host = self._store.notes, client.address.host
                    log.warning("%s", await lost_words(notes, pack.id, share, node, host))
                    await self._store.drop(pack.number, share, node)
                    continue
                part.append((pack, share, holders))
            await asyncio.gather(*(
                client.tell_holders(
                    namespace, pack.descriptor, share, leases.get(pack.number, 0), holders
                )
                for pack, share, holders in part
            ))  # fmt: skip
            await self._store.tell(
                (pack.number, node, mark_of(holders)) for pack, _, holders in part
            )

    async def _whole_at(self, opened: Opened, ids: Sequence[bytes]) -> set[tuple[bytes, int]]:
        """Which shares a node has whole: of another it would wait for the rest."""
        client, namespace = opened
        whole: set[tuple[bytes, int]] = set()
        for start in range(0, len(ids), STATS_MAX):
            request = StoreStat(client.number(), namespace, tuple(ids[start : start + STATS_MAX]))
            answer = await client.ask(request, StoreStats)
            whole |= {
                (s.descriptor_id, s.number) for s in answer.stats if s.state == ShareState.WHOLE
            }
        return whole
