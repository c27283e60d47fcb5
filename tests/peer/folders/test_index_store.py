"""The index on a real SQLite file: what was committed is what is loaded, whole or not at all."""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto.ids import ChunkId, LogId, NodeId
from peer.core import commands as c
from peer.core.local_changes import link
from peer.core.rows import DERIVED, HIDDEN, DiskFacts, Row, Shown
from peer.core.tree import show
from peer.core.turn import Turn, is_directory
from peer.errors import IndexDamaged, PeerError
from peer.folders.index_store import AT_ONCE, ChunkPlace, IndexStore, Summary
from peer.folders.node_format import encode_node
from protocol.nodes import NO_NODE, NOTHING, ROOT, Content, Kind, Node, copy_id, join
from protocol.records import encode_manifest
from tests.peer.core.test_tree import Bench, records
from tests.peer.tree_stage import (
    NOW_NS,
    TreeStage,
    X,
    Y,
    content,
    directory,
    directory_id,
    file,
    file_id,
    place,
    stat,
)
from tests.protocol import node_strategies

D, E = directory_id(1), directory_id(2)
F, G = file_id(3), file_id(4)
LOG = LogId(b"L" * 16)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[IndexStore]:
    store = await IndexStore.open(tmp_path / "index.db")
    yield store
    await store.close()


def on_store(work: Any) -> None:
    """Runs a coroutine that takes a store in memory, for tests that Hypothesis repeats."""

    async def run() -> None:
        store = await IndexStore.open(Path(":memory:"))
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(run())


shown = st.builds(
    Shown, st.sampled_from([ROOT, D]), st.sampled_from("ab"), st.sampled_from([F, G]),
    st.sampled_from(["a", "b"]), st.integers(0, 7), st.sampled_from([X, Y]), st.integers(0, 9),
    st.booleans(), st.integers(-5, 1 << 62),
)  # fmt: skip
disks = st.builds(
    DiskFacts, st.integers(1, 1 << 62), st.integers(0, 9), st.integers(-5, 9), st.integers(0, 9)
)


@given(node_strategies.nodes(Kind.FILE), node_strategies.nodes(Kind.FILE), shown, disks)
@settings(deadline=None, max_examples=20)
def test_a_row_comes_back_as_it_went(state: Node, base: Node, how: Shown, disk: DiskFacts) -> None:
    rows = [
        Row(F, state, base, NO_NODE, how, disk),
        Row(G, state, state, F),
        Row(file_id(5), state, base, G, how._replace(item=file_id(5), flags=DERIVED), disk),
        Row(D, state, NOTHING),
    ]

    async def work(store: IndexStore) -> None:
        await store.perform(c.Commit(rows))
        loaded = await store.perform(c.LoadRows([r.id for r in rows]))
        for row in rows:
            row.stored = True
            assert loaded[row.id] == row
        dirty = await store.perform(c.LoadDirty((0, NO_NODE), 10))
        assert {r.id for r in dirty} == {r.id for r in rows if r.is_dirty}
        ids = [r.id for r in dirty]
        assert ids == sorted(ids, key=lambda i: (not is_directory(i), i))

    on_store(work)


@given(records, st.randoms(use_true_random=False), st.booleans())
@settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
def test_a_restart_finds_the_directories_that_were_resident(
    soup: list[tuple[NodeId, Node]], rng: random.Random, fold: bool
) -> None:
    """Counts, merged names, cycles, orphans, copies: all of it follows from the rows."""
    bench = Bench(fold)
    rng.shuffle(soup)
    live = bench.directories

    async def work(store: IndexStore) -> None:
        replica: dict[NodeId, Node] = {}
        inodes = itertools.count(1)
        while soup:
            delta: dict[NodeId, Node] = {}
            for _ in range(min(len(soup), rng.randint(1, 5))):
                node_id, node = soup.pop()
                replica[node_id] = delta[node_id] = join(replica.get(node_id, NOTHING), node)
            await commit(store, live, delta, inodes)
        loaded = await store.load_directories(fold)
        assert loaded.nodes.keys() == live.nodes.keys()
        for node_id, directory_ in live.nodes.items():
            found = loaded.nodes[node_id]
            assert {k: set(v) for k, v in found.subdirectories.items()} == {
                k: set(v) for k, v in directory_.subdirectories.items()
            }
            for field in ("base", "place", "is_adrift", "children", "counted_in", "counted_key",
                          "parent", "name"):  # fmt: skip
                assert getattr(found, field) == getattr(directory_, field), field
            assert found.item == directory_.item or not directory_.counted_in
        assert loaded.items.keys() == live.items.keys()
        for item_id, item in live.items.items():
            found_item = loaded.items[item_id]
            for field in ("members", "parent", "name", "flags", "inode"):
                assert getattr(found_item, field) == getattr(item, field), field
        assert loaded.by_inode == live.by_inode
        assert loaded.copies == live.copies
        assert loaded.adrift == live.adrift

    on_store(work)


