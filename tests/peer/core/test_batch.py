"""What one changeset of this device says (MERGE 3-7, 12, 14): the act, and what must not move."""

from __future__ import annotations

from crypto.ids import NodeId
from peer.core.batch import Batch, is_adrift
from peer.core.local_changes import record_structure
from peer.core.observation import Entry
from protocol import version_vector as vv
from protocol.nodes import NO_LOG, ROOT, Attributes, Node, copy_id, is_copy, join
from tests.peer.tree_stage import (
    OWN,
    A,
    B,
    TreeStage,
    X,
    Y,
    Z,
    content,
    directory,
    directory_id,
    file,
    file_id,
    place,
    stat,
)

D, E = directory_id(1), directory_id(2)
F, G = file_id(3), file_id(4)
MARK = "(conflict L 1970-01-01 0000)"


async def nothing(batch: Batch) -> None:
    pass


def moved(item: NodeId, parent: NodeId, name: str) -> Entry:
    return Entry(parent, name, stat(1), item)


def test_a_write_rests_on_what_the_disk_showed_and_not_on_the_newer_replica() -> None:
    """MERGE 4: else another device's unseen edit is overwritten without a trace."""
    stage = TreeStage()
    stage.put({F: file(name="f")})
    unseen = content(Y, ((A, 1), (B, 1)), 2, B)
    row = stage.row(F)
    row.state = join(row.state, Node(contents=(unseen,)))
    batch = stage.batch(lambda b: b.content(F, Z, 5, b"", 0))
    (write,) = batch.delta[F].contents
    assert write.vector == ((A, 1), (OWN, 1))
    assert set(stage.row(F).state.contents) == {unseen, write}
    assert stage.row(F).base.contents == (write,)


def test_stamps_are_the_batch_s() -> None:
    stage = TreeStage()
    batch = stage.batch(lambda b: b.place(F, ROOT, "f"))
    (write,) = batch.delta[F].places
    assert (write.lamport, write.author, write.label, write.time_s) == (11, OWN, "Me", 60)
    assert write.since == (0, NO_LOG)
    batch = stage.batch(lambda b: b.place(D, ROOT, "d"))
    assert batch.delta[D].places[0].since == (12, OWN)


def test_a_deletion_keeps_the_place_and_names_the_contents_it_saw() -> None:
    stage = TreeStage()
    stage.put({D: directory(ROOT, "d"), F: file(D, "f")})
    batch = stage.batch(lambda b: b.delete(F))
    (write,) = batch.delta[F].places
    assert (write.parent, write.name, write.is_deleted) == (D, "f", True)
    assert write.saw == ((A, 1),)
    assert stage.tree() == {"d": D}


def test_a_deletion_does_not_name_contents_that_the_disk_did_not_show() -> None:
    stage = TreeStage()
    stage.put({F: file(name="f")})
    row = stage.row(F)
    unseen = content(Y, ((A, 1), (B, 1)), 2, B)
    row.state = join(row.state, Node(contents=(unseen,)))
    batch = stage.batch(lambda b: b.delete(F))
    assert batch.delta[F].places[0].saw == ((A, 1),)


def test_a_deleted_directory_keeps_its_edge_s_age() -> None:
    """MERGE 9: else a deletion, being newer, makes an innocent directory jump out of a cycle."""
    stage = TreeStage()
    stage.put({D: directory(name="d", lamport=3, since=(3, A))})
    batch = stage.batch(lambda b: b.delete(D))
    assert batch.delta[D].places[0].since == (3, A)


def test_what_was_deleted_once_stays_named_by_later_places() -> None:
    """MERGE 7: a (deleted) and b (unseen by the deleter) are concurrent; b is renamed: a stays."""
    revived = Node(
        (place(is_deleted=True, saw=((A, 1),)),), (content(X), content(Y, ((B, 1),), 1, B))
    )
    stage = TreeStage()
    stage.put({F: revived})
    assert stage.row(F).shown.hash == Y
    batch = stage.batch(lambda b: b.place(F, ROOT, "renamed"))
    assert vv.is_within(((A, 1),), batch.delta[F].places[0].saw)


