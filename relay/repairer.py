"""Meeting the other nodes, asking them for leaves, and rebuilding here what is lost.

A node reads from others and writes to its own disk; what it may read are packs of which a writer
made it a holder, or had it stand by. It has no key and needs none: every share is checked against
its root, the pack against its id, and what is rebuilt against its root again.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from crypto.keys import DeviceKeys
from crypto.packs import pack_id
from crypto.relay_ids import relay_id_of
from crypto.shares import Descriptor, leaf_hashes
from protocol import erasure
from protocol.errors import LinkError, StorageRefused, WrongChunk
from protocol.relay_address import BadRelayAddress, RelayAddress
from protocol.storage_client import StorageClient, storing
from protocol.storage_messages import (
    ShareState,
    StoreDone,
    StoreMoved,
    StoreOutcome,
)
from relay import node_rows
from relay import share_rows as rows
from relay.node_rows import Holding, NodeRow
from relay.repair import RepairPolicy, is_late, is_lost, turn_of
from relay.row_mending import RowMending
from relay.share_rows import PackRow, ShareRow
from relay.shares import ShareFault, Shares

log = logging.getLogger(__name__)

PAGE: Final = 256
"""Packs that are looked through at a time."""
TOLD_AT_ONCE: Final = 64
"""Shares that a node is told of at a meeting: those that were rebuilt here."""
_NOT_THERE: Final = (LinkError, StorageRefused, WrongChunk, TimeoutError)


class Repairer:
    """One node's part in the repair of packs; `run` goes on until cancelled."""

    def __init__(
        self, shares: Shares, keys: DeviceKeys, policy: RepairPolicy, random: Callable[[int], bytes]
    ) -> None:
        self._shares, self._keys, self._policy, self._random = shares, keys, policy, random
        self._own_id = relay_id_of(keys.sign_public, keys.dh_public)
        self._clients: dict[str, StorageClient | None] = {}
        """Of this round, by address; None for who was not reached."""
        self._links = AsyncExitStack()
        self._mending = RowMending(shares, self._client)
        self.met = self.late = self.lost = 0
        """Nodes, as of the last round."""
        self.failed_challenges = 0

    async def start(self) -> None:
        """Begins to miss others from now on: while this node was off it met nobody."""
        async with self._shares.store.transaction() as db:
            await node_rows.forget_missed(db)

    async def run(self) -> None:
        """A round now and then, at times that no two nodes have in common."""
        while True:
            spread = self._random(1)[0] / 256
            await asyncio.sleep(self._policy.meet_s * (0.75 + spread / 2))
            try:
                await self.round()
            except (OSError, sqlite3.Error) as error:
                log.error("shares cannot be repaired: %s", error)

    async def round(self) -> None:
        """Meets everybody, then heals what is damaged here, then what others have lost."""
        async with AsyncExitStack() as self._links:
            self._clients = {}
            others = [
                node
                for node in await node_rows.nodes(self._shares.store)
                if node.node_id != self._own_id
            ]
            met = [await self._meet(node) for node in others]
            self.met = sum(met)
            now_s = self._shares.now_s()
            others = await node_rows.nodes(self._shares.store)
            missed = [node.first_missed_s for node in others]
            before = self.late, self.lost
            self.late = sum(is_late(each, now_s, self._policy) for each in missed)
            self.lost = sum(is_lost(each, now_s, self._policy) for each in missed)
            if (self.late, self.lost) != before:
                values = {"met": self.met, "late": self.late, "lost": self.lost}
                log.warning("other nodes are missed, or back", extra={"values": values})
            await self._heal_own()
            if 2 * self.met >= len(met):
                await self._stand_in()
        self._clients = {}

    # ------------------------------------------------------------ meeting

    async def _meet(self, node: NodeRow) -> bool:
        """Whether it is there; what it does not show of its shares is noted."""
        node = await self._mending.node(node) or node
        client, now_s = await self._client(node.address), self._shares.now_s()
        is_met = False
        if client is not None:
            try:
                await self._challenge(client, node)
                await self._tell(client, node)
                is_met = True
            except _NOT_THERE as error:
                log.debug("a node ended its link: %s", error)
        since_s = None if is_met else node.first_missed_s or now_s
        met_s = now_s if is_met else node.met_s
        await self._shares.commits.do(lambda db: node_rows.set_met(db, node.node, met_s, since_s))
        return is_met

    async def _client(self, address: str) -> StorageClient | None:
        if address not in self._clients:
            self._clients[address] = None
            try:
                made = await self._links.enter_async_context(
                    storing(RelayAddress.parse(address), self._keys, is_vouched=False)
                )
                await made.show_node(self._keys)
                self._clients[address] = made
            except (*_NOT_THERE, BadRelayAddress) as error:
                log.debug("a node is not there: %s", error)
        client = self._clients[address]
        return None if client is None or client.is_closed else client

    async def _challenge(self, client: StorageClient, node: NodeRow) -> None:
        """Asks for some leaves of what it should hold, anywhere in it; raises LinkError."""
        for pack, number in await self._some_packs(node.node):
            descriptor = await self._mending.descriptor(pack)
            if descriptor is None:
                continue
            leaf = self._below(descriptor.leaves)
            try:
                is_shown = await client.challenge(b"", descriptor, number, [leaf])
            except StorageRefused as refusal:
                if refusal.outcome != StoreOutcome.REFUSED:
                    return  # it is busy, or its disk is: that is no loss
                is_shown = False
            since_s = None if is_shown else self._shares.now_s()
            self.failed_challenges += not is_shown
            await self._shares.commits.do(
                lambda db, pack=pack, number=number, since_s=since_s: node_rows.set_failing(  # type: ignore[misc]
                    db, pack.pack, node.node, number, since_s
                )
            )

    async def _some_packs(self, node: int) -> list[tuple[PackRow, int]]:
        """Shares of a node at random, those that it did not show the last time first."""
        store = self._shares.store
        failing = await node_rows.failing_packs(store, node, self._policy.challenges)
        count = await node_rows.count_packs(store, node)
        some: list[tuple[PackRow, int]] = []
        for _ in range(self._policy.challenges if count else 0):
            some += await node_rows.packs_of_node(store, node, self._below(count))
        return failing + some

    async def _tell(self, client: StorageClient, node: NodeRow) -> None:
        """Tells it which shares were rebuilt here of packs in which it has a part."""
        for descriptor_id, number in await node_rows.rebuilt_packs(
            self._shares.store, self._own_id, node.node, TOLD_AT_ONCE
        ):
            try:
                await client.ask(StoreMoved(client.number(), descriptor_id, number), StoreDone)
            except StorageRefused as refusal:
                log.debug("a node does not hear of a share: %s", refusal)

    def _below(self, count: int) -> int:
        """A number from 0 on, below `count`."""
        return int.from_bytes(self._random(8), "big") % count

    # ------------------------------------------------------------ healing

    async def _heal_own(self) -> None:
        for row in await rows.damaged_shares(self._shares.store, self._policy.packs_at_once):
            pack = await rows.pack(self._shares.store, row.namespace, row.descriptor_id)
            if pack is not None:
                await self._rebuild(pack, row.number)

    async def _stand_in(self) -> None:
        """Rebuilds what others have lost and this node's turn is, some of it each round."""
        store, policy, now_s = self._shares.store, self._policy, self._shares.now_s()
        rebuilt = after = 0
        while rebuilt < policy.packs_at_once:
            packs = await node_rows.standby_packs(
                store, now_s - policy.lost_s, now_s - policy.late_s, after, PAGE
            )
            if not packs:
                return
            after = packs[-1].pack
            for pack in packs:
                holdings = await node_rows.holdings(store, pack.pack)
                descriptor = await self._mending.descriptor(pack)
                if descriptor is None:
                    continue
                count = descriptor.count
                number = turn_of(self._own_id, pack.descriptor_id, count, holdings, now_s, policy)
                if number is not None and rebuilt < policy.packs_at_once:
                    rebuilt += await self._rebuild(pack, number)

    async def _rebuild(self, pack: PackRow, number: int) -> bool:
        """Fetches what is needed and writes the share here; says whether it came to that."""
        descriptor = await self._mending.descriptor(pack)
        if descriptor is None:
            return False
        holdings = await node_rows.holdings(self._shares.store, pack.pack)
        found = await self._gather(pack, descriptor, number, holdings)
        if len(found) < descriptor.needed:
            log.warning("a share cannot be rebuilt now: too few others are there")
            return False
        share = await asyncio.to_thread(_share_of, descriptor, found, number)
        if share is None:
            log.error("a share cannot be rebuilt: the others make another pack")
            return False
        try:
            await self._write(pack, descriptor, number, share)
        except ShareFault as fault:
            log.warning("a share cannot be rebuilt: %s", fault)
            return False
        log.info(
            "a share was rebuilt",
            extra={"values": {"share": f"{pack.descriptor_id.hex()}-{number}", "from": len(found)}},
        )
        return True

    async def _gather(
        self, pack: PackRow, descriptor: Descriptor, number: int, holdings: list[Holding]
    ) -> dict[int, bytes]:
        """As many checked shares as are needed, by number, and not one more."""
        found: dict[int, bytes] = {}
        for row in await rows.shares_of(self._shares.store, pack.pack):
            if row.number != number and len(found) < descriptor.needed:
                found |= await self._own_share(row, descriptor)
        for holding in sorted(holdings, key=lambda each: (each.failing_since_s or 0, each.number)):
            is_useful = holding.number not in found and holding.number < descriptor.count
            if holding.node_id == self._own_id or not is_useful:
                continue
            if len(found) >= descriptor.needed:
                break
            client = await self._client(holding.address)
            if client is None:
                continue
            try:
                found[holding.number] = await client.fetch(b"", descriptor, holding.number)
            except _NOT_THERE as error:
                log.debug("a node does not give its share: %s", error)
                await self._shares.commits.do(
                    lambda db, holding=holding: node_rows.set_failing(  # type: ignore[misc]
                        db, pack.pack, holding.node, holding.number, self._shares.now_s()
                    )
                )
        return found

    async def _own_share(self, row: ShareRow, descriptor: Descriptor) -> dict[int, bytes]:
        if row.state != ShareState.WHOLE:
            return {}
        try:
            return {row.number: await self._shares.read(row, 0, descriptor.leaves)}
        except ShareFault:
            return {}

    async def _write(
        self,
        pack: PackRow,
        descriptor: Descriptor,
        number: int,
        share: bytes,
    ) -> None:
        incoming = await self._shares.begin_rebuilt(pack, descriptor, number, leaf_hashes(share))
        if incoming is None:
            return
        try:
            if not incoming.is_complete:
                rest = share[incoming.next_leaf * (len(share) // descriptor.leaves) :]
                await self._shares.take(incoming, incoming.next_leaf, rest)
            await self._shares.keep(incoming, is_healed=True)
        finally:
            self._shares.leave(incoming)


def _share_of(descriptor: Descriptor, found: dict[int, bytes], number: int) -> bytes | None:
    """One share of a pack, made of others; None if these are not of one pack."""
    pack = erasure.decode(found, descriptor.needed, descriptor.count, descriptor.pack_size)
    if pack_id(pack) != descriptor.pack_id:
        return None
    return bytes(erasure.encode(pack, descriptor.needed, descriptor.count)[number])
