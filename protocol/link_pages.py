"""Pages of share links: files, or the chunks of one file, listed in what lies in packs like chunks.

A manifest names a page by place, key and hash, as it names a chunk, and so it stays small however
much it gives. A page holds nothing but what it lists: it goes to whoever is given all of that. It
counts packs for itself, so that it is the same in every link (SPEC 17).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from crypto.share_links import MANIFEST_SIZE_MAX
from protocol import wire
from protocol.errors import Malformed
from protocol.link_manifest import (
    ITEMS_MAX,
    LinkManifest,
    SharedChunk,
    SharedFile,
    check_pack_ids,
    check_paths,
    chunk_item,
    decode_chunk,
    decode_file,
    file_item,
)

PAGE_SIZE_MAX: Final = 1 << 20
"""Of the bytes of one page: five times what a maker puts into one."""
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class LinkPage:
    """Either files, with paths from the page's directory on, or chunks."""

    pack_ids: tuple[bytes, ...] = ()
    """By whose places the chunks count here."""
    files: tuple[SharedFile, ...] = ()
    chunks: tuple[SharedChunk, ...] = ()

    def encode(self) -> bytes:
        """What is sealed."""
        items = [file_item(file) for file in self.files] or None
        chunks = [chunk_item(chunk) for chunk in self.chunks] or None
        return wire.encode([_VERSION, list(self.pack_ids), items, chunks])


def decode_page(data: bytes) -> LinkPage:
    """A page that is safe to follow below its directory; raises Malformed, BadName or TooLong."""
    match wire.decode(data, PAGE_SIZE_MAX, ITEMS_MAX):
        case [1, list(pack_ids), list(items), None] if items:
            check_pack_ids(pack_ids)
            files = tuple(decode_file(item, len(pack_ids)) for item in items)
            check_paths(files)
            return LinkPage(tuple(pack_ids), files)
        case [1, list(pack_ids), None, list(items)] if items:
            check_pack_ids(pack_ids)
            chunks = tuple(decode_chunk(item, len(pack_ids)) for item in items)
            return LinkPage(tuple(pack_ids), (), chunks)
        case _:
            raise Malformed("not a page of version 1")


def pages_of(manifest: LinkManifest) -> list[SharedChunk]:
    """Where a manifest's pages lie, those of its large files first; raises Malformed if they are
    too much.
    """
    pages = [page for file in manifest.files for page in file.pages]
    pages += [page.chunk for page in manifest.pages]
    is_sane = all(page.plain_len <= PAGE_SIZE_MAX for page in pages)
    if not is_sane or sum(page.plain_len for page in pages) > MANIFEST_SIZE_MAX:
        raise Malformed("pages of more than a manifest may have")
    return pages


def expanded(manifest: LinkManifest, opened: Sequence[bytes]) -> LinkManifest:
    """The manifest without pages, given what is in each of `pages_of`, in this order.

    Raises Malformed, BadName or TooLong: it has to be as safe as one that never had any.
    """
    packs = _Packs(list(manifest.pack_ids))
    pages = iter(opened)
    files = []
    for file in manifest.files:
        if not file.pages:
            files.append(file)
            continue
        chunks = tuple(_chunks(pages, len(file.pages), packs))
        if sum(chunk.plain_len for chunk in chunks) != file.size:
            raise Malformed("a file's size is not that of its chunks")
        files.append(replace(file, chunks=chunks, pages=()))
    for place in manifest.pages:
        page = decode_page(next(pages))
        if page.chunks:
            raise Malformed("a page of chunks in place of one of files")
        numbers = packs.numbers(page.pack_ids)
        for file in page.files:
            chunks = tuple(replace(chunk, pack=numbers[chunk.pack]) for chunk in file.chunks)
            files.append(replace(file, path=f"{place.prefix}/{file.path}", chunks=chunks))
    check_paths(files)
    return replace(manifest, pack_ids=tuple(packs.ids), files=tuple(files), pages=())


@dataclass(slots=True)
class _Packs:
    """Packs as a whole manifest counts them."""

    ids: list[bytes]
    _known: dict[bytes, int] = field(init=False)

    def __post_init__(self) -> None:
        self._known = {pack_id: number for number, pack_id in enumerate(self.ids)}

    def numbers(self, pack_ids: Sequence[bytes]) -> list[int]:
        """What those that a page counts from 0 are here."""
        for pack_id in pack_ids:
            if pack_id not in self._known:
                self._known[pack_id] = len(self.ids)
                self.ids.append(pack_id)
        return [self._known[pack_id] for pack_id in pack_ids]


def _chunks(pages: Iterator[Any], count: int, packs: _Packs) -> Iterator[SharedChunk]:
    for _ in range(count):
        page = decode_page(next(pages))
        if page.files:
            raise Malformed("a page of files in place of one of chunks")
        numbers = packs.numbers(page.pack_ids)
        for chunk in page.chunks:
            yield replace(chunk, pack=numbers[chunk.pack])
