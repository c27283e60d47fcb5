"""From what was read to records and tree, and whose file it is on the disk now."""

from __future__ import annotations

import pytest

from crypto.ids import ChunkId, NodeId
from peer.core.batch import Batch
from peer.core.disk_types import FileRead, Kind, Stat
from peer.core.local_changes import (
    COARSE_NS,
    RACY_NS,
    carry_disk_facts,
    facts_of,
    link,
    members,
    record_files,
    record_structure,
)
from peer.core.observation import Entry
from peer.core.rows import NOT_THERE, DiskFacts
from peer.core.tree import show
from protocol import nodes
from protocol.nodes import ROOT, Attributes, kind_of
from protocol.records import chunks_of
from tests.peer.tree_stage import (
    NOW_NS,
    A,
    TreeStage,
    X,
    Y,
    Z,
    directory,
    directory_id,
    file,
    file_id,
    stat,
)

D = directory_id(1)
F, G = file_id(3), file_id(4)
MARK = "(conflict L 1970-01-01 0000)"


def read(hash_: bytes, found: Stat, *, data: bytes | None = None, chunks: int = 1) -> FileRead:
    parts = [(ChunkId(bytes([n]) * 32), 1) for n in range(chunks)] if chunks > 1 else []
    return FileRead(("x",), found, hash_, parts, data, 0)


def record(
    stage: TreeStage, entry: Entry, result: FileRead
) -> tuple[Batch, list[tuple[NodeId, Stat]]]:
    linked: list[tuple[NodeId, Stat]] = []

    async def act(batch: Batch) -> None:
        linked.extend(await record_files(batch, [(entry, result)], set()))

    return stage.batch(act), linked


def test_a_new_file_gets_place_and_content() -> None:
    stage = TreeStage()
    batch, linked = record(stage, Entry(ROOT, "a", stat(9)), read(X, stat(9)))
    ((node_id, node),) = batch.delta.items()
    assert stage.tree() == {"a": node_id}
    assert (node.contents[0].hash, node.contents[0].size) == (X, 5)
    assert node.attributes.lamport == 0  # nothing to say of a plain file
    assert linked == [(node_id, stat(9))]


def test_a_new_executable_says_so() -> None:
    stage = TreeStage()
    found = stat(9, executable=True)
    batch, _ = record(stage, Entry(ROOT, "a", found), read(X, found))
    (node,) = batch.delta.values()
    assert node.attributes.is_executable


def test_a_new_symlink_carries_its_target() -> None:
    stage = TreeStage()
    found = stat(9, Kind.SYMLINK, executable=True)
    batch, _ = record(stage, Entry(ROOT, "a", found), read(X, found, data=b"to/there"))
    ((node_id, node),) = batch.delta.items()
    assert kind_of(node_id) is nodes.Kind.SYMLINK
    assert node.contents[0].manifest == b"to/there"
    assert not node.attributes.is_executable


def test_a_file_of_several_chunks_carries_their_list() -> None:
    stage = TreeStage()
    batch, _ = record(stage, Entry(ROOT, "a", stat(9)), read(X, stat(9), chunks=5))
    (node,) = batch.delta.values()
    assert [length for _, length in chunks_of(node.contents[0])] == [1] * 5


def test_an_edit_writes_the_content_and_nothing_else() -> None:
    stage = TreeStage()
    stage.put({F: file(name="a")}, {F: stat(9)})
    batch, linked = record(stage, Entry(ROOT, "a", stat(9), F), read(Y, stat(9, mtime_ns=7)))
    assert not batch.delta[F].places
    assert [c.hash for c in batch.delta[F].contents] == [Y]
    assert linked == [(F, stat(9, mtime_ns=7))]
    assert stage.row(F).shown.hash == Y


def test_the_same_bytes_with_another_mtime_write_attributes_only() -> None:
    """MERGE 1: so a chmod on one device and an edit on another are no conflict."""
    stage = TreeStage()
    stage.put({F: file(name="a")}, {F: stat(9)})
    found = stat(9, mtime_ns=7, executable=True)
    batch, _ = record(stage, Entry(ROOT, "a", found, F), read(X, found))
    assert not batch.delta[F].contents
    assert batch.delta[F].attributes[2:] == (True, 7)


def test_nothing_changed_writes_nothing() -> None:
    stage = TreeStage()
    stage.put({F: file(name="a")}, {F: stat(9)})
    found = stat(9, mtime_ns=0)
    batch, linked = record(stage, Entry(ROOT, "a", found, F), read(X, found))
    assert batch.delta == {}
    assert linked == [(F, found)]


def test_an_edit_of_one_of_two_equal_files_absorbs_the_other() -> None:
    """MERGE 14: the person saw one file, and edited that."""
    stage = TreeStage()
    stage.put({F: file(name="a"), G: file(name="a", lamport=2)}, {G: stat(9)})
    batch, _ = record(stage, Entry(ROOT, "a", stat(9), G), read(Y, stat(9)))
    assert batch.delta[F].places[0].is_deleted
    assert stage.tree() == {"a": G}


