"""What a person types becomes a query; and a walk over a folder's index that finds names by it.

That index holds name, size and time side by side, so a hundred thousand names are walked in some
twenty milliseconds, and nothing has to be kept up for it. It answers while the search index
(search_index.py) is being made, and for what has just changed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import aiosqlite

from crypto.ids import NodeId
from peer.core.rows import Directories
from peer.device.transaction import damage_told
from peer.errors import UsageError
from protocol.names import fold_key
from protocol.nodes import Kind

QUERY_LENGTH_MAX: Final = 1000
WORDS_MAX: Final = 16
_UNITS: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_QUOTED: Final = re.compile(r"""\"[^\"]*\"|'[^']*'""")
_COLON: Final = "\x1f"
"""Stands for one that was quoted, which makes no filter."""
_SIZE: Final = re.compile(r"(\d{1,12})([KMGT]?)B?", re.IGNORECASE)
TYPES: Final = {
    "image": "jpg jpeg png gif webp heic svg bmp tif tiff raw",
    "video": "mp4 mov mkv avi webm m4v",
    "audio": "mp3 flac ogg opus m4a wav aac",
    "document": "pdf odt doc docx rtf txt md tex epub pages",
    "table": "ods xls xlsx csv tsv numbers",
    "slides": "odp ppt pptx key",
    "archive": "zip tar gz bz2 xz zst 7z rar",
    "code": "py rs c h cpp hpp go js ts java kt swift rb sh sql html css",
}
"""What `type:` takes besides an ending, and the endings that it stands for."""


_DIRECTORY_DIGITS: Final = ",".join(
    f"'{digit:X}'" for digit in range(16) if digit & 3 == Kind.DIRECTORY
)
"""How the id of a directory ends, in hexadecimal."""


class Query(NamedTuple):
    """What is looked for; all of it has to hold."""

    words: tuple[str, ...] = ()
    """Parts of the name, in any order, large or small."""
    endings: tuple[str, ...] = ()
    """The name ends in a dot and one of these, which may hold a dot as `tar.gz` does; none: any."""
    is_directory: bool | None = None
    folder: str | None = None
    owner: str | None = None
    """The name of the device that wrote it."""
    after_s: float | None = None
    before_s: float | None = None
    larger: int | None = None
    smaller: int | None = None


class Found(NamedTuple):
    """One file or directory."""

    node: NodeId
    path: tuple[str, ...]
    size: int
    mtime_ns: int


def parse(text: str) -> Query:
    """Reads `report type:pdf after:2026-01 larger:1M folder:work`; words in quotes are one. Raises
    UsageError.
    """
    if len(text) > QUERY_LENGTH_MAX:
        raise UsageError(f"A search has at most {QUERY_LENGTH_MAX} characters.")
    text = _QUOTED.sub(lambda quoted: quoted[0].replace(":", _COLON), text)
    try:
        parts = shlex.split(text)
    except ValueError:  # a quote is open still, as while somebody types
        parts = text.replace('"', " ").replace("'", " ").split()
    words: list[str] = []
    fields: dict[str, Any] = {}
    for part in parts:
        name, colon, value = part.partition(":")
        if not colon or not value or not _may_be_filter(name, value):
            words.append(part.replace(_COLON, ":"))
        elif (read := _FILTERS.get(name.lower())) is not None:
            fields |= read(value.replace(_COLON, ":"))
        else:
            known = ", ".join(f"{each}:" for each in _FILTERS)
            raise UsageError(
                f"There is no filter {name}: - there are {known}. In quotes it is looked for as a"
                " word."
            )
    if len(words) > WORDS_MAX:
        raise UsageError(f"A search has at most {WORDS_MAX} words.")
    return Query(tuple(words), **fields)


def _may_be_filter(name: str, value: str) -> bool:
    """Not `http://x`, `C:\\x`, `12:30` or `std::vector`."""
    return len(name) > 1 and name.isascii() and name.isalpha() and value[0] not in "/:"


def unknown_type(query: Query) -> str:
    """The ending that is looked for, if it is none of those that are usual; else empty."""
    known = {ending for endings in TYPES.values() for ending in endings.split()}
    return "" if known.issuperset(query.endings) else query.endings[0]


def _type(value: str) -> dict[str, Any]:
    name = value.lower().removeprefix(".")
    if name in ("dir", "directory", "folder"):
        return {"is_directory": True}
    return {"is_directory": False, "endings": tuple(TYPES.get(name, name).split())}


def _moment(value: str) -> float:
    """`2026`, `2026-01` and `2026-01-31` begin with their first day."""
    padded = value + "-01-01"[len(value) - 4 :] if len(value) in (4, 7) else value
    try:
        return datetime.fromisoformat(padded).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"{value!r} is no date like 2026, 2026-01 or 2026-01-31.") from error


