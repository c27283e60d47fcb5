"""Bytes on their way: from this disk where it has them, verified wherever they come from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from crypto.compression import compress
from crypto.ids import ChunkId, FolderId, LogId, NodeId
from peer.core import commands as c
from peer.core.disk_types import DiskFull, Publish, Stat
from peer.core.engine import Need
from peer.core.versions import Version
from peer.disk.disk import PosixDisk
from peer.folders.fetcher import BEGUN_MAX, PAUSED_BEGUN_MAX, SMALL_BYTES_MAX, Fetcher
from peer.folders.index_store import ChunkPlace, IndexStore
from protocol.events import ReceivedChunk
from protocol.nodes import ROOT, Content, Node
from protocol.records import encode_manifest
from tests.peer.real_disk import FOLDER, HASHER, open_disk
from tests.peer.tree_stage import TreeStage, file_id, place, stat, symlink_id

F, G = file_id(3), file_id(4)
LOG = LogId(b"L" * 16)
PARTS = [b"one" * 1000, b"two" * 2000, b"one" * 1000, b"three" * 500]


def chunk_id(data: bytes) -> ChunkId:
    return ChunkId(HASHER.chunk_id(data))


def content(*parts: bytes, hash_: bytes | None = None) -> Content:
    data = b"".join(parts)
    manifest = encode_manifest([(chunk_id(p), len(p)) for p in parts]) if len(parts) > 1 else b""
    return Content(((LOG, 1),), 1, LOG, hash_ or chunk_id(data), len(data), manifest, 10**18)


def need(node_id: NodeId, *parts: bytes, hash_: bytes | None = None) -> Need:
    return Need(node_id, content(*parts, hash_=hash_), node_id)


def received(data: bytes, *, claimed: bytes | None = None) -> ReceivedChunk:
    return ReceivedChunk(chunk_id(claimed if claimed is not None else data), 0, len(data), data)


class Asked:
    """Whoever would ask other devices."""

    def __init__(self) -> None:
        self.wanted: dict[Any, Sequence[tuple[ChunkId, int]]] = {}

    def need(
        self, folder_id: FolderId, files: Iterable[tuple[Any, Sequence[tuple[ChunkId, int]]]]
    ) -> None:
        assert folder_id == FOLDER
        for key, chunks in files:
            assert key not in self.wanted
            self.wanted[key] = chunks

    def forget(self, folder_id: FolderId, keys: Iterable[Any]) -> None:
        for key in keys:
            self.wanted.pop(key, None)


class Stage:
    def __init__(self, root: Path, store: IndexStore, disk: PosixDisk) -> None:
        self.root, self.store, self.disk = root, store, disk
        self.asked = Asked()
        self.executor = ThreadPoolExecutor(1)
        self.woken = 0
        self.fetcher = Fetcher(
            FOLDER,
            store,
            disk,
            self.executor,
            HASHER,
            self.asked,
            self.path_of,
            self.wake,
            free_min_bytes=1 << 20,
        )

    def wake(self) -> None:
        self.woken += 1

    def staged_names(self) -> list[str]:
        """Temp files, once the disk's thread has done all that it was told."""
        return self.executor.submit(self.disk.staged_names).result()

    def path_of(self, place: ChunkPlace) -> tuple[str, ...] | None:
        return (place.name,)

    async def has(self, name: str, *parts: bytes) -> None:
        """A file is on this disk and in the index."""
        data = b"".join(parts)
        (self.root / name).write_bytes(data)
        stage = TreeStage()
        node_id = file_id(50 + len(name))
        stage.put(
            {node_id: Node((place(ROOT, name),), (content(*parts),))},
            {node_id: stat(50 + len(name), size=len(data))},
        )
        await self.store.perform(c.Commit(list(stage.index.rows.values())))

    def published(self, node_id: NodeId, wanted: Content) -> bytes:
        """What the staged file would be on the disk."""
        name = self.fetcher.staged[node_id, wanted.hash]
        self.disk.sync_staged()
        (result,) = self.disk.apply([Publish(name, ("out",), None)])
        assert isinstance(result, Stat)
        assert result.mtime_ns == wanted.mtime_ns
        return (self.root / "out").read_bytes()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    store = await IndexStore.open(tmp_path / "index.db")
    disk = open_disk(tmp_path / "root")
    stage = Stage(tmp_path / "root", store, disk)
    yield stage
    for key in list(stage.fetcher.jobs):
        stage.fetcher.give_up(key)
    stage.fetcher.forget_begun()
    stage.executor.shutdown()
    disk.close()
    await store.close()


