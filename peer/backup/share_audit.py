"""Whether nodes hold what they said they would: asked, shown by leaves drawn at random, and of what
is new fetched back in samples at certain ages.

What a node does not show as it has to be counts as lost, and is stored anew elsewhere. A node
cannot know beforehand which leaves it will be asked for, nor make up one that fits its root.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from random import Random, SystemRandom
from typing import Final

from crypto.ids import RelayId
from peer.backup.pack_store import Holding, KnownPack, PackStore
from peer.backup.share_receipts import lost_words
from peer.backup.share_transfers import NODE_TROUBLE, Opened
from protocol.errors import LinkError, StorageRefused
from protocol.storage_messages import STATS_MAX, ShareState, StoreOutcome, StoreStat, StoreStats

log = logging.getLogger(__name__)

VERIFY_AFTER_S: Final = 3600.0
"""Between questions about all that nodes hold; they read it all themselves within 14 days."""
CHALLENGES: Final = 4
"""Shares of each node that have to be shown each time: 96 a day, where 44 find a node that lost a
tenth with 99 %."""
CHALLENGE_LEAVES: Final = 4
SAMPLE_SHARE: Final = 100
"""Of each share that was stored a hundredth of its leaves is fetched back, and at least one."""
SAMPLES_AT_ONCE: Final = 64
"""Packs of which a sample is fetched in one pass: with 4 of 7, 28 MB at most."""


def drawn(
    held: Sequence[tuple[KnownPack, Holding]], random: Random
) -> Iterator[tuple[KnownPack, Holding, list[int]]]:
    """Of what a node should hold the shares that it has to show this time, and which leaves."""
    for pack, holding in random.sample(held, min(len(held), CHALLENGES)):
        leaves = pack.descriptor.leaves
        yield pack, holding, random.sample(range(leaves), min(leaves, CHALLENGE_LEAVES))


class ShareAudit:
    """The audit of one folder's shares, by one device."""

    def __init__(self, store: PackStore) -> None:
        self._store = store
        self._verified_at = float("-inf")

    def hasten(self) -> None:
        """Has the next `verify` ask, however short a time ago that was done."""
        self._verified_at = float("-inf")

    async def verify(self, nodes: Mapping[RelayId, Opened]) -> None:
        """Asks the nodes now and then how it stands with all that they hold, and has some leaves
        shown that nobody could know beforehand. What is not right is held by nobody.
        """
        now = asyncio.get_running_loop().time()
        if now < self._verified_at + VERIFY_AFTER_S:
            return
        packs = {pack.number: pack for pack in await self._store.packs()}
        by_node: dict[RelayId, dict[int, Holding]] = {}
        for holding in await self._store.holdings():
            by_node.setdefault(holding.node, {})[holding.pack] = holding
        for relay_id, node in nodes.items():
            held = by_node.get(relay_id, {})
            numbers = sorted(held)
            for start in range(0, len(numbers), STATS_MAX):
                part = [packs[number] for number in numbers[start : start + STATS_MAX]]
                await self._verify_at(node, part, held)
            await self._challenge(node, [(packs[n], h) for n, h in held.items()])
        self._verified_at = now

    async def sample(self, nodes: Mapping[RelayId, Opened], now_s: int) -> None:
        """Fetches back leaves of packs that have come to an age at which that is done, from each
        node that holds a share. What is not right is held by nobody; of a node that is away the
        next age will tell.
        """
        samples = self._store.samples
        for pack in await self._store.packs_of(await samples.due(now_s, SAMPLES_AT_ONCE)):
            fetched = wrong = 0
            for holding in await self._store.holdings(pack.number):
                node = nodes.get(holding.node)
                if node is None or node.client.is_closed:
                    continue
                leaves = pack.descriptor.leaves
                chosen = SystemRandom().sample(range(leaves), -(-leaves // SAMPLE_SHARE))
                is_right = await self._is_shown(node, pack, holding, chosen)
                if is_right is None:
                    continue
                fetched += len(chosen)
                if not is_right:
                    wrong += len(chosen)
                    await self._drop(node, pack, holding)
            if fetched:
                assert pack.stored_s is not None
                await samples.taken(pack.number, now_s - pack.stored_s, fetched, wrong, now_s)

    async def _verify_at(
        self, node: Opened, packs: Sequence[KnownPack], held: Mapping[int, Holding]
    ) -> None:
        ids = tuple(pack.id for pack in packs)
        try:
            answer = await node.client.ask(
                StoreStat(node.client.number(), node.namespace, ids), StoreStats
            )
        except NODE_TROUBLE as error:
            log.info("a super-node does not say what it holds: %s", error)
            return
        right = {
            (stat.descriptor_id, stat.number): stat
            for stat in answer.stats
            if stat.state == ShareState.WHOLE
        }
        for pack in packs:
            holding = held[pack.number]
            stat = right.get((pack.id, holding.share))
            if stat is None:
                await self._drop(node, pack, holding)
            else:
                fresh = holding._replace(lease_s=stat.lease_until_s, checked_s=stat.checked_s)
                await self._store.hold([fresh])

    async def _challenge(self, node: Opened, held: Sequence[tuple[KnownPack, Holding]]) -> None:
        for pack, holding, chosen in drawn(held, SystemRandom()):
            if await self._is_shown(node, pack, holding, chosen) is False:
                await self._drop(node, pack, holding)

    @staticmethod
    async def _is_shown(
        node: Opened, pack: KnownPack, holding: Holding, chosen: Sequence[int]
    ) -> bool | None:
        """Whether a node gives these leaves of a share as they have to be; None if it is away, or
        too busy to say.
        """
        try:
            return await node.client.challenge(
                node.namespace, pack.descriptor, holding.share, chosen
            )
        except StorageRefused as error:
            if error.outcome == StoreOutcome.UNABLE:
                return False  # its disk fails, or the file is gone
            log.info("a super-node was asked for a proof in vain: %s", error)
        except LinkError as error:
            log.info("a super-node was asked for a proof in vain: %s", error)
        return None

    async def _drop(self, node: Opened, pack: KnownPack, holding: Holding) -> None:
        notes, host = self._store.notes, node.client.address.host
        said = await lost_words(notes, pack.id, holding.share, holding.node, host)
        log.warning("%s", said)
        await self._store.drop(holding.pack, holding.share, holding.node)
