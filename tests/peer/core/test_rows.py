"""The resident directories and the three trees of one row."""

from peer.core.rows import (
    DERIVED,
    HIDDEN,
    RECENT_MAX,
    Directories,
    Directory,
    Item,
    Row,
    Shown,
    place_of,
)
from protocol.nodes import NO_NODE, NOTHING, ROOT
from tests.peer.tree_stage import A, TreeStage, directory, directory_id, file, file_id, place

D, E, F = directory_id(1), directory_id(2), file_id(3)


def test_a_row_is_dirty_while_the_disk_does_not_show_the_replica() -> None:
    assert not Row(F).is_dirty
    assert Row(F, state=file()).is_dirty
    assert not Row(F, state=file(), base=file()).is_dirty
    assert Row(F, base=file()).is_dirty


def test_a_derived_copy_has_a_base_and_is_not_synced() -> None:
    """Its base is made up from its origin: that is no record that anybody could send."""
    row = Row(F, base=file(), shown=Shown(ROOT, "a", F, "a", DERIVED))
    assert row.is_derived
    assert row.synced == NOTHING
    assert not row.is_dirty
    row.state = file(name="b")
    assert row.is_dirty


def test_paths_lead_from_the_root() -> None:
    stage = TreeStage()
    stage.put({D: directory(ROOT, "d"), E: directory(D, "e")})
    resident = stage.directories
    assert resident.path(ROOT) == ()
    assert resident.path(E) == ("d", "e")
    assert resident.child_path(E, "f") == ("d", "e", "f")
    assert resident.child_path(ROOT, "f") == ("f",)


def test_there_is_no_path_in_what_is_not_shown() -> None:
    resident = Directories()
    assert resident.child_path(D, "f") is None
    resident.nodes[D] = Directory(D, NOTHING, None)
    assert resident.child_path(D, "f") is None
    assert resident.child_path(ROOT, "") is None


def test_a_member_s_children_lie_in_the_item_that_represents_it() -> None:
    stage = TreeStage()
    stage.put({D: directory(ROOT, "d"), E: directory(ROOT, "d", lamport=2)})
    assert stage.directories.items[E] == Item(E, (E, D), ROOT, "d")
    assert stage.directories.child_path(D, "f") == ("d", "f")


def test_only_a_live_record_makes_a_live_directory() -> None:
    assert not Directory(D, NOTHING, None).is_live
    assert Directory(D, NOTHING, place()).is_live
    assert not Directory(D, NOTHING, place(is_deleted=True)).is_live


def test_recent_rows_are_those_still_to_be_applied_and_bounded() -> None:
    resident = Directories()
    dirty = Row(F, state=file())
    resident.remember(dirty)
    assert resident.recent == {F: dirty}
    resident.remember(Row(F, state=file(), base=file()))
    assert resident.recent == {}
    for number in range(RECENT_MAX + 10):
        node_id = type(F)(number.to_bytes(15) + b"\x00")
        resident.remember(Row(node_id, state=file()))
    assert len(resident.recent) <= RECENT_MAX


def test_the_place_that_counts() -> None:
    assert place_of(NOTHING) is None
    assert place_of(file(name="b", log=A)) == place(name="b")
    assert HIDDEN.parent == NO_NODE
