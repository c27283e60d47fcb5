"""A turn is an overlay: nothing of it is seen by anybody before it is merged."""

from __future__ import annotations

from copy import deepcopy

from peer.core.rows import HIDDEN, Shown
from peer.core.tree import show
from peer.core.turn import is_directory
from protocol.nodes import NOTHING, ROOT, Kind, kind_of
from tests.peer.tree_stage import TreeStage, directory, directory_id, file, file_id, ids

D, E = directory_id(1), directory_id(2)
F, G = file_id(3), file_id(4)
COPY = type(F)(b"\x05" * 15 + b"\x04")


def stage_with_files() -> TreeStage:
    stage = TreeStage()
    stage.put({D: directory(ROOT, "d"), F: file(D, "f"), G: file(ROOT, "g")})
    return stage


def test_a_turn_that_is_dropped_leaves_no_trace() -> None:
    stage = stage_with_files()
    before = deepcopy((stage.directories, stage.index.rows))
    turn = stage.turn()
    new = {D: directory(ROOT, "other", lamport=2), F: file(ROOT, "moved", lamport=2)}

    async def routine() -> None:
        await show(turn, new)
        await turn.finish()

    stage.run(routine())
    assert turn.rows_to_store()
    resident, rows = before
    assert stage.directories.nodes == resident.nodes
    assert stage.directories.items == resident.items
    assert stage.directories.by_inode == resident.by_inode
    assert stage.index.rows == rows


def test_slots_and_children_include_what_this_turn_changed() -> None:
    stage = stage_with_files()
    turn = stage.turn()

    async def routine() -> None:
        await turn.load([F, G])
        turn.show(turn.rows[F], Shown(ROOT, "g", F, "g"))
        assert await turn.load_slots([(D, "f")]) == []
        assert ids(await turn.load_slots([(ROOT, "g")])) == {F, G}
        assert await turn.load_children([D]) == []
        assert ids(await turn.load_children([ROOT])) == {F, G}
        turn.show(turn.rows[G], HIDDEN)
        assert ids(await turn.load_slots([(ROOT, "g")])) == {F}

    stage.run(routine())
    assert turn.touched == {F, G}
    assert turn.before[F].parent == D


def test_showing_what_is_shown_touches_nothing() -> None:
    stage = stage_with_files()
    turn = stage.turn()

    async def routine() -> None:
        await turn.load([F])
        turn.show(turn.rows[F], turn.rows[F].shown)

    stage.run(routine())
    assert turn.rows_to_store() == []


def test_a_row_is_loaded_once_and_keeps_what_was_done_to_it() -> None:
    stage = stage_with_files()
    turn = stage.turn()

    async def routine() -> None:
        await turn.load([F])
        turn.rows[F].disk = turn.rows[F].disk._replace(inode=99)
        await turn.load([F, F])
        await turn.load_slots([(D, "f")])

    stage.run(routine())
    assert turn.rows[F].disk.inode == 99
    assert stage.index.rows[F].disk.inode == 0


def test_what_the_index_does_not_know_is_an_empty_row() -> None:
    stage = TreeStage()
    turn = stage.turn()
    stage.run(turn.load([F]))
    assert turn.rows[F].state == NOTHING
    assert turn.is_gone(F)
    assert not turn.is_gone(type(F)(b""))


def test_a_removed_row_is_deleted_only_if_nothing_of_it_is_left_and_it_was_stored() -> None:
    stage = stage_with_files()
    turn = stage.turn()

    async def routine() -> None:
        await turn.load([F, COPY])
        turn.remove(turn.rows[F])
        turn.remove(turn.rows[COPY])

    stage.run(routine())
    assert [r.id for r in turn.rows_to_store()] == [F]  # its replica state is to be kept
    assert turn.rows_to_delete() == []
    turn = stage.turn()

    async def again() -> None:
        await turn.load([G])
        turn.rows[G].state = NOTHING
        turn.remove(turn.rows[G])

    stage.run(again())
    assert turn.rows_to_delete() == [G]
    assert turn.rows_to_store() == []


def test_edits_are_copies_until_the_merge() -> None:
    stage = stage_with_files()
    turn = stage.turn()
    turn.edit(D).name = "other"
    turn.edit_item(D).inode = 7
    turn.edit_item(D).name = "other"
    assert turn.known_directory(D).name == "other"
    assert stage.directories.nodes[D].name == "d"
    assert stage.directories.items[D].name == "d"
    assert turn.edit(D) is turn.edit(D)
    turn.merge()
    assert stage.directories.nodes[D].name == "other"
    assert stage.directories.by_inode == {7: D}


def test_a_dropped_item_takes_its_inode_with_it() -> None:
    stage = stage_with_files()
    turn = stage.turn()
    turn.edit_item(D).inode = 7
    turn.merge()
    turn = stage.turn()
    turn.drop_item(D)
    assert turn.item(D) is None
    turn.merge()
    assert D not in stage.directories.items
    assert stage.directories.by_inode == {}


def test_an_inode_that_went_to_another_directory_stays_there() -> None:
    """Whatever order the items of one turn are merged in."""
    stage = TreeStage()
    stage.put({D: directory(ROOT, "d"), E: directory(ROOT, "e")})
    turn = stage.turn()
    turn.edit_item(D).inode = 7
    turn.merge()
    for first, last in ((E, D), (D, E)):
        turn = stage.turn()
        turn.edit_item(first).inode = 7 if first == E else 0
        turn.edit_item(last).inode = 7 if last == E else 0
        turn.merge()
        assert stage.directories.by_inode == {7: E}


def test_recorded_copies_are_remembered_by_the_turn_first() -> None:
    stage = TreeStage()
    turn = stage.turn()
    assert not turn.has_copies
    turn.note_copy(COPY, True)
    assert turn.is_settled(COPY)
    assert COPY not in stage.directories.copies
    turn.merge()
    assert stage.directories.copies == {COPY}
    turn = stage.turn()
    assert turn.is_settled(COPY)
    turn.note_copy(COPY, False)
    assert not turn.is_settled(COPY)
    turn.merge()
    assert stage.directories.copies == set()


def test_fresh_ids_are_of_the_kind_and_differ() -> None:
    turn = TreeStage().turn()
    made = [turn.fresh_id(kind) for kind in (0, 1, 2) for _ in range(3)]
    assert [kind_of(i) for i in made] == [Kind.FILE] * 3 + [Kind.DIRECTORY] * 3 + [Kind.SYMLINK] * 3
    assert len(set(made)) == 9
    assert [is_directory(i) for i in made] == [False] * 3 + [True] * 3 + [False] * 3