def with_copy() -> tuple[TreeStage, NodeId]:
    stage = TreeStage()
    winner, loser = content(X, ((B, 1),), 2, B), content(Y, ((A, 1),), 1, A)
    stage.put({F: Node((place(name="f"),), tuple(sorted((winner, loser))))})
    copy = copy_id(F, loser)
    assert stage.tree() == {"f": F, f"f {MARK}": copy}
    return stage, copy


def test_whoever_edits_the_original_records_its_copies_verbatim() -> None:
    """MERGE 5: a device that got the edit first would never make the copy."""
    stage, copy = with_copy()
    batch = stage.batch(lambda b: b.content(F, Z, 5, b"", 0))
    kept = batch.delta[copy]
    assert kept.contents == (content(Y, ((A, 1),), 1, A),)
    (where,) = kept.places
    assert (where.vector, where.parent, where.name, where.is_soft) == ((), ROOT, f"f {MARK}", True)
    assert batch.origins == {copy: F}
    assert stage.tree() == {"f": F, f"f {MARK}": copy}


def test_two_devices_that_record_a_copy_write_the_same() -> None:
    one, copy = with_copy()
    other, _ = with_copy()
    left = one.batch(lambda b: b.content(F, Z, 5, b"", 0)).delta[copy]
    right = other.batch(lambda b: b.place(F, ROOT, "moved")).delta[copy]
    assert left == right


def test_a_copy_that_is_touched_gets_its_record_first() -> None:
    stage, copy = with_copy()
    batch = stage.batch(lambda b: b.attributes(copy, True, 0))
    node = batch.delta[copy]
    assert node.contents
    assert node.places
    assert node.attributes == Attributes(11, OWN, True, 0)
    assert F not in batch.delta


def test_a_copy_that_is_deleted_leaves_the_original_alone() -> None:
    stage, copy = with_copy()
    stage.batch(lambda b: b.delete(copy))
    assert stage.tree() == {"f": F}
    assert stage.row(F).shown.hash == X


def test_an_executable_bit_alone_settles_nothing() -> None:
    """Attributes have no conflicts, so they touch no copies."""
    stage, copy = with_copy()
    batch = stage.batch(lambda b: b.attributes(F, True, 0))
    assert set(batch.delta) == {F}
    assert is_copy(copy)


def displaced() -> TreeStage:
    stage = TreeStage()
    stage.put({F: file(name="a", hash_=X), G: file(name="a", hash_=Y, lamport=2)})
    assert stage.tree() == {"a": G, f"a {MARK}": F}
    return stage


async def delete_items(batch: Batch, *items: NodeId) -> None:
    await record_structure(batch, [], [], items, set(items))


def test_deleting_the_winner_of_a_name_does_not_rename_the_loser() -> None:
    """MERGE 12a: a person's act moves nothing that they did not touch."""
    stage = displaced()
    batch = stage.batch(lambda b: delete_items(b, G))
    (fix,) = batch.delta[F].places
    assert fix.is_soft
    assert fix.name == f"a {MARK}"
    assert stage.tree() == {f"a {MARK}": F}


def test_deleting_both_fixes_nobody() -> None:
    stage = displaced()
    batch = stage.batch(lambda b: delete_items(b, F, G))
    assert all(p.is_deleted for node in batch.delta.values() for p in node.places)
    assert stage.tree() == {}


def test_moving_the_winner_away_does_not_rename_the_loser() -> None:
    stage = displaced()
    stage.put({D: directory(ROOT, "d")})
    stage.batch(lambda b: record_structure(b, [], [moved(G, D, "a")], [], set()))
    assert stage.tree() == {f"a {MARK}": F, "d": D, "d/a": G}


def test_a_fix_beats_neither_a_rename_nor_a_deletion() -> None:
    stage = displaced()
    stage.batch(lambda b: delete_items(b, G))
    renamed = place(name="mine", vector=((A, 2),), lamport=2)
    stage.put({F: join(stage.row(F).base, Node(places=(renamed,)))})
    assert stage.tree() == {"mine": F}