async def commit(
    store: IndexStore, live: Any, delta: dict[NodeId, Node], inodes: Iterator[int]
) -> None:
    turn = Turn(live)
    routine = _put(turn, delta, inodes)
    answer: Any = None
    while True:
        try:
            command = routine.send(answer)
        except StopIteration:
            break
        answer = await store.perform(command)
    await store.perform(c.Commit(turn.rows_to_store(), turn.rows_to_delete()))
    turn.merge()


async def _put(turn: Turn, delta: dict[NodeId, Node], inodes: Iterator[int]) -> None:
    await turn.load(delta)
    for node_id, node in delta.items():
        turn.rows[node_id].state = node
    await show(turn, delta)
    for node_id in delta:
        if is_directory(node_id):
            await link(turn, node_id, stat(next(inodes), size=0), NOW_NS)
    await turn.finish()


# ---------------------------------------------------------------- looking things up


async def fill(store: IndexStore) -> TreeStage:
    stage = TreeStage()
    stage.put(
        {D: directory(name="d"), F: file(D, "f", X), G: file(ROOT, "g", Y)},
        {F: stat(10, size=5), G: stat(11, size=5)},
    )
    await store.perform(c.Commit(list(stage.index.rows.values())))
    return stage


async def test_every_look_up_answers_like_the_dictionary(store: IndexStore) -> None:
    """The fake index of the tests must be no kinder than the real one."""
    stage = await fill(store)
    for command in (
        c.LoadRows([F, D, file_id(9)]),
        c.LoadSlots([(D, "f"), (ROOT, "g"), (ROOT, "f"), (ROOT, "d")]),
        c.LoadChildren([D, ROOT]),
        c.LoadCopies([F]),
        c.LoadInodes([10, 12]),
        c.FindPlace([X, b"n" * 32]),
        c.LoadFacts([D, ROOT]),
        c.LoadDirty((0, NO_NODE), 5),
    ):
        real, fake = await store.perform(command), stage.index.perform(command)
        if isinstance(real, dict):
            assert real == fake
        else:
            assert sorted(real, key=lambda r: r.id) == sorted(fake, key=lambda r: r.id), command


async def test_more_values_than_one_statement_takes(store: IndexStore) -> None:
    rows = [Row(NodeId(n.to_bytes(15) + b"\x00"), state=file()) for n in range(AT_ONCE * 2 + 7)]
    await store.perform(c.Commit(rows))
    ids = [r.id for r in rows]
    assert set(await store.perform(c.LoadRows(ids))) == set(ids)
    assert len(await store.perform(c.LoadSlots([(i, "a") for i in ids]))) == 0


async def test_pages_of_what_is_to_be_applied_meet_without_gap_or_overlap(
    store: IndexStore,
) -> None:
    rows = [Row(NodeId(n.to_bytes(15) + bytes([n % 3])), state=file()) for n in range(40)]
    await store.perform(c.Commit(rows))
    seen: list[NodeId] = []
    after = (0, NO_NODE)
    while page := await store.perform(c.LoadDirty(after, 7)):
        seen += [r.id for r in page]
        last = page[-1].id
        after = (1 if is_directory(last) else 2, last)
    assert sorted(seen) == sorted(r.id for r in rows)
    assert [is_directory(i) for i in seen] == sorted(map(is_directory, seen), reverse=True)


