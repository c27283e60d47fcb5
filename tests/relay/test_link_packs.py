"""Packs of links from the shares that a node has."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from crypto.packs import LEAF_SIZE
from protocol.storage_client import storing
from protocol.storage_messages import Holder
from relay.co_holders import CoHolders
from relay.link_packs import StoredPacks
from relay.pack_cache import PackCache
from relay.storage_desk import StorageDesk
from relay.web import PackUnavailable
from tests.relay.relay_stage import new_keys, relaying
from tests.relay.storage_stage import FAR_S, ROOMY, Owner, Packed, files_of
from tests.relay.test_co_holders import co_holders, holders


@pytest.mark.parametrize(("needed", "count"), [(1, 1), (2, 3)])
async def test_a_pack_is_read_from_its_shares(tmp_path: Path, needed: int, count: int) -> None:
    packed, owner = Packed.of(5, needed, count), Owner()
    pack_id = packed.descriptor.pack_id
    async with relaying(home=tmp_path, storage=ROOMY) as stage:
        desk = stage.relay.desk.storage
        assert desk is not None
        packs = packs_of(desk, tmp_path)
        assert await packs.size_of(pack_id) is None
        async with storing(stage.address, new_keys()) as client:
            namespace = await owner.found_and_open(client)
            for number, share in enumerate(packed.shares):
                holders = [Holder(number, str(stage.address))]
                descriptor = packed.descriptor
                await client.put(namespace, descriptor, number, share, FAR_S, holders)
        assert await packs.size_of(pack_id) == 5 * LEAF_SIZE
        for first, end in ((0, 5), (0, 1), (2, 4), (4, 5), (1, 5)):
            data = await packs.read(pack_id, first * LEAF_SIZE, end * LEAF_SIZE)
            assert data == packed.pack[first * LEAF_SIZE : end * LEAF_SIZE]
        with pytest.raises(PackUnavailable):
            await packs.read(os.urandom(32), 0, LEAF_SIZE)
        for path in files_of(tmp_path):
            path.write_bytes(bytes(path.stat().st_size))
        with pytest.raises(PackUnavailable):
            await packs.read(pack_id, 0, LEAF_SIZE)


async def test_a_pack_of_which_a_part_is_elsewhere_is_read_from_there(tmp_path: Path) -> None:
    packed = Packed.of(60, 3, 5, "a link's")
    pack_id = packed.descriptor.pack_id
    async with holders(tmp_path, packed) as some, co_holders(some) as others:
        cache = PackCache(tmp_path / "cache")
        cache.start()
        packs = StoredPacks(some.shares, others, cache)
        assert await packs.size_of(pack_id) == 60 * LEAF_SIZE
        for first, end in ((0, 1), (19, 22), (59, 60)):
            data = await packs.read(pack_id, first * LEAF_SIZE, end * LEAF_SIZE)
            assert data == packed.pack[first * LEAF_SIZE : end * LEAF_SIZE]
        assert cache.size == 0, "a little of it is fetched by ranges"
        reads = [packs.read(pack_id, n * LEAF_SIZE, (n + 4) * LEAF_SIZE) for n in range(0, 60, 4)]
        assert b"".join(await asyncio.gather(*reads)) == packed.pack
        assert cache.size == len(packed.pack)
        await some.switch_off(1, 2, 3, 4)
        assert await packs.read(pack_id, 0, LEAF_SIZE) == packed.pack[:LEAF_SIZE]


async def test_where_a_range_is_not_to_be_had_any_k_shares_make_it(tmp_path: Path) -> None:
    packed = Packed.of(9, 3, 6, "a link's")
    pack_id = packed.descriptor.pack_id
    async with holders(tmp_path, packed) as some, co_holders(some) as others:
        await some.switch_off(1, 3)
        some.spoil(2)
        cache = PackCache(tmp_path / "cache")
        cache.start()
        packs = StoredPacks(some.shares, others, cache)
        data = await packs.read(pack_id, 4 * LEAF_SIZE, 5 * LEAF_SIZE)
        assert data == packed.pack[4 * LEAF_SIZE : 5 * LEAF_SIZE]
        await some.switch_off(5)
        fewer = StoredPacks(some.shares, others, PackCache(tmp_path / "none"))
        with pytest.raises(PackUnavailable):
            await fewer.read(pack_id, 4 * LEAF_SIZE, 5 * LEAF_SIZE)


def packs_of(desk: StorageDesk, tmp_path: Path) -> StoredPacks:
    cache = PackCache(tmp_path / "cache")
    cache.start()
    return StoredPacks(desk.shares, CoHolders(desk.shares, desk.keys), cache)
