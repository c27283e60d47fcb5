"""What a large file can take from files on this disk: chunks that follow each other there as they
do here, in one run each.

Nothing is hashed on the way: what was copied counts once the whole file has the hash that it is to
have, and is looked at chunk by chunk only where that fails.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from crypto.ids import ChunkId
from peer.core.disk_types import Path, StagedFile

Places: TypeAlias = Mapping[ChunkId, tuple[Path, int, int]]
"""Where on this disk a chunk was when it was last read: path, offset, length."""
Targets: TypeAlias = dict[ChunkId, list[tuple[int, int]]]
"""Where in the new file a chunk goes: (offset, length)."""


class Run(NamedTuple):
    """A range of a file on this disk, and where it goes."""

    path: Path
    source: int
    offset: int
    length: int
    chunks: list[ChunkId]

    def parts(self, missing: Targets) -> Iterator[Run]:
        """A run for each chunk."""
        at = 0
        for chunk_id in self.chunks:
            length = next(n for offset, n in missing[chunk_id] if offset == self.offset + at)
            yield Run(self.path, self.source + at, self.offset + at, length, [chunk_id])
            at += length


def runs(missing: Targets, places: Places) -> Iterator[Run]:
    """The chunks that are on this disk, as few ranges."""
    found = sorted(
        (offset, length, chunk_id)
        for chunk_id, targets in missing.items()
        for offset, length in targets
        if chunk_id in places and places[chunk_id][2] == length
    )
    run: Run | None = None
    for offset, length, chunk_id in found:
        path, source, _ = places[chunk_id]
        if run is not None:
            is_next = run.offset + run.length == offset and run.source + run.length == source
            if is_next and run.path == path:
                run.chunks.append(chunk_id)
                run = run._replace(length=run.length + length)
                continue
            yield run
        run = Run(path, source, offset, length, [chunk_id])
    if run is not None:
        yield run


def copy_here(staged: StagedFile, missing: Targets, places: Places) -> Targets:
    """Copies what is on this disk into a file and takes it from what is missing; returns it, for it
    is not verified.
    """
    failed: set[ChunkId] = set()
    copied: dict[ChunkId, None] = {}
    todo = list(runs(missing, places))
    while todo:
        run = todo.pop()
        if staged.copy_range(run.path, run.source, run.offset, run.length):
            copied.update(dict.fromkeys(run.chunks))
        elif len(run.chunks) > 1:  # the file has become shorter, and may have some of them still
            todo += run.parts(missing)
        else:
            failed.update(run.chunks)
    return {chunk_id: missing.pop(chunk_id) for chunk_id in copied if chunk_id not in failed}


def not_as_named(staged: StagedFile, copied: Targets) -> Collection[ChunkId]:
    """Which of the copied chunks are something else: their file was changed meanwhile."""
    return [
        chunk_id
        for chunk_id, targets in copied.items()
        if any(staged.chunk_id(offset, length) != chunk_id for offset, length in targets)
    ]