async def test_chunks_are_found_in_whole_files_and_inside_of_them(store: IndexStore) -> None:
    chunks = [(bytes([n]) * 32, 100) for n in range(3)]
    large = Node(
        (place(D, "big"),), (Content(((LOG, 1),), 1, LOG, Y, 300, encode_manifest(chunks)),)
    )
    stage = TreeStage()
    stage.put(
        {D: directory(name="d"), F: file(ROOT, "f", X), G: large},
        {F: stat(10, size=5), G: stat(11, size=300)},
    )
    await store.perform(c.Commit(list(stage.index.rows.values())))
    wanted = [ChunkId(X), ChunkId(chunks[2][0]), ChunkId(b"n" * 32)]
    assert set(await store.find_chunks(wanted)) == {
        ChunkPlace(ChunkId(X), 0, 5, ROOT, "f"),
        ChunkPlace(ChunkId(chunks[2][0]), 200, 100, D, "big"),
    }
    stage.put({G: join(large, file(D, "big", X, lamport=5, vector=((LOG, 2),), log=LOG))})
    await store.perform(c.Commit(list(stage.index.rows.values())))
    await store.drop_unused_chunks()
    assert await store.find_chunks([ChunkId(chunks[2][0])]) == []


async def test_the_summary_counts_what_is_shown_and_what_is_needed(store: IndexStore) -> None:
    await fill(store)
    assert await store.summary() == Summary(2, 10, 0, 0)
    await store.perform(c.Commit([Row(file_id(8), state=file()), Row(E, state=directory())]))
    assert await store.summary() == Summary(2, 10, 1, 1)


async def test_a_summary_beside_a_commit_is_not_kept_beyond_it(store: IndexStore) -> None:
    await fill(store)
    for number in range(8, 40):
        wanted = Row(file_id(number), state=file())
        asked = [store.summary() for _ in range(3)]
        await asyncio.gather(asked[0], store.perform(c.Commit([wanted])), *asked[1:])
        assert (await store.summary()).need_files == number - 7


async def test_the_counts_are_carried_on_as_they_would_be_counted(tmp_path: Path) -> None:
    store = await IndexStore.open(tmp_path / "index.db")
    dice = random.Random(5)
    stage = TreeStage()
    for number in range(40):
        node = file_id(dice.randrange(1, 8))
        if node in stage.index.rows and dice.random() < 0.3:
            del stage.index.rows[node]
            await store.perform(c.Commit(deleted=[node]))
        else:
            is_shown = dice.random() < 0.7
            shown = Shown(ROOT, "f", node, "f", size=dice.randrange(99)) if is_shown else HIDDEN
            other = Row(
                file_id(20), file(), file(), shown=Shown(ROOT, "f", node, "", size=7)
            )  # shown as that one
            stage.index.rows[node] = Row(node, file(), file(), shown=shown)
            await store.perform(c.Commit([stage.index.rows[node], other]))
        if number % 7 == 0:
            await store.close()
            store = await IndexStore.open(tmp_path / "index.db")
        counted = [r.shown.size for r in stage.index.rows.values() if r.shown.parent]
        assert (await store.summary())[:2] == (len(counted), sum(counted))
    await store.forget_disk()
    assert (await store.summary())[:2] == (0, 0)
    await store.close()


async def test_an_index_without_counts_is_counted(store: IndexStore) -> None:
    await fill(store)
    await store._db.execute("DELETE FROM value")
    other = IndexStore(store._db)
    assert await other.summary() == Summary(2, 10, 0, 0)


async def test_a_scan_reads_no_rows(store: IndexStore) -> None:
    await fill(store)
    plans: list[str] = []
    await store._db.set_trace_callback(plans.append)
    await store.perform(c.LoadFacts([D, ROOT]))
    await store._db.set_trace_callback(None)  # type: ignore[arg-type]
    (statement,) = plans
    plan = list(await store._db.execute_fetchall(f"EXPLAIN QUERY PLAN {statement}"))
    assert [row[3].split(" (")[0] for row in plan] == [
        "SEARCH node USING COVERING INDEX node_shown"
    ]


# ---------------------------------------------------------------- committing