def _size(value: str) -> int:
    found = _SIZE.fullmatch(value)
    if found is None:
        raise UsageError(f"{value!r} is no size like 500K, 20M or 1G.")
    return int(found[1]) * _UNITS[found[2].upper()]


_FILTERS: Final[dict[str, Callable[[str], dict[str, Any]]]] = {
    "type": _type,
    "folder": lambda value: {"folder": value},
    "owner": lambda value: {"owner": value},
    "after": lambda value: {"after_s": _moment(value)},
    "before": lambda value: {"before_s": _moment(value)},
    "larger": lambda value: {"larger": _size(value)},
    "smaller": lambda value: {"smaller": _size(value)},
}


class NameSearch:
    """The names in an index database."""

    def __init__(self, db: aiosqlite.Connection) -> None:
        self._db = db
        self._has_fold = False

    async def find(self, resident: Directories, query: Query, limit: int) -> list[Found]:
        """What matches, the best first: a name that is what was typed, then one that begins so,
        then the latest.
        """
        conditions, values = _conditions(query)
        if not all(word.isascii() for word in query.words) and not self._has_fold:
            await self._db.create_function("fold_key", 1, fold_key, deterministic=True)
            self._has_fold = True
        first = query.words[0] if query.words else ""
        sql = (
            "SELECT id, parent, name, disk_size, disk_mtime_ns FROM node INDEXED BY node_shown"  # noqa: S608
            f" WHERE parent IS NOT NULL AND item IS NULL{conditions}"
            " ORDER BY name LIKE ? ESCAPE '!' DESC, name LIKE ? ESCAPE '!' DESC,"
            " disk_mtime_ns DESC, name LIMIT ?"
        )
        values += [_escaped(first), _escaped(first) + "%", limit]
        with damage_told():
            rows = await self._db.execute_fetchall(sql, values)
        return list(_found(resident, rows))

    async def shown(self, resident: Directories, nodes: Sequence[NodeId]) -> dict[NodeId, Found]:
        """Those of some nodes that are shown now, and where."""
        out: dict[NodeId, Found] = {}
        for start in range(0, len(nodes), 500):
            part = nodes[start : start + 500]
            marks = ",".join("?" * len(part))
            sql = (
                "SELECT id, parent, name, disk_size, disk_mtime_ns FROM node"  # noqa: S608
                f" WHERE id IN ({marks}) AND parent IS NOT NULL AND item IS NULL"
            )
            with damage_told():
                rows = await self._db.execute_fetchall(sql, part)
            out |= {one.node: one for one in _found(resident, rows)}
        return out


def _found(resident: Directories, rows: Iterable[Any]) -> Iterable[Found]:
    for node, parent, name, size, mtime_ns in rows:
        path = resident.child_path(parent, name)
        if path is not None:
            yield Found(node, path, size, mtime_ns)


def _conditions(query: Query) -> tuple[str, list[Any]]:
    out: list[str] = []
    values: list[Any] = []
    for word in query.words:
        if word.isascii():  # LIKE knows that A is a, and not that Ä is ä
            out.append("name LIKE ? ESCAPE '!'")
            values.append(f"%{_escaped(word)}%")
        else:
            out.append("instr(fold_key(name), ?)")
            values.append(fold_key(word))
    if query.endings:
        out.append("(" + " OR ".join(["name LIKE ? ESCAPE '!'"] * len(query.endings)) + ")")
        values += [f"%.{_escaped(ending)}" for ending in query.endings]
    if query.is_directory is not None:
        sign = "IN" if query.is_directory else "NOT IN"
        out.append(f"substr(hex(id), -1) {sign} ({_DIRECTORY_DIGITS})")
    for column, sign, value in _bounds(query):
        out.append(f"{column} {sign} ?")
        values.append(value)
    return "".join(f" AND {one}" for one in out), values


def _bounds(query: Query) -> Sequence[tuple[str, str, int]]:
    """Directories have no size and no time that is kept: a bound leaves them out."""
    bounds = [
        ("disk_mtime_ns", ">=", query.after_s and query.after_s * 1e9),
        ("disk_mtime_ns", "<", query.before_s and query.before_s * 1e9),
        ("disk_size", ">=", query.larger),
        ("disk_size", "<", query.smaller),
    ]
    found = [(column, sign, int(value)) for column, sign, value in bounds if value is not None]
    return [("disk_mtime_ns", "<>", 0), *found] if found else []


def _escaped(text: str) -> str:
    """Taken literally by LIKE."""
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
