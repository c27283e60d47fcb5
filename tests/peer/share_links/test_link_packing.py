"""Sealed chunks at a relay: put once, found as long as they are there."""

from __future__ import annotations

from pathlib import Path

from crypto.ids import ChunkId
from peer.share_links.link_packing import LinkPacking, each_of
from peer.share_links.link_relay import link_relay
from tests.peer.link_stage import link_relaying


async def test_what_was_put_is_found_until_the_relay_has_lost_it(tmp_path: Path) -> None:
    async with link_relaying(tmp_path / "relay") as stage:
        async with link_relay(stage.address, stage.keys) as relay:
            await relay.open()
            packing = LinkPacking(stage.store, relay, stage.making, lease_s=1000)
            pages = {ChunkId(bytes([n]) * 32): b"page %d" % n for n in range(3)}
            put = await packing.put(each_of(pages.items()))
            assert packing.uploaded == 65536
            assert await packing.find([*pages, ChunkId(b"?" * 32)]) == put
            async with stage.desk.store.transaction() as db:
                ((lease_s,),) = await db.execute_fetchall("SELECT lease_until_s FROM packs")
                assert relay.time_s < lease_s <= relay.time_s + 1000
                await db.execute_fetchall("DELETE FROM packs")
            assert await packing.find(list(pages)) == {}
            again = LinkPacking(stage.store, relay, stage.making)
            assert await again.find(list(pages)) == {}
            assert again.uploaded == 0
