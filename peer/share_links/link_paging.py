"""Which files, and which chunks of a large file, make a page of a share link.

Where a page ends is told by what ends there, not by how many came before: a change rewrites one
page, and a link to a directory has the pages that a link to all of the folder has, but for those at
its edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple

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


class FilesRun(NamedTuple):
    """Files one after another, and the directory that all of them are below."""

    prefix: str
    files: tuple[Given, ...]


class Paged(NamedTuple):
    """A link's files, each once."""

    large: tuple[tuple[Given, tuple[tuple[ChunkId, ...], ...]], ...]
    """Those with pages of their own, and what is in these."""
    runs: tuple[FilesRun, ...]
    plain: tuple[Given, ...]
    """What is below no directory."""


@dataclass(slots=True)
class ChunkPlaces:
    """Chunks as a manifest or a page names them, with the packs that it counts."""

    stored: Mapping[ChunkId, StoredChunk]
    key_of: Callable[[StoredChunk], bytes]
    pack_ids: list[bytes] = field(default_factory=list)
    _numbers: dict[bytes, int] = field(default_factory=dict)

    def shared(self, chunk_id: ChunkId) -> SharedChunk:
        """One of them."""
        chunk = self.stored[chunk_id]
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
        return SharedFile(path, file.size, math.floor(file.mtime_ns / 1_000_000), chunks)

    def page_of_files(self, run: FilesRun) -> bytes:
        """A page that lists files."""
        places = ChunkPlaces(self.stored, self.key_of)
        cut = len(run.prefix) + 1
        files = tuple(places.file(file, file.path[cut:]) for file in run.files)
        return LinkPage(tuple(places.pack_ids), files).encode()

    def page_of_chunks(self, chunk_ids: Sequence[ChunkId]) -> bytes:
        """A page that lists chunks."""
        places = ChunkPlaces(self.stored, self.key_of)
        chunks = tuple(places.shared(chunk_id) for chunk_id in chunk_ids)
        return LinkPage(tuple(places.pack_ids), (), chunks).encode()


@dataclass(slots=True)
class LinkPages:
    """The pages of a link, encoded."""

    large: list[tuple[Given, list[ChunkId]]]
    runs: list[tuple[FilesRun, ChunkId]]
    plain: list[Given]
    data: dict[ChunkId, bytes]
    """Of each page by its id."""


def pages_of(files: Sequence[Given], places: ChunkPlaces) -> LinkPages:
    """All pages that these files make."""
    paged, data = paged_of(files), dict[ChunkId, bytes]()

    def add(page: bytes) -> ChunkId:
        id_ = page_id(page)
        data[id_] = page
        return id_

    large = [(f, [add(places.page_of_chunks(part)) for part in parts]) for f, parts in paged.large]
    runs = [(run, add(places.page_of_files(run))) for run in paged.runs]
    return LinkPages(large, runs, list(paged.plain), data)


def paged_of(files: Sequence[Given]) -> Paged:
    """Divides files, which are in the order of a directory's listing."""
    large: list[tuple[Given, tuple[tuple[ChunkId, ...], ...]]] = []
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


def _parts(file: Given) -> Iterator[tuple[ChunkId, ...]]:
    part: list[ChunkId] = []
    for chunk_id, _ in file.chunks:
        part.append(chunk_id)
        if _ends(chunk_id, 1) or len(part) >= WEIGHT_MAX:
            yield tuple(part)
            part = []
    if part:
        yield tuple(part)


def _runs(files: Sequence[Given]) -> Iterator[FilesRun]:
    run: list[Given] = []
    whole = 0
    for file in files:
        weight = 1 + len(file.chunks) + len(file.path) // LONG_PATH
        if run and file.path.partition("/")[0] != run[0].path.partition("/")[0]:
            yield FilesRun(_common(run), tuple(run))
            run, whole = [], 0
        run.append(file)
        whole += weight
        # The name alone: a link may call the directories above it otherwise.
        name = file.path.removesuffix("/").rpartition("/")[2].encode()
        if _ends(sha256(name + b"".join(id_ for id_, _ in file.chunks[:1])).digest(), weight) or (
            whole >= WEIGHT_MAX
        ):
            yield FilesRun(_common(run), tuple(run))
            run, whole = [], 0
    if run:
        yield FilesRun(_common(run), tuple(run))


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