def test_deleting_the_last_file_in_a_kept_directory_keeps_it() -> None:
    """MERGE 12b: a directory must not vanish under a shell."""
    stage = TreeStage()
    stage.put({D: directory(name="d", is_deleted=True), F: file(D, "f")})
    batch = stage.batch(lambda b: delete_items(b, F))
    assert batch.delta[D].places[0].is_soft
    assert not batch.delta[D].places[0].is_deleted
    assert stage.tree() == {"d": D}


def test_a_directory_off_its_place_by_a_cycle_stays_where_it_is_shown() -> None:
    stage = TreeStage()
    stage.put({D: directory(name="d", lamport=1), E: directory(D, "e", lamport=2)})
    moved_in = place(E, "d", ((A, 1), (B, 1)), 3, B, previous=(ROOT, "d"), since=(3, B))
    stage.put({D: Node((moved_in,))})
    stage.put({F: file(D, "f"), G: file(ROOT, "g")})
    before = stage.tree()
    assert stage.directories.nodes[D].is_adrift
    stage.batch(lambda b: record_structure(b, [], [moved(E, ROOT, "e")], [], set()))
    assert stage.tree() == {
        (path.replace("d/e", "e") if path.startswith("d/e") else path): i
        for path, i in before.items()
    }


def test_a_renamed_directory_takes_all_its_members_along() -> None:
    """MERGE 14."""
    stage = TreeStage()
    stage.put(
        {
            D: directory(name="d"),
            E: directory(name="d", lamport=2),
            F: file(D, "f"),
            G: file(E, "g"),
        }
    )
    batch = stage.batch(lambda b: record_structure(b, [], [moved(E, ROOT, "n")], [], set()))
    assert set(batch.delta) == {D, E}
    assert stage.tree() == {"n": E, "n/f": F, "n/g": G}
    assert batch.delta[D].places[0].previous == (ROOT, "d")


def test_a_deleted_directory_deletes_all_its_members() -> None:
    stage = TreeStage()
    stage.put({D: directory(name="d"), E: directory(name="d", lamport=2), F: file(D, "f")})
    stage.batch(lambda b: delete_items(b, E, F))
    assert stage.tree() == {}


def test_a_moved_file_absorbs_its_equals() -> None:
    stage = TreeStage()
    stage.put({F: file(name="a"), G: file(name="a", lamport=2)})
    batch = stage.batch(lambda b: record_structure(b, [], [moved(G, ROOT, "b")], [], set()))
    assert batch.delta[F].places[0].is_deleted
    assert stage.tree() == {"b": G}


def test_nothing_done_is_nothing_written() -> None:
    stage = displaced()
    assert stage.batch(nothing).delta == {}
    batch = stage.batch(lambda b: record_structure(b, [], [], [], set()))
    assert batch.delta == {}


def test_on_a_folding_disk_what_lost_its_name_to_somebody_new_keeps_the_shown_one() -> None:
    """MERGE 12c."""
    stage = TreeStage(fold=True)
    stage.put({F: file(name="a", hash_=X), G: file(name="A", hash_=Y, lamport=2)})
    shown = stage.tree()
    assert shown == {"A": G, f"a {MARK}": F}
    # Another spelling of the winner's name is the loser's.
    batch = stage.batch(lambda b: record_structure(b, [], [moved(G, ROOT, "a")], [], set()))
    assert batch.delta[F].places[0].is_soft
    assert batch.delta[F].places[0].name == f"a {MARK}"
    assert stage.tree() == {"a": G, f"a {MARK}": F}
    batch = stage.batch(lambda b: record_structure(b, [], [moved(G, ROOT, "A")], [], set()))
    assert set(batch.delta) == {G}


def test_a_file_of_an_unknown_directory_is_adrift_in_the_root() -> None:
    stage = TreeStage()
    stage.put({F: file(directory_id(9), "f"), G: file(ROOT, "g")})
    assert stage.tree() == {"f": F, "g": G}
    assert is_adrift(stage.row(F))
    assert not is_adrift(stage.row(G))
