"""Links made at a real relay, and fetched as their visitors do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from peer.errors import LinkNotMade
from peer.share_links.link_get import get
from peer.share_links.link_maker import Wish
from peer.share_links.link_relay import link_relay
from protocol.errors import StorageRefused
from tests.peer.link_stage import FolderInMemory, link_relaying, noise


def nobody() -> str:
    raise AssertionError("nobody is asked")


async def test_what_is_made_is_what_is_fetched(tmp_path: Path) -> None:
    async with link_relaying(tmp_path / "relay") as stage:
        folder = stage.folder
        files = [
            folder.file("top/a.raw", *(noise(6) for _ in range(25))),
            folder.file("top/b.txt", b"text\n" * 1000),
            folder.file("top/empty"),
        ]
        async with link_relay(stage.address, stage.keys) as relay:
            made = await stage.maker(relay).make(files, Wish(lifetime_s=60))
        assert made.uploaded_bytes > 25 * 6 * 65536
        assert made.url.base == stage.base
        assert len([pack for pack in stage.links._links.values()]) == 1
        await asyncio.to_thread(get, made.url, tmp_path / "there", nobody)
        whole = b"".join(folder.chunks[chunk] for chunk, _ in files[0].chunks)
        assert (tmp_path / "there" / "top" / "a.raw").read_bytes() == whole
        assert (tmp_path / "there" / "top" / "b.txt").read_bytes() == b"text\n" * 1000
        assert (tmp_path / "there" / "top" / "empty").read_bytes() == b""


async def test_what_is_there_is_not_uploaded_again(tmp_path: Path) -> None:
    async with link_relaying(tmp_path / "relay") as stage:
        file, more = stage.folder.file("a", noise(3)), stage.folder.file("b", noise(1))
        async with link_relay(stage.address, stage.keys) as relay:
            first = await stage.maker(relay).make([file], Wish())
            reads = stage.folder.reads
            second = await stage.maker(relay).make([file], Wish())
            assert (second.uploaded_bytes, stage.folder.reads) == (0, reads)
            third = await stage.maker(relay).make([file, more], Wish())
        assert 0 < third.uploaded_bytes < first.uploaded_bytes
        assert third.blob_bytes < 1000
        await asyncio.to_thread(get, second.url, tmp_path / "there", nobody)


async def test_a_relay_that_lost_packs_gets_them_again(tmp_path: Path) -> None:
    async with link_relaying(tmp_path / "relay") as stage:
        file = stage.folder.file("a", noise(3))
        async with link_relay(stage.address, stage.keys) as relay:
            first = await stage.maker(relay).make([file], Wish())
            async with stage.desk.store.transaction() as db:
                await db.execute_fetchall("DELETE FROM packs")
            second = await stage.maker(relay).make([file], Wish())
        assert second.uploaded_bytes == first.uploaded_bytes
        await asyncio.to_thread(get, second.url, tmp_path / "there", nobody)


async def test_a_file_that_is_changed_meanwhile_makes_no_link(tmp_path: Path) -> None:
    async with link_relaying(tmp_path / "relay") as stage:
        file = stage.folder.file("a", noise(1))
        stage.folder.chunks.clear()
        async with link_relay(stage.address, stage.keys) as relay:
            with pytest.raises(LinkNotMade, match="changed"):
                await stage.maker(relay).make([file], Wish())
        assert await stage.store.links() == []


async def test_while_a_new_key_is_owed_nothing_is_sealed_under_the_old_one(tmp_path: Path) -> None:
    async with link_relaying(tmp_path / "relay") as stage:
        stage.chain.is_owed = True
        async with link_relay(stage.address, stage.keys) as relay:
            with pytest.raises(LinkNotMade, match="renewed"):
                await stage.maker(relay).make([stage.folder.file("a", noise(1))], Wish())
            # What needs no sealing is made all the same.
            assert (await stage.maker(relay).make([stage.folder.file("b")], Wish())).link.files == 1


async def test_a_link_that_the_relay_refuses_is_not_in_the_list(tmp_path: Path) -> None:
    async with link_relaying(tmp_path / "relay") as stage:
        stage.links.has_room = lambda *_: False  # type: ignore[method-assign]
        async with link_relay(stage.address, stage.keys) as relay:
            with pytest.raises(StorageRefused):
                await stage.maker(relay).make([stage.folder.file("a", noise(1))], Wish())
        assert await stage.store.links() == []


async def test_a_password_is_needed_for_what_was_made_with_one(tmp_path: Path) -> None:
    async with link_relaying(tmp_path / "relay") as stage:
        async with link_relay(stage.address, stage.keys) as relay:
            wish = Wish(password="Tal")
            made = await stage.maker(relay).make([stage.folder.file("a", b"b")], wish)
        assert made.link.has_password
        await asyncio.to_thread(get, made.url, tmp_path / "there", lambda: "Tal")
        assert (tmp_path / "there" / "a").read_bytes() == b"b"


def test_the_folder_in_memory_gives_some_at_once() -> None:
    folder = FolderInMemory()
    file = folder.file("a", *(bytes([n]) for n in range(8)))
    assert len(asyncio.run(folder.read_chunks([chunk for chunk, _ in file.chunks]))) == 5
