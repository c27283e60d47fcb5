"""Which files, and which chunks of a large file, make a page of a share link.

Where a page ends is told by what ends there, not by how many came before: a change rewrites one
page, and a link to a directory has the pages that a link to all of the folder has, but for those at
its edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from crypto.ids import ChunkId
from crypto.share_links import page_id
from peer.share_links.link_content import Given
from peer.share_links.link_store import StoredChunk
from protocol.link_manifest import SharedChunk, SharedFile
from protocol.link_pages import LinkPage

WEIGHT_MEAN: Final = 256
"""A file and each of its chunks weigh 1: of 10,000 files of a chunk each a page lists some 128, in
18 kB, and 80 pages list all. Smaller ones would be more to name, larger ones more to write anew.
"""
WEIGHT_MAX: Final = 1024
"""What has no end by itself ends here: one page in fifty."""
LONG_PATH: Final = 64
"""Letters of a path weigh as much as a chunk."""
LARGE_CHUNKS: Final = 64
"""A file of so many has pages of its own: to be listed it needs none of them."""
_NUMBERS: Final = Struct(">QqI")


class FilesRun(NamedTuple):
    """What one page lists: files one after another, and the directory that all are below."""

    prefix: str
    files: tuple[Given, ...]
    key: bytes
    """The same for the same list, wherever what is in it lies."""

    @property
    def chunks(self) -> Iterator[tuple[ChunkId, int]]:
        """Of all files, with their lengths."""
        return (chunk for file in self.files for chunk in file.chunks)


class ChunksRun(NamedTuple):
    """What one page of a large file lists."""

    chunks: tuple[tuple[ChunkId, int], ...]
    key: bytes
    """The same for the same list, wherever what is in it lies."""


Run: TypeAlias = FilesRun | ChunksRun


class Paged(NamedTuple):
    """A link's files, each once."""

    large: tuple[tuple[Given, tuple[ChunksRun, ...]], ...]
    """Those with pages of their own, and what is in these."""
    runs: tuple[FilesRun, ...]
    plain: tuple[Given, ...]
    """What is below no directory."""

    @property
    def every_run(self) -> Iterator[Run]:
        """All that may be pages."""
        yield from self.runs
        for _, parts in self.large:
            yield from parts


@dataclass(slots=True)
class ChunkPlaces:
    """Chunks as a manifest or a page names them, with the packs that it counts."""

    stored: Mapping[ChunkId, StoredChunk]
    key_of: Callable[[StoredChunk], bytes]
    pack_ids: list[bytes] = field(default_factory=list)
    _numbers: dict[bytes, int] = field(default_factory=dict)

    def shared(self, chunk_id: ChunkId) -> SharedChunk:
        """One of them."""
        return self.named(self.stored[chunk_id])

    def named(self, chunk: StoredChunk) -> SharedChunk:
        """One that lies there."""
        number = self._numbers.get(chunk.pack_id)
        if number is None:
            number = self._numbers[chunk.pack_id] = len(self.pack_ids)
            self.pack_ids.append(chunk.pack_id)
        return SharedChunk(
            number, chunk.offset, chunk.length, chunk.codec, chunk.plain_len, self.key_of(chunk),
            chunk.sealed_hash,
        )  # fmt: skip

    def file(self, file: Given, path: str) -> SharedFile:
        """A file, all its chunks named."""
        chunks = tuple(self.shared(chunk_id) for chunk_id, _ in file.chunks)
        return SharedFile(path, file.size, file.mtime_ns // 1_000_000, chunks)

    def page(self, run: Run) -> NewPage:
        """A page that lists this. It counts the packs that it names itself."""
        places = ChunkPlaces(self.stored, self.key_of)
        if isinstance(run, ChunksRun):
            chunks = tuple(places.shared(chunk_id) for chunk_id, _ in run.chunks)
            page = LinkPage(tuple(places.pack_ids), (), chunks)
        else:
            cut = len(run.prefix) + 1
            files = tuple(places.file(file, file.path[cut:]) for file in run.files)
            page = LinkPage(tuple(places.pack_ids), files)
        data = page.encode()
        needs = frozenset(self.stored[chunk_id].descriptor_id for chunk_id, _ in run.chunks)
        return NewPage(page_id(data), data, needs)


class NewPage(NamedTuple):
    """A page, encoded."""

    id: ChunkId
    data: bytes
    needs: frozenset[bytes]
    """Descriptors of the packs in which that lies which it lists."""


def new_pages(runs: Iterable[Run], places: ChunkPlaces) -> dict[bytes, NewPage]:
    """The pages of these, by their keys."""
    return {run.key: places.page(run) for run in runs}


def paged_of(files: Sequence[Given]) -> Paged:
    """Divides files, which are in the order of a directory's listing."""
    large: list[tuple[Given, tuple[ChunksRun, ...]]] = []
    below: list[Given] = []
    plain: list[Given] = []
    for file in files:
        if len(file.chunks) >= LARGE_CHUNKS:
            large.append((file, tuple(_parts(file))))
        elif "/" in file.path.removesuffix("/"):
            below.append(file)
        else:
            plain.append(file)
    return Paged(tuple(large), tuple(_runs(below)), tuple(plain))


def _parts(file: Given) -> Iterator[ChunksRun]:
    part: list[tuple[ChunkId, int]] = []
    for chunk in file.chunks:
        part.append(chunk)
        if _ends(chunk[0], 1) or len(part) >= WEIGHT_MAX:
            yield _chunks_run(part)
            part = []
    if part:
        yield _chunks_run(part)


def _chunks_run(chunks: Sequence[tuple[ChunkId, int]]) -> ChunksRun:
    key = sha256(b"".join((b"chunks\0", *(chunk_id for chunk_id, _ in chunks)))).digest()
    return ChunksRun(tuple(chunks), key)


def _runs(files: Sequence[Given]) -> Iterator[FilesRun]:
    run: list[Given] = []
    whole = 0
    for file in files:
        weight = 1 + len(file.chunks) + len(file.path) // LONG_PATH
        if run and file.path.partition("/")[0] != run[0].path.partition("/")[0]:
            yield _files_run(run)
            run, whole = [], 0
        run.append(file)
        whole += weight
        # The name alone: a link may call the directories above it otherwise.
        name = file.path.removesuffix("/").rpartition("/")[2].encode()
        if _ends(sha256(name + b"".join(id_ for id_, _ in file.chunks[:1])).digest(), weight) or (
            whole >= WEIGHT_MAX
        ):
            yield _files_run(run)
            run, whole = [], 0
    if run:
        yield _files_run(run)


def _files_run(files: Sequence[Given]) -> FilesRun:
    prefix = _common(files)
    hashed = sha256(b"files\0")
    for path, size, mtime_ns, chunks in files:
        numbers = _NUMBERS.pack(size, mtime_ns // 1_000_000, len(chunks))
        ids = (chunk_id for chunk_id, _ in chunks)
        hashed.update(b"".join((path[len(prefix) + 1 :].encode(), b"\0", numbers, *ids)))
    return FilesRun(prefix, tuple(files), hashed.digest())


def _ends(hash_: bytes, weight: int) -> bool:
    return int.from_bytes(hash_[:4], "big") * WEIGHT_MEAN < weight << 32


def _common(files: Sequence[Given]) -> str:
    """The deepest directory that all of them are below."""
    common = files[0].path.removesuffix("/").split("/")[:-1]
    for file in files[1:]:
        parents = file.path.removesuffix("/").split("/")[:-1]
        same = 0
        while same < min(len(common), len(parents)) and common[same] == parents[same]:
            same += 1
        common = common[:same]
    return "/".join(common)
