"""Links of one device on the user's others: listed there, ended from there, and not by who was
removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from peer.daemon import Daemon
from peer.errors import UnknownLink
from peer.share_links.link_maker import Wish
from peer.share_links.link_requests import LinkEntry
from protocol.events import LinksReceived
from protocol.messages import encode
from protocol.share_url import ShareUrl
from tests.peer.device_stage import DEADLINE_S, are_linked, device_id, devices, until
from tests.peer.link_stage import link_relaying
from tests.peer.share_links.test_link_content import fill, known


class Two(NamedTuple):
    """A laptop with a folder, and a desktop of the same user."""

    laptop: Daemon
    desktop: Daemon
    root: Path

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
        yield Two(laptop, desktop, root)
        for daemon in (laptop, desktop):
            await daemon.share_links.close()


async def listed(daemon: Daemon) -> dict[str, LinkEntry]:
    return {each["id"]: each for each in (await daemon.share_links.listed())["links"]}


async def seen(daemon: Daemon, link: LinkEntry, state: str) -> LinkEntry:
    """Once it stands like this there."""
    async with asyncio.timeout(DEADLINE_S):
        while (entry := (await listed(daemon)).get(link["id"])) is None or entry["state"] != state:
            await asyncio.sleep(0.01)
    return entry


async def test_a_link_is_listed_on_the_other_device_and_ended_from_there(tmp_path: Path) -> None:
    async with two(tmp_path) as pair:
        made = await pair.made(Wish(downloads_max=3))
        there = await seen(pair.desktop, made, "live")
        assert (there["url"], there["name"], there["downloads_max"]) == (made["url"], "a.txt", 3)
        assert (there["device"], (await listed(pair.laptop))[made["id"]]["device"]) == (
            "laptop",
            "",
        )
        assert not await pair.desktop.share_links.revoke(made["url"])
        await seen(pair.laptop, made, "revoked")
        await seen(pair.desktop, made, "revoked")
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
        assert link.key not in b"".join(told), "by the key anybody could end it"
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