async def test_a_small_file_is_asked_for_and_staged_when_it_comes(stage: Stage) -> None:
    wanted = need(F, b"hello")
    await stage.fetcher.need([wanted])
    assert stage.asked.wanted == {(F, wanted.content.hash): [(chunk_id(b"hello"), 5)]}
    assert stage.fetcher.is_pending(F, wanted.content.hash)
    assert stage.fetcher.pending_bytes == 5
    assert await stage.fetcher.received([received(b"hello")]) == ([chunk_id(b"hello")], [])
    assert stage.published(F, wanted.content) == b"hello"
    assert stage.fetcher.staged_owners == [F]
    assert (stage.fetcher.pending_bytes, stage.fetcher.jobs, stage.woken) == (0, {}, 1)


async def test_empty_files_and_symlinks_need_nobody(stage: Stage) -> None:
    link = symlink_id(7)
    target = content(b"to/there")._replace(manifest=b"to/there")
    await stage.fetcher.need([need(F), Need(link, target, link)])
    assert stage.asked.wanted == {}
    assert set(stage.fetcher.staged) == {(F, chunk_id(b"")), (link, target.hash)}


async def test_a_file_in_chunks_comes_in_any_order(stage: Stage) -> None:
    wanted = need(F, *PARTS)
    await stage.fetcher.need([wanted])
    ((key, chunks),) = stage.asked.wanted.items()
    assert key == (F, wanted.content.hash)
    assert chunks == [(chunk_id(p), len(p)) for p in (PARTS[0], PARTS[1], PARTS[3])]
    left = wanted.content.size
    assert stage.fetcher.lacking_bytes == left
    for part in (PARTS[3], PARTS[0]):
        await stage.fetcher.received([received(part)])
        assert stage.fetcher.staged == {}
        left -= len(part) * PARTS.count(part)
        assert stage.fetcher.lacking_bytes == left  # with each piece, and not at the file's end
    await stage.fetcher.received([received(PARTS[1])])
    assert stage.fetcher.lacking_bytes == 0
    assert stage.published(F, wanted.content) == b"".join(PARTS)


async def test_compressed_chunks_are_opened_first(stage: Stage) -> None:
    data = b"a" * 10_000
    await stage.fetcher.need([need(F, data)])
    codec, packed = compress(data, 1)
    assert codec
    chunk = ReceivedChunk(chunk_id(data), codec, len(data), memoryview(packed))
    assert await stage.fetcher.received([chunk]) == ([chunk_id(data)], [])


@pytest.mark.row("A07", "A08", "A31")
@pytest.mark.parametrize(
    "evil",
    [
        received(b"other", claimed=b"hello"),
        received(b"", claimed=b"hello"),
        ReceivedChunk(chunk_id(b"hello"), 0, 4, b"hello"),
        ReceivedChunk(chunk_id(b"hello"), 1, 5, b"no zstd"),
        ReceivedChunk(chunk_id(b"hello"), 7, 5, b"hello"),
        ReceivedChunk(chunk_id(b"hello"), 1, 1 << 40, compress(b"a" * 10_000)[1]),
    ],
)
async def test_an_evil_chunk_is_told_and_the_right_one_still_taken(
    stage: Stage, evil: ReceivedChunk
) -> None:
    """A07, A08, A31: from another device it may come whole yet."""
    wanted = need(F, b"hello")
    await stage.fetcher.need([wanted])
    assert await stage.fetcher.received([evil]) == ([], [chunk_id(b"hello")])
    assert stage.fetcher.staged == {}
    assert await stage.fetcher.received([received(b"hello")]) == ([chunk_id(b"hello")], [])
    assert stage.published(F, wanted.content) == b"hello"


