"""Asks the search index: what matches a query, the best first, and what a word may become.

Of words that many files have, the newest files are looked at and no more: ids grow with time, so
SQLite gives those without touching the rest. Blocking; for one thread.
"""

from __future__ import annotations

import math
import re
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from crypto.compression import decompress
from crypto.ids import FolderId, NodeId
from peer.search.search import Query
from peer.search.search_index import DIRECTORY_ENDING, facets
from peer.search.text_formats import WORD
from protocol.names import fold_key

CANDIDATES: Final = 200
"""Matches by name that are ranked, the newest of them."""
TEXTS: Final = 80
"""The same of texts, each of which is opened to see how much it says of what was asked."""
COMPLETIONS: Final = 12
"""Words that the last one typed may become; the rarest are left out until more of it is typed."""
PARTS_MIN: Final = 3
"""Fewer letters are no part that the index of parts knows."""
HALVED_AFTER_S: Final = 365 * 86_400
"""A text of a year ago has to say more of something than one of today to come first."""
SNIPPET_LENGTH: Final = 120
LAST: Final = "\U0010ffff"
_SPACE: Final = re.compile(r"\s+")


class Tier(IntEnum):
    """Where a query was found; the lower, the better."""

    NAME_IS = 0
    NAME_BEGINS = 1
    NAME = 2
    PLACE = 3
    TEXT = 4


class Hit(NamedTuple):
    """One match, as the index knows it."""

    folder: FolderId
    node: NodeId
    tier: Tier
    score: float
    owner: str
    snippet: str = ""


_FIELDS: Final = "d.id, d.folder, d.node, d.name, d.above, d.owner, d.mtime_ns"


