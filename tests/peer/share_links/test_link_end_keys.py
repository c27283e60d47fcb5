"""Keys by which others end a device's links: told once they work, and replaced when one is gone."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from crypto.share_links import end_key_hash
from peer.daemon import Daemon
from peer.share_links.link_end_keys import AGAIN_MAX_S, MUCH_LATER_S
from peer.share_links.link_ending import end_by_key
from peer.share_links.link_maker import Wish
from peer.share_links.link_relay import link_relay
from protocol.errors import Unexpected
from protocol.events import LinksReceived
from protocol.ledger import LedgerKind
from protocol.link_messages import LinkAnswer, LinkEndKey, LinkRequest
from protocol.share_url import ShareUrl
from relay.link_desk import LinkTalk
from relay.link_rows import Ended
from tests.peer.device_stage import DEADLINE_S, devices, pass_time
from tests.peer.link_stage import link_relaying
from tests.peer.share_links.test_link_sharing import Two, alone, ended, key_of, listed, seen, two


def hash_at(pair: Two, link_id: bytes) -> bytes | None:
    """What the relay has of a link's end key."""
    row = pair.relay.links.row_of(link_id)
    assert row is not None
    return row.end_key_hash


async def own_keys(daemon: Daemon) -> dict[bytes, bytes]:
    """By which the others can end this device's links."""
    return dict((await daemon.share_links.end_keys.known()).keys)


async def replaced(daemon: Daemon, link_id: bytes, old: bytes) -> bytes:
    """The key after this one."""
    async with asyncio.timeout(DEADLINE_S):
        while (new := (await own_keys(daemon)).get(link_id, old)) == old:
            await asyncio.sleep(0.01)
    return new


