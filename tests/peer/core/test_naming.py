"""What is called what (MERGE 10, 11), by example; test_tree.py compares with an oracle."""

from __future__ import annotations

from itertools import permutations

import pytest

from crypto.ids import NodeId
from crypto.primitives import digest
from peer.core.rows import DISPLACED, FOLDED, KEPT
from protocol.nodes import ROOT, Node
from tests.peer.tree_stage import (
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
    symlink_id,
)

D, E = directory_id(1), directory_id(2)
F, G, H = file_id(3), file_id(4), file_id(5)
MARK = "(conflict L 1970-01-01 0000)"


def tree(records: dict[NodeId, Node], fold: bool = False) -> dict[str, NodeId]:
    """The same in whatever order the records come."""
    trees = []
    for order in permutations(records):
        stage = TreeStage(fold)
        for node_id in order:
            stage.put({node_id: records[node_id]})
        trees.append(stage.tree())
    assert all(t == trees[0] for t in trees)
    return trees[0]


def test_equal_files_of_one_name_are_one_file() -> None:
    assert tree({F: file(name="a"), G: file(name="a", lamport=2)}) == {"a": G}


def test_other_files_of_one_name_get_conflict_names_and_the_highest_keeps_it() -> None:
    found = tree({F: file(name="a.txt", hash_=X), G: file(name="a.txt", hash_=Y, lamport=2)})
    assert found == {"a.txt": G, f"a {MARK}.txt": F}


def test_directories_of_one_name_are_one_and_their_children_meet() -> None:
    records = {
        D: directory(name="d"), E: directory(name="d", lamport=2), F: file(D, "f"), G: file(E, "g")
    }  # fmt: skip
    assert tree(records) == {"d": E, "d/f": F, "d/g": G}


def test_directories_that_merge_deep_down() -> None:
    inner, other = directory_id(6), directory_id(7)
    records = {
        D: directory(name="d"), E: directory(name="d", lamport=2),
        inner: directory(D, "i"), other: directory(E, "i"), F: file(inner, "f", X),
    }  # fmt: skip
    records[G] = file(other, "f", Y, lamport=3)
    stage = TreeStage()
    stage.put(records)
    assert stage.tree() == {
        "d": E, "d/i": max(inner, other), "d/i/f": G, f"d/i/f {MARK}": F
    }  # fmt: skip


def test_a_directory_keeps_a_name_that_a_newer_file_wants() -> None:
    assert tree({D: directory(name="a"), F: file(name="a", lamport=9)}) == {"a": D, f"a {MARK}": F}


def test_a_file_and_a_symlink_of_one_name_are_two() -> None:
    link = symlink_id(9)
    node = Node((place(name="a", lamport=2),), (content(X)._replace(manifest=b"to"),))
    assert tree({F: file(name="a"), link: node}) == {"a": link, f"a {MARK}": F}


def test_a_taken_conflict_name_gets_a_tag() -> None:
    tag = digest("conflict", F).hex()[:4]
    found = tree(
        {
            F: file(name="a", hash_=X),
            G: file(name="a", hash_=Y, lamport=2),
            H: file(name=f"a {MARK}"),
        }
    )
    assert found == {"a": G, f"a {MARK}": H, f"a (conflict L 1970-01-01 0000 {tag})": F}


def test_three_losers_of_one_name_all_get_their_own() -> None:
    others = {
        file_id(20 + i): file(name="a", hash_=bytes([i]) * 32, lamport=i + 1) for i in range(4)
    }
    stage = TreeStage()
    stage.put(others)
    assert len(stage.tree()) == 4
    assert set(stage.tree().values()) == set(others)


def test_a_nameless_node_is_recovered_in_the_root() -> None:
    node = Node((), (content(),))
    assert tree({F: node}) == {f"recovered {F.hex()}": F}


def test_a_conflict_name_goes_when_its_reason_goes() -> None:
    stage = TreeStage()
    stage.put({F: file(name="a", hash_=X), G: file(name="a", hash_=Y, lamport=2)})
    assert stage.row(F).shown.flags & DISPLACED
    stage.put({G: file(name="b", hash_=Y, lamport=3)})
    assert stage.tree() == {"a": F, "b": G}
    assert not stage.row(F).shown.flags & DISPLACED
    assert not stage.directories.items[ROOT].crowded


def test_names_that_differ_in_case_are_two_names_elsewhere() -> None:
    records = {F: file(name="Straße", hash_=X), G: file(name="STRASSE", hash_=Y, lamport=2)}
    assert tree(records) == {"STRASSE": G, "Straße": F}


@pytest.mark.row("A34")
def test_on_a_folding_disk_the_lower_is_shown_under_a_conflict_name() -> None:
    records = {F: file(name="Straße", hash_=X), G: file(name="STRASSE", hash_=Y, lamport=2)}
    assert tree(records, fold=True) == {"STRASSE": G, f"Straße {MARK}": F}
    stage = TreeStage(fold=True)
    stage.put(records)
    assert stage.row(F).shown.flags & FOLDED
    assert not stage.row(F).shown.flags & DISPLACED


def test_equal_bytes_are_never_merged_across_case() -> None:
    """Else deleting `A` on a Mac deletes another system's `a`."""
    records = {F: file(name="a", hash_=X), G: file(name="A", hash_=X, lamport=2)}
    assert tree(records, fold=True) == {"A": G, f"a {MARK}": F}


def test_folded_directories_are_two() -> None:
    assert tree({D: directory(name="d"), E: directory(name="D", lamport=2)}, fold=True) == {
        "D": E, f"d {MARK}": D
    }  # fmt: skip


def test_a_deleted_directory_is_kept_for_what_is_live_in_it() -> None:
    stage = TreeStage()
    stage.put({D: directory(name="d", is_deleted=True), F: file(D, "f")})
    assert stage.tree() == {"d": D, "d/f": F}
    assert stage.directories.items[D].flags & KEPT
    stage.put({F: file(D, "f", is_deleted=True, saw=((A, 1),))})
    assert stage.tree() == {}


def test_a_member_that_moves_away_takes_its_children_along() -> None:
    stage = TreeStage()
    stage.put({D: directory(name="d"), E: directory(name="d", lamport=2)})
    stage.put({F: file(D, "f"), G: file(E, "g")})
    stage.put({D: directory(name="e", lamport=3, log=B)})
    assert stage.tree() == {"d": E, "d/g": G, "e": D, "e/f": F}


def test_a_conflict_name_s_label_and_time_are_the_loser_s_own() -> None:
    loser = file(name="a", hash_=X)
    loser = loser._replace(places=(loser.places[0]._replace(label="Old phone", time_s=86_400),))
    assert tree({F: loser, G: file(name="a", hash_=Z, lamport=2)}) == {
        "a": G, "a (conflict Old phone 1970-01-02 0000)": F
    }  # fmt: skip


@pytest.mark.parametrize("fold", [False, True])
def test_two_spellings_of_one_name_are_one_name(fold: bool) -> None:
    records = {D: directory(name="caf\u00e9"), E: directory(name="caf\u00e9", lamport=2)}
    assert tree(records, fold) == {"caf\u00e9": E}
