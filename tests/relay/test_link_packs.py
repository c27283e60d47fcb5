"""Packs of links from the shares that a node has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crypto.packs import LEAF_SIZE
from protocol.storage_client import storing
from protocol.storage_messages import Holder
from relay.link_packs import StoredPacks
from relay.web import PackUnavailable
from tests.relay.relay_stage import new_keys, relaying
from tests.relay.storage_stage import FAR_S, ROOMY, Owner, Packed, files_of


@pytest.mark.parametrize(("needed", "count"), [(1, 1), (2, 3)])
async def test_a_pack_is_read_from_its_shares(tmp_path: Path, needed: int, count: int) -> None:
    packed, owner = Packed.of(5, needed, count), Owner()
    pack_id = packed.descriptor.pack_id
    async with relaying(home=tmp_path, storage=ROOMY) as stage:
        desk = stage.relay.desk.storage
        assert desk is not None
        packs = StoredPacks(desk.shares)
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


async def test_a_pack_of_which_a_part_is_elsewhere_is_not_here(tmp_path: Path) -> None:
    packed, owner = Packed.of(4, 2, 3), Owner()
    async with relaying(home=tmp_path, storage=ROOMY) as stage:
        desk = stage.relay.desk.storage
        assert desk is not None
        async with storing(stage.address, new_keys()) as client:
            namespace = await owner.found_and_open(client)
            holders = [Holder(0, str(stage.address))]
            await client.put(namespace, packed.descriptor, 0, packed.shares[0], FAR_S, holders)
        assert await StoredPacks(desk.shares).size_of(packed.descriptor.pack_id) is None
