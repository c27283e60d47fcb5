"""The search index of a device in SQLite: names, where they lie, who wrote them, and the words in
files. Blocking; for one thread.

It holds nothing that the folders do not: what is damaged is thrown away and made again, and what
it missed is found by comparing it with the folders' own indexes.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple

from crypto.compression import compress, decompress
from crypto.ids import FolderId, NodeId
from peer.search.text_formats import bytes_wanted, ending_of, words_of
from peer.search.text_reader import ReadText
from protocol.nodes import Kind

FORMAT: Final = 1
DIRECTORY_ENDING: Final = "/"
"""What stands for the ending of a directory, which no name has."""
NO_TEXT, UNREAD, READ, UNREADABLE = range(4)
log = logging.getLogger(__name__)


class Document(NamedTuple):
    """One file, directory or symlink as its folder shows it."""

    node: NodeId
    parent: NodeId
    name: str
    above: str
    owner: str
    kind: int
    size: int
    mtime_ns: int
    hash: bytes


class Unread(NamedTuple):
    """A file whose text is still to be read."""

    id: int
    node: NodeId
    parent: NodeId
    name: str
    length: int
    """So many of its bytes are needed."""


class Difference(NamedTuple):
    """What a folder's index says otherwise than this one."""

    changed: list[NodeId]
    """The oldest first."""
    gone: list[NodeId]