async def test_a_chunk_that_nobody_waits_for_is_harmless(stage: Stage) -> None:
    await stage.fetcher.received([received(b"unasked")])
    assert stage.fetcher.staged == {}
    await stage.fetcher.need([need(F, b"hello")])
    await stage.fetcher.received([received(b"hello"), received(b"hello")])
    assert len(stage.fetcher.staged) == 1


async def test_one_chunk_serves_all_files_that_want_it(stage: Stage) -> None:
    await stage.fetcher.need([need(F, b"same"), need(G, b"same")])
    await stage.fetcher.received([received(b"same")])
    assert {key[0] for key in stage.fetcher.staged} == {F, G}


async def test_a_kept_file_of_which_only_the_whole_is_known_gives_its_chunks(stage: Stage) -> None:
    """A version in the trash after the index was lost: its name says its hash and nothing else."""
    wanted = need(F, *PARTS)
    data = b"".join(PARTS)
    (stage.root / "kept").write_bytes(data)
    hash_ = wanted.content.hash
    version = Version(G, hash_, len(data), 1, False, b"", 1, "", "recovered/kept", 1, True, "kept")
    await stage.store.versions.adopt(version)
    await stage.fetcher.need([wanted])
    assert stage.asked.wanted == {}
    assert stage.published(F, wanted.content) == data


async def test_a_kept_file_that_is_something_else_costs_nothing_but_asking(stage: Stage) -> None:
    wanted = need(F, *PARTS)
    data = b"".join(PARTS)
    (stage.root / "kept").write_bytes(data[::-1])
    hash_ = wanted.content.hash
    version = Version(G, hash_, len(data), 1, False, b"", 1, "", "recovered/kept", 1, True, "kept")
    await stage.store.versions.adopt(version)
    await stage.fetcher.need([wanted])
    for part in PARTS:
        await stage.fetcher.received([received(part)])
    assert stage.published(F, wanted.content) == data


async def test_what_this_disk_has_is_not_asked_for(stage: Stage) -> None:
    """A copy of a file, and the unchanged part of an edited one."""
    await stage.has("old", *PARTS)
    await stage.has("s", b"small")
    edited = [*PARTS[:3], b"edited" * 100]
    await stage.fetcher.need([need(F, *edited), need(G, b"small")])
    assert list(stage.asked.wanted.values()) == [[(chunk_id(edited[3]), 600)]]
    assert set(stage.fetcher.staged) == {(G, chunk_id(b"small"))}
    await stage.fetcher.received([received(edited[3])])
    assert stage.published(F, content(*edited)) == b"".join(edited)


async def test_what_this_disk_no_longer_has_is_asked_for(stage: Stage) -> None:
    await stage.has("old", *PARTS)
    await stage.has("s", b"small")
    for name in ("old", "s"):
        data = (stage.root / name).read_bytes()
        (stage.root / name).write_bytes(bytes(len(data)))
    await stage.fetcher.need([need(F, *PARTS), need(G, b"small")])
    assert stage.fetcher.staged == {}
    assert {key[0] for key in stage.asked.wanted} == {F, G}


@pytest.mark.row("F10")
async def test_of_what_was_copied_only_what_is_right_counts(stage: Stage) -> None:
    """A person edits the file while it is copied: that chunk alone is fetched."""
    await stage.has("old", *PARTS)
    (stage.root / "old").write_bytes(b"one" * 1000 + b"TWO" * 2000 + b"one" * 1000 + PARTS[3])
    edited = [*PARTS[:3], b"edited" * 100]
    await stage.fetcher.need([need(F, *edited)])
    await stage.fetcher.received([received(edited[3])])
    assert stage.fetcher.staged == {}
    assert list(stage.asked.wanted.values()) == [[(chunk_id(PARTS[1]), 6000)]]
    await stage.fetcher.received([received(PARTS[1])])
    assert stage.published(F, content(*edited)) == b"".join(edited)


@pytest.mark.row("A08")
async def test_a_record_whose_hash_is_not_its_chunks_is_a_problem(stage: Stage) -> None:
    """Each chunk is right and the whole is not: a hostile record (A08)."""
    wanted = need(F, *PARTS, hash_=b"w" * 32)
    await stage.fetcher.need([wanted])
    await stage.fetcher.received([received(p) for p in dict.fromkeys(PARTS)])
    assert stage.fetcher.staged == {}
    assert "hash" in stage.fetcher.problems[F, b"w" * 32]
    assert stage.staged_names() == []
    assert stage.fetcher.is_pending(F, b"w" * 32)  # not asked for again and again


