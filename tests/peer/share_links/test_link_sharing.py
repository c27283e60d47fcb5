"""Links of one device on the user's others: listed there, ended from there, also while it is away,
and not by who was removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from crypto.ids import DeviceId
from crypto.keys import device_id_of
from crypto.relay_ids import storage_keys
from peer.daemon import Daemon
from peer.errors import LinkEnded, UnknownLink
from peer.share_links.link_ending import end_by_key
from peer.share_links.link_entries import LinkEntry, UploadLinkEntry
from peer.share_links.link_get import get
from peer.share_links.link_maker import Wish
from peer.share_links.link_sharing import AGAIN_S
from peer.share_links.upload_links import UploadWish
from protocol.errors import Unexpected
from protocol.events import EndKeysReceived, LinksReceived
from protocol.link_messages import LinkAnswer, LinkEnd, LinkRequest
from protocol.link_records import EndKey
from protocol.messages import encode
from protocol.share_url import ShareUrl, text_of
from relay.link_desk import LinkTalk
from relay.link_rows import Ended
from relay.storage_desk import StorageDesk
from tests.peer.device_stage import (
    DEADLINE_S,
    Stage,
    are_linked,
    device_id,
    devices,
    pass_time,
    until,
)
from tests.peer.link_stage import LinkRelayStage, link_relaying
from tests.peer.share_links.test_link_content import fill, known
from tests.peer.share_links.test_upload_links import send_by

INVITING = UploadWish(3600, 10, 5 << 20, 9 << 20)


class Two(NamedTuple):
    """A laptop with a folder, and a desktop of the same user."""

    laptop: Daemon
    desktop: Daemon
    root: Path
    relay: LinkRelayStage

    async def made(self, wish: Wish) -> LinkEntry:
        return await self.laptop.share_links.create(self.root / "a.txt", "", None, wish)


@asynccontextmanager
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    async with devices(tmp_path) as stage, link_relaying(tmp_path / "relay") as relay:
        laptop = await stage.found("laptop")
        desktop = await stage.join(laptop, "desktop")
        await stage.meet(laptop, desktop)
        root = stage.root("laptop")
        fill(root)
        await laptop.add_folder(root, "f")
        await known(laptop, 4)
        await laptop.add_relay(relay.address)
        yield Two(laptop, desktop, root, relay)


async def listed(daemon: Daemon) -> dict[str, LinkEntry]:
    return {each["id"]: each for each in (await daemon.share_links.listed())["links"]}


async def request_of(daemon: Daemon, made: UploadLinkEntry, state: str) -> UploadLinkEntry:
    """An upload link, once it stands like this there."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            for each in (await daemon.share_links.listed())["requests"]:
                if each["id"] == made["id"] and each["state"] == state:
                    return each
            await asyncio.sleep(0.01)


async def seen(daemon: Daemon, link: LinkEntry, state: str) -> LinkEntry:
    """Once it stands like this there."""
    async with asyncio.timeout(DEADLINE_S):
        while (entry := (await listed(daemon)).get(link["id"])) is None or entry["state"] != state:
            await asyncio.sleep(0.01)
    return entry


