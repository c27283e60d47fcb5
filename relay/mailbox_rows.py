"""The rows of mailboxes in the relay's database, and what they take up. No rules are here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

import aiosqlite

from crypto.mailbox import GROUP_SIZE, NAME_SIZE, Area
from protocol.mailbox_messages import Item, Listed, NewItem
from relay.store import RelayStore


class Removed(NamedTuple):
    """A row that is gone, for those who count."""

    tag: bytes
    pseudonym: bytes
    area: int
    size: int


class Found(NamedTuple):
    """Items that were read."""

    items: list[Item]
    damaged: list[int]
    """Positions of those that are not what was put: they are not among the items."""


@dataclass(slots=True)
class Use:
    """What a mailbox holds now."""

    last_position: int = 0
    items: int = 0
    bytes: Counter[int] = field(default_factory=Counter)
    """By area."""


class Uses:
    """What all mailboxes hold, and what each device put there."""

    def __init__(self) -> None:
        self.tags: dict[bytes, Use] = {}
        self.devices: Counter[bytes] = Counter()
        self.total_bytes = 0

    def add(self, tag: bytes, pseudonym: bytes, area: int, size: int, items: int = 1) -> None:
        """So many items of this size together are there."""
        use = self.tags.setdefault(tag, Use())
        use.items += items
        use.bytes[area] += size
        self.devices[pseudonym] += size
        self.total_bytes += size

    def put_back(self, removed: Sequence[Removed]) -> None:
        """These are there all the same."""
        for tag, pseudonym, area, size in removed:
            self.add(tag, pseudonym, area, size)

    def remove(self, removed: Sequence[Removed]) -> None:
        """These are there no more."""
        for tag, pseudonym, area, size in removed:
            self.add(tag, pseudonym, area, -size, -1)
            if self.devices[pseudonym] <= 0:
                del self.devices[pseudonym]


async def load(store: RelayStore) -> Uses:
    """Counts what is there."""
    uses = Uses()
    for tag, position in await store.rows("SELECT tag, last_position FROM mailboxes"):
        uses.tags[tag] = Use(position)
    for pseudonym, tag, area, size, items in await store.rows(
        "SELECT pseudonym, tag, area, sum(size), count(*) FROM mailbox_items"
        " GROUP BY pseudonym, tag, area"
    ):
        uses.add(tag, pseudonym, area, size, items)
    return uses


async def listed(store: RelayStore, tag: bytes, after: int, limit: int) -> list[Listed]:
    """Items after a position, without their bytes."""
    rows = await store.rows(
        "SELECT position, area, name, size FROM mailbox_items WHERE tag = ? AND position > ?"
        " ORDER BY position LIMIT ?",
        tag, after, limit,
    )  # fmt: skip
    return [Listed(*row) for row in rows]


async def items(store: RelayStore, tag: bytes, first: int, last: int, limit: int) -> Found:
    """Items from one position to another."""
    rows = await store.rows(
        "SELECT position, name, sealed, checksum FROM mailbox_items WHERE tag = ? AND position"
        " BETWEEN ? AND ? ORDER BY position LIMIT ?",
        tag, first, last, limit,
    )  # fmt: skip
    found = Found([], [])
    for position, name, sealed, checksum in rows:
        if checksum is None or checksum == _checksum(tag, name, sealed):
            found.items.append(Item(position, name, sealed))
        else:
            found.damaged.append(position)
    return found


async def known(db: aiosqlite.Connection, tag: bytes, names: Sequence[bytes]) -> set[bytes]:
    """Those of the names that are there."""
    rows = await db.execute_fetchall(
        f"SELECT name FROM mailbox_items WHERE tag = ? AND name IN ({_marks(names)})",  # noqa: S608
        (tag, *names),
    )
    return {name for (name,) in rows}


async def insert(
    db: aiosqlite.Connection,
    tag: bytes,
    area: int,
    pseudonym: bytes,
    use: Use,
    new: Sequence[NewItem],
    now_s: int,
) -> None:
    """Puts items behind the last one."""
    first = use.last_position + 1
    await db.executemany(
        "INSERT INTO mailbox_items (tag, position, area, name, size, put_s, pseudonym, sealed,"
        " checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                tag,
                position,
                area,
                item.name,
                len(item.sealed),
                now_s,
                pseudonym,
                item.sealed,
                _checksum(tag, item.name, item.sealed),
            )
            for position, item in enumerate(new, first)
        ],
    )
    use.last_position += len(new)
    await db.execute_fetchall(
        "INSERT INTO mailboxes VALUES (?, ?) ON CONFLICT DO UPDATE"
        " SET last_position = excluded.last_position",
        (tag, use.last_position),
    )


async def delete(db: aiosqlite.Connection, tag: bytes, names: Sequence[bytes]) -> list[Removed]:
    """Takes items away by their names, but none of the control area."""
    rows = await db.execute_fetchall(
        f"DELETE FROM mailbox_items WHERE tag = ? AND name IN ({_marks(names)}) AND area <> ?"  # noqa: S608
        " RETURNING tag, pseudonym, area, size",
        (tag, *names, int(Area.CONTROL)),
    )
    return [Removed(*row) for row in rows]


async def delete_damaged(
    db: aiosqlite.Connection, tag: bytes, positions: Sequence[int]
) -> list[Removed]:
    """Takes items away that are not what was put, and with each the first part of what it is a part
    of: by that who puts things knows whether one is there.
    """
    found = await db.execute_fetchall(
        f"SELECT name FROM mailbox_items WHERE tag = ? AND position IN ({_marks(positions)})",  # noqa: S608
        (tag, *positions),
    )
    first = [name[:GROUP_SIZE].ljust(NAME_SIZE, b"\0") for (name,) in found]
    rows = await db.execute_fetchall(
        f"DELETE FROM mailbox_items WHERE tag = ? AND (position IN ({_marks(positions)})"  # noqa: S608
        f" OR name IN ({_marks(first)})) RETURNING tag, pseudonym, area, size",
        (tag, *positions, *first),
    )
    return [Removed(*row) for row in rows]


async def delete_oldest(
    db: aiosqlite.Connection,
    tag: bytes,
    area: int,
    size: int,
    spared: Collection[bytes] = (),
) -> list[Removed]:
    """Takes the oldest things of one area away until so many bytes are free, each with all of its
    parts: what lacks one is of no use, and its first part would say that it is there. Things of
    which other parts are just coming (`spared`, by group) stay.
    """
    rows = await db.execute_fetchall(
        "SELECT name, size FROM mailbox_items WHERE tag = ? AND area = ? ORDER BY position",
        (tag, area),
    )
    sizes: dict[bytes, int] = {}
    for name, length in rows:
        group = name[:GROUP_SIZE]
        sizes[group] = sizes.get(group, 0) + length
    going: list[bytes] = []
    freed = 0
    for group, length in sizes.items():
        if freed >= size:
            break
        if group not in spared:
            going.append(group)
            freed += length
    gone: list[Removed] = []
    for group in going:
        gone += [
            Removed(*row)
            for row in await db.execute_fetchall(
                "DELETE FROM mailbox_items WHERE tag = ? AND area = ? AND name BETWEEN ? AND ?"
                " RETURNING tag, pseudonym, area, size",
                (tag, area, group.ljust(NAME_SIZE, b"\0"), group.ljust(NAME_SIZE, b"\xff")),
            )
        ]
    return gone


async def delete_old(
    db: aiosqlite.Connection, area: int, before_s: int, limit: int
) -> list[Removed]:
    """Takes away what was put before a time, some of it if it is much."""
    rows = await db.execute_fetchall(
        "DELETE FROM mailbox_items WHERE rowid IN (SELECT rowid FROM mailbox_items"
        " WHERE area = ? AND put_s < ? LIMIT ?) RETURNING tag, pseudonym, area, size",
        (area, before_s, limit),
    )
    return [Removed(*row) for row in rows]


def groups_of(names: Iterable[bytes]) -> set[bytes]:
    """Of which things these are parts."""
    return {name[:GROUP_SIZE] for name in names}


def _checksum(tag: bytes, name: bytes, sealed: bytes) -> int:
    return crc32(sealed, crc32(tag + name))


def _marks(names: Sequence[object]) -> str:
    return ", ".join("?" * len(names))