async def test_a_commit_is_whole_or_nothing(store: IndexStore) -> None:
    broken = Row(G, state=file())
    broken.disk = DiskFacts(inode=1 << 70)  # no number that SQLite can hold
    before = await store.values()
    with pytest.raises(OverflowError):
        await store.perform(
            c.Commit(
                [Row(F, state=file()), broken], [], [(LOG, 1, b"h" * 32, 1, b"w")], [("n", b"v")]
            )
        )
    assert await store.perform(c.LoadRows([F, G])) == {}
    assert await store.positions() == []
    assert await store.values() == before
    await store.perform(c.Commit([Row(F, state=file())]))  # and it goes on
    assert F in await store.perform(c.LoadRows([F]))


@pytest.mark.row("F05")
async def test_what_is_not_durable_yet_is_given_to_nobody(
    store: IndexStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks in the middle of a commit waits for its end: it may end in nothing."""
    stored, goes_on = asyncio.Event(), asyncio.Event()
    many = store._db.executemany

    async def held(sql: str, rows: Any) -> None:
        await many(sql, rows)
        stored.set()
        await goes_on.wait()

    monkeypatch.setattr(store._db, "executemany", held)
    commit = c.Commit(changesets=[(LOG, 1, b"h" * 32, 1, b"w")])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(store.perform(commit))
        await stored.wait()
        asked = tasks.create_task(store.perform(c.LoadChangesets(LOG, 0, 100)))
        for _ in range(20):  # SQLite's thread answers in order: who does not wait is answered now
            await store.perform(c.LoadRows([F]))
        has_waited = not asked.done()
        goes_on.set()
    assert has_waited
    assert asked.result() == [b"w"]


async def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    store = await IndexStore.open(path)
    await store.perform(
        c.Commit([Row(F, state=file())], [], [(LOG, 1, b"h" * 32, 7, b"wire")], [("a", b"1")])
    )
    # As after a crash: the first connection is still there and was never closed.
    other = await IndexStore.open(path)
    assert (await other.perform(c.LoadRows([F])))[F].state == file()
    assert await other.positions() == [(LOG, 1, b"h" * 32, 7)]
    assert await other.values() == {"a": b"1"}
    await other.close()
    await store.close()


async def test_a_changeset_s_position_is_written_once(store: IndexStore) -> None:
    for wire in (b"first", b"second"):
        await store.perform(c.Commit(changesets=[(LOG, 1, b"h" * 32, 1, wire)]))
    assert await store.perform(c.LoadChangesets(LOG, 0, 100)) == [b"first"]


async def test_changesets_come_oldest_first_and_at_least_one(store: IndexStore) -> None:
    wires = [(LOG, n, b"h" * 32, n, bytes([n]) * 10) for n in (3, 1, 2)]
    await store.perform(c.Commit(changesets=wires))
    load = [await store.perform(c.LoadChangesets(LOG, after, 25)) for after in (0, 1, 2, 3)]
    assert [[w[0] for w in run] for run in load] == [[1, 2], [2, 3], [3], []]
    assert len(await store.perform(c.LoadChangesets(LOG, 0, 1))) == 1


async def test_what_a_log_s_author_may_have_to_tell_again(store: IndexStore) -> None:
    """What names the log, and recorded copies, in pages."""
    other = LogId(b"M" * 16)
    own = {file_id(n): Row(file_id(n), file(vector=((LOG, n),), log=LOG)) for n in (4, 6, 9)}
    theirs = {file_id(n): Row(file_id(n), file(vector=((other, n),), log=other)) for n in (5, 8)}
    seen = Row(file_id(7), file(vector=((LOG, 1), (other, 1)), log=other))
    copy = Row(copy_id(F, content()), file(vector=(), log=other), origin=F)
    derived = Row(copy_id(F, content(Y)), NOTHING, file(), F, Shown(flags=DERIVED))
    rows = [*own.values(), *theirs.values(), seen, copy, derived]
    await store.perform(c.Commit(rows))
    found: list[NodeId] = []
    after = 0
    while page := await store.perform(c.LoadAuthored(LOG, after, 2)):
        assert len(page) <= 2
        assert [number for number, _ in page] == sorted({n for n, _ in page if n > after})
        found += [row.id for _, row in page]
        after = page[-1][0]
    assert found == [*own, seen.id, copy.id]  # as they came
    # What is written once more keeps its number: nothing moves to where it was looked for already.
    await store.perform(c.Commit([own[file_id(4)]]))
    ((_, row), *_) = await store.perform(c.LoadAuthored(LOG, 0, 1))
    assert row.state == own[file_id(4)].state
    assert await store.perform(c.LoadAuthored(LOG, after, 2)) == []


async def test_a_log_is_measured_from_a_position_on(store: IndexStore) -> None:
    wires = [(LOG, n, b"h" * 32, n, bytes(10 * n)) for n in (1, 2, 3)]
    one, two = Row(F, file(vector=((LOG, 1),), log=LOG)), Row(G, file())
    copy = Row(copy_id(G, content()), file(vector=()), origin=G)
    await store.perform(c.Commit([one, two, copy], changesets=wires))
    mine, copied = (len(encode_node(row.state)) for row in (one, copy))
    assert await store.perform(c.MeasureLog(LOG, 2)) == c.LogSize(50, mine + copied)
    other = c.MeasureLog(LogId(b"M" * 16), 1)
    assert await store.perform(other) == c.LogSize(0, copied)


async def test_changesets_below_a_position_go_some_at_a_time(store: IndexStore) -> None:
    wires = [(log, n, b"h" * 32, n, b"w") for log in (LOG, b"M" * 16) for n in range(1, 8)]
    await store.perform(c.Commit(changesets=wires))  # type: ignore[arg-type]
    drop = c.DropChangesets(LOG, 6, 3)
    assert [await store.perform(drop) for _ in range(3)] == [3, 2, 0]
    kept = [(log, seq) for log, seq, _, _ in await store.positions()]
    assert kept == [(LOG, 6), (LOG, 7), *((b"M" * 16, n) for n in range(1, 8))]


async def test_a_deleted_row_is_gone(store: IndexStore) -> None:
    await store.perform(c.Commit([Row(F, state=file())]))
    await store.perform(c.Commit([], [F]))
    assert await store.perform(c.LoadRows([F])) == {}


async def test_taken_off_the_disk_only_the_replica_stays(store: IndexStore) -> None:
    stage = await fill(store)
    winner, loser = content(X, ((LOG, 2),), 2, LOG), content(Y)
    conflict = Node((place(name="c"),), tuple(sorted((winner, loser))))
    stage.put({file_id(6): conflict}, {file_id(6): stat(15)})
    copy = copy_id(file_id(6), loser)
    await store.perform(c.Commit(list(stage.index.rows.values())))
    states = {i: row.state for i, row in stage.index.rows.items() if row.state != NOTHING}
    assert copy in await store.perform(c.LoadRows([copy]))
    await store.forget_disk()
    await store.forget_disk()
    rows = await store.perform(c.LoadRows([*stage.index.rows]))
    assert {i: row.state for i, row in rows.items()} == states
    assert all(row == Row(i, states[i], stored=True) for i, row in rows.items())
    assert await store.summary() == Summary(0, 0, 3, 1)
    loaded = await store.load_directories(False)
    assert set(loaded.nodes) == {ROOT}
    assert await store.find_chunks([ChunkId(X)]) == []


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize(
    "data", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 4096]
)
async def test_a_file_that_is_no_database_is_damage(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "index.db"
    path.write_bytes(data)
    with pytest.raises(IndexDamaged, match="index"):
        await IndexStore.open(path)
    assert path.read_bytes() == data  # it is evidence


async def test_damage_that_shows_later_is_damage_too(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    store = await IndexStore.open(path)
    await store.perform(
        c.Commit([Row(NodeId(n.to_bytes(15) + b"\x00"), state=file()) for n in range(500)])
    )
    await store.close()
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):  # the first two hold the schema
        data[page * 4096 : page * 4096 + 4096] = b"\xa5" * 4096
    path.write_bytes(data)
    with pytest.raises(IndexDamaged):
        await read_all(path)


async def read_all(path: Path) -> None:
    store = await IndexStore.open(path)
    try:
        await store.perform(c.LoadDirty((0, NO_NODE), 1000))
    finally:
        await store.close()


@pytest.mark.row("F33")
async def test_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(PeerError, match="newer Holdfast") as raised:
        await IndexStore.open(path)
    assert not isinstance(raised.value, IndexDamaged)


async def test_a_command_of_the_disk_is_none_of_the_index_s(store: IndexStore) -> None:
    with pytest.raises(AssertionError):
        await store.perform(c.SyncStaged())
