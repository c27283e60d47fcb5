"""A share link's manifest: the files that it gives, and where in which packs they lie (SPEC 17).

It is sealed before a relay sees it (crypto.share_links), and it names each sealed chunk by SHA-256:
a visitor who knows a chunk's key could otherwise make other bytes that open, with the relay's help.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
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

    @property
    def is_directory(self) -> bool:
        """Whether this is an empty directory."""
        return self.path.endswith("/")


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

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def name(self) -> str:
        """What the whole is called: the one file, or the directory that all is in."""
        tops = {file.path.split("/", 1)[0] for file in self.files}
        return tops.pop() if len(tops) == 1 else ""

    def encode(self) -> bytes:
        """What is sealed."""
        files = [
            [
                file.path, file.size, file.mtime_ms,
                [[c.pack, c.offset, c.length, c.codec, c.plain_len, c.key, c.sealed_hash]
                 for c in file.chunks],
            ]
            for file in self.files
        ]  # fmt: skip
        return wire.encode(
            [_VERSION, self.expires_s, list(self.pack_ids), files, self.upload_public,
             self.bytes_max]
        )  # fmt: skip


def decode_manifest(data: bytes) -> LinkManifest:
    """A manifest that is safe to follow; raises Malformed, BadName or TooLong."""
    match wire.decode(data, MANIFEST_SIZE_MAX, ITEMS_MAX):
        case [1, expires_s, list(pack_ids), list(files), upload_public, bytes_max]:
            pass
        case _:
            raise Malformed("not a link's manifest of version 1")
    if not all(type(pack_id) is bytes and len(pack_id) == HASH_SIZE for pack_id in pack_ids):
        raise Malformed("a pack's id has 32 bytes")
    if len(set(pack_ids)) != len(pack_ids):
        raise Malformed("a pack is named twice")
    is_upload = type(upload_public) is bytes and len(upload_public) == LINK_KEY_SIZE
    if upload_public is not None and not is_upload:
        raise Malformed("an upload link's key")
    if upload_public is not None and files:
        raise Malformed("a link gives files or takes them")
    shared = tuple(_file(item, len(pack_ids)) for item in files)
    _check_paths(shared)
    return LinkManifest(
        _number(expires_s), tuple(pack_ids), shared, upload_public, _number(bytes_max)
    )


def _file(item: Any, packs: int) -> SharedFile:
    match item:
        case [str(path), size, mtime_ms, list(chunks)]:
            pass
        case _:
            raise Malformed("not a file of a manifest")
    if type(mtime_ms) is not int or abs(mtime_ms) > NUMBER_MAX:
        raise Malformed("a file's time")
    file = SharedFile(path, _number(size), mtime_ms, tuple(_chunk(c, packs) for c in chunks))
    if sum(chunk.plain_len for chunk in file.chunks) != file.size:
        raise Malformed("a file's size is not that of its chunks")
    if file.is_directory and file.chunks:
        raise Malformed("a directory has no contents")
    return file


def _chunk(item: Any, packs: int) -> SharedChunk:
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


def _check_paths(files: tuple[SharedFile, ...]) -> None:
    """Each path stays inside what it is unpacked into, and no two of them meet on any disk."""
    taken: set[str] = set()
    parents: set[str] = set()
    for file in files:
        path = file.path.removesuffix("/")
        names = path.split("/")
        if len(path) > PATH_LENGTH_MAX or len(names) > PATH_DEPTH_MAX:
            raise Malformed("a path is too long")
        for name in names:
            check_name(name)
        folded = fold_key(path)
        if folded in taken:
            raise Malformed("two files have one path")
        taken.add(folded)
        parents.update(_parents(folded))
    if taken & parents:
        raise Malformed("a path leads through a file")


def _parents(path: str) -> Iterator[str]:
    at = path.rfind("/")
    while at > 0:
        yield path[:at]
        at = path.rfind("/", 0, at)
