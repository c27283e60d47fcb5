"""Packs on a disk that may lose them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crypto.packs import LEAF_SIZE, pack_id
from relay.pack_cache import PackCache


def some(leaves: int) -> tuple[bytes, bytes]:
    data = os.urandom(leaves * LEAF_SIZE)
    return pack_id(data), data


def cache_at(path: Path, leaves_max: int = 8) -> PackCache:
    cache = PackCache(path / "cache", leaves_max * LEAF_SIZE)
    cache.start()
    return cache


async def test_what_was_put_is_read(tmp_path: Path) -> None:
    cache, (one, data) = cache_at(tmp_path), some(3)
    assert await cache.read(one, 0, LEAF_SIZE) is None
    await cache.put(one, data)
    assert await cache.read(one, 0, 3 * LEAF_SIZE) == data
    assert await cache.read(one, LEAF_SIZE, 2 * LEAF_SIZE) == data[LEAF_SIZE : 2 * LEAF_SIZE]


async def test_the_oldest_makes_room_and_too_large_a_one_has_none(tmp_path: Path) -> None:
    cache, packs = cache_at(tmp_path), [some(3) for _ in range(3)]
    for one, data in packs[:2]:
        await cache.put(one, data)
    assert await cache.read(packs[0][0], 0, LEAF_SIZE) is not None
    await cache.put(*packs[2])
    there = [await cache.read(one, 0, LEAF_SIZE) is not None for one, _ in packs]
    assert there == [True, False, True]
    assert cache.size == 6 * LEAF_SIZE == sum(p.stat().st_size for p in _files(tmp_path))
    await cache.put(*some(9))
    assert cache.size == 6 * LEAF_SIZE


@pytest.mark.parametrize("damage", ["flipped", "short", "gone"])
async def test_what_the_disk_changed_is_given_to_nobody(tmp_path: Path, damage: str) -> None:
    cache, (one, data) = cache_at(tmp_path), some(2)
    await cache.put(one, data)
    (path,) = _files(tmp_path)
    match damage:
        case "flipped":
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "short":
            path.write_bytes(data[:-1])
        case _:
            path.unlink()
    assert await cache.read(one, LEAF_SIZE, 2 * LEAF_SIZE) is None
    assert cache.size == 0
    assert not _files(tmp_path)


async def test_a_disk_that_takes_nothing_is_no_trouble(tmp_path: Path) -> None:
    cache, (one, data) = cache_at(tmp_path), some(1)
    (tmp_path / "cache").rmdir()
    await cache.put(one, data)
    assert await cache.read(one, 0, LEAF_SIZE) is None


async def test_an_older_run_s_files_are_thrown_away(tmp_path: Path) -> None:
    cache = cache_at(tmp_path)
    await cache.put(*some(1))
    assert cache_at(tmp_path).size == 0
    assert not _files(tmp_path)


def _files(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache").iterdir())
