"""An index of the format before is brought to this one with all that was in it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from crypto.ids import LogId
from peer.core import commands as c
from peer.errors import PeerError
from peer.folders.index_format import COLUMNS, FORMAT
from peer.folders.index_store import IndexStore
from protocol import wire
from protocol.nodes import Node
from protocol.records import encode_writes
from tests.peer.tree_stage import X, content, file_id, place

F, G = file_id(3), file_id(4)
LOG = LogId(b"L" * 16)
STATE = Node((place(name="a"),), (content(X),))
_FORMAT_1 = f"""
CREATE TABLE node (id BLOB PRIMARY KEY, {", ".join(COLUMNS[1:])}) WITHOUT ROWID;
CREATE INDEX node_slot ON node (parent, key) WHERE parent IS NOT NULL;
CREATE INDEX node_dirty ON node (dirty, id) WHERE dirty > 0;
CREATE TABLE changeset (log BLOB NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL,
    lamport INTEGER NOT NULL, wire BLOB NOT NULL);
PRAGMA user_version = 1;
"""
_INDEXES = "SELECT name, sql FROM sqlite_master WHERE type = 'index'"


def old_index(path: Path) -> None:
    """An index as it was written before, with one file to be applied and one that is."""
    state = wire.encode(encode_writes(STATE))
    nothing = (0, "a", None, "a", 0, X, 5, 0, 7, 9, 5, 7, 8)
    with sqlite3.connect(path) as db:
        db.executescript(_FORMAT_1)
        marks = ",".join("?" * len(COLUMNS))
        db.executemany(
            f"INSERT INTO node VALUES ({marks})",
            [
                (F, 0, state, None, *(nothing[:1]), None, b"p" * 16, *nothing[1:]),
                (G, 0, state, b"", 2, None, None, None, None, None, 0, None, *([0] * 7)),
            ],
        )
        db.execute("INSERT INTO changeset VALUES (?,?,?,?,?)", (LOG, 1, X, 1, b"wire"))
    db.close()


async def test_format_1_is_brought_to_this_one(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    old_index(path)
    for _ in range(2):  # and is of this one when it is opened again
        store = await IndexStore.open(path)
        try:
            rows = await store.perform(c.LoadRows([F, G]))
            assert rows[F].state == rows[F].base == rows[G].state == STATE
            assert (rows[F].disk.inode, rows[F].shown.name) == (9, "a")
            (dirty,) = await store.perform(c.LoadDirty((0, F), 9))
            assert dirty.id == G
            assert await store.perform(c.LoadChangesets(LOG, 0, 9)) == [b"wire"]
        finally:
            await store.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (FORMAT,)
        brought_over = set(db.execute(_INDEXES))
    db.close()
    fresh = await IndexStore.open(tmp_path / "fresh.db")
    await fresh.close()
    with sqlite3.connect(tmp_path / "fresh.db") as db:
        assert brought_over == set(db.execute(_INDEXES))
    db.close()


async def test_what_cannot_be_brought_over_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    old_index(path)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE node SET state = x'82' WHERE id = ?", (F,))
    db.close()
    with pytest.raises((PeerError, sqlite3.OperationalError)):
        await IndexStore.open(path)
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM node").fetchone() == (2,)
    db.close()
