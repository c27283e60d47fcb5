"""One link to each node, made again when it has ended, and not asked for all the time in vain."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from crypto.ids import RelayId
from peer.backup.node_pool import NodePool, node_of
from peer.command_line.demo_device import find_free_port
from protocol.errors import LinkError
from protocol.relay_address import RelayAddress
from tests.peer.backup_stage import nodes
from tests.relay.relay_stage import LOOPBACK, new_keys, relaying


async def test_links_are_kept_while_they_last(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as some, asyncio.TaskGroup() as tasks:
        pool = NodePool(new_keys(), tasks)
        first = await pool.client(some.addresses[0])
        assert await pool.client(some.addresses[0]) is first
        found = await pool.reachable(some.addresses)
        assert set(found) == {address.relay_id for address in some.addresses}
        assert pool.problem(some.addresses[0].relay_id) == ""
        node = node_of(first)
        assert (node.id, node.network) == (some.addresses[0].relay_id, "this machine")
        assert node.owner == node.id.hex()  # it names none
        for client in found.values():
            client._link.abort()
        async with asyncio.timeout(30):
            while not first.is_closed:
                await asyncio.sleep(0.01)
        assert await pool.client(some.addresses[0], is_urgent=True) is not first
        for client in (await pool.reachable(some.addresses, is_urgent=True)).values():
            client._link.abort()


async def test_what_is_not_there_is_not_dialled_all_the_time(tmp_path: Path) -> None:
    async with relaying() as relay, asyncio.TaskGroup() as tasks:
        pool = NodePool(new_keys(), tasks)
        nobody = RelayAddress(LOOPBACK, find_free_port(), RelayId(b"n" * 32))
        assert pool.problem(nobody.relay_id) == "It was not tried yet."
        for address, said in ((nobody, str(nobody.port)), (relay.address, "stores nothing")):
            with pytest.raises(LinkError, match=said):
                await pool.client(address)
            began = asyncio.get_running_loop().time()
            with pytest.raises(LinkError, match=said):
                await pool.client(address)
            assert asyncio.get_running_loop().time() - began < 5
            assert said in pool.problem(address.relay_id)
        assert await pool.reachable([nobody, relay.address]) == {}