async def test_what_is_wanted_twice_is_fetched_once(stage: Stage) -> None:
    await stage.fetcher.need([need(F, b"hello")])
    stage.asked.wanted.clear()
    await stage.fetcher.need([need(F, b"hello")])
    assert stage.asked.wanted == {}
    assert stage.fetcher.pending_bytes == 5


async def test_what_nobody_has_is_asked_for_again_when_somebody_joins(stage: Stage) -> None:
    wanted = need(F, *PARTS)
    key = (F, wanted.content.hash)
    await stage.fetcher.need([wanted])
    stage.fetcher.give_up(key)
    stage.fetcher.give_up(key)
    assert stage.fetcher.unavailable == {key}
    assert stage.fetcher.is_pending(*key)
    assert (stage.fetcher.jobs, stage.fetcher.pending_bytes) == ({}, 0)
    assert stage.staged_names() == []
    await stage.fetcher.received([received(PARTS[0])])  # late, and for nobody
    stage.fetcher.retry()
    assert not stage.fetcher.is_pending(*key)
    await stage.fetcher.need([wanted])
    await stage.fetcher.received([received(p) for p in dict.fromkeys(PARTS)])
    assert stage.published(F, wanted.content) == b"".join(PARTS)


async def test_what_has_come_of_a_large_file_is_not_fetched_again(stage: Stage) -> None:
    wanted = need(F, *PARTS)
    key = (F, wanted.content.hash)
    await stage.fetcher.need([wanted])
    await stage.fetcher.received([received(PARTS[1])])
    stage.fetcher.give_up(key)
    assert stage.fetcher.pending_bytes == 0
    stage.fetcher.retry()
    await stage.fetcher.need([wanted])
    left = {chunk_id(PARTS[0]): len(PARTS[0]), chunk_id(PARTS[3]): len(PARTS[3])}
    assert dict(stage.asked.wanted[key]) == left
    assert stage.fetcher.pending_bytes == wanted.content.size
    await stage.fetcher.received([received(PARTS[0]), received(PARTS[3])])
    assert stage.published(F, wanted.content) == b"".join(PARTS)


async def test_what_came_just_as_it_was_given_up_completes_it(stage: Stage) -> None:
    wanted = need(F, *PARTS)
    key = (F, wanted.content.hash)
    await stage.fetcher.need([wanted])
    await stage.fetcher.received([received(PARTS[0]), received(PARTS[1])])
    results = await stage.fetcher._in_disk_thread(lambda: stage.fetcher._take([received(PARTS[3])]))
    stage.fetcher.give_up(key)
    await stage.fetcher._finish(results.done)
    assert key not in stage.fetcher.staged
    stage.fetcher.retry()
    await stage.fetcher.need([wanted])
    assert stage.published(F, wanted.content) == b"".join(PARTS)


async def test_half_files_that_nobody_wants_are_let_go(stage: Stage) -> None:
    for number in range(BEGUN_MAX + 1):
        wanted = need(file_id(20 + number), PARTS[0], PARTS[1], b"%d" % number)
        await stage.fetcher.need([wanted])
        await stage.fetcher.received([received(PARTS[0])])
        stage.fetcher.give_up((wanted.node, wanted.content.hash))
    assert len(stage.staged_names()) == BEGUN_MAX
    stage.fetcher.forget_begun()
    assert stage.staged_names() == []


