"""Links as a person asks for them, by a real daemon at a real relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peer.daemon import Daemon
from peer.errors import LinkNotMade, NoLinkRelay, RelayUnreachable, UnknownLink
from peer.share_links import link_listing
from peer.share_links.link_get import get
from peer.share_links.link_maker import Wish
from peer.share_links.upload_links import UploadWish
from protocol.errors import Unexpected
from protocol.link_messages import LinkAnswer, LinkKeep, LinkPages, LinkPut, LinkRequest
from protocol.share_url import ShareUrl
from relay.link_desk import LinkTalk
from tests.peer.device_stage import devices
from tests.peer.link_stage import link_relaying
from tests.peer.share_links.test_link_content import fill, known
from tests.relay.relay_stage import relaying


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[tuple[Daemon, Path]]:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        root = stage.root("one")
        fill(root)
        await daemon.add_folder(root, "f")
        await known(daemon, 4)
        yield daemon, root


async def test_a_link_is_made_listed_and_revoked(one: tuple[Daemon, Path], tmp_path: Path) -> None:
    daemon, root = one
    async with relaying() as plain, link_relaying(tmp_path / "relay") as stage:
        await daemon.add_relay(plain.address)  # it stores nothing, and is passed over
        await daemon.add_relay(stage.address)
        links = daemon.share_links
        made = await links.create(root / "d", "", None, Wish(lifetime_s=600, downloads_max=3))
        assert (made["name"], made["files"], made["state"]) == ("d", 3, "live")
        assert made["uploaded_bytes"] > 0
        url = ShareUrl.parse(made["url"])
        await asyncio.to_thread(get, url, tmp_path / "there", lambda: "")
        assert (tmp_path / "there" / "d" / "b.txt").read_bytes() == b"bb" * 300_000
        again = await links.create(root / "d" / "b.txt", "x", str(stage.address), Wish())
        assert again["uploaded_bytes"] == 0
        listed = (await links.listed())["links"]
        assert [(each["id"], each["downloads"], each["state"]) for each in listed] in (
            [(again["id"], 0, "live"), (made["id"], 1, "live")],
            [(made["id"], 1, "live"), (again["id"], 0, "live")],
        )
        await links.revoke(made["id"][:8])
        await links.revoke(again["url"])
        assert {each["state"] for each in (await links.listed())["links"]} == {"revoked"}
        for wrong in ("nothing", ""):
            with pytest.raises(UnknownLink):
                await links.revoke(wrong)
        with pytest.raises(NoLinkRelay, match=r"elsewhere\.example is no relay of yours"):
            await links.create(root / "a.txt", "", "elsewhere.example", Wish())
        with pytest.raises(NoLinkRelay, match="serves no share links"):
            await links.create(root / "a.txt", "", str(plain.address), Wish())
        with pytest.raises(LinkNotMade, match=r"^No link was made: the name holds a slash"):
            await links.create(root / "a.txt", "../x", None, Wish())
        live = await links.create(root / "a.txt", "b", None, Wish())
        request = await links.request(root / "d", "b", None, UploadWish(600, 1, 2, 3))
        with pytest.raises(UnknownLink, match="2 links are meant"):
            await links.revoke("b")
        await links.revoke(request["id"][:8])
        assert [each["state"] for each in (await links.listed())["requests"]] == ["revoked"]
    # The relay is gone: what is not known is said, and a revocation is not claimed.
    state = {each["id"]: each["state"] for each in (await links.listed())["links"]}
    assert state[live["id"]] == "unknown"
    with pytest.raises(RelayUnreachable, match="not ended"):
        await links.revoke(live["id"])
    with pytest.raises(RelayUnreachable, match="No link was made"):
        await links.create(root / "a.txt", "", None, Wish())


@pytest.mark.parametrize("downloads_max", [0, 1])
async def test_a_relay_that_does_not_know_pages_gets_a_link_all_the_same(
    one: tuple[Daemon, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, downloads_max: int
) -> None:
    daemon, root = one
    answer, heard = LinkTalk.answer, list[LinkRequest]()

    async def older(talk: LinkTalk, request: LinkRequest, *, is_busy: bool = False) -> LinkAnswer:
        heard.append(request)
        if isinstance(request, LinkPages):
            raise Unexpected("a message of a later version")
        return await answer(talk, request, is_busy=is_busy)

    monkeypatch.setattr(LinkTalk, "answer", older)
    monkeypatch.setattr(link_listing, "LISTED_MAX", 0)
    async with link_relaying(tmp_path / "relay") as stage:
        await daemon.add_relay(stage.address)
        made = await daemon.share_links.create(root / "d", "", None, Wish(0, downloads_max))
        assert [type(each) for each in heard if isinstance(each, LinkPages | LinkKeep)] == [
            LinkPages, LinkKeep,
        ]  # fmt: skip
        put = [each for each in heard if isinstance(each, LinkPut)][-1]
        assert len(put.packs) == 2 - downloads_max, "a counted one lists its files in full"
        (listed,) = (await daemon.share_links.listed())["links"]
        assert listed["id"] == made["id"]
        await asyncio.to_thread(get, ShareUrl.parse(made["url"]), tmp_path / "there", lambda: "")
        assert (tmp_path / "there" / "d" / "b.txt").read_bytes() == b"bb" * 300_000


async def test_without_a_relay_there_are_no_links(one: tuple[Daemon, Path]) -> None:
    daemon, root = one
    with pytest.raises(NoLinkRelay):
        await daemon.share_links.create(root / "a.txt", "", None, Wish())
    assert (await daemon.share_links.listed())["links"] == []
