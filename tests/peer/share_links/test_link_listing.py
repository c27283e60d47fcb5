"""What a link lists: in pages that lie at its relay, and of which it is known what they need."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import cast

import pytest

from crypto.ids import ChunkId
from crypto.packs import LEAF_SIZE
from crypto.share_links import LinkSecrets, open_link
from peer.backup.sealed_chunks import SealedChunks
from peer.errors import LinkEnded
from peer.share_links.link_content import Given
from peer.share_links.link_get import _with_pages, get
from peer.share_links.link_maker import Made, Wish
from peer.share_links.link_relay import LinkRelay, link_relay
from peer.share_links.link_store import StoredChunk
from peer.share_links.link_visit import Visitor
from protocol.link_manifest import LinkManifest, decode_manifest
from protocol.link_pages import pages_of
from tests.peer.link_stage import FolderInMemory, LinkRelayStage, link_relaying


def nobody() -> str:
    raise AssertionError("nobody is asked")


class Sealed:
    """As much as is asked of it: what lies at nodes, all in this relay's one namespace."""

    def __init__(self, relay: LinkRelay, chunks: dict[ChunkId, StoredChunk]) -> None:
        self.namespace = relay.own(b"").namespace
        self.chunks, self.lost = chunks, set[bytes]()
        self.asked = 0

    async def find(self, ids: Sequence[ChunkId]) -> dict[ChunkId, StoredChunk]:
        self.asked += len(ids)
        found = {id_: self.chunks[id_] for id_ in ids if id_ in self.chunks}
        return {i: c for i, c in found.items() if c.descriptor_id not in self.lost}

    async def holding(self, packs: Collection[bytes]) -> set[bytes]:
        return {c.descriptor_id for c in self.chunks.values()} & set(packs) - self.lost


async def kept_at_nodes(stage: LinkRelayStage, relay: LinkRelay, files: Sequence[Given]) -> Sealed:
    """All of these lie there, for all that a link knows at nodes."""
    await stage.maker(relay).make(files, Wish())
    folder_id = stage.folder.folder_id
    ids = [chunk for file in files for chunk, _ in file.chunks]
    chunks = await stage.store.find(relay.id, folder_id, ids, 0)
    await stage.store.forget_packs(relay.id, {c.descriptor_id for c in chunks.values()})
    return Sealed(relay, chunks)


def opened(made: Made) -> tuple[Visitor, LinkSecrets, LinkManifest]:
    visitor = Visitor(made.url)
    secrets = LinkSecrets.of(made.url.secret, visitor.head().password_salt)
    blob = visitor.claim(secrets.token(made.url.link_id))
    return visitor, secrets, decode_manifest(open_link(made.url.link_id, secrets, blob))


def manifest_of(made: Made) -> LinkManifest:
    visitor, _, manifest = opened(made)
    visitor.close()
    return manifest


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


async def test_who_reads_the_list_of_any_link_has_downloaded_nothing(tmp_path: Path) -> None:
    async with link_relaying(tmp_path / "relay") as stage:
        files = many(stage.folder)
        async with link_relay(stage.address, stage.keys) as relay:
            made = await stage.maker(relay).make(files, Wish())
            visitor, secrets, manifest = await asyncio.to_thread(opened, made)
            await asyncio.to_thread(_with_pages, manifest, visitor, secrets, tmp_path)
            visitor.close()
            assert (await relay.uses())[made.url.link_id].downloads == 0
            await asyncio.to_thread(get, made.url, tmp_path / "there", nobody)
            assert (await relay.uses())[made.url.link_id].downloads == 1


