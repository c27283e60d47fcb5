"""Versions in an index: what is found, what is let go of first, what a crash leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from crypto.ids import ChunkId, NodeId
from peer.core import commands as c
from peer.core.rows import DiskFacts, Row
from peer.core.versions import Version, kept_name
from peer.folders.index_store import IndexStore
from peer.history.version_store import VersionPolicy, VersionStore
from protocol.records import encode_manifest

DAY_S = 86_400
WEEK_S = 7 * DAY_S
NOW_S = 3000 * WEEK_S + DAY_S


def node(number: int) -> NodeId:
    return NodeId(bytes([number]) * 15 + b"\0")


def version(number: int, ended_s: int, path: str = "note", **changes: Any) -> Version:
    hash_ = bytes([ended_s % 251]) * 32
    kept = kept_name(node(number), hash_, DiskFacts(number, 5, 1, ended_s))
    made = Version(
        node(number), hash_, 5, 1, False, b"", ended_s - 10, "laptop", path, ended_s, False, kept
    )
    return made._replace(**changes)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[IndexStore]:
    store = await IndexStore.open(tmp_path / "index.db")
    yield store
    await store.close()


async def fill(store: IndexStore, *versions: Version) -> VersionStore:
    await store.perform(c.Commit(ended=versions))
    return store.versions


async def test_the_versions_of_a_file_are_those_of_its_path_and_its_node(
    store: IndexStore,
) -> None:
    versions = await fill(
        store, version(1, 100, "old name"), version(1, 200), version(2, 150), version(3, 160, "x")
    )
    found = await versions.of_file("note", [node(1)])
    assert [v.version.ended_s for v in found] == [200, 150, 100]
    assert [v.version.ended_s for v in await versions.of_file("note", [])] == [200, 150]
    assert found[0].version == version(1, 200)


async def test_what_ended_last_is_told_in_order_and_can_be_given_its_bytes(
    store: IndexStore,
) -> None:
    assert await store.versions.last_number() == 0
    lacking = version(1, 100, kept=None)
    versions = await fill(store, version(2, 90), lacking)
    last = await versions.last_number()
    assert [v.version for v in await versions.since(0)] == [version(2, 90), lacking]
    assert await versions.since(last) == []
    found = await versions.ended_with(node(1), lacking.hash)
    assert found is not None
    assert found.number == last
    await versions.keep(last, "kept-x")
    assert [v.version.kept for v in await versions.since(last - 1)] == ["kept-x"]
    assert await versions.ended_with(node(2), lacking.hash) is None


async def test_what_was_shown_at_a_time_is_what_ended_first_after_it(store: IndexStore) -> None:
    versions = await fill(
        store, version(1, 100, "d/a"), version(1, 200, "d/a"), version(1, 300, "d/a"),
        version(2, 250, "d/b"), version(3, 250, "e"), version(4, 250, "dd/c"),
    )  # fmt: skip
    found = await versions.shown_at("d", 150)
    assert [(v.version.path, v.version.ended_s) for v in found] == [("d/a", 200), ("d/b", 250)]
    everything = await versions.shown_at("", 220)
    assert [v.version.path for v in everything] == ["d/a", "d/b", "dd/c", "e"]


async def test_what_was_deleted_and_came_back_is_not_deleted(store: IndexStore) -> None:
    versions = await fill(
        store, version(1, 100, "d/a", is_deleted=True), version(1, 200, "d/a"),
        version(2, 150, "d/b", is_deleted=True), version(3, 300, "c", is_deleted=True),
    )  # fmt: skip
    assert [v.version.path for v in await versions.deleted("", 10)] == ["c", "d/b"]
    assert [v.version.path for v in await versions.deleted("d", 10)] == ["d/b"]
    assert len(await versions.deleted("", 1)) == 1


@pytest.mark.parametrize(
    ("age_s", "is_over"),
    [(29 * DAY_S, False), (31 * DAY_S, True), (200 * DAY_S, True)],
)
async def test_of_a_week_the_last_one_stays(store: IndexStore, age_s: int, is_over: bool) -> None:
    start = NOW_S - age_s - (NOW_S - age_s) % WEEK_S
    versions = await fill(
        store, version(1, start + 1), version(1, start + 2), version(2, start + 1)
    )
    over = await versions.over(NOW_S, VersionPolicy(30 * DAY_S, 180 * DAY_S), 10)
    ended = sorted((v.version.node, v.version.ended_s) for v in over)
    all_of_them = [(node(1), start + 1), (node(1), start + 2), (node(2), start + 1)]
    if age_s > 180 * DAY_S:
        assert ended == all_of_them
    else:
        assert ended == (all_of_them[:1] if is_over else [])


async def test_the_file_that_takes_most_gives_way_first(store: IndexStore) -> None:
    versions = await fill(
        store, version(1, 100, size=900), version(1, 200, size=900), version(1, 300, size=900),
        version(2, 50, "small", size=10), version(3, 400, "not here", size=10**6, kept=None),
    )  # fmt: skip
    order = [v.version.ended_s for v in await versions.first_to_go(10)]
    assert order == [100, 200, 300, 50]
    assert await versions.kept() == (4, 2710)


async def test_what_is_forgotten_is_gone(store: IndexStore) -> None:
    versions = await fill(store, version(1, 100), version(1, 200))
    found = await versions.of_file("note", [])
    await versions.forget(found[:1])
    assert [v.version.ended_s for v in await versions.of_file("note", [])] == [100]


async def test_a_kept_file_gives_its_chunks(store: IndexStore) -> None:
    chunk = ChunkId(b"c" * 32)
    small, large = version(1, 100), version(2, 200, "large")
    await fill(store, small, large)
    await store._db.execute("INSERT INTO chunk VALUES (?, ?, 7, 3)", (chunk, large.hash))
    found = await store.find_chunks([ChunkId(small.hash), chunk])
    assert [(p.id, p.offset, p.length, p.parent, p.name) for p in found] == [
        (small.hash, 0, 5, b"", small.kept), (chunk, 7, 3, b"", large.kept),
    ]  # fmt: skip
    assert small.kept is not None
    await store.versions.lose([small.kept])
    assert [p.id for p in await store.find_chunks([ChunkId(small.hash), chunk])] == [chunk]


async def test_a_file_in_the_trash_finds_its_version_or_becomes_one(store: IndexStore) -> None:
    known = version(1, 100, kept=None)
    versions = await fill(store, known)
    await versions.adopt(version(1, 100)._replace(ended_s=999))
    (found,) = await versions.of_file("note", [])
    assert found.version == version(1, 100)
    await versions.adopt(version(2, 500, "recovered/x"))
    assert len(await versions.of_file("recovered/x", [])) == 1
    assert await versions.kept_names() == {version(1, 100).kept, version(2, 500).kept}


async def test_a_file_in_the_trash_gives_its_chunks_again(store: IndexStore) -> None:
    versions = await fill(store)
    manifest = encode_manifest([(b"x" * 32, 3), (b"y" * 32, 2)])
    await versions.adopt(version(1, 100)._replace(manifest=manifest))
    found = await store.find_chunks([ChunkId(b"y" * 32)])
    assert [(p.offset, p.length, p.name) for p in found] == [(3, 2, version(1, 100).kept)]


async def test_a_version_and_the_row_that_ends_it_are_one_commit(store: IndexStore) -> None:
    row = Row(node(9))
    await store.perform(c.Commit(rows=[row], ended=[version(1, 100)]))
    assert row.id in await store.perform(c.LoadRows([row.id]))
    assert len(await store.versions.of_file("note", [])) == 1