class SearchLookup:
    """The reading side of one index."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def find(self, query: Query, folders: Sequence[FolderId] | None, limit: int) -> list[Hit]:
        """What matches, in folders or all, the best first; some more than the limit."""
        found: dict[tuple[bytes, bytes], Hit] = {}
        conditions, values = _conditions(query, folders)
        for row in self._by_name(query, conditions, values, max(CANDIDATES, limit + 1)):
            hit = _named_hit(query, row)
            found.setdefault((hit.folder, hit.node), hit)
        for hit in self._by_text(query, folders, conditions, values, max(TEXTS, limit + 1)):
            found.setdefault((hit.folder, hit.node), hit)
        return sorted(found.values(), key=lambda hit: (hit.tier, -hit.score))

    def completions(self, prefix: str, limit: int) -> list[str]:
        """Words in files that begin so, the most frequent first."""
        low = prefix.lower()
        rows = self._db.execute(
            "SELECT term FROM word WHERE term >= ? AND term < ? AND documents > 0"
            " ORDER BY documents DESC, term LIMIT ?",
            (low, low + LAST, limit),
        )
        return [term for (term,) in rows]

    def names(self, prefix: str, limit: int) -> list[str]:
        """Names that begin so, the newest first."""
        rows = self._db.execute(
            "SELECT DISTINCT name FROM (SELECT name, mtime_ns FROM document INDEXED BY"
            " document_name WHERE name >= ? COLLATE NOCASE AND name < ? COLLATE NOCASE LIMIT 500)"
            " ORDER BY mtime_ns DESC LIMIT ?",
            (prefix, prefix + LAST, limit),
        )
        return [name for (name,) in rows]

    def has_owner(self, owner: str) -> bool:
        """Whether there is a file that a device of this name wrote."""
        sql = "SELECT 1 FROM document WHERE owner = ? COLLATE NOCASE LIMIT 1"
        return self._db.execute(sql, (owner,)).fetchone() is not None

    def has_ending(self, ending: str) -> bool:
        """Whether there is a file of this ending."""
        condition, values = _of_ending(ending)
        sql = f"SELECT 1 FROM document d WHERE {condition} LIMIT 1"  # noqa: S608
        return self._db.execute(sql, values).fetchone() is not None

    # ------------------------------------------------------------ by name

    def _by_name(
        self, query: Query, conditions: str, values: list[Any], limit: int
    ) -> Iterable[tuple[Any, ...]]:
        long = [word for word in query.words if len(word) >= PARTS_MIN]
        short = [word for word in query.words if len(word) < PARTS_MIN]
        conditions += "".join(" AND d.name LIKE ? ESCAPE '!'" for _ in short)
        values = [*values, *(f"%{_escaped(word)}%" for word in short)]
        rows: list[tuple[Any, ...]] = []
        if query.words:
            first = query.words[0]
            sql = (
                f"SELECT {_FIELDS} FROM document d INDEXED BY document_name"  # noqa: S608
                " WHERE name >= ? COLLATE NOCASE AND name < ? COLLATE NOCASE"
                f"{conditions} ORDER BY name COLLATE NOCASE LIMIT ?"
            )
            begun = self._db.execute(sql, (first, first + LAST, *values, limit)).fetchall()
            rows += [row for row in begun if _has_all(row, query.words)]
        if long:
            match = " AND ".join(f"{{name above owner}} : {_quoted(word)}" for word in long)
            sql = (
                f"SELECT {_FIELDS} FROM names JOIN document d ON d.id = names.rowid"  # noqa: S608
                f" WHERE names MATCH ?{conditions} ORDER BY names.rowid DESC LIMIT ?"
            )
            return rows + self._db.execute(sql, (match, *values, limit)).fetchall()
        endings = (DIRECTORY_ENDING,) if query.is_directory else query.endings
        for ending in endings or (None,):
            index = "document_recent" if ending is None else "document_ending"
            where, given = ("TRUE", []) if ending is None else _of_ending(ending)
            sql = (
                f"SELECT {_FIELDS} FROM document d INDEXED BY {index} WHERE {where}{conditions}"  # noqa: S608
                " ORDER BY d.mtime_ns DESC LIMIT ?"
            )
            rows += self._db.execute(sql, (*given, *values, limit)).fetchall()
        return rows

    # ------------------------------------------------------------ by text

    def _by_text(
        self,
        query: Query,
        folders: Sequence[FolderId] | None,
        conditions: str,
        values: list[Any],
        limit: int,
    ) -> Iterable[Hit]:
        if query.is_directory or not query.words:
            return []
        if not all(any(c.isalnum() for c in word) for word in query.words):
            return []
        match = " AND ".join(
            [*_facets(query, folders), *(f"{{body title}} : {m}" for m in self._words(query))]
        )
        rows = self._db.execute(
            f"SELECT {_FIELDS}, body.codec, body.size, body.text FROM texts"  # noqa: S608
            " JOIN document d ON d.id = texts.rowid JOIN body ON body.id = texts.rowid"
            f" WHERE texts MATCH ?{conditions} ORDER BY texts.rowid DESC LIMIT ?",
            (match, *values, limit),
        ).fetchall()
        weights = self._weights(query.words)
        return [_text_hit(row, weights) for row in rows]

    def _words(self, query: Query) -> list[str]:
        """Each word as FTS5 is asked for it; the last one may be the beginning of one."""
        out = [_quoted(word) for word in query.words]
        last = query.words[-1]
        if len(last) > 1 and WORD.fullmatch(last):
            more = self.completions(last, COMPLETIONS)
            out[-1] = "(" + " OR ".join(dict.fromkeys([out[-1], *map(_quoted, more)])) + ")"
        return out

    def _weights(self, words: Sequence[str]) -> Mapping[str, float]:
        """How much each word says: the rarer, the more."""
        (total,) = self._db.execute("SELECT max(id) FROM body").fetchone()
        out = {}
        for word in words:
            sql = "SELECT documents FROM word WHERE term = ?"
            found = self._db.execute(sql, (word.lower(),)).fetchone()
            out[fold_key(word)] = math.log(2 + (total or 1) / (1 + (found[0] if found else 0)))
        return out


def _named_hit(query: Query, row: tuple[Any, ...]) -> Hit:
    _, folder, node, name, _, owner, mtime_ns = row[:7]
    first = fold_key(query.words[0]) if query.words else ""
    folded = fold_key(name)
    if folded == first:
        tier = Tier.NAME_IS
    elif folded.startswith(first) and _has_all(row, query.words):
        tier = Tier.NAME_BEGINS
    else:
        tier = Tier.NAME if _has_all(row, query.words) else Tier.PLACE
    return Hit(FolderId(folder), NodeId(node), tier, mtime_ns, owner)


def _has_all(row: tuple[Any, ...], words: Sequence[str]) -> bool:
    name = fold_key(row[3])
    return all(fold_key(word) in name for word in words)


def _text_hit(row: tuple[Any, ...], weights: Mapping[str, float]) -> Hit:
    _, folder, node, name, _, owner, mtime_ns, codec, size, frame = row
    text = decompress(codec, frame, size).decode()
    low, title = text.lower(), fold_key(name)
    score = 0.0
    for word, weight in weights.items():
        count = low.count(word) + 3 * title.count(word)
        score += weight * count / (count + 0.5 + len(low) / 20_000)  # as BM25 dampens both
    age_s = max(0.0, time.time() - mtime_ns / 1e9)
    score *= 1 + 0.5 ** (age_s / HALVED_AFTER_S)
    return Hit(FolderId(folder), NodeId(node), Tier.TEXT, score, owner, snippet(text, low, weights))


def snippet(text: str, low: str, words: Iterable[str]) -> str:
    """Where the first of the words stands, with what stands around it, on one line."""
    places = [place for word in words if (place := low.find(word)) >= 0]
    start = max(0, (min(places) if places else 0) - SNIPPET_LENGTH // 3)
    piece = _SPACE.sub(" ", text[start : start + SNIPPET_LENGTH]).strip()
    return ("…" if start else "") + piece + ("…" if start + SNIPPET_LENGTH < len(text) else "")


def _conditions(query: Query, folders: Sequence[FolderId] | None) -> tuple[str, list[Any]]:
    """What SQLite checks of each match."""
    out: list[str] = []
    values: list[Any] = []
    if folders is not None:
        out.append(f"d.folder IN ({','.join('?' * len(folders))})")
        values += folders
    endings = (DIRECTORY_ENDING,) if query.is_directory else query.endings
    if endings:
        each = [_of_ending(ending) for ending in endings]
        out.append(f"({' OR '.join(condition for condition, _ in each)})")
        values += [value for _, given in each for value in given]
    if query.owner is not None:
        out.append("d.owner = ? COLLATE NOCASE")
        values.append(query.owner)
    for sign, value in ((">=", query.after_s), ("<", query.before_s)):
        if value is not None:
            out.append(f"d.kind <> 1 AND d.mtime_ns {sign} ?")
            values.append(int(value * 1e9))
    for sign, value in ((">=", query.larger), ("<", query.smaller)):
        if value is not None:
            out.append(f"d.kind <> 1 AND d.size {sign} ?")
            values.append(value)
    return "".join(f" AND {one}" for one in out), values


def _of_ending(ending: str) -> tuple[str, list[Any]]:
    """The condition for an ending: the index knows what is behind the last dot, as `gz`; of
    `tar.gz` the rest is looked for in the name.
    """
    _, dot, last = ending.rpartition(".")
    if not dot:
        return "d.ending = ?", [ending]
    return "d.ending = ? AND d.name LIKE ? ESCAPE '!'", [last, f"%.{_escaped(ending)}"]


def _facets(query: Query, folders: Sequence[FolderId] | None) -> list[str]:
    """The same as far as the index of words knows it, so that few matches are checked at all."""
    groups = [
        [facets(folder, None, None)[0] for folder in folders or ()],
        [facets(None, ending.rpartition(".")[2], None)[0] for ending in query.endings],
        [] if query.owner is None else facets(None, None, query.owner),
    ]
    return [f"facet : ({' OR '.join(map(_quoted, group))})" for group in groups if group]


def _quoted(word: str) -> str:
    return '"' + word.replace('"', '""').replace("\0", " ") + '"'


def _escaped(text: str) -> str:
    """Taken literally by LIKE."""
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
