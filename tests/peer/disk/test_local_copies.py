"""Runs: as few copies as there are, and nothing taken for copied that is not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import ChunkId
from peer.core.disk_types import Path, StagedFile, Stat
from peer.disk.local_copies import Places, Targets, copy_here, not_as_named, runs

NAMES = [ChunkId(bytes([n]) * 32) for n in range(6)]
SIZES = [3, 5, 2, 7, 1, 4]
FILES: dict[Path, list[int]] = {("one",): [0, 1, 2, 3], ("two",): [3, 4, 5, 0]}
"""Chunks of files, in order."""


def body(chunks: list[int]) -> bytes:
    return b"".join(bytes([n]) * SIZES[n] for n in chunks)


class Copied(StagedFile):
    """A file in memory, and the ranges that were copied into it."""

    def __init__(self, size: int, disk: dict[Path, bytes]) -> None:
        self.data, self.disk = bytearray(size), disk
        self.ranges: list[tuple[Path, int, int, int]] = []

    def copy_range(self, path: Path, source_offset: int, offset: int, length: int) -> bool:
        data = self.disk.get(path, b"")[source_offset : source_offset + length]
        if len(data) < length:
            return False
        self.ranges.append((path, source_offset, offset, length))
        self.data[offset : offset + length] = data
        return True

    def chunk_id(self, offset: int, length: int) -> ChunkId:
        return ChunkId(bytes(self.data[offset : offset + 1]) * 32)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        raise AssertionError("nobody copies so")

    def file_hash(self) -> bytes:
        raise AssertionError("nobody copies so")

    def finish(self, mtime_ns: int, executable: bool) -> Stat:
        raise AssertionError("nobody copies so")

    def pause(self) -> None:
        raise AssertionError("nobody copies so")

    def abandon(self) -> None:
        raise AssertionError("nobody copies so")


def targets_of(chunks: list[int]) -> Targets:
    targets: Targets = {}
    offset = 0
    for n in chunks:
        targets.setdefault(NAMES[n], []).append((offset, SIZES[n]))
        offset += SIZES[n]
    return targets


def places_of(files: dict[Path, list[int]]) -> Places:
    places: dict[ChunkId, tuple[Path, int, int]] = {}
    for path, chunks in files.items():
        offset = 0
        for n in chunks:
            places.setdefault(NAMES[n], (path, offset, SIZES[n]))
            offset += SIZES[n]
    return places


def test_what_follows_there_as_here_is_one_run() -> None:
    found = list(runs(targets_of([1, 2, 3, 5, 4, 5]), places_of(FILES)))
    assert [(r.path, r.source, r.offset, r.length) for r in found] == [
        (("one",), 3, 0, 14),
        (("two",), 8, 14, 4),
        (("two",), 7, 18, 5),
    ]


def test_a_place_of_another_length_is_none() -> None:
    places = {NAMES[0]: (("one",), 0, 99)}
    assert list(runs(targets_of([0]), places)) == []


def test_of_a_file_that_has_become_shorter_what_is_left_is_taken() -> None:
    missing = targets_of([0, 1, 2])
    staged = Copied(10, {("one",): body([0, 1])})
    copied = copy_here(staged, missing, places_of(FILES))
    assert (set(copied), set(missing)) == ({NAMES[0], NAMES[1]}, {NAMES[2]})


def test_a_chunk_that_is_another_by_now_is_named() -> None:
    staged = Copied(8, {("one",): bytes([0] * 3 + [9] * 5)})
    copied = copy_here(staged, targets_of([0, 1]), places_of(FILES))
    assert not_as_named(staged, copied) == [NAMES[1]]


@given(st.lists(st.integers(0, 5), max_size=20), st.sets(st.integers(0, 5)))
def test_what_is_said_to_be_copied_is_there(chunks: list[int], absent: set[int]) -> None:
    missing = targets_of(chunks)
    every = dict(missing)
    places = {i: p for i, p in places_of(FILES).items() if NAMES.index(i) not in absent}
    staged = Copied(len(body(chunks)), {path: body(of) for path, of in FILES.items()})
    copied = copy_here(staged, missing, places)
    assert {**copied, **missing} == every
    assert set(copied) == {i for i in every if i in places}
    assert not_as_named(staged, copied) == []
    assert sum(length for *_, length in staged.ranges) == sum(
        length for at in copied.values() for _, length in at
    )