@pytest.mark.row("A39")
async def test_who_reads_the_list_of_a_counted_link_takes_none_of_it(tmp_path: Path) -> None:
    async with link_relaying(tmp_path / "relay") as stage:
        files = many(stage.folder)
        async with link_relay(stage.address, stage.keys) as relay:
            free = await stage.maker(relay).make(files, Wish())
            made = await stage.maker(relay).make(files, Wish(downloads_max=1))
            assert (made.uploaded_bytes, made.blob_bytes) == (0, free.blob_bytes)
            visitor, secrets, manifest = await asyncio.to_thread(opened, made)
            assert manifest.pages
            whole = await asyncio.to_thread(_with_pages, manifest, visitor, secrets, tmp_path)
            assert sorted(file.path for file in whole.files) == sorted(f.path for f in files)
            assert (await relay.uses())[made.url.link_id].downloads == 0
            # Who reads nothing but what is said to be the list finds nothing else there.
            lists = {manifest.pack_ids[page.pack] for page in pages_of(manifest)}
            given = {whole.pack_ids[c.pack] for file in whole.files for c in file.chunks}
            assert not lists & given
            await asyncio.to_thread(visitor.range, given.pop(), 0, LEAF_SIZE)
            visitor.close()
            assert (await relay.uses())[made.url.link_id].downloads == 1
        with pytest.raises(LinkEnded):
            await asyncio.to_thread(get, made.url, tmp_path / "late", nobody)


async def test_what_was_prepared_is_linked_to_with_no_chunk_looked_up(tmp_path: Path) -> None:
    async with link_relaying(tmp_path / "relay") as stage:
        files = many(stage.folder)
        large = [file._replace(size=100_000) for file in files]
        async with link_relay(stage.address, stage.keys) as relay:
            sealed = await kept_at_nodes(stage, relay, files)
            there = cast(SealedChunks, sealed)
            assert await stage.maker(relay, there).prepare(files) == 0, "of so small files too much"
            assert await stage.maker(relay, there).prepare(large) > 0
            assert await stage.maker(relay, there).prepare(large) == 0, "it is there"
            await stage.maker(relay, there).prepare(files)

            sealed.asked = 0
            again = await stage.maker(relay, there).make(files, Wish())
            assert (again.uploaded_bytes, sealed.asked) == (0, 0)
            await asyncio.to_thread(get, again.url, tmp_path / "again", nobody)
            last = (tmp_path / "again" / "top" / "under" / "z").read_bytes()
            assert last == b"".join(stage.folder.chunks[id_] for id_, _ in files[-1].chunks)

            # Of what has changed, those of its page are.
            new = stage.folder.file("top/077.txt", b"new")
            changed = [*files[:77], new, *files[78:]]
            made = await stage.maker(relay, there).make(changed, Wish())
            assert 0 < sealed.asked < len(files)
            await asyncio.to_thread(get, made.url, tmp_path / "changed", nobody)
            assert (tmp_path / "changed" / "top" / "077.txt").read_bytes() == b"new"
            assert (tmp_path / "changed" / "top" / "078.txt").read_bytes() == b"78"


async def test_a_page_is_of_no_use_without_what_it_lists(tmp_path: Path) -> None:
    async with link_relaying(tmp_path / "relay") as stage:
        files = many(stage.folder)
        async with link_relay(stage.address, stage.keys) as relay:
            sealed = await kept_at_nodes(stage, relay, files)
            there = cast(SealedChunks, sealed)
            await stage.maker(relay, there).make(files, Wish())
            sealed.lost = {next(iter(sealed.chunks.values())).descriptor_id}
            async with stage.desk.store.transaction() as db:
                sql = "DELETE FROM packs WHERE descriptor_id = ?"
                await db.executemany(sql, [(each,) for each in sealed.lost])
            sealed.asked = 0
            made = await stage.maker(relay, there).make(files, Wish())
            assert sealed.asked > 0
            assert made.uploaded_bytes > 0
            await asyncio.to_thread(get, made.url, tmp_path / "there", nobody)
            assert (tmp_path / "there" / "top" / "000.txt").read_bytes() == b"0"


async def test_a_short_list_stands_in_the_manifest_though_its_pages_are_there(
    tmp_path: Path,
) -> None:
    async with link_relaying(tmp_path / "relay") as stage:
        files = many(stage.folder)
        async with link_relay(stage.address, stage.keys) as relay:
            await stage.maker(relay).make(files, Wish())
            made = await stage.maker(relay).make(files[:60], Wish())
        manifest = await asyncio.to_thread(manifest_of, made)
        assert (len(manifest.files), manifest.pages, made.uploaded_bytes) == (60, (), 0)