async def test_half_files_that_are_paused_outlast_those_that_nobody_has(stage: Stage) -> None:
    fetcher = stage.fetcher
    for number in range(PAUSED_BEGUN_MAX + 2 * BEGUN_MAX):
        wanted = need(file_id(20 + number), PARTS[0], PARTS[1], b"%d" % number)
        await fetcher.need([wanted])
        await fetcher.received([received(PARTS[0])])
        if number < PAUSED_BEGUN_MAX:
            fetcher.pause([wanted.node])
        else:
            fetcher.give_up((wanted.node, wanted.content.hash))
    assert len(stage.staged_names()) == PAUSED_BEGUN_MAX + BEGUN_MAX
    assert len(fetcher.resting) == PAUSED_BEGUN_MAX
    assert all(key in fetcher._begun for key in fetcher.resting)
    more = need(file_id(99), PARTS[0], PARTS[1], b"more")
    await fetcher.need([more])
    await fetcher.received([received(PARTS[0])])
    fetcher.pause([more.node])
    assert len(stage.staged_names()) == PAUSED_BEGUN_MAX + BEGUN_MAX
    assert fetcher.resting_bytes((file_id(20), need(file_id(20), *PARTS[:2], b"0").content.hash))


async def test_what_is_paused_is_wanted_only_by_whom_a_person_asked(stage: Stage) -> None:
    fetcher = stage.fetcher
    fetcher.pause([F, G])
    await fetcher.need([need(F, b"one"), need(G, b"two")])
    assert stage.asked.wanted == {}
    assert fetcher.paused_lack == (2, 6)
    await fetcher.need([need(F, b"one")], is_asked=True)
    assert list(stage.asked.wanted) == [(F, chunk_id(b"one"))]
    fetcher.look_again([F])
    assert fetcher.paused_lack == (1, 3)
    fetcher.resume([G])
    assert fetcher.paused_lack == (0, 0)
    await fetcher.need([need(G, b"two")])
    assert len(stage.asked.wanted) == 2


async def test_a_file_that_somebody_else_wants_too_is_not_stopped(stage: Stage) -> None:
    """The bytes of a conflict copy, say, without which something else cannot be shown."""
    wanted = need(F, b"one")
    await stage.fetcher.need([wanted, wanted._replace(owner=G)])
    stage.fetcher.pause([F])
    assert len(stage.asked.wanted) == 1
    assert stage.fetcher.paused_lack == (0, 0)
    await stage.fetcher.received([received(b"one")])
    assert stage.fetcher.staged_owners == [F, G]


async def test_what_is_dropped_is_forgotten_and_its_temp_files_named(stage: Stage) -> None:
    running, done = need(F, *PARTS), need(G, b"done")
    await stage.fetcher.need([running, done])
    await stage.fetcher.received([received(b"done")])
    name = stage.fetcher.staged[G, done.content.hash]
    keys = [(F, running.content.hash), (G, done.content.hash)]
    assert stage.fetcher.drop(keys) == [name]
    assert (stage.fetcher.jobs, stage.fetcher.staged) == ({}, {})
    assert (F, running.content.hash) not in stage.asked.wanted
    assert stage.staged_names() == [name]


async def test_a_large_file_of_one_chunk_is_written_piece_by_piece(stage: Stage) -> None:
    data = bytes(SMALL_BYTES_MAX + 1)
    await stage.fetcher.need([need(F, data)])
    assert len(stage.disk.staged_names()) == 1
    await stage.fetcher.received([received(data)])
    assert stage.published(F, content(data)) == data


# ---------------------------------------------------------------- room on the disk


