"""Rows of the database that the disk has changed, made again from what other nodes say.

Nothing is believed: a descriptor shows by its id that it is the one, and an address names by its
fingerprint whose it is. So who lies here can only have a node looked for where it is not.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from crypto.errors import FormError
from crypto.ids import RelayId
from crypto.shares import Descriptor, decode_descriptor
from protocol.errors import LinkError, StorageRefused
from protocol.relay_address import BadRelayAddress, RelayAddress
from protocol.storage_client import StorageClient
from protocol.storage_messages import Described, StoreDescribe, StoreDescribed
from relay import node_rows
from relay import share_rows as rows
from relay.node_rows import NodeRow
from relay.share_rows import PackRow
from relay.shares import Shares

log = logging.getLogger(__name__)

_NOT_THERE: Final = (LinkError, StorageRefused, TimeoutError)


def address_of(node_id: bytes, address: str) -> RelayAddress | None:
    """A node's address, read; None if it is none, or another's."""
    try:
        place = RelayAddress.parse(address)
    except BadRelayAddress:
        return None
    return place if place.relay_id == node_id else None


class RowMending:
    """One node's; `client` gives a link to a node at an address, or None."""

    def __init__(
        self, shares: Shares, client: Callable[[str], Awaitable[StorageClient | None]]
    ) -> None:
        self._shares, self._client = shares, client

    async def descriptor(self, pack: PackRow) -> Descriptor | None:
        """What a pack is, by its row, else by what another node says; None if nobody knows."""
        known = rows.descriptor_of(pack)
        if known is not None:
            return known
        for told in await self._told(pack):
            try:
                descriptor = decode_descriptor(told.descriptor)
            except FormError:
                continue
            if descriptor.id() == pack.descriptor_id:
                await self._shares.commits.do(
                    lambda db, found=descriptor: rows.set_descriptor(db, pack.pack, found)  # type: ignore[misc]
                )
                self._say("the row of a pack was damaged, and was made again", pack)
                return descriptor
        self._say("the row of a pack is damaged, and no other node says what it was", pack)
        return None

    async def node(self, node: NodeRow) -> NodeRow | None:
        """A node by its row, else by what another one calls it; None if nobody names it."""
        if address_of(RelayId(node.node_id), node.address) is not None:
            return node
        for pack in await node_rows.some_packs(self._shares.store, node.node):
            for told in await self._told(pack):
                for holder in told.holders:
                    fixed = _fixed(node, holder.address)
                    if fixed is not None:
                        await self._shares.commits.do(
                            lambda db, fixed=fixed: node_rows.set_node(db, fixed)  # type: ignore[misc]
                        )
                        log.error("the row of another node was damaged, and was made again")
                        return fixed
        log.error("the row of another node is damaged, and no other one names it")
        return None

    async def _told(self, pack: PackRow) -> Sequence[Described]:
        """What the other holders of a pack say of it."""
        found: list[Described] = []
        for holding in await node_rows.holdings(self._shares.store, pack.pack):
            if address_of(holding.node_id, holding.address) is None:
                continue
            client = await self._client(holding.address)
            if client is None:
                continue
            try:
                request = StoreDescribe(client.number(), b"", (pack.descriptor_id,))
                found += (await client.ask(request, StoreDescribed)).packs
            except _NOT_THERE as error:
                log.debug("a node does not say what a pack is: %s", error)
        return found

    def _say(self, what: str, pack: PackRow) -> None:
        log.error(what, extra={"values": {"pack": pack.descriptor_id.hex()}})


def _fixed(node: NodeRow, address: str) -> NodeRow | None:
    """The row as it has to be, if that address is the node's by either of its two names."""
    try:
        named = RelayAddress.parse(address).relay_id
    except BadRelayAddress:
        return None
    if named != node.node_id and address != node.address:
        return None
    return node._replace(node_id=named, address=address)
