"""Who did what to files, as real engines on real disks tell it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from peer.core.deeds import PATHS_MAX, Deeds, Named, What
from tests.peer.folder_stage import FolderDevice, two_places

Pair = tuple[FolderDevice, FolderDevice]


class Heard:
    """What one device's index was told."""

    def __init__(self, device: FolderDevice) -> None:
        self.device = device
        self.deeds: list[Deeds] = []
        device.store.tell = self.tell

    def tell(self, deeds: Sequence[object]) -> None:
        self.deeds += [one for one in deeds if isinstance(one, Deeds)]

    def take(self) -> list[tuple[str, dict[What, int]]]:
        """By the name of the device, and how many of what; each author resolved to its device."""
        out = []
        for one in self.deeds:
            found = self.device.engine.book.device_of(one.author)
            assert found is not None
            assert one.label
            out.append((one.label, one.counts))
        self.named = [paths for one in self.deeds for paths in one.paths.items()]
        self.deeds = []
        return out


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    places = two_places()
    one = await FolderDevice.open(tmp_path, "one", places[0])
    two = await FolderDevice.open(tmp_path, "two", places[1])
    yield one, two
    await one.close()
    await two.close()


async def test_each_deed_is_told_once_by_whom_and_where(pair: Pair) -> None:
    one, two = pair
    here, there = Heard(one), Heard(two)
    (one.root / "d").mkdir()
    (one.root / "d" / "a").write_bytes(b"1")
    await one.scan()
    await two.sync(one)
    both = [("one", {What.CREATED: 1}), ("one", {What.CREATED: 1})]
    assert here.take() == both == there.take()
    assert there.named == [
        (What.CREATED, [Named("d/")]), (What.CREATED, [Named("d/a")]),
    ]  # fmt: skip

    (two.root / "d" / "a").write_bytes(b"22")
    await two.scan()
    await one.sync(two)
    assert there.take() == here.take() == [("two", {What.CHANGED: 1})]

    os.rename(one.root / "d", one.root / "e")
    await one.scan()
    await two.sync(one)
    assert here.take() == there.take() == [("one", {What.RENAMED: 1})]
    assert there.named == [(What.RENAMED, [Named("e/", "d/")])]

    os.rename(two.root / "e" / "a", two.root / "b")
    await two.scan()
    await one.sync(two)
    assert here.take() == there.take() == [("two", {What.RENAMED: 1})]
    assert here.named == [(What.RENAMED, [Named("b", "e/a")])]

    (one.root / "b").unlink()
    (one.root / "e").rmdir()
    await one.scan()
    await two.sync(one)
    assert here.take() == [("one", {What.DELETED: 2})]
    deleted = there.take()
    assert sum(counts[What.DELETED] for _, counts in deleted) == 2
    assert {label for label, _ in deleted} == {"one"}


async def test_of_many_only_some_are_named(pair: Pair) -> None:
    one, _ = pair
    heard = Heard(one)
    for number in range(3 * PATHS_MAX):
        (one.root / f"f{number}").write_bytes(b"x")
    await one.scan()
    assert heard.take() == [("one", {What.CREATED: 3 * PATHS_MAX})]
    ((_, named),) = heard.named
    assert len(named) == PATHS_MAX


async def test_nothing_is_told_of_what_stayed(pair: Pair) -> None:
    one, two = pair
    (one.root / "a").write_bytes(b"1")
    await one.scan()
    await two.sync(one)
    heard = Heard(one)
    os.utime(one.root / "a", (1, 1))
    await one.scan()
    await one.ingest(two.authored)
    assert heard.take() == []


async def test_two_edits_of_a_file_are_a_conflict(pair: Pair) -> None:
    one, two = pair
    (one.root / "a").write_bytes(b"0")
    await one.scan()
    await two.sync(one)
    (one.root / "a").write_bytes(b"1")
    (two.root / "a").write_bytes(b"2")
    await one.scan()
    await two.scan()
    heard = Heard(one)
    await one.sync(two)
    copies = [path for path in one.tree() if "conflict" in path]
    assert [path for deeds in heard.deeds for path in deeds.conflicts] == copies
    assert len(copies) == 1


async def test_two_files_of_one_name_are_one(pair: Pair) -> None:
    one, two = pair
    (one.root / "a").write_bytes(b"1")
    (two.root / "a").write_bytes(b"2")
    await one.scan()
    await two.scan()
    heard = Heard(one)
    await one.sync(two)
    copies = [path for path in one.tree() if "conflict" in path]
    assert [path for deeds in heard.deeds for path in deeds.conflicts] == copies
    assert len(copies) == 1
