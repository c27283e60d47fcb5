"""Has what a link gives lie at its relay, and says how a manifest lists it.

Long lists lie in pages, which are put like chunks. Which packs a page needs is remembered by what
it lists, so that a link to what was listed before looks no chunk up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from crypto.chunks import chunk_key
from crypto.ids import ChunkId, EntryId
from peer.backup.sealed_chunks import SealedChunks
from peer.share_links.link_content import Given
from peer.share_links.link_packing import LinkPacking, each_of
from peer.share_links.link_paging import ChunkPlaces, FilesRun, NewPage, Paged, new_pages, paged_of
from peer.share_links.link_store import KnownPage, StoredChunk
from protocol.link_manifest import LinkManifest, SharedFile, SharedPage

LISTED_MAX: Final = 48 << 10
"""Bytes of pages that do not lie at the relay and are written into the manifest instead: put into
a pack they would fill the smallest one.
"""
PREPARED_SHARE: Final = 100
"""Pages are prepared if they are no more than a hundredth of what they list: of small files not."""


@dataclass(slots=True)
class Listing:
    """All that a link gives, at its relay."""

    paged: Paged
    places: ChunkPlaces
    pages: dict[bytes, KnownPage] = field(default_factory=dict)
    """By the keys of what they list. What is in none of them, the manifest lists itself."""

    def manifest(self, expires_s: int) -> LinkManifest:
        """As a visitor is to have it."""
        places, pages = self.places, self.pages
        large = []
        for file, parts in self.paged.large:
            if all(part.key in pages for part in parts):
                named = tuple(places.named(pages[part.key].page) for part in parts)
                time_ms = file.mtime_ns // 1_000_000
                large.append(SharedFile(file.path, file.size, time_ms, (), named))
            else:
                large.append(places.file(file, file.path))
        runs = tuple(
            SharedPage(run.prefix, places.named(pages[run.key].page))
            for run in self.paged.runs
            if run.key in pages
        )
        plain = [places.file(file, file.path) for file in self._plain()]
        return LinkManifest(expires_s, tuple(places.pack_ids), tuple(plain + large), None, 0, runs)

    def packs(self) -> set[bytes]:
        """Descriptors of all packs that it takes to read what the link gives."""
        needed = {known.page.descriptor_id for known in self.pages.values()}
        needed.update(*(known.needs for known in self.pages.values()))
        return needed | {self.places.stored[id_].descriptor_id for id_ in self._named_itself()}

    def packs_of_pages(self) -> frozenset[bytes]:
        """Those that hold nothing of what it gives."""
        pages = {known.page.descriptor_id for known in self.pages.values()}
        needs = {pack for known in self.pages.values() for pack in known.needs}
        itself = {self.places.stored[id_].descriptor_id for id_ in self._named_itself()}
        return frozenset(pages - needs - itself)

    def _plain(self) -> list[Given]:
        """Files that the manifest lists, but for large ones."""
        runs = (run for run in self.paged.runs if run.key not in self.pages)
        return [*self.paged.plain, *(file for run in runs for file in run.files)]

    def _named_itself(self) -> Iterable[ChunkId]:
        for file in self._plain():
            yield from (chunk_id for chunk_id, _ in file.chunks)
        for _, parts in self.paged.large:
            for part in parts:
                if part.key not in self.pages:
                    yield from (chunk_id for chunk_id, _ in part.chunks)


class LinkLister:
    """For links of one folder at one relay."""

    def __init__(self, packing: LinkPacking, sealed: SealedChunks | None = None) -> None:
        """`packing` puts what is missing there; `sealed`: what of the folder lies at super-nodes,
        one of which it is.
        """
        self._packing, self._sealed = packing, sealed
        self.missing_bytes = 0
        """Of files that were not at the relay."""
        self.at_nodes: set[bytes] = set()
        """Descriptors of packs that lie in the folder's namespace."""
        self._secrets: dict[EntryId, bytes] = {}

    async def list(
        self, files: Sequence[Given], *, is_in_full: bool = False, is_anew: bool = False
    ) -> Listing:
        """Has all of this be there; raises LinkError or LinkNotMade.

        In full: the manifest itself lists each file. Anew: nothing that is remembered of pages
        counts.
        """
        paged = await asyncio.to_thread(paged_of, files)
        if not (is_in_full or is_anew):
            known = await self._known([run.key for run in paged.every_run])
            listing = await self._list(paged, known)
            if listing is not None:
                return listing
        listing = await self._list(paged, {}, is_in_full=is_in_full)
        assert listing is not None, "no page was known before"
        return listing

    async def prepare(self, files: Sequence[Given]) -> None:
        """Puts the pages that links to these files would name, if they are much.

        Only what lies at super-nodes is prepared: of all else a link uploads the bytes themselves.
        """
        assert self._sealed is not None, "nothing is prepared where nothing is stored"
        every = list({chunk_id: None for file in files for chunk_id, _ in file.chunks})
        stored = await self._sealed.find(every)
        whole = [f for f in files if all(chunk_id in stored for chunk_id, _ in f.chunks)]
        paged = await asyncio.to_thread(paged_of, whole)
        places = ChunkPlaces(stored, self._key_of)
        pages = await asyncio.to_thread(new_pages, list(paged.every_run), places)
        if _size(pages) * PREPARED_SHARE > sum(file.size for file in whole):
            return
        found = await self._packing.find([page.id for page in pages.values()])
        missing = {page.id: page.data for page in pages.values() if page.id not in found}
        if sum(map(len, missing.values())) > LISTED_MAX:
            found |= await self._packing.put(each_of(missing.items()))
        await self._remember(pages, found)

    # Private

    async def _list(
        self, paged: Paged, known: Mapping[bytes, KnownPage], *, is_in_full: bool = False
    ) -> Listing | None:
        """None if all is so little that the manifest is to list what these pages do."""
        fresh = [run for run in paged.every_run if run.key not in known]
        lengths = {id_: length for file in paged.plain for id_, length in file.chunks}
        lengths |= {id_: length for run in fresh for id_, length in run.chunks}
        places = ChunkPlaces(await self._stored(lengths), self._key_of)
        in_pages = [run for run in fresh if not (is_in_full and isinstance(run, FilesRun))]
        pages = await asyncio.to_thread(new_pages, in_pages, places)
        known_size = sum(each.page.plain_len for each in known.values())
        if _size(pages) + known_size <= LISTED_MAX:
            return None if known else Listing(paged, places)
        found = await self._packing.find([page.id for page in pages.values()])
        missing = {page.id: page.data for page in pages.values() if page.id not in found}
        if sum(map(len, missing.values())) <= LISTED_MAX:
            files = {run.key for run in paged.runs}
            pages = {k: page for k, page in pages.items() if page.id in found or k not in files}
            left = {page.id for page in pages.values()}
            missing = {id_: data for id_, data in missing.items() if id_ in left}
        if missing:
            found |= await self._packing.put(each_of(missing.items()))
        return Listing(paged, places, {**known, **await self._remember(pages, found)})

    async def _known(self, keys: Sequence[bytes]) -> dict[bytes, KnownPage]:
        """Pages that lie at the relay with all that they list."""
        packing, relay = self._packing, self._packing.relay
        folder_id = packing.making.folder.folder_id
        known = await packing.store.find_pages(relay.id, folder_id, keys, relay.time_s)
        needs = {pack for each in known.values() for pack in each.needs}
        at_nodes = await self._sealed.holding(needs) if self._sealed is not None else set()
        own = {each.page.descriptor_id for each in known.values()} | needs - at_nodes
        there = at_nodes | await packing.renewed(own)
        self.at_nodes |= at_nodes
        return {
            key: each
            for key, each in known.items()
            if each.page.descriptor_id in there and each.needs <= there
        }

    async def _remember(
        self, pages: Mapping[bytes, NewPage], found: Mapping[ChunkId, StoredChunk]
    ) -> dict[bytes, KnownPage]:
        """Those of these pages that were found, known from now on by what they list."""
        known = {
            key: KnownPage(found[page.id], page.needs)
            for key, page in pages.items()
            if page.id in found
        }
        packing = self._packing
        folder_id = packing.making.folder.folder_id
        await packing.store.put_pages(packing.relay.id, folder_id, known)
        return known

    async def _stored(self, lengths: Mapping[ChunkId, int]) -> dict[ChunkId, StoredChunk]:
        """All these chunks, at the relay."""
        if not lengths:
            return {}
        every = list(lengths)
        at_nodes = await self._sealed.find(every) if self._sealed is not None else {}
        self.at_nodes |= {chunk.descriptor_id for chunk in at_nodes.values()}
        wanted = [chunk_id for chunk_id in every if chunk_id not in at_nodes]
        found = await self._packing.find(wanted)
        missing = [chunk_id for chunk_id in wanted if chunk_id not in found]
        if missing:
            self.missing_bytes = sum(lengths[chunk_id] for chunk_id in missing)
            found |= await self._packing.put(self._packing.read(missing))
        return found | at_nodes

    def _key_of(self, chunk: StoredChunk) -> bytes:
        secret = self._secrets.get(chunk.epoch_id)
        if secret is None:
            secret = self._packing.making.chain.read_secret(chunk.epoch_id)
            assert secret is not None, "it was sealed here"
            self._secrets[chunk.epoch_id] = secret
        return chunk_key(secret, chunk.id)


def _size(pages: Mapping[bytes, NewPage]) -> int:
    return sum(len(page.data) for page in pages.values())
