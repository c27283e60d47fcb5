"""One folder's conflict copies: which there are, and what becomes of one when a person has decided.

A decision is made on the disk, as the person would make it with a file manager, and told by the
scan that follows: it adds no merge rule. What it removes is kept as a version.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Final, NamedTuple

from peer.core import commands as c
from peer.core.disk_types import Kind, Move, Operation, Path, Remove
from peer.core.rows import DISPLACED, FOLDED, Row, content_of, place_of
from peer.core.versions import trash_name
from peer.disk.hinting import Hinting
from peer.folders.performing import Performer
from peer.history.history import CHANGED, History, is_as_known
from peer.search.search import Query
from peer.status import Choice
from protocol.names import NAME_BYTES_MAX, without_conflict_mark

MARK: Final = "(conflict "
LISTED_MAX: Final = 1000
ENDING_BYTES_MAX: Final = 64
"""What follows a name's last dot and is longer is no ending, and may be cut for a number."""
GONE: Final = (
    "There is no such conflict copy (any more). `holdfast conflicts` lists those there are."
)


class Conflict(NamedTuple):
    """A conflict copy."""

    path: Path
    original: Path
    """What it is a copy of: the path without the mark, whether or not something is there."""
    label: str
    """The device that wrote the copy; empty when that is not known."""
    written_s: int
    size: int


class Conflicts:
    """The conflicts of one attached folder."""

    def __init__(self, history: History, performer: Performer, hinting: Hinting) -> None:
        self._history, self._performer, self._hinting = history, performer, hinting

    async def list(self) -> list[Conflict]:
        """All of them, by path."""
        found = await self._history.find(Query((MARK,), is_directory=False), LISTED_MAX)
        out = []
        for one in found:
            row = await self._history.row_at(one.path)
            if row is None or (original := _original(one.path, row)) is None:
                continue
            content = content_of(row.base, row.shown.hash)
            label, written_s = ("", 0) if content is None else (content.label, content.time_s)
            out.append(Conflict(one.path, original, label, written_s, row.shown.size))
        return sorted(out)

    async def resolve(self, path: Path, choice: Choice) -> str:
        """Does what was decided about a copy; returns why not, or nothing."""
        copy = await self._history.row_at(path)
        if copy is None or (original := _original(path, copy)) is None:
            return GONE
        stats = await self._performer.perform(c.StatPaths([path, original]))
        here, there = stats
        if here is None or not is_as_known(copy, here):
            return CHANGED
        operations: list[Operation] = []
        if choice is Choice.ORIGINAL:
            operations.append(Remove(path, here, _keep(copy)))
        elif choice is Choice.COPY:
            if there is not None:
                row = await self._history.row_at(original)
                if row is None or there.kind is Kind.DIRECTORY or not is_as_known(row, there):
                    return CHANGED
                operations.append(Remove(original, there, _keep(row)))
            operations.append(Move(path, original, here))
        else:
            operations.append(Move(path, await self._free(original), here))
        reason = await self._history.apply(operations)
        self._hinting.add(path[:-1], False, asyncio.get_running_loop().time())
        return reason

    async def merge(self, path: Path, data: bytes, time_ns: int) -> str:
        """Puts what a person made of both in the original's place, and the copy away; returns why
        not, or nothing. Both are kept as versions.
        """
        copy = await self._history.row_at(path)
        if copy is None or (original := _original(path, copy)) is None:
            return GONE
        here, there = await self._performer.perform(c.StatPaths([path, original]))
        row = await self._history.row_at(original)
        if here is None or not is_as_known(copy, here):
            return CHANGED
        if there is not None and (row is None or not is_as_known(row, there)):
            return CHANGED
        is_executable = row is not None and row.shown.is_executable
        reason = await self._history.write(original, data, time_ns, is_executable=is_executable)
        # The copy last: whatever stops this in between, nothing is lost.
        return reason or await self._history.remove(path, copy)

    async def _free(self, original: Path) -> Path:
        """A name like that of the original that nothing has: `plan (2).odt`."""
        *above, name = original
        dot = name.rfind(".")
        has_ending = dot > 0 and len(name[dot:].encode()) <= ENDING_BYTES_MAX
        stem, ending = (name[:dot], name[dot:]) if has_ending else (name, "")
        for number in count(2):
            after = f" ({number}){ending}"
            room = NAME_BYTES_MAX - len(after.encode())
            path = (*above, stem.encode()[:room].decode(errors="ignore") + after)
            (there,) = await self._performer.perform(c.StatPaths([path]))
            if there is None:
                return path
        raise AssertionError


def original_of(path: Path) -> Path | None:
    """The path without its conflict mark; None if it has none."""
    if not path:
        return None
    name = without_conflict_mark(path[-1])
    return (*path[:-1], name) if name != path[-1] else None


def _original(path: Path, copy: Row) -> Path | None:
    """What a shown file is a copy of; None if it is no conflict copy. Of two new files of one name
    the copy's own record says what it was to be called, of which the mark may have cut the end.
    """
    original, place = original_of(path), place_of(copy.base)
    if original is None or place is None or not copy.shown.flags & (DISPLACED | FOLDED):
        return original
    return (*path[:-1], place.name)


def _keep(row: Row) -> str | None:
    return trash_name(row.id, row.shown.hash, row.disk)
