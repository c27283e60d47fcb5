"""What the search index is told is what it holds: no word of what is gone, all of what is there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.ids import FolderId, NodeId
from peer.search.search_index import Document, SearchIndex
from peer.search.text_formats import words_of
from peer.search.text_reader import ReadText
from protocol.nodes import ROOT, Kind

FOLDER = FolderId(bytes(range(32)))


def node(number: int, kind: Kind = Kind.FILE) -> NodeId:
    return NodeId(bytes(14) + bytes((number, kind)))


def document(number: int, name: str, above: str = "", version: int = 0) -> Document:
    return Document(
        node(number), ROOT, name, above, "laptop", Kind.FILE, 10, 10**18 + version, bytes([version])
    )


def read(text: str) -> ReadText:
    return ReadText(text, sorted(words_of(text)))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SearchIndex]:
    one = SearchIndex.open(tmp_path / "search.db")
    yield one
    one.close()


def matches(index: SearchIndex, table: str, word: str) -> int:
    sql = f"SELECT count(*) FROM {table} WHERE {table} MATCH ?"
    return int(index._db.execute(sql, (f'"{word}"',)).fetchone()[0])


def words(index: SearchIndex) -> dict[str, int]:
    sql = "SELECT term, documents FROM word WHERE documents > 0"
    return dict(index._db.execute(sql).fetchall())


def check(index: SearchIndex) -> None:
    """SQLite's own check of what an index of words holds against its content."""
    index._db.execute("INSERT INTO names (names, rank) VALUES ('integrity-check', 1)")
    index._db.execute("INSERT INTO texts (texts) VALUES ('integrity-check')")


def test_a_text_is_read_once_and_goes_with_its_file(index: SearchIndex) -> None:
    index.note(FOLDER, [document(1, "a.txt"), document(2, "b.jpeg")], [])
    (unread,) = index.unread(FOLDER, 1 << 62, 10)
    assert (unread.name, unread.length) == ("a.txt", 10)
    index.put_texts(FOLDER, [(unread.id, read("a walrus sleeps"))])
    assert index.unread(FOLDER, 1 << 62, 10) == []
    assert matches(index, "texts", "walrus") == 1
    index.note(FOLDER, [], [node(1)])
    assert matches(index, "texts", "walrus") == matches(index, "names", "a.txt") == 0
    assert words(index) == {}
    check(index)


def test_a_text_is_kept_while_only_the_name_changes(index: SearchIndex) -> None:
    index.note(FOLDER, [document(1, "before.txt")], [])
    index.put_texts(FOLDER, [(1, read("a walrus"))])
    index.note(FOLDER, [document(1, "after.txt")], [])
    assert index.unread(FOLDER, 1 << 62, 10) == []
    assert (matches(index, "texts", "walrus"), matches(index, "texts", "after")) == (1, 1)
    assert matches(index, "texts", "before") == matches(index, "names", "before") == 0
    check(index)


def test_a_changed_file_is_read_again_and_is_the_newest(index: SearchIndex) -> None:
    index.note(FOLDER, [document(1, "a.txt"), document(2, "b.txt")], [])
    index.put_texts(FOLDER, [(1, read("old")), (2, None)])
    index.note(FOLDER, [document(1, "a.txt", version=1)], [])
    (unread,) = index.unread(FOLDER, 1 << 62, 10)
    assert (unread.name, unread.id) == ("a.txt", 3)
    assert matches(index, "texts", "old") == 0
    index.put_texts(FOLDER, [(1, read("late"))])  # what was read of a file that is another now
    assert matches(index, "texts", "late") == 0


def test_what_lies_in_a_directory_moves_with_it(index: SearchIndex) -> None:
    def directory(name: str, above: str = "") -> Document:
        return Document(node(9, Kind.DIRECTORY), ROOT, name, above, "", Kind.DIRECTORY, 0, 0, b"")

    index.note(FOLDER, [directory("plans"), document(1, "a.txt", "plans/deep")], [])
    index.note(FOLDER, [document(2, "b.txt", "plans2")], [])
    index.note(FOLDER, [directory("schemes", "x")], [])
    rows = index._db.execute("SELECT name, above FROM document ORDER BY name").fetchall()
    assert rows == [("a.txt", "x/schemes/deep"), ("b.txt", "plans2"), ("schemes", "x")]
    check(index)


def test_what_a_folder_says_otherwise_is_found(index: SearchIndex, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute(
        "CREATE TABLE node (id, parent, name, item, hash, kind, disk_mtime_ns INTEGER, number)"
    )
    here = [document(n, f"{n}.txt") for n in range(6)]
    index.note(FOLDER, here, [])
    rows: list[tuple[object, ...]] = [
        (d.node, d.parent, d.name, None, d.hash, 0, d.mtime_ns, 0) for d in here
    ]
    rows[1] = (node(1), ROOT, "renamed.txt", None, here[1].hash, 0, here[1].mtime_ns, 0)
    rows[2] = (node(2), ROOT, "2.txt", None, b"other", 0, here[2].mtime_ns, 0)
    rows[3] = (node(3), None, None, None, b"", 0, 0, 0)
    rows[4] = (node(7), ROOT, "new.txt", None, b"", 0, 5, 0)
    other.executemany("INSERT INTO node VALUES (?,?,?,?,?,?,?,?)", rows)
    other.commit()
    found = index.differences(FOLDER, tmp_path / "other.db")
    assert found.changed[0] == node(7)  # the oldest first
    assert sorted(found.changed) == [node(1), node(2), node(7)]
    assert sorted(found.gone) == [node(3), node(4)]
    other.close()


def test_damage_and_another_format_are_an_empty_index(tmp_path: Path) -> None:
    path = tmp_path / "search.db"
    path.write_bytes(b"x" * 5000)
    SearchIndex.open(path).close()
    index = SearchIndex.open(path)
    index.note(FOLDER, [document(1, "a.txt")], [])
    index.close()
    index = SearchIndex.open(path, has_texts=False)
    assert index.folders() == set()
    index.note(FOLDER, [document(1, "a.txt")], [])
    assert index.unread(FOLDER, 1 << 62, 10) == []
    assert index.folders() == {FOLDER}
    index.forget_folder(FOLDER)
    assert index.folders() == set()
    index.close()


STEPS = st.lists(
    st.tuples(
        st.integers(0, 3), st.sampled_from(["a.txt", "b.md", "c.jpeg", None]), st.integers(0, 2)
    ),
    max_size=20,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_any_changes_leave_exactly_what_is_there(
    steps: list[tuple[int, str | None, int]],
) -> None:
    index = SearchIndex.open(Path(":memory:"))
    there: dict[int, tuple[str, int]] = {}
    for number, name, version in steps:
        if name is None:
            there.pop(number, None)
            index.note(FOLDER, [], [node(number)])
        else:
            there[number] = name, version
            index.note(FOLDER, [document(number, name, version=version)], [])
        for one in index.unread(FOLDER, 1 << 62, 10):
            index.put_texts(FOLDER, [(one.id, read(f"word{there[one.node[14]][1]}"))])
    readable = [version for name, version in there.values() if name != "c.jpeg"]
    assert words(index) == {f"word{v}": readable.count(v) for v in set(readable)}
    for version in range(3):
        assert matches(index, "texts", f"word{version}") == readable.count(version)
    names = index._db.execute("SELECT name FROM document ORDER BY name").fetchall()
    assert [name for (name,) in names] == sorted(name for name, _ in there.values())
    check(index)
    index.close()