def test_an_edit_of_the_winner_to_the_loser_s_bytes_does_not_rename_anything() -> None:
    stage = TreeStage()
    stage.put({F: file(name="a", hash_=X), G: file(name="a", hash_=Y, lamport=2)}, {G: stat(9)})
    record(stage, Entry(ROOT, "a", stat(9), G), read(Z, stat(9)))
    assert stage.tree() == {"a": G, f"a {MARK}": F}


def test_what_vanished_from_the_tree_meanwhile_is_new() -> None:
    """Another device's deletion was applied between the scan and the reading."""
    stage = TreeStage()
    stage.put({F: file(name="a")}, {F: stat(9)})
    gone = file(name="a", is_deleted=True, saw=((F, 1),))
    stage.put({F: gone._replace(contents=())})
    batch, _ = record(stage, Entry(ROOT, "a", stat(9), F), read(Y, stat(9)))
    assert F not in batch.delta
    assert len(batch.delta) == 1


def test_a_new_directory_s_files_follow_it() -> None:
    stage = TreeStage()
    entry = Entry(ROOT, "d", stat(5, Kind.DIRECTORY), D)
    stage.batch(lambda b: record_structure(b, [entry], [], [], set()))
    record(stage, Entry(D, "f", stat(6)), read(X, stat(6)))
    assert list(stage.tree()) == ["d", "d/f"]


def test_the_members_of_an_item_come_with_its_representative_first() -> None:
    stage = TreeStage()
    stage.put({F: file(name="a"), G: file(name="a", lamport=2), D: directory(name="d")})
    turn = stage.turn()
    assert stage.run(members(turn, G)) == [G, F]
    assert stage.run(members(turn, D)) == [D]
    assert stage.run(members(turn, file_id(77))) == []


# ---------------------------------------------------------------- what the disk showed


@pytest.mark.row("F22")
def test_a_file_that_has_just_changed_is_not_trusted() -> None:
    fresh, settled = stat(1, ctime_ns=NOW_NS), stat(1, ctime_ns=NOW_NS - RACY_NS)
    assert facts_of(fresh, NOW_NS).ctime_ns == 0
    assert facts_of(settled, NOW_NS) == DiskFacts(1, 5, 1, NOW_NS - RACY_NS)
    link_itself = stat(1, Kind.SYMLINK, ctime_ns=NOW_NS)
    assert facts_of(link_itself, NOW_NS).ctime_ns == NOW_NS  # it cannot be written in place


@pytest.mark.row("F22")
def test_a_disk_that_keeps_times_in_seconds_is_trusted_later() -> None:
    """A second save within the two seconds of FAT has the times of the first one, and the size."""
    ctime_ns = NOW_NS // 10**9 * 10**9
    found = stat(1, ctime_ns=ctime_ns)
    assert facts_of(found, ctime_ns + 1_999_000_000).ctime_ns == 0
    assert facts_of(found, ctime_ns + COARSE_NS + RACY_NS).ctime_ns == ctime_ns


@pytest.mark.row("F22")
def test_a_file_from_before_the_clock_was_set_back_is_trusted() -> None:
    now_ns = 10**18
    found = Stat(Kind.FILE, 7, 0, 3, now_ns, now_ns + 3600 * 10**9, False)
    assert facts_of(found, now_ns).ctime_ns == found.ctime_ns


def test_the_disk_s_facts_lie_with_whoever_represents_the_file() -> None:
    stage = TreeStage()
    stage.put({F: file(name="a"), G: file(name="a", lamport=2)}, {F: stat(9)})
    assert stage.row(G).disk.inode == 9
    assert stage.row(F).disk == NOT_THERE


def test_the_file_on_the_disk_goes_over_to_its_new_representative() -> None:
    stage = TreeStage()
    stage.put({F: file(name="a")}, {F: stat(9)})
    turn = stage.turn()

    async def routine() -> None:
        await turn.load([G])
        await show(turn, {G: file(name="a", lamport=2)})
        await carry_disk_facts(turn)
        await turn.finish()

    stage.run(routine())
    stage.index.commit(turn)
    assert stage.row(G).disk.inode == 9
    assert stage.row(F).disk == NOT_THERE


def test_a_directory_is_linked_by_its_inode() -> None:
    stage = TreeStage()
    stage.put({D: directory(name="d")}, {D: stat(5, Kind.DIRECTORY)})
    assert stage.directories.by_inode == {5: D}
    turn = stage.turn()
    stage.run(link(turn, directory_id(9), stat(6, Kind.DIRECTORY), NOW_NS))
    assert turn.rows_to_store() == []  # one that is not shown has no inode


def test_a_file_that_stood_for_two_keeps_the_executable_bit_where_it_is_moved() -> None:
    stage = TreeStage()
    newest = Attributes(9, A, is_executable=True)
    stage.put({F: file()._replace(attributes=newest), G: file(lamport=2)}, {G: stat(9)})
    found = stat(9, executable=True)

    async def act(batch: Batch) -> None:
        await record_structure(batch, [], [Entry(ROOT, "b", found, G)], [], set())

    stage.batch(act)
    assert stage.tree() == {"b": G}
    assert stage.index.rows[G].shown.is_executable
