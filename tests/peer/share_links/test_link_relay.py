"""What a device says to a relay of its links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crypto.chunks import SealedChunk
from crypto.packs import Pack, PackKind, PackWriter
from crypto.share_links import LinkKey, LinkSecrets, seal_link, token_hash
from peer.share_links.link_relay import LinkRelay, NewBlob, link_relay
from protocol.errors import LinkError, StorageRefused
from protocol.storage_messages import StoreOutcome
from tests.peer.link_stage import link_relaying
from tests.relay.relay_stage import new_keys, relaying


def a_pack() -> Pack:
    writer = PackWriter(b"r" * 32, PackKind.CHUNKS, os.urandom)
    writer.add(b"i" * 32, SealedChunk(0, 100, os.urandom(128)))
    return writer.close()


async def put(relay: LinkRelay, key: LinkKey, packs: tuple[bytes, ...], size: int = 10) -> int:
    secrets = LinkSecrets(os.urandom(32), os.urandom(16))
    blob = seal_link(key, secrets, bytes(size), flags=0, version=1, salt=os.urandom(32))
    token = token_hash(secrets.token(key.link_id))
    return await relay.put_link(
        NewBlob(key.link_id, secrets.password_salt, token, 3600, 7, tuple(map(relay.own, packs))),
        blob,
    )


async def test_a_link_is_put_listed_and_ended(tmp_path: Path) -> None:
    async with link_relaying(tmp_path) as stage, link_relay(stage.address, stage.keys) as relay:
        assert (relay.base, relay.time_s) == (stage.base, stage.links.now_s())
        await relay.open()
        await relay.open()  # it is founded once
        descriptor, lease_s = await relay.put_pack(a_pack(), relay.time_s + 1000)
        assert lease_s == relay.time_s + 1000
        key = LinkKey.from_seed(os.urandom(40))
        expires_s = await put(relay, key, (descriptor.id(),), size=1_500_000)
        assert relay.time_s + 3600 <= expires_s <= stage.links.now_s() + 3600
        (use,) = (await relay.uses()).values()
        assert (use.link_id, use.downloads_max, use.downloads, use.ended) == (key.link_id, 7, 0, 0)
        await relay.revoke(key.link_id, 5, key.revocation(5))
        (use,) = (await relay.uses()).values()
        assert use.ended == 2
        await relay.revoke(os.urandom(16), 5, key.revocation(5))  # what is not there has ended


async def test_leases_are_prolonged_and_what_is_gone_is_told(tmp_path: Path) -> None:
    async with link_relaying(tmp_path) as stage, link_relay(stage.address, stage.keys) as relay:
        await relay.open()
        descriptor, _ = await relay.put_pack(a_pack(), relay.time_s + 1000)
        gone = os.urandom(32)
        assert await relay.renew([gone, descriptor.id()], relay.time_s + 2000) == [gone]


@pytest.mark.row("A39")
async def test_another_device_s_packs_and_links_are_not_one_s_own(tmp_path: Path) -> None:
    async with link_relaying(tmp_path) as stage:
        async with link_relay(stage.address, stage.keys) as relay:
            await relay.open()
            descriptor, _ = await relay.put_pack(a_pack(), relay.time_s + 1000)
            key = LinkKey.from_seed(os.urandom(40))
            await put(relay, key, (descriptor.id(),))
        async with link_relay(stage.address, new_keys()) as other:
            await other.open()
            assert await other.uses() == {}
            with pytest.raises(StorageRefused) as refused:
                await put(other, LinkKey.from_seed(os.urandom(40)), (descriptor.id(),))
            assert refused.value.outcome == StoreOutcome.UNKNOWN
            forged = LinkKey.from_seed(os.urandom(40)).revocation(5)
            await other.revoke(key.link_id, 5, forged)
        async with link_relay(stage.address, stage.keys) as relay:
            await relay.open()
            assert (await relay.uses())[key.link_id].ended == 0


async def test_without_the_namespace_nothing_is_put_or_listed(tmp_path: Path) -> None:
    async with link_relaying(tmp_path) as stage, link_relay(stage.address, stage.keys) as relay:
        with pytest.raises(StorageRefused):
            await put(relay, LinkKey.from_seed(os.urandom(40)), ())
        with pytest.raises(StorageRefused):
            await relay.uses()


async def test_a_relay_that_serves_no_links_says_so(tmp_path: Path) -> None:
    async with relaying() as plain:
        with pytest.raises(StorageRefused) as refused:
            async with link_relay(plain.address, new_keys()):
                raise AssertionError("it stores nothing")
        assert refused.value.outcome == StoreOutcome.NOT_STORING
    with pytest.raises(LinkError):
        async with link_relay(plain.address, new_keys()):
            raise AssertionError("it is not there")


@pytest.mark.row("A39")
async def test_another_device_ends_a_link_by_its_end_key_and_sets_none(tmp_path: Path) -> None:
    async with link_relaying(tmp_path) as stage:
        key, end_key = LinkKey.from_seed(os.urandom(40)), os.urandom(32)
        async with link_relay(stage.address, stage.keys) as relay:
            await relay.open()
            await put(relay, key, ())
            await relay.set_end_key(key.link_id, end_key)
        async with link_relay(stage.address, new_keys()) as other:
            await other.open()
            for wrong in (os.urandom(32), bytes(32)):
                assert not await other.end(key.link_id, wrong)
            assert not await other.end(os.urandom(16), end_key)
            with pytest.raises(StorageRefused) as refused:
                await other.set_end_key(key.link_id, os.urandom(32))
            assert refused.value.outcome == StoreOutcome.UNKNOWN
            assert await other.end(key.link_id, end_key)
            assert await other.end(key.link_id, end_key)
        async with link_relay(stage.address, stage.keys) as relay:
            await relay.open()
            assert (await relay.uses())[key.link_id].ended == 2
