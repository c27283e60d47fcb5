"""Links to super-nodes, one each, made when somebody wants one and kept while they last."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable

from crypto.ids import RelayId
from crypto.keys import DeviceKeys
from peer.backup.placement import Node, network_of
from peer.connectivity.backoff import Backoff
from protocol.errors import LinkError, StorageRefused
from protocol.relay_address import RelayAddress
from protocol.storage_client import StorageClient

log = logging.getLogger(__name__)


class _Entry:
    def __init__(self) -> None:
        self.client: StorageClient | None = None
        self.problem = "It was not tried yet."
        self.dialling = asyncio.Lock()
        self.backoff = Backoff()
        self.next_try_at = float("-inf")


class NodePool:
    """All links to nodes of one device; its tasks run in the group that it is given."""

    def __init__(self, keys: DeviceKeys, tasks: asyncio.TaskGroup) -> None:
        self._keys, self._tasks = keys, tasks
        self._entries: dict[RelayId, _Entry] = {}

    async def client(self, address: RelayAddress, *, is_urgent: bool = False) -> StorageClient:
        """A link to a node; raises LinkError, at once while the node is not to be tried again.

        `is_urgent`: somebody waits for it, so it is tried all the same.
        """
        entry = self._entries.setdefault(address.relay_id, _Entry())
        async with entry.dialling:
            if entry.client is not None and not entry.client.is_closed:
                return entry.client
            loop = asyncio.get_running_loop()
            if not is_urgent and loop.time() < entry.next_try_at:
                raise LinkError(entry.problem)
            began_at = loop.time()
            try:
                client = await StorageClient.dial(address, self._keys)
            except (LinkError, StorageRefused) as error:
                entry.problem = str(error)
                lasted_s = loop.time() - began_at
                wait_s = entry.backoff.next_wait_s(lasted_s, random.random())  # noqa: S311
                entry.next_try_at = loop.time() + wait_s
                log.info("no super-node at %s: %s", address.host, error)
                raise LinkError(entry.problem) from error
            entry.backoff.forget()
            entry.client = client
            self._tasks.create_task(client.run())
            return client

    async def reachable(
        self, addresses: Iterable[RelayAddress], *, is_urgent: bool = False
    ) -> dict[RelayId, StorageClient]:
        """Links to those of some nodes that answer."""
        addresses = list(addresses)
        found = await asyncio.gather(
            *(self.client(address, is_urgent=is_urgent) for address in addresses),
            return_exceptions=True,
        )
        clients: dict[RelayId, StorageClient] = {}
        for address, client in zip(addresses, found, strict=True):
            if isinstance(client, StorageClient):
                clients[address.relay_id] = client
            elif not isinstance(client, LinkError):
                raise client
        return clients

    def problem(self, relay_id: RelayId) -> str:
        """Why there is no link to a node; empty if there is one."""
        entry = self._entries.get(relay_id)
        if entry is None:
            return "It was not tried yet."
        return "" if entry.client is not None and not entry.client.is_closed else entry.problem


def node_of(client: StorageClient) -> Node:
    """What is known of a node's independence: what it says of itself, and where it is.

    One that names no owner counts as an owner of its own: a household's nodes are told apart by
    their network then.
    """
    node, address = client.node, client.address
    owner = node.owner or address.relay_id.hex()
    return Node(address.relay_id, owner, network_of(address.host), node.region)
