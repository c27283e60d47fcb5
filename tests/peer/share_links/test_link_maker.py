"""Links made at a real relay, and fetched as their visitors do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from crypto.ids import ChunkId
from crypto.packs import LEAF_SIZE
from crypto.share_links import LinkSecrets, open_link
from peer.backup.sealed_chunks import SealedChunks
from peer.errors import LinkNotMade
from peer.share_links.link_content import Given
from peer.share_links.link_get import get
from peer.share_links.link_maker import Wish
from peer.share_links.link_relay import link_relay
from peer.share_links.link_store import StoredChunk
from peer.share_links.link_visit import Visitor
from protocol.errors import StorageRefused
from protocol.link_manifest import decode_manifest
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


def many(folder: FolderInMemory, last: bytes = b"") -> list[Given]:
    files = [folder.file(f"top/{n:03}.txt", b"%d" % n) for n in range(700)]
    files += [folder.file(f"top/under/{n:03}.txt", b"more %d" % n) for n in range(100)]
    return [*files, folder.file("top/under/z", *(b"piece %d" % n for n in range(80)), last or b"z")]


async def test_a_long_list_lies_at_the_relay_for_the_next_link(tmp_path: Path) -> None:
    async with link_relaying(tmp_path / "relay") as stage:
        folder = stage.folder
        async with link_relay(stage.address, stage.keys) as relay:
            first = await stage.maker(relay).make(many(folder), Wish())
            second = await stage.maker(relay).make(many(folder), Wish())
            changed = await stage.maker(relay).make(many(folder, b"changed"), Wish())
            part = many(folder)[700:800]
            below = await stage.maker(relay).make(part, Wish())
        assert first.uploaded_bytes > 100_000
        assert first.blob_bytes < 2_000
        assert (second.uploaded_bytes, second.blob_bytes) == (0, first.blob_bytes)
        assert changed.uploaded_bytes <= 2 * LEAF_SIZE, "a chunk, and the page that lists it"
        assert below.uploaded_bytes == 0
        assert (second.link.files, second.link.size) == (801, sum(f.size for f in many(folder)))
        assert second.link.name == "top"
        for made, files in ((second, many(folder)), (below, part)):
            there = tmp_path / made.url.path.replace("/", "")
            await asyncio.to_thread(get, made.url, there, nobody)
            for file in files:
                data = b"".join(folder.chunks[chunk] for chunk, _ in file.chunks)
                assert (there / file.path).read_bytes() == data


async def test_who_reads_the_list_of_a_counted_link_takes_none_of_it(tmp_path: Path) -> None:
    async with link_relaying(tmp_path / "relay") as stage:
        async with link_relay(stage.address, stage.keys) as relay:
            made = await stage.maker(relay).make(many(stage.folder), Wish(downloads_max=1))
        visitor = Visitor(made.url)
        head = await asyncio.to_thread(visitor.head)
        secrets = LinkSecrets.of(made.url.secret, head.password_salt)
        blob = await asyncio.to_thread(visitor.claim, secrets.token(made.url.link_id))
        manifest = decode_manifest(open_link(made.url.link_id, secrets, blob))
        assert len(manifest.files) == 801
        assert not manifest.pages
        visitor.close()


async def test_what_is_prepared_need_not_be_sent_with_a_link(tmp_path: Path) -> None:
    async with link_relaying(tmp_path / "relay") as stage:
        files = many(stage.folder)
        async with link_relay(stage.address, stage.keys) as relay:
            await stage.maker(relay).make(files[:-1], Wish())
            ids = [chunk for file in files[:-1] for chunk, _ in file.chunks]
            at_nodes = await stage.store.find(
                stage.address.relay_id, stage.folder.folder_id, ids, 0
            )

            class Sealed:  # as much of it as is asked
                async def find(self, ids: list[ChunkId]) -> dict[ChunkId, StoredChunk]:
                    return {id_: at_nodes[id_] for id_ in ids if id_ in at_nodes}

            large = [file._replace(size=100_000) for file in files]
            maker = stage.maker(relay, cast(SealedChunks, Sealed()))
            assert await maker.prepare(files) == 0, "of so small files it would be too much"
            assert await maker.prepare(large) > 0
            again = stage.maker(relay, cast(SealedChunks, Sealed()))
            assert await again.prepare(large) == 0, "it is there"


def test_the_folder_in_memory_gives_some_at_once() -> None:
    folder = FolderInMemory()
    file = folder.file("a", *(bytes([n]) for n in range(8)))
    assert len(asyncio.run(folder.read_chunks([chunk for chunk, _ in file.chunks]))) == 5
