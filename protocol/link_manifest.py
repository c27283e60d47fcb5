"""A share link's manifest: the files that it gives, and where in which packs they lie (SPEC 17).

Much of it may lie in pages of its own (protocol.link_pages), which it names by place and key. It is
sealed before a relay sees it (crypto.share_links), and it names each sealed chunk by SHA-256:
a visitor who knows a chunk's key could otherwise make other bytes that open, with the relay's help.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from crypto.chunks import CHUNK_SEAL_OVERHEAD, CHUNK_SIZE_MAX
from crypto.packs import LEAF_SIZE, PACK_SIZE_MAX
from crypto.primitives import HASH_SIZE, KEY_SIZE
from crypto.share_links import LINK_KEY_SIZE, MANIFEST_SIZE_MAX
from protocol import wire
from protocol.errors import Malformed
from protocol.names import check_name, fold_key

PATH_LENGTH_MAX: Final = 4096
PATH_DEPTH_MAX: Final = 128
ITEMS_MAX: Final = 4 << 20
"""A chunk is eight values: half a million chunks, which are 64 GB of small files."""
NUMBER_MAX: Final = (1 << 53) - 1
"""The largest integer that JavaScript counts with."""

_VERSION: Final = 1
_PAGED: Final = 2
"""With pages; who knows none refuses it."""


@dataclass(frozen=True, slots=True)
class SharedChunk:
    """Where one sealed chunk lies, and all that is needed to check and to open it."""

    pack: int
    """Which of the manifest's packs."""
    offset: int
    length: int
    """Of the sealed bytes."""
    codec: int
    plain_len: int
    key: bytes = field(repr=False)
    sealed_hash: bytes
    """SHA-256 of the sealed bytes."""

    @property
    def leaves(self) -> tuple[int, int]:
        """First byte and end of the whole leaves to ask for; no node is told a chunk's borders."""
        end = -(-(self.offset + self.length) // LEAF_SIZE) * LEAF_SIZE
        return self.offset // LEAF_SIZE * LEAF_SIZE, end


@dataclass(frozen=True, slots=True)
class SharedFile:
    """One file; or, if the path ends with a slash, a directory with nothing in it."""

    path: str
    size: int
    mtime_ms: int
    chunks: tuple[SharedChunk, ...] = ()
    pages: tuple[SharedChunk, ...] = ()
    """Of a large file: what its chunks are is in these, in their order, and `chunks` is empty."""

    @property
    def is_directory(self) -> bool:
        """Whether this is an empty directory."""
        return self.path.endswith("/")


@dataclass(frozen=True, slots=True)
class SharedPage:
    """Some of the files, listed in a page."""

    prefix: str
    """The directory that all of them are below."""
    chunk: SharedChunk
    """Where the page lies."""


@dataclass(frozen=True, slots=True)
class LinkManifest:
    """All that a link gives, or, with `upload_public`, what it takes."""

    expires_s: int
    """Seconds since 1970; 0 for never. The relay has its own record and ends the link by that."""
    pack_ids: tuple[bytes, ...] = ()
    files: tuple[SharedFile, ...] = ()
    upload_public: bytes | None = None
    """Of an upload link: the key to which a page seals what is put in."""
    bytes_max: int = 0
    """Of an upload link."""
    pages: tuple[SharedPage, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files that are not in pages."""
        return sum(file.size for file in self.files)

    @property
    def name(self) -> str:
        """What the whole is called: the one file, or the directory that all is in."""
        paths = [file.path for file in self.files] + [page.prefix for page in self.pages]
        tops = {path.split("/", 1)[0] for path in paths}
        return tops.pop() if len(tops) == 1 else ""

    @property
    def is_paged(self) -> bool:
        """Whether some of it lies elsewhere."""
        return bool(self.pages) or any(file.pages for file in self.files)

    def encode(self) -> bytes:
        """What is sealed."""
        if not self.is_paged:
            return wire.encode(
                [_VERSION, self.expires_s, list(self.pack_ids), [file_item(f) for f in self.files],
                 self.upload_public, self.bytes_max]
            )  # fmt: skip
        files = [[*file_item(f), [chunk_item(page) for page in f.pages]] for f in self.files]
        pages = [[page.prefix, chunk_item(page.chunk)] for page in self.pages]
        return wire.encode([_PAGED, self.expires_s, list(self.pack_ids), files, pages])


def chunk_item(chunk: SharedChunk) -> list[Any]:
    """As it is encoded."""
    return [
        chunk.pack, chunk.offset, chunk.length, chunk.codec, chunk.plain_len, chunk.key,
        chunk.sealed_hash,
    ]  # fmt: skip


def file_item(file: SharedFile) -> list[Any]:
    """As it is encoded, without its pages."""
    return [file.path, file.size, file.mtime_ms, [chunk_item(chunk) for chunk in file.chunks]]


def decode_manifest(data: bytes) -> LinkManifest:
    """A manifest that is safe to follow; raises Malformed, BadName or TooLong."""
    pages: list[Any] = []
    upload_public: Any = None
    version, bytes_max = _VERSION, 0
    match wire.decode(data, MANIFEST_SIZE_MAX, ITEMS_MAX):
        case [1, expires_s, list(pack_ids), list(files), upload_public, bytes_max]:
            shared = tuple(decode_file(item, len(pack_ids)) for item in files)
        case [2, expires_s, list(pack_ids), list(files), list(pages)]:
            version = _PAGED
            shared = tuple(_paged_file(item, len(pack_ids)) for item in files)
        case _:
            raise Malformed("not a link's manifest of version 1 or 2")
    check_pack_ids(pack_ids)
    is_upload = type(upload_public) is bytes and len(upload_public) == LINK_KEY_SIZE
    if upload_public is not None and not is_upload:
        raise Malformed("an upload link's key")
    if upload_public is not None and shared:
        raise Malformed("a link gives files or takes them")
    check_paths(shared)
    manifest = LinkManifest(
        _number(expires_s), tuple(pack_ids), shared, upload_public, _number(bytes_max),
        tuple(_page(item, len(pack_ids)) for item in pages),
    )  # fmt: skip
    if manifest.is_paged != (version == _PAGED):
        raise Malformed("a manifest is of version 2 if it has pages, else of version 1")
    return manifest


def check_pack_ids(pack_ids: Sequence[Any]) -> None:
    """Each once and of its length, or Malformed."""
    if not all(type(pack_id) is bytes and len(pack_id) == HASH_SIZE for pack_id in pack_ids):
        raise Malformed("a pack's id has 32 bytes")
    if len(set(pack_ids)) != len(pack_ids):
        raise Malformed("a pack is named twice")


def decode_file(item: Any, packs: int) -> SharedFile:
    """A file whose chunks are all named; raises Malformed."""
    match item:
        case [str(path), size, mtime_ms, list(chunks)]:
            pass
        case _:
            raise Malformed("not a file of a manifest")
    if type(mtime_ms) is not int or abs(mtime_ms) > NUMBER_MAX:
        raise Malformed("a file's time")
    shared = tuple(decode_chunk(chunk, packs) for chunk in chunks)
    file = SharedFile(path, _number(size), mtime_ms, shared)
    if sum(chunk.plain_len for chunk in file.chunks) != file.size:
        raise Malformed("a file's size is not that of its chunks")
    if file.is_directory and file.chunks:
        raise Malformed("a directory has no contents")
    return file


def _paged_file(item: Any, packs: int) -> SharedFile:
    match item:
        case [path, size, mtime_ms, chunks, list(pages)]:
            pass
        case _:
            raise Malformed("not a file of a manifest with pages")
    if not pages:
        return decode_file([path, size, mtime_ms, chunks], packs)
    file = decode_file([path, 0, mtime_ms, chunks], packs)  # which has no chunks of its own then
    if file.is_directory or not _number(size):
        raise Malformed("pages of a file in which there is nothing")
    return replace(file, size=size, pages=tuple(decode_chunk(page, packs) for page in pages))


def _page(item: Any, packs: int) -> SharedPage:
    match item:
        case [str(prefix), chunk]:
            _check_names(prefix)
            return SharedPage(prefix, decode_chunk(chunk, packs))
        case _:
            raise Malformed("not a page of a manifest")


def decode_chunk(item: Any, packs: int) -> SharedChunk:
    """A chunk within its bounds, in one of so many packs; raises Malformed."""
    match item:
        case [int(pack), int(offset), int(length), int(codec), int(plain_len), bytes(key),
              bytes(sealed_hash)] if bool not in map(type, item):  # fmt: skip
            pass
        case _:
            raise Malformed("not a chunk of a manifest")
    if (
        not 0 <= pack < packs
        or not CHUNK_SEAL_OVERHEAD <= length <= CHUNK_SIZE_MAX + CHUNK_SEAL_OVERHEAD
        or not 0 <= offset <= PACK_SIZE_MAX - length
        or not 0 <= codec <= 1
        or not 1 <= plain_len <= CHUNK_SIZE_MAX
        or len(key) != KEY_SIZE
        or len(sealed_hash) != HASH_SIZE
    ):
        raise Malformed("a chunk of a manifest is out of bounds")
    return SharedChunk(pack, offset, length, codec, plain_len, key, sealed_hash)


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= NUMBER_MAX:
        raise Malformed("not an integer from 0 to 2^53 - 1")
    return value


def check_paths(files: Sequence[SharedFile]) -> None:
    """Each path stays inside what it is unpacked into, and no two of them meet on any disk; raises
    Malformed, BadName or TooLong.
    """
    taken: set[str] = set()
    parents: set[str] = set()
    for file in files:
        path = file.path.removesuffix("/")
        _check_names(path)
        folded = fold_key(path)
        if folded in taken:
            raise Malformed("two files have one path")
        taken.add(folded)
        parents.update(_parents(folded))
    if taken & parents:
        raise Malformed("a path leads through a file")


def _check_names(path: str) -> None:
    names = path.split("/")
    if len(path) > PATH_LENGTH_MAX or len(names) > PATH_DEPTH_MAX:
        raise Malformed("a path is too long")
    for name in names:
        check_name(name)


def _parents(path: str) -> Iterator[str]:
    at = path.rfind("/")
    while at > 0:
        yield path[:at]
        at = path.rfind("/", 0, at)
