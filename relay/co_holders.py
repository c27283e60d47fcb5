"""What other nodes hold of packs of which one has a part here: ranges, or whole, out of any k.

It asks as a node that shows its keys, so it gets what a writer made it a holder of (SPEC 18), and
nothing is believed: a range comes with its paths to the share's root, a share is checked against
its root, and the pack that is made of shares against its id.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from crypto.keys import DeviceKeys
from crypto.packs import pack_id
from crypto.relay_ids import relay_id_of
from crypto.shares import Descriptor
from protocol import erasure
from protocol.errors import LinkError, StorageRefused, WrongChunk
from protocol.relay_address import BadRelayAddress, RelayAddress
from protocol.storage_client import StorageClient
from protocol.storage_messages import CHALLENGE_LEAVES_MAX, STANDBY, ShareState
from relay import node_rows, share_rows
from relay.node_rows import Holding
from relay.share_rows import PackRow
from relay.shares import ShareFault, Shares

log = logging.getLogger(__name__)

NODES_MAX: Final = 128
"""Links to other nodes at once; the one that was used least recently makes room."""
REST_S: Final = 30.0
"""A node that was not to be had is not tried again for so long: visitors wait meanwhile."""
FETCH_TIMEOUT_S: Final = 30.0
"""For a share of a few mebibytes, its link included: a slower node is as good as none."""
PATIENCE_S: Final = 2.0
"""When no share came within this, one more node is asked beside those that are slow."""
_NOT_THERE: Final = (LinkError, StorageRefused, WrongChunk, TimeoutError, BadRelayAddress)


class PackOutOfReach(Exception):
    """Fewer shares of a pack than are needed can be had just now."""


class _Node:
    def __init__(self) -> None:
        self.dialling = asyncio.Lock()
        self.client: StorageClient | None = None
        self.reading: asyncio.Task[None] | None = None
        self.not_before = 0.0


class CoHolders:
    """All of them; `run` has to run meanwhile, for it reads their links."""

    def __init__(self, shares: Shares, keys: DeviceKeys) -> None:
        self._shares, self._keys = shares, keys
        self._own_id = relay_id_of(keys.sign_public, keys.dh_public)
        self._nodes: OrderedDict[str, _Node] = OrderedDict()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Goes on until it is cancelled, and ends all links then."""
        async with asyncio.TaskGroup() as self._tasks:
            await asyncio.get_running_loop().create_future()

    async def leaves(
        self, pack: PackRow, descriptor: Descriptor, number: int, first: int, count: int
    ) -> bytes:
        """Leaves of a share that one other node holds, as they have to be; raises PackOutOfReach
        where none shows them.
        """
        wanted = range(first, first + count)
        for holding in await self._holdings(pack):
            if holding.number != number:
                continue
            try:
                async with asyncio.timeout(FETCH_TIMEOUT_S):
                    client = await self._client(holding.address)
                    parts: list[bytes] = []
                    for start in range(0, count, CHALLENGE_LEAVES_MAX):
                        some = wanted[start : start + CHALLENGE_LEAVES_MAX]
                        shown = await client.shown(b"", descriptor, number, some)
                        if shown is None:
                            raise WrongChunk("a node does not show leaves as they have to be")
                        parts += shown
                    return b"".join(parts)
            except _NOT_THERE as error:
                log.debug("a node does not give a range: %r", error)
        raise PackOutOfReach

    async def pack(self, pack: PackRow, descriptor: Descriptor) -> bytes:
        """A whole pack, out of what is here and any others; raises PackOutOfReach."""
        found = await self._own_shares(pack, descriptor)
        if len(found) < descriptor.needed:
            holdings = [
                each
                for each in await self._holdings(pack)
                if each.number < descriptor.count and each.number not in found
            ]
            await self._gather(descriptor, holdings, found)
        if len(found) < descriptor.needed:
            raise PackOutOfReach
        whole = await asyncio.to_thread(
            erasure.decode, found, descriptor.needed, descriptor.count, descriptor.pack_size
        )
        if await asyncio.to_thread(pack_id, whole) != descriptor.pack_id:
            log.error("the shares of a pack make another one than their descriptor names")
            raise PackOutOfReach
        return whole

    # Private

    async def _holdings(self, pack: PackRow) -> list[Holding]:
        """Who else holds shares of it, those first who are likely to give them, and of these the
        shares that need no decoding.
        """
        found = await node_rows.holdings(self._shares.store, pack.pack)
        others = [h for h in found if h.node_id != self._own_id and h.number != STANDBY]
        now = asyncio.get_running_loop().time()

        def rank(holding: Holding) -> tuple[bool, bool, bool, int]:
            node = self._nodes.get(holding.address)
            is_resting = node is not None and node.not_before > now
            is_failing = holding.failing_since_s is not None
            return is_resting, holding.first_missed_s is not None, is_failing, holding.number

        return sorted(others, key=rank)

    async def _own_shares(self, pack: PackRow, descriptor: Descriptor) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for row in await share_rows.shares_of(self._shares.store, pack.pack):
            if row.state != ShareState.WHOLE or len(found) >= descriptor.needed:
                continue
            try:
                found[row.number] = await self._shares.read(row, 0, descriptor.leaves)
            except (ShareFault, OSError) as error:
                log.debug("a share of a pack is not to be had here: %r", error)
        return found

    async def _gather(
        self, descriptor: Descriptor, holdings: Sequence[Holding], found: dict[int, bytes]
    ) -> None:
        """Asks as many nodes as shares are lacking, and one more for each that fails or is slow."""
        untried, spare = list(holdings), 0
        under_way: dict[asyncio.Task[bytes | None], int] = {}
        async with asyncio.TaskGroup() as tasks:
            while (lacking := descriptor.needed - len(found)) > 0:
                while untried and len(under_way) < lacking + spare:
                    holding = untried.pop(0)
                    if holding.number not in found and holding.number not in under_way.values():
                        task = tasks.create_task(self._fetch(descriptor, holding))
                        under_way[task] = holding.number
                if not under_way:
                    break
                done, _ = await asyncio.wait(
                    under_way, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED
                )
                spare += not done
                for task in done:
                    number, share = under_way.pop(task), task.result()
                    if share is not None:
                        found[number] = share
            for task in under_way:
                task.cancel()

    async def _fetch(self, descriptor: Descriptor, holding: Holding) -> bytes | None:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                client = await self._client(holding.address)
                return await client.fetch(b"", descriptor, holding.number)
        except _NOT_THERE as error:
            log.info("a node does not give its share: %s", error)
            return None

    async def _client(self, address: str) -> StorageClient:
        """A link to a node on which this one has shown that it is one; raises LinkError."""
        assert self._tasks is not None, "`run` runs"
        loop = asyncio.get_running_loop()
        node = self._nodes.setdefault(address, _Node())
        self._nodes.move_to_end(address)
        self._make_room()
        async with node.dialling:
            if node.client is not None and not node.client.is_closed:
                return node.client
            if loop.time() < node.not_before:
                raise LinkError(f"The node at {address} was not there just now.")
            node.not_before = loop.time() + REST_S
            try:
                try:
                    place = RelayAddress.parse(address)
                except BadRelayAddress as error:
                    raise LinkError(f"The row of the node at {address} is damaged.") from error
                client = await StorageClient.dial(place, self._keys, is_vouched=False)
                node.reading = self._tasks.create_task(client.run())
                await client.show_node(self._keys)
            except asyncio.CancelledError:
                node.not_before = 0.0  # others were faster; that says nothing of this one
                raise
            node.client, node.not_before = client, 0.0
            return client

    def _make_room(self) -> None:
        while len(self._nodes) > NODES_MAX:
            _, oldest = self._nodes.popitem(last=False)
            if oldest.reading is not None:
                oldest.reading.cancel()