async def key_of(daemon: Daemon, link: LinkEntry | UploadLinkEntry) -> bytes:
    """By which this device can end another's link, once it was told."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            for told in await daemon.share_links.sharing.others():
                if text_of(told.link_id) == link["id"] and told.end_key is not None:
                    return told.end_key
            await asyncio.sleep(0.01)


async def unwished(daemon: Daemon) -> None:
    """Once the device that made a link was heard to have ended it."""
    store = await daemon.share_links.sharing._store()
    async with asyncio.timeout(DEADLINE_S):
        while await store.wishes() or await store.all_ended_there():
            await asyncio.sleep(0.01)


def ended(relay: LinkRelayStage, link: LinkEntry | UploadLinkEntry) -> Ended:
    """As the relay has it."""
    row = relay.links.row_of(ShareUrl.parse(link["url"]).link_id)
    assert row is not None
    return Ended(row.ended)


async def is_got(link: LinkEntry, place: Path) -> bool:
    """Whether a visitor gets anything by it."""
    try:
        await asyncio.to_thread(get, ShareUrl.parse(link["url"]), place, lambda: "")
    except LinkEnded:
        return False
    return True


async def test_a_link_is_listed_on_the_other_device_and_ended_from_there(tmp_path: Path) -> None:
    async with two(tmp_path) as pair:
        made = await pair.made(Wish(downloads_max=3))
        there = await seen(pair.desktop, made, "live")
        assert (there["url"], there["name"], there["downloads_max"]) == (made["url"], "a.txt", 3)
        assert (there["device"], (await listed(pair.laptop))[made["id"]]["device"]) == (
            "laptop",
            "",
        )
        await key_of(pair.desktop, made)
        assert await pair.desktop.share_links.revoke(made["url"])
        assert (await listed(pair.desktop))[made["id"]]["state"] == "revoked", "at once"
        await unwished(pair.desktop)
        await seen(pair.laptop, made, "revoked")
        assert await pair.desktop.share_links.revoke(made["url"]), "it is ended still"
        store = await pair.desktop.share_links.sharing._store()
        assert await store.wishes() == [], "it is wished for no longer"
        assert b"a.txt" not in b"".join(row[0] for row in await store._db.execute_fetchall(
            "SELECT sealed FROM told"
        )), "what opens links is sealed where it rests"  # fmt: skip
        with pytest.raises(UnknownLink):
            await pair.desktop.share_links.revoke("another")


async def test_what_was_made_before_is_told_when_they_meet_and_so_is_a_wish(tmp_path: Path) -> None:
    async with two(tmp_path) as pair:
        hears = pair.laptop.network.on_own.pop(LinksReceived)
        pair.desktop.network.on_own.pop(EndKeysReceived)
        made = await pair.made(Wish())
        await seen(pair.desktop, made, "live")
        assert not await pair.desktop.share_links.revoke(made["id"])
        assert (await listed(pair.desktop))[made["id"]]["state"] == "ending"
        await seen(pair.laptop, made, "live")
        pair.laptop.network.on_own[LinksReceived] = hears  # it is back
        pair.laptop.network.connections[device_id(pair.desktop)].close()
        await seen(pair.laptop, made, "revoked")
        await until(lambda: are_linked(pair.laptop, pair.desktop))
        await seen(pair.desktop, made, "revoked")


@pytest.mark.row("A39")
async def test_a_stolen_device_that_was_removed_ends_no_link(tmp_path: Path) -> None:
    async with two(tmp_path) as pair:
        made = await pair.made(Wish())
        await seen(pair.desktop, made, "live")
        (link,) = await (await pair.laptop.share_links.sharing._store()).links()
        _, told = encode(await pair.laptop.share_links.sharing.known())
        assert link.secret in b"".join(told)
        assert link.key not in b"".join(told), "by it another could be put in its place"
        connection = pair.laptop.network.connections[device_id(pair.desktop)]
        await pair.laptop.remove_device("desktop")
        wish = LinksReceived((), (ShareUrl.parse(made["url"]).link_id,))
        await pair.laptop.network._handle(connection, wish)
        assert pair.laptop.share_links.sharing._due == set()
        assert (await listed(pair.laptop))[made["id"]]["state"] == "live"
        # Who is still the user's own is heard, by the same way.
        await pair.laptop.share_links.sharing.received(wish, connection)
        await until(lambda: not pair.laptop.share_links.sharing._due)
        await seen(pair.laptop, made, "revoked")


async def alone(stage: Stage, relay: LinkRelayStage, *others: str) -> LinkEntry:
    """A link of a laptop whose others have been told how to end it."""
    laptop = await stage.found("laptop")
    for name in others:
        other = await stage.join(laptop, name)
        await stage.meet(laptop, other)
    fill(stage.root("laptop"))
    await laptop.add_folder(stage.root("laptop"), "f")
    await known(laptop, 4)
    await laptop.add_relay(relay.address)
    made = await laptop.share_links.create(stage.root("laptop") / "a.txt", "", None, Wish())
    for daemon in stage.running[1:]:
        await key_of(daemon, made)
    return made


@pytest.mark.row("A39")
async def test_a_link_is_ended_while_the_device_that_made_it_is_gone(tmp_path: Path) -> None:
    async with link_relaying(tmp_path / "relay") as relay:
        async with devices(tmp_path) as stage:
            made = await alone(stage, relay, "desktop", "phone")
            assert await is_got(made, tmp_path / "before")
        async with devices(tmp_path) as stage:  # without the laptop
            desktop, phone = await stage.start("desktop"), await stage.start("phone")
            assert await desktop.share_links.revoke(made["id"])
            assert ended(relay, made) is Ended.REVOKED
            assert not await is_got(made, tmp_path / "after")
            assert not list((tmp_path / "relay" / "links").iterdir()), "the keys are erased"
            assert (await listed(desktop))[made["id"]]["state"] == "revoked"
            await stage.meet(desktop, phone)
            await seen(phone, made, "revoked")  # nobody shows what is ended as living
        async with devices(tmp_path) as stage:
            desktop = await stage.start("desktop")
            assert (await listed(desktop))[made["id"]]["state"] == "revoked", "it is written down"
            laptop = await stage.start("laptop")
            assert (await listed(laptop))[made["id"]]["state"] == "revoked"
            (link,) = (await laptop.share_links.sharing.known()).records
            assert link.revoked_s, "it tells so itself"
            assert (await laptop.share_links.end_keys.known()).keys == ()
            await stage.meet(laptop, desktop)
            await unwished(desktop)
            assert ended(relay, made) is Ended.REVOKED


async def test_a_device_that_comes_back_hears_from_the_relay_what_others_have_ended(
    tmp_path: Path,
) -> None:
    async with link_relaying(tmp_path / "relay") as relay:
        async with devices(tmp_path) as stage:
            made = await alone(stage, relay, "desktop")
            key = await key_of(stage.running[1], made)
        assert await end_by_key(str(relay.address), ShareUrl.parse(made["url"]).link_id, key)
        async with devices(tmp_path) as stage:
            laptop = await stage.start("laptop")

            async with asyncio.timeout(DEADLINE_S):  # nobody asks it for its links
                while not (await laptop.share_links.sharing.known()).records[0].revoked_s:
                    await asyncio.sleep(0.01)


async def test_an_end_that_no_relay_could_be_told_comes_as_soon_as_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = LinkTalk.answer

    async def older(talk: LinkTalk, request: LinkRequest, *, is_busy: bool = False) -> LinkAnswer:
        if isinstance(request, LinkEnd):
            raise Unexpected("a message of a later version")
        return await answer(talk, request, is_busy=is_busy)

    async with two(tmp_path) as pair:
        made = await pair.made(Wish())
        await key_of(pair.desktop, made)
        pair.laptop.network.on_own.pop(LinksReceived)  # and nobody hears of it there
        monkeypatch.setattr(LinkTalk, "answer", older)
        assert not await pair.desktop.share_links.revoke(made["id"])
        assert (await listed(pair.desktop))[made["id"]]["state"] == "ending"
        assert ended(pair.relay, made) is Ended.LIVE
        monkeypatch.undo()
        pass_time(monkeypatch, AGAIN_S)
        await seen(pair.desktop, made, "revoked")
        assert ended(pair.relay, made) is Ended.REVOKED


@pytest.mark.row("A39")
async def test_who_ends_another_device_s_link_is_a_stranger_to_the_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, came = LinkTalk.answer, list[set[bytes]]()
    async with two(tmp_path) as pair:
        made = await pair.made(Wish())
        await key_of(pair.desktop, made)
        desk = pair.relay.relay.relay.desk.storage
        assert isinstance(desk, StorageDesk)

        async def heard(
            talk: LinkTalk, request: LinkRequest, *, is_busy: bool = False
        ) -> LinkAnswer:
            if isinstance(request, LinkEnd):
                came.append({client.pseudonym for client in desk.links.values()})
            return await answer(talk, request, is_busy=is_busy)

        monkeypatch.setattr(LinkTalk, "answer", heard)
        pair.laptop.network.on_own.pop(LinksReceived)
        assert await pair.desktop.share_links.revoke(made["id"])
        keys = storage_keys(pair.desktop.home.keys, pair.relay.address.relay_id)
        assert came
        assert all(came)
        assert device_id_of(keys.sign_public, keys.dh_public) not in set().union(*came)


@pytest.mark.row("A39")
async def test_a_link_that_two_devices_tell_is_not_ended_by_the_word_of_one_relay(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as pair, link_relaying(tmp_path / "another") as another:
        made = await pair.made(Wish())
        await key_of(pair.desktop, made)
        pair.laptop.network.on_own.pop(LinksReceived)
        (record,) = (await pair.laptop.share_links.sharing.known()).records
        store = await pair.desktop.share_links.sharing._store()
        false = record._replace(relay=str(another.address), name="a lie")
        for liar in (b"\0" * 32, b"\xff" * 32):  # whichever is read first
            await store.tell(DeviceId(liar), "liar", [false])
            await store.tell_keys(DeviceId(liar), [EndKey(record.link_id, b"k" * 32)])
        assert not await pair.desktop.share_links.revoke(made["id"])
        assert ended(pair.relay, made) is Ended.REVOKED, "the right one was asked all the same"
        states = [each["state"] for each in (await pair.desktop.share_links.listed())["links"]]
        assert states == ["ending"] * 3


async def test_an_upload_link_is_listed_on_the_other_device_and_ended_from_there(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as pair:
        made = await pair.laptop.share_links.request(pair.root, "Party", None, INVITING)
        there = await request_of(pair.desktop, made, "live")
        assert (there["url"], there["device"], there["files"]) == (made["url"], "laptop", None)
        assert (there["files_max"], there["bytes_max"]) == (made["files_max"], made["bytes_max"])
        await key_of(pair.desktop, made)
        (link,) = await (await pair.laptop.uploads._store.get()).links()
        _, told = encode(await pair.laptop.uploads.known())
        assert link.secrets.secret in b"".join(told)
        for kept in (link.secrets.key, link.secrets.upload_secret, link.secrets.gate):
            assert kept not in b"".join(told), "what opens files stays where it is"
        assert await pair.desktop.share_links.revoke("Party")
        assert ended(pair.relay, made) is Ended.REVOKED
        await request_of(pair.desktop, made, "revoked")
        await request_of(pair.laptop, made, "revoked")
        await unwished(pair.desktop)
        assert (await pair.laptop.share_links.end_keys.known()).keys == ()


async def test_an_upload_link_ends_by_a_wish_where_nobody_was_told_a_key(tmp_path: Path) -> None:
    async with two(tmp_path) as pair:
        pair.desktop.network.on_own.pop(EndKeysReceived)
        made = await pair.laptop.share_links.request(pair.root, "Party", None, INVITING)
        await request_of(pair.desktop, made, "live")
        assert not await pair.desktop.share_links.revoke(made["url"])
        await request_of(pair.desktop, made, "revoked")
        assert ended(pair.relay, made) is Ended.REVOKED
        await unwished(pair.desktop)


async def test_what_was_sent_before_an_upload_link_was_ended_by_another_device_still_comes(
    tmp_path: Path,
) -> None:
    async with link_relaying(tmp_path / "relay") as relay:
        async with devices(tmp_path) as stage:
            await alone(stage, relay, "desktop")
            laptop, desktop = stage.running
            made = await laptop.share_links.request(stage.root("laptop"), "Party", None, INVITING)
            await key_of(desktop, made)
            (link,) = await laptop.uploads.every()
        async with devices(tmp_path) as stage:  # without the laptop
            desktop = await stage.start("desktop")
            await send_by(link, relay.desk.uploads, b"just in time", "a.txt")
            assert await desktop.share_links.revoke(made["id"])
            assert (await request_of(desktop, made, "revoked"))["waiting"] is None
        assert ended(relay, made) is Ended.REVOKED
        async with devices(tmp_path) as stage:
            laptop = await stage.start("laptop")
            assert (await request_of(laptop, made, "revoked"))["files"] == 1
            (came,) = (tmp_path / "laptop").glob("From Ada (*)/a.txt")
            assert came.read_bytes() == b"just in time"
            assert (await laptop.uploads.known()).records[0].revoked_s, "it tells so itself"


async def test_a_list_that_cannot_be_read_is_not_told_as_an_empty_one(tmp_path: Path) -> None:
    async with two(tmp_path) as pair:
        made = await pair.made(Wish())
        await seen(pair.desktop, made, "live")
        store = await pair.laptop.share_links.sharing._store()
        await store._db.execute_fetchall("UPDATE link SET sealed = zeroblob(80)")
        await pair.laptop.share_links.sharing.changed()
        pair.laptop.network.connections[device_id(pair.desktop)].close()
        await until(lambda: not are_linked(pair.laptop, pair.desktop))
        await until(lambda: are_linked(pair.laptop, pair.desktop))
        assert made["id"] in await listed(pair.desktop)