def connect(path: Path, *, is_reader: bool = False) -> sqlite3.Connection:
    """A connection for one thread; raises sqlite3.Error."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    pragmas = ["cache_size = -8000", "temp_store = MEMORY"]
    # A power cut may take the last commits: the comparison at the next start finds what is missing.
    # What is removed is overwritten, so that a text does not outlive its file in free pages.
    pragmas += (
        ["query_only = ON"]
        if is_reader
        else ["journal_mode = WAL", "synchronous = NORMAL", "secure_delete = ON"]
    )
    for pragma in pragmas:
        db.execute(f"PRAGMA {pragma}")
    return db


class SearchIndex:
    """The writing side."""

    def __init__(self, db: sqlite3.Connection, *, has_texts: bool = True) -> None:
        self._db, self._has_texts = db, has_texts

    @classmethod
    def open(cls, path: Path, *, has_texts: bool = True) -> SearchIndex:
        """Opens it, or makes it anew if it is damaged, of another format, or has texts or none
        against what is wanted.
        """
        wanted = 2 * FORMAT + has_texts  # or what a person wants to be kept no more would stay
        for attempt in range(2):
            db = None
            try:
                db = connect(path)
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version not in (0, wanted):
                    raise sqlite3.DatabaseError(f"it has format {version} and not {wanted}")
                db.executescript(files("peer.search").joinpath("search.sql").read_text())
                db.execute(f"PRAGMA user_version = {wanted}")
                return cls(db, has_texts=has_texts)
            except sqlite3.OperationalError:
                if db is not None:
                    db.close()
                raise
            except sqlite3.DatabaseError as error:
                if db is not None:
                    db.close()
                if attempt:
                    raise
                log.warning("the search index is made anew: %s", error)
                remove(path)
        raise AssertionError

    def close(self) -> None:
        """Closes the database."""
        self._db.close()

    # ------------------------------------------------------------ what there is

    def note(self, folder: FolderId, documents: Iterable[Document], gone: Iterable[NodeId]) -> None:
        """What a folder shows now of these nodes, and which of them it shows no more."""
        with self._transaction():
            for node in gone:
                self._remove(folder, node)
            for document in documents:
                self._put(folder, document)

    def forget_folder(self, folder: FolderId) -> None:
        """Nothing of this folder is found any more."""
        nodes = self._db.execute("SELECT node FROM document WHERE folder = ?", (folder,)).fetchall()
        self.note(folder, (), [NodeId(node) for (node,) in nodes])

    def folders(self) -> set[FolderId]:
        """Those that something is known of."""
        found = self._db.execute("SELECT DISTINCT folder FROM document")
        return {FolderId(folder) for (folder,) in found}

    def differences(self, folder: FolderId, index: Path) -> Difference:
        """Compares with the folder's own index, in one statement each way."""
        self._db.execute("ATTACH ? AS other", (str(index),))
        try:
            changed = self._db.execute(
                "SELECT n.id FROM other.node n LEFT JOIN document d"
                " ON d.folder = ? AND d.node = n.id WHERE n.parent IS NOT NULL AND n.item IS NULL"
                " AND n.name IS NOT NULL AND (d.id IS NULL OR d.name <> n.name OR d.parent <>"
                " n.parent OR d.hash <> coalesce(n.hash, x'') OR (n.kind <> 1 AND"
                " d.mtime_ns <> n.disk_mtime_ns)) ORDER BY n.kind = 1 DESC, n.disk_mtime_ns",
                (folder,),
            ).fetchall()
            gone = self._db.execute(
                "SELECT d.node FROM document d LEFT JOIN other.node n ON n.id = d.node"
                " WHERE d.folder = ? AND (n.id IS NULL OR n.parent IS NULL OR n.item IS NOT NULL)",
                (folder,),
            ).fetchall()
        finally:
            self._db.execute("DETACH other")
        return Difference([NodeId(i) for (i,) in changed], [NodeId(i) for (i,) in gone])

    def _put(self, folder: FolderId, new: Document) -> None:
        before = self._find(folder, new.node)
        ending = DIRECTORY_ENDING if new.kind == Kind.DIRECTORY else ending_of(new.name)
        if before is not None and before["kind"] == Kind.DIRECTORY:
            self._move_below(folder, before, new)
        is_same = before is not None and before["hash"] == new.hash and before["ending"] == ending
        if before is not None and not is_same:
            self._remove(folder, new.node)  # what has changed is the newest
        values = (*new[1:6], ending, new.size, new.mtime_ns, new.hash)
        if before is None or not is_same:
            wanted = new.kind == Kind.FILE and bytes_wanted(new.name, new.size) > 0
            number = self._db.execute(
                "INSERT INTO document (parent, name, above, owner, kind, ending, size, mtime_ns,"
                " hash, folder, node, text) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                (*values, folder, new.node, UNREAD if wanted and self._has_texts else NO_TEXT),
            ).lastrowid
        else:
            number = before["id"]
            self._take_name(before)
            self._db.execute(
                "UPDATE document SET parent = ?, name = ?, above = ?, owner = ?, kind = ?,"
                " ending = ?, size = ?, mtime_ns = ?, hash = ? WHERE id = ?",
                (*values, number),
            )
            if before["text"] == READ and before["name"] != new.name:
                text = self._take_text(number)
                self._give_text(folder, number, new.name, new.owner, ending, text)
        self._give_name(number, new.name, new.above, new.owner)

    def _move_below(self, folder: FolderId, before: Any, new: Document) -> None:
        """All that lies in a directory is elsewhere, since it is."""
        old = f"{before['above']}/{before['name']}".lstrip("/")
        path = f"{new.above}/{new.name}".lstrip("/")
        if old == path:
            return
        found = self._db.execute(
            "SELECT * FROM document WHERE folder = ? AND (above = ? OR above >= ? AND above < ?)",
            (folder, old, f"{old}/", f"{old}0"),
        ).fetchall()
        for values in found:
            row = _named(values)
            above = path + row["above"][len(old) :]
            self._take_name(row)
            self._db.execute("UPDATE document SET above = ? WHERE id = ?", (above, row["id"]))
            self._give_name(row["id"], row["name"], above, row["owner"])

    def _remove(self, folder: FolderId, node: NodeId) -> None:
        row = self._find(folder, node)
        if row is None:
            return
        self._take_name(row)
        if row["text"] == READ:
            text = self._take_text(row["id"])
            words = ((word,) for word in words_of(text))
            self._db.executemany("UPDATE word SET documents = documents - 1 WHERE term = ?", words)
        self._db.execute("DELETE FROM document WHERE id = ?", (row["id"],))

    def _find(self, folder: FolderId, node: NodeId) -> dict[str, Any] | None:
        sql = "SELECT * FROM document WHERE folder = ? AND node = ?"
        found = self._db.execute(sql, (folder, node)).fetchone()
        return None if found is None else _named(found)

    def _give_name(self, number: int | None, name: str, above: str, owner: str) -> None:
        sql = "INSERT INTO names (rowid, name, above, owner) VALUES (?,?,?,?)"
        self._db.execute(sql, (number, name, above, owner))

    def _take_name(self, row: dict[str, Any]) -> None:
        self._db.execute(
            "INSERT INTO names (names, rowid, name, above, owner) VALUES ('delete',?,?,?,?)",
            (row["id"], row["name"], row["above"], row["owner"]),
        )

    # ------------------------------------------------------------ texts

    def unread(self, folder: FolderId, before: int, limit: int) -> list[Unread]:
        """Files of a folder whose text is to be read, the newest first, of those below an id."""
        found = self._db.execute(
            "SELECT id, node, parent, name, size FROM document WHERE text = 1 AND folder = ?"
            " AND id < ? ORDER BY id DESC LIMIT ?",
            (folder, before, limit),
        ).fetchall()
        return [
            Unread(number, node, parent, name, bytes_wanted(name, size))
            for number, node, parent, name, size in found
        ]

    def put_texts(self, folder: FolderId, texts: Sequence[tuple[int, ReadText | None]]) -> None:
        """What was read of some files; None for those whose text cannot be read."""
        words: Counter[str] = Counter()
        with self._transaction():
            for number, read in texts:
                found = self._db.execute(
                    "SELECT name, owner, ending FROM document WHERE id = ? AND text = 1", (number,)
                ).fetchone()
                if found is None:
                    continue  # it is another one meanwhile
                state = READ if read is not None and read.text.strip() else UNREADABLE
                self._db.execute("UPDATE document SET text = ? WHERE id = ?", (state, number))
                if read is not None and state == READ:
                    name, owner, ending = found
                    self._give_text(folder, number, name, owner, ending, read.text)
                    words.update(read.words)
            self._db.executemany(
                "INSERT INTO word VALUES (?,?) ON CONFLICT (term) DO UPDATE SET"
                " documents = documents + excluded.documents",
                sorted(words.items()),
            )

    def _give_text(
        self, folder: FolderId, number: int, name: str, owner: str, ending: str, text: str
    ) -> None:
        data, facet = text.encode(), " ".join(facets(folder, ending, owner))
        codec, frame = compress(data, 1)
        self._db.execute(
            "INSERT INTO texts (rowid, body, title, facet) VALUES (?,?,?,?)",
            (number, text, name, facet),
        )
        sql = "INSERT INTO body VALUES (?,?,?,?,?,?)"
        self._db.execute(sql, (number, name, facet, int(codec), len(data), frame))

    def _take_text(self, number: int) -> str:
        """Takes a text out, and returns it."""
        sql = "SELECT title, facet, codec, size, text FROM body WHERE id = ?"
        title, facet, codec, size, frame = self._db.execute(sql, (number,)).fetchone()
        text = decompress(codec, frame, size).decode()
        self._db.execute(
            "INSERT INTO texts (texts, rowid, body, title, facet) VALUES ('delete',?,?,?,?)",
            (number, text, title, facet),
        )
        self._db.execute("DELETE FROM body WHERE id = ?", (number,))
        return text

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


_COLUMNS: Final = tuple(
    "id folder node parent name above owner kind ending size mtime_ns hash text".split()
)


def _named(values: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(_COLUMNS, values, strict=True))


def facets(folder: FolderId | None, ending: str | None, owner: str | None) -> list[str]:
    """Words that no text has, for what filters ask for."""
    out = [] if folder is None else [f"f{folder.hex()}"]
    out += [] if ending is None else [f"e{ending.encode().hex()}"]
    return out + ([] if owner is None else [f"o{owner.casefold().encode().hex()}"])


def remove(path: Path) -> None:
    """Throws an index away."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
