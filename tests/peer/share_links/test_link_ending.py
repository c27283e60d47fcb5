"""Which link a person means, and that its end is not claimed while its relay does not know it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from crypto.share_links import LINK_SEED_SIZE, LinkKey
from peer.errors import RelayUnreachable
from peer.share_links.link_ending import PREFIX_LENGTH_MIN, end_at_relay, end_by_key, meant
from peer.share_links.link_relay import link_relay
from protocol.errors import LinkError, StorageRefused
from protocol.share_url import ShareUrl, text_of
from relay.admissions import Admissions
from relay.storage_desk import StorageDesk
from relay.store import RelayStore
from tests.peer.link_stage import link_relaying
from tests.peer.share_links.test_link_relay import put
from tests.relay.relay_stage import new_keys, relaying


class Link(NamedTuple):
    """As much of one."""

    link_id: bytes
    name: str

    @property
    def url(self) -> ShareUrl:
        return ShareUrl("https://relay.example", self.link_id, b"s" * 32)


def test_a_link_is_meant_by_its_id_its_url_or_its_name() -> None:
    one, two, same = Link(b"1" * 16, "one"), Link(b"2" * 16, "two"), Link(b"3" * 16, "two")
    links = (one, two, same)
    for words in (text_of(one.link_id), str(one.url), "one"):
        assert meant(links, words) == [one]
    assert meant(links, "two") == [two, same]
    assert meant(links, "") == meant(links, "on") == []


def test_the_beginning_of_an_id_means_the_link_if_no_name_is_the_same() -> None:
    ids = (b"\0" * 16, b"\0" * 8 + b"1" * 8, b"2" * 16)
    one, like_it, other = links = [Link(id_, id_.hex()) for id_ in ids]
    assert meant(links, text_of(other.link_id)[:PREFIX_LENGTH_MIN]) == [other]
    assert meant(links, text_of(other.link_id)[: PREFIX_LENGTH_MIN - 1]) == []
    assert meant(links, text_of(one.link_id)[:8]) == [one, like_it]
    called = Link(b"3" * 16, text_of(one.link_id)[:8])
    assert meant([*links, called], called.name) == [called]


async def test_a_relay_that_serves_no_links_has_ended_none() -> None:
    key = LinkKey.from_seed(os.urandom(LINK_SEED_SIZE))
    async with relaying() as relay:
        with pytest.raises(RelayUnreachable, match="not ended"):
            await end_at_relay(str(relay.address), new_keys(), key.link_id, key.secret)


@pytest.mark.row("A39")
async def test_a_wrong_key_ends_nothing_and_is_told_from_a_relay_that_cannot_be_asked(
    tmp_path: Path,
) -> None:
    key, link_id = os.urandom(32), LinkKey.from_seed(os.urandom(LINK_SEED_SIZE)).link_id
    async with link_relaying(tmp_path) as stage:
        assert not await end_by_key(str(stage.address), link_id, key)
    async with relaying() as relay:
        with pytest.raises(StorageRefused):
            await end_by_key(str(relay.address), link_id, key)
    with pytest.raises(LinkError):
        await end_by_key(str(relay.address), link_id, key)


@pytest.mark.row("A39")
async def test_a_relay_that_is_closed_to_strangers_takes_an_end_key_from_one(
    tmp_path: Path,
) -> None:
    key, end_key = LinkKey.from_seed(os.urandom(LINK_SEED_SIZE)), os.urandom(32)
    async with link_relaying(tmp_path) as stage:
        async with link_relay(stage.address, stage.keys) as relay:
            await relay.open()
            await put(relay, key, ())
            await relay.set_end_key(key.link_id, end_key)
        desk, store = stage.relay.relay.desk, await RelayStore.open(tmp_path)
        try:
            desk.admissions = Admissions(store, False, time.time)
            assert isinstance(desk.storage, StorageDesk)
            desk.storage.is_admitted = desk.admissions.is_admitted
            with pytest.raises(StorageRefused):
                async with link_relay(stage.address, new_keys()) as stranger:
                    await stranger.open()
            assert not await end_by_key(str(stage.address), key.link_id, os.urandom(32))
            assert await end_by_key(str(stage.address), key.link_id, end_key)
        finally:
            await store.close()
