"""Chunks for others: from memory, from files in place, and never what is not the chunk any more."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from crypto.ids import ChunkId, LogId
from peer.core import commands as c
from peer.device.database import DatabaseClosed
from peer.disk.disk import PosixDisk
from peer.folders.index_store import ChunkPlace, IndexStore, Summary
from peer.folders.serving import CACHE_BYTES, Serving
from protocol.nodes import ROOT, Content, Node
from protocol.records import encode_manifest
from tests.peer.real_disk import HASHER, open_disk
from tests.peer.tree_stage import TreeStage, file_id, place, stat
from tests.protocol.test_logs import pair

F, G = file_id(3), file_id(4)
LOG = LogId(b"L" * 16)
PARTS = [b"one" * 100, b"two" * 200, b"three" * 50]


def ids(*parts: bytes) -> list[ChunkId]:
    return [ChunkId(HASHER.chunk_id(part)) for part in parts]


class Kitchen:
    def __init__(self, root: Path, store: IndexStore, disk: PosixDisk | None) -> None:
        self.root = root
        self.is_shown = True
        self.serving = Serving(store, disk, HASHER, self.path_of)
        self.store = store

    def path_of(self, place: ChunkPlace) -> tuple[str, ...] | None:
        return (place.name,) if self.is_shown else None

    async def put(self, name: str, parts: Sequence[bytes]) -> None:
        data = b"".join(parts)
        (self.root / name).write_bytes(data)
        chunks = [(HASHER.chunk_id(p), len(p)) for p in parts]
        manifest = encode_manifest(chunks) if len(parts) > 1 else b""
        content = Content(((LOG, 1),), 1, LOG, HASHER.chunk_id(data), len(data), manifest)
        node_id = file_id(10 + len(name))
        stage = TreeStage()
        found = stat(10 + len(name), size=len(data))
        stage.put({node_id: Node((place(ROOT, name),), (content,))}, {node_id: found})
        await self.store.perform(c.Commit(list(stage.index.rows.values())))


@pytest.fixture
async def kitchen(tmp_path: Path) -> AsyncIterator[Kitchen]:
    store = await IndexStore.open(tmp_path / "index.db")
    disk = open_disk(tmp_path / "root")
    kitchen = Kitchen(tmp_path / "root", store, disk)
    yield kitchen
    kitchen.serving.close()
    disk.close()
    await store.close()


async def test_chunks_come_from_inside_of_files_in_the_order_asked_for(kitchen: Kitchen) -> None:
    await kitchen.put("large", PARTS)
    await kitchen.put("s", [b"small"])
    unknown = ChunkId(b"u" * 32)
    wanted = [*ids(PARTS[2], b"small"), unknown, *ids(PARTS[0])]
    assert await kitchen.serving.read_chunks(wanted) == [PARTS[2], b"small", None, PARTS[0]]


@pytest.mark.row("F08", "F10")
async def test_what_the_person_changed_is_not_given_for_the_chunk(kitchen: Kitchen) -> None:
    await kitchen.put("large", PARTS)
    data = bytearray((kitchen.root / "large").read_bytes())
    data[400] ^= 1
    (kitchen.root / "large").write_bytes(data)
    assert await kitchen.serving.read_chunks(ids(*PARTS)) == [PARTS[0], None, PARTS[2]]


async def test_a_file_cut_short_or_gone_has_no_chunks(kitchen: Kitchen) -> None:
    await kitchen.put("large", PARTS)
    (kitchen.root / "large").write_bytes(PARTS[0])
    assert await kitchen.serving.read_chunks(ids(*PARTS)) == [PARTS[0], None, None]
    (kitchen.root / "large").unlink()
    assert await kitchen.serving.read_chunks(ids(*PARTS)) == [None, None, None]


async def test_a_second_copy_serves_when_the_first_was_changed(kitchen: Kitchen) -> None:
    await kitchen.put("a", [b"same"])
    await kitchen.put("bb", [b"same"])
    (kitchen.root / "a").write_bytes(b"othe")
    assert await kitchen.serving.read_chunks(ids(b"same")) == [b"same"]


@pytest.mark.row("A35")
async def test_a_symlink_in_a_file_s_place_is_not_followed(
    kitchen: Kitchen, tmp_path: Path
) -> None:
    """A35: a member could have what lies outside read out, if its hash were known."""
    (tmp_path / "secret").write_bytes(b"small")
    await kitchen.put("s", [b"small"])
    (kitchen.root / "s").unlink()
    (kitchen.root / "s").symlink_to(tmp_path / "secret")
    assert await kitchen.serving.read_chunks(ids(b"small")) == [None]


async def test_what_is_not_shown_any_more_is_not_looked_for(kitchen: Kitchen) -> None:
    await kitchen.put("s", [b"small"])
    kitchen.is_shown = False
    assert await kitchen.serving.read_chunks(ids(b"small")) == [None]


async def test_what_was_just_read_needs_no_disk(kitchen: Kitchen) -> None:
    (chunk_id,) = ids(b"fresh")
    kitchen.serving.remember(chunk_id, b"fresh")
    kitchen.serving.remember(chunk_id, b"fresh")
    assert await kitchen.serving.read_chunks([chunk_id, chunk_id]) == [b"fresh", b"fresh"]


@pytest.mark.row("F36")
async def test_memory_is_bounded(kitchen: Kitchen) -> None:
    size = CACHE_BYTES // 4
    names = [ChunkId(bytes([n]) * 32) for n in range(6)]
    for name in names:
        kitchen.serving.remember(name, bytes(size))
    found = await kitchen.serving.read_chunks(names)
    assert [data is not None for data in found] == [True] * 4 + [False] * 2
    kitchen.serving.remember(names[5], bytes(size))  # what was given made room
    assert await kitchen.serving.read_chunks(names[5:]) == [bytes(size)]


async def test_one_request_is_answered_in_parts_of_a_bounded_size(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks may name 256 chunks of 16 MiB each, and asks for the rest again."""
    await kitchen.put("large", PARTS)
    monkeypatch.setattr("peer.folders.serving.READ_BYTES_MAX", len(PARTS[0]) + len(PARTS[1]))
    assert await kitchen.serving.read_chunks(ids(*PARTS)) == PARTS[:2]
    monkeypatch.setattr("peer.folders.serving.READ_BYTES_MAX", 1)
    assert await kitchen.serving.read_chunks(ids(*PARTS)) == PARTS[:1]


