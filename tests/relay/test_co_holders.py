"""Packs out of the shares of several real nodes, some of which are off or lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from crypto.packs import LEAF_SIZE
from protocol.storage_client import storing
from protocol.storage_messages import Holder
from relay import share_rows
from relay.co_holders import CoHolders, PackOutOfReach
from relay.share_rows import PackRow
from relay.shares import Shares
from relay.storage_desk import StorageDesk
from tests.relay.relay_stage import RelayStage, new_keys, relaying
from tests.relay.storage_stage import FAR_S, ROOMY, Owner, Packed, files_of

NEEDED, COUNT = 3, 7


class Holders:
    """Nodes, each with one share of a pack; what the first one makes of the others."""

    def __init__(self, base: Path, packed: Packed) -> None:
        self.base, self.packed = base, packed
        self.stages: list[RelayStage] = []
        self.stacks: list[AsyncExitStack] = []

    @property
    def desk(self) -> StorageDesk:
        desk = self.stages[0].relay.desk.storage
        assert desk is not None
        return desk

    @property
    def shares(self) -> Shares:
        return self.desk.shares

    async def row(self) -> PackRow:
        pack_id = self.packed.descriptor.pack_id
        (row,) = await share_rows.packs_of_pack_id(self.shares.store, pack_id)
        return row

    async def switch_off(self, *numbers: int) -> None:
        for number in numbers:
            await self.stacks[number].aclose()

    def spoil(self, *numbers: int) -> None:
        for number in numbers:
            for path in files_of(self.base / str(number)):
                path.write_bytes(bytes(path.stat().st_size))


@asynccontextmanager
async def holders(base: Path, packed: Packed) -> AsyncIterator[Holders]:
    """A node for each share."""
    some, owner, device = Holders(base, packed), Owner(), new_keys()
    async with AsyncExitStack() as all_of_them:
        for number in range(len(packed.shares)):
            (base / str(number)).mkdir()
            stack = await all_of_them.enter_async_context(AsyncExitStack())
            context = relaying(home=base / str(number), storage=ROOMY)
            some.stages.append(await stack.enter_async_context(context))
            some.stacks.append(stack)
        told = [Holder(n, str(stage.address)) for n, stage in enumerate(some.stages)]
        for number, share in enumerate(packed.shares):
            async with storing(some.stages[number].address, device) as client:
                namespace = await owner.found_and_open(client)
                await client.put(namespace, packed.descriptor, number, share, FAR_S, told)
        yield some


@asynccontextmanager
async def co_holders(some: Holders) -> AsyncIterator[CoHolders]:
    """What the first node uses, at work."""
    others = CoHolders(some.shares, some.desk.keys)
    running = asyncio.get_running_loop().create_task(others.run())
    await asyncio.sleep(0)
    try:
        yield others
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.mark.parametrize("lost", [(), (1, 2, 5), (1, 2, 3, 6)])
async def test_any_k_shares_make_the_pack(tmp_path: Path, lost: Sequence[int]) -> None:
    packed = Packed.of(7, NEEDED, COUNT, "co-holders")
    async with holders(tmp_path, packed) as some:
        await some.switch_off(*lost)
        async with co_holders(some) as others:
            assert await others.pack(await some.row(), packed.descriptor) == packed.pack


async def test_what_is_wrong_at_a_node_is_had_from_others_or_not_at_all(tmp_path: Path) -> None:
    packed = Packed.of(7, NEEDED, COUNT, "co-holders that lie")
    async with holders(tmp_path, packed) as some:
        row = await some.row()
        some.spoil(0, 1, 4, 6)
        async with co_holders(some) as others:
            assert await others.pack(row, packed.descriptor) == packed.pack
            some.spoil(2)
            with pytest.raises(PackOutOfReach):
                await others.pack(row, packed.descriptor)


async def test_a_range_comes_from_the_one_share_in_which_it_lies(tmp_path: Path) -> None:
    packed = Packed.of(60, NEEDED, COUNT, "ranges")
    async with holders(tmp_path, packed) as some, co_holders(some) as others:
        row, descriptor = await some.row(), packed.descriptor
        got = await others.leaves(row, descriptor, 2, 1, 18)  # more than one challenge shows
        assert got == packed.shares[2][LEAF_SIZE : 19 * LEAF_SIZE]
        with pytest.raises(PackOutOfReach):
            await others.leaves(row, descriptor, 0, 0, 1)  # which nobody else has
        await some.switch_off(2)
        with pytest.raises(PackOutOfReach):
            await others.leaves(row, descriptor, 2, 1, 1)
        some.spoil(1)
        with pytest.raises(PackOutOfReach):
            await others.leaves(row, descriptor, 1, 0, 2)


async def test_a_node_that_is_back_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = Packed.of(2, 2, 2, "back")
    async with holders(tmp_path, packed) as some, co_holders(some) as others:
        row = await some.row()
        port, keys = some.stages[1].relay.port, some.stages[1].relay.desk.storage
        assert keys is not None
        await some.switch_off(1)
        with pytest.raises(PackOutOfReach):
            await others.pack(row, packed.descriptor)
        async with relaying(home=tmp_path / "1", storage=ROOMY, keys=keys.keys, port=port):
            with pytest.raises(PackOutOfReach):
                await others.pack(row, packed.descriptor)  # it rests: nobody waits for a dial
            monkeypatch.setattr("relay.co_holders.REST_S", 0.0)
            others._nodes.clear()
            assert await others.pack(row, packed.descriptor) == packed.pack