class OlderRelays:
    """All relays, as they were before they knew end keys."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self._answer, self._monkeypatch = LinkTalk.answer, monkeypatch

    def begin(self) -> None:
        answer = self._answer

        async def older(
            talk: LinkTalk, request: LinkRequest, *, is_busy: bool = False
        ) -> LinkAnswer:
            if isinstance(request, LinkEndKey):
                self.asked += 1
                raise Unexpected("a message of a later version")
            return await answer(talk, request, is_busy=is_busy)

        self._monkeypatch.setattr(LinkTalk, "answer", older)

    def update(self) -> None:
        self._monkeypatch.setattr(LinkTalk, "answer", self._answer)


async def test_a_link_s_relay_knows_a_hash_of_the_key_that_the_others_are_told(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as pair:
        made, other = await pair.made(Wish()), await pair.made(Wish())
        keys = await own_keys(pair.laptop)
        ids = [ShareUrl.parse(each["url"]).link_id for each in (made, other)]
        assert set(keys) == set(ids)
        assert len(set(keys.values())) == 2, "each ends one link"
        for link, link_id in zip((made, other), ids, strict=True):
            assert hash_at(pair, link_id) == end_key_hash(link_id, keys[link_id])
            assert await key_of(pair.desktop, link) == keys[link_id]
        await pair.laptop.share_links.revoke(made["id"])
        assert set(await own_keys(pair.laptop)) == {ids[1]}


@pytest.mark.row("A39")
async def test_the_key_that_a_removed_device_knows_ends_nothing_any_more(tmp_path: Path) -> None:
    async with link_relaying(tmp_path / "relay") as relay, devices(tmp_path) as stage:
        made = await alone(stage, relay, "desktop", "phone")
        laptop, desktop, phone = stage.running
        link_id = ShareUrl.parse(made["url"]).link_id
        old = await key_of(phone, made)
        await laptop.remove_device("phone")
        new = await replaced(laptop, link_id, old)
        assert not await end_by_key(str(relay.address), link_id, old)
        assert ended(relay, made) is Ended.LIVE
        async with asyncio.timeout(DEADLINE_S):
            while await key_of(desktop, made) != new:
                await asyncio.sleep(0.01)
        assert await key_of(phone, made) == old, "nobody tells it another"
        laptop.network.on_own.pop(LinksReceived)
        assert await desktop.share_links.revoke(made["id"])
        assert ended(relay, made) is Ended.REVOKED


async def test_keys_are_replaced_when_the_relay_can_be_asked_and_the_old_ones_work_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relays = OlderRelays(monkeypatch)
    async with two(tmp_path) as pair:
        made = await pair.made(Wish())
        link_id = ShareUrl.parse(made["url"]).link_id
        old = await key_of(pair.desktop, made)
        relays.begin()  # as if it could not be reached
        await pair.laptop.remove_device("desktop")
        async with asyncio.timeout(DEADLINE_S):
            while not relays.asked:
                await asyncio.sleep(0.01)
        assert await own_keys(pair.laptop) == {link_id: old}, "it is what the relay knows"
        assert hash_at(pair, link_id) == end_key_hash(link_id, old)
        relays.update()
        pass_time(monkeypatch, MUCH_LATER_S)
        new = await replaced(pair.laptop, link_id, old)
        assert hash_at(pair, link_id) == end_key_hash(link_id, new)


async def test_a_link_at_an_older_relay_is_made_and_ended_by_a_wish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relays = OlderRelays(monkeypatch)
    relays.begin()
    async with two(tmp_path) as pair:
        made = await pair.made(Wish())
        await seen(pair.desktop, made, "live")
        hears = pair.laptop.network.on_own.pop(LinksReceived)
        assert await own_keys(pair.laptop) == {}, "nobody is told what does nothing"
        assert not await pair.desktop.share_links.revoke(made["id"])
        assert (await listed(pair.desktop))[made["id"]]["state"] == "ending"
        assert ended(pair.relay, made) is Ended.LIVE
        # Once it is updated its links get keys, and what is wished comes true by them.
        relays.update()
        pass_time(monkeypatch, MUCH_LATER_S)
        await seen(pair.desktop, made, "revoked")
        assert ended(pair.relay, made) is Ended.REVOKED
        pair.laptop.network.on_own[LinksReceived] = hears


async def test_an_older_relay_is_not_asked_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relays = OlderRelays(monkeypatch)
    relays.begin()
    async with two(tmp_path) as pair:
        await pair.made(Wish())
        end_keys = pair.laptop.share_links.end_keys
        async with asyncio.timeout(DEADLINE_S):
            while not end_keys._later:
                await asyncio.sleep(0.01)
        asked = relays.asked
        await end_keys.step()
        end_keys.membership_changed()  # a folder's was
        assert relays.asked == asked
        pause_s = end_keys._pause_s()
        assert pause_s is not None
        assert AGAIN_MAX_S < pause_s <= MUCH_LATER_S


@pytest.mark.row("A39")
async def test_a_removed_device_leaves_its_keys_to_those_who_end_its_links(tmp_path: Path) -> None:
    async with two(tmp_path) as pair:
        made = await pair.made(Wish())
        link_id = ShareUrl.parse(made["url"]).link_id
        await key_of(pair.desktop, made)
        before = hash_at(pair, link_id)
        await pair.desktop.remove_device("laptop")
        # By whatever way it hears of it, it does not shut the others out.
        await pair.laptop.ledgers.receive(
            LedgerKind.USER, pair.laptop.ledgers.user_id, entries_of(pair.desktop)
        )
        assert not pair.laptop.ledgers.is_own(pair.laptop.home.keys.device_id)
        await pair.laptop._membership_changed()
        await pair.laptop.share_links.end_keys.step()
        assert hash_at(pair, link_id) == before
        assert await pair.desktop.share_links.revoke(made["url"])
        assert ended(pair.relay, made) is Ended.REVOKED
        assert (await listed(pair.desktop))[made["id"]]["state"] == "revoked"


def entries_of(daemon: Daemon) -> Sequence[bytes]:
    """The ledger of its user."""
    return [entry for entry in daemon.ledgers.user.export()]


async def test_who_gives_a_link_keys_at_once_gives_it_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, heard = LinkTalk.answer, list[bytes]()

    async def hear(talk: LinkTalk, request: LinkRequest, *, is_busy: bool = False) -> LinkAnswer:
        if isinstance(request, LinkEndKey):
            heard.append(request.key_hash)
        return await answer(talk, request, is_busy=is_busy)

    async with two(tmp_path) as pair:
        made = await pair.made(Wish())
        link_id, end_keys = ShareUrl.parse(made["url"]).link_id, pair.laptop.share_links.end_keys
        await (await pair.laptop.share_links.sharing._store()).drop_end_key(link_id)
        monkeypatch.setattr(LinkTalk, "answer", hear)
        async with link_relay(pair.relay.address, pair.laptop.home.keys) as relay:
            await relay.open()
            given = await asyncio.gather(*(end_keys.give(relay, link_id) for _ in range(5)))
        assert given == [True] * 5
        key = (await own_keys(pair.laptop))[link_id]
        assert heard == [end_key_hash(link_id, key)], "of two the relay might know the other"


async def test_a_home_that_was_put_back_tells_no_key_that_was_replaced_since(
    tmp_path: Path,
) -> None:
    async with link_relaying(tmp_path / "relay") as relay:
        async with devices(tmp_path) as stage:
            made = await alone(stage, relay, "desktop")
            link_id = ShareUrl.parse(made["url"]).link_id
        shutil.copytree(tmp_path / "home-laptop", tmp_path / "saved")
        async with devices(tmp_path) as stage:
            laptop = await stage.start("laptop")
            old = (await own_keys(laptop))[link_id]
            await laptop.remove_device("desktop")
            between = await replaced(laptop, link_id, old)
        (tmp_path / "home-laptop").rename(tmp_path / "later")
        (tmp_path / "saved").rename(tmp_path / "home-laptop")
        async with devices(tmp_path) as stage:
            laptop = await stage.start("laptop")
            async with asyncio.timeout(DEADLINE_S):
                while not (keys := await own_keys(laptop)):
                    await asyncio.sleep(0.01)
            assert keys[link_id] not in (old, between)
            row = relay.links.row_of(link_id)
            assert row is not None
            assert row.end_key_hash == end_key_hash(link_id, keys[link_id])