async def test_a_folder_that_is_not_on_this_disk_has_nothing(kitchen: Kitchen) -> None:
    serving = Serving(kitchen.store, None, HASHER, kitchen.path_of)
    await kitchen.put("s", [b"small"])
    assert await serving.read_chunks(ids(b"small")) == [None]
    serving.close()


# ---------------------------------------------------------------- an index that does not answer


async def ask_everything(kitchen: Kitchen) -> tuple[object, ...]:
    one, _ = pair()
    log_id = one.write().changeset.log_id
    return (
        await kitchen.serving.read_chunks(ids(b"small", b"large")),
        await kitchen.serving.offer(one.book, log_id, 0, 1 << 20),
        await kitchen.serving.summary(Summary(7, 0, 0, 0)),
    )


SILENCE = ([None, None], None, Summary(7, 0, 0, 0))


@pytest.mark.parametrize("what", [sqlite3.OperationalError, sqlite3.DatabaseError])
@pytest.mark.row("F07")
async def test_whoever_asks_does_not_end_by_an_index_that_fails(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch, what: type[Exception]
) -> None:
    await kitchen.put("s", [b"small"])

    async def fails(*_: object) -> None:
        raise what("disk I/O error")

    for name in ("perform", "find_chunks", "summary"):
        monkeypatch.setattr(kitchen.store, name, fails)
    assert await ask_everything(kitchen) == SILENCE


async def test_a_closed_index_is_not_asked_and_may_close_while_it_is(kitchen: Kitchen) -> None:
    await kitchen.put("s", [b"small"])
    await kitchen.store.close()
    with pytest.raises(DatabaseClosed):
        await ask_everything(kitchen)  # nobody said that it was closed: a defect
    kitchen.serving.is_closed = True
    assert await ask_everything(kitchen) == SILENCE