async def test_what_the_disk_has_no_room_for_is_not_begun(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has room is fetched; the rest waits, and says what is missing."""
    large = Content(((LOG, 1),), 1, LOG, b"h" * 32, 9 << 20, mtime_ns=10**18)
    monkeypatch.setattr(stage.disk, "free_bytes", lambda: 10 << 20)
    await stage.fetcher.need([need(F, b"small"), Need(G, large, G)])
    told = "9 MB are to be fetched, 10 MB are free, and 1 MB have to stay free."
    assert stage.fetcher.no_room.startswith(told)
    assert list(stage.fetcher.jobs) == [(F, chunk_id(b"small"))]
    monkeypatch.setattr(stage.disk, "free_bytes", lambda: 11 << 20)
    await stage.fetcher.need([Need(G, large, G)])
    assert len(stage.fetcher.jobs) == 2


async def test_what_is_on_its_way_has_its_room_already(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = Content(((LOG, 1),), 1, LOG, b"h" * 32, 6 << 20, mtime_ns=10**18)
    monkeypatch.setattr(stage.disk, "free_bytes", lambda: 10 << 20)
    await stage.fetcher.need([Need(G, large, G)])
    assert not stage.fetcher.no_room
    await stage.fetcher.need([Need(F, large, F)])
    assert stage.fetcher.no_room


async def test_a_file_whose_chunk_could_not_be_written_is_begun_anew(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.fetcher.need([need(F, *PARTS)])
    (job,) = stage.fetcher.jobs.values()

    def fail(offset: int, data: bytes) -> None:
        raise DiskFull

    assert job.staged is not None
    with monkeypatch.context() as patch:
        patch.setattr(type(job.staged), "write", lambda self, offset, data: fail(offset, data))
        with pytest.raises(DiskFull):
            await stage.fetcher.received([received(PARTS[1])])
    assert not stage.fetcher.jobs
    assert stage.fetcher.pending_bytes == 0
    await stage.fetcher.need([need(F, *PARTS)])
    good, bad = await stage.fetcher.received([received(part) for part in {*PARTS}])
    assert (len(good), bad) == (3, [])
    assert stage.published(F, content(*PARTS)) == b"".join(PARTS)


# ---------------------------------------------------------------- what a member made up


@pytest.mark.row("A08")
async def test_a_record_that_is_not_what_its_bytes_are_is_not_staged(stage: Stage) -> None:
    """Equal hashes are no conflict: shown under a foreign hash, it would take the other's place."""
    empty = Content(((LOG, 1),), 1, LOG, b"h" * 32, 0, mtime_ns=10**18)
    link = Content(((LOG, 1),), 1, LOG, b"h" * 32, 0, b"target", mtime_ns=10**18)
    short = content(b"sixteen bytes...")._replace(size=5)
    symlink = symlink_id(6)
    await stage.fetcher.need([Need(F, empty, F), Need(symlink, link, symlink), Need(G, short, G)])
    assert set(stage.fetcher.problems) == {(F, b"h" * 32), (symlink, b"h" * 32)}
    await stage.fetcher.received([received(b"sixteen bytes...")])
    assert (G, short.hash) in stage.fetcher.problems
    assert not stage.fetcher.jobs
    assert not stage.fetcher.staged
    assert stage.staged_names() == []
    assert stage.fetcher.pending_bytes == 0


async def test_what_is_staged_is_wanted_of_nobody_and_can_be_wanted_anew(stage: Stage) -> None:
    """Its last chunk may not be counted yet by whoever asks other devices."""
    wanted = need(F, b"hello")
    await stage.fetcher.need([wanted])
    await stage.fetcher.received([received(b"hello")])
    assert stage.asked.wanted == {}
    stage.fetcher.begin_anew()
    await stage.fetcher.need([wanted])
    assert list(stage.asked.wanted) == [(F, wanted.content.hash)]


class Meeting(dict[ChunkId, Any]):
    """Who waits for what, and the disk's thread at work in the middle of its being written down."""

    def __init__(self, stage: Stage, chunk: ReceivedChunk) -> None:
        super().__init__(stage.fetcher._waiting)
        self._stage, self._chunk, self.count = stage, chunk, 0
        self.taking: Future[Any] | None = None

    def setdefault(self, key: ChunkId, default: Any = None) -> Any:
        self.count += 1
        if self.count == 2:
            fetcher = self._stage.fetcher
            self.taking = self._stage.executor.submit(fetcher._take, [self._chunk])
            if not fetcher._handing.locked():  # else it waits until all is written down
                self.taking.result()
        return super().setdefault(key, default)


async def test_what_comes_for_one_file_meets_another_of_the_same_bytes(stage: Stage) -> None:
    """In the disk's thread, while the loop's writes down what that other lacks."""
    one, two = need(F, PARTS[0], PARTS[1]), need(G, PARTS[0], PARTS[3])
    await stage.fetcher.need([one])
    meeting = stage.fetcher._waiting = Meeting(stage, received(PARTS[0]))
    await stage.fetcher.need([two])
    assert meeting.taking is not None
    assert meeting.taking.result().good == [chunk_id(PARTS[0])]
    await stage.fetcher.received([received(PARTS[1]), received(PARTS[3])])
    assert stage.fetcher.jobs == {}
    assert set(stage.fetcher.staged) == {(F, one.content.hash), (G, two.content.hash)}
