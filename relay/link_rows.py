"""The rows of share links in the relay's database. No rules are here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from enum import IntEnum
from typing import Final

import aiosqlite

from relay.store import RelayStore


class Ended(IntEnum):
    """Whether a link is there, or how it ended."""

    LIVE = 0
    EXPIRED = 1
    REVOKED = 2
    USED_UP = 3

    @property
    def word(self) -> str:
        """For the visitor who has the secret."""
        return self.name.lower().replace("_", " ")


@dataclass(slots=True)
class LinkRow:
    """One link as it is on disk, its columns in order."""

    link_id: bytes
    owner: bytes
    flags: int
    version: int
    password_salt: bytes
    token_hash: bytes
    public: bytes
    put_s: int
    expires_s: int
    """0: never."""
    downloads_max: int
    """0: any number."""
    downloads: int
    """That count."""
    blob_size: int
    packs_size: int
    """Of those that are counted."""
    ended: int = Ended.LIVE
    ended_s: int = 0
    pages_size: int = 0
    """Of those that hold nothing but the link's list."""
    end_key_hash: bytes | None = None
    """Of the key by which others than the maker may end it."""


@dataclass(slots=True)
class TicketRow:
    """One download that was claimed, its columns in order."""

    ticket_hash: bytes
    link_id: bytes
    used_s: int
    is_counted: int = 0


AT_ONCE: Final = 500
"""Values of one statement."""
_MARKS = ", ".join("?" * len(fields(LinkRow)))


async def load(store: RelayStore) -> tuple[list[LinkRow], list[TicketRow]]:
    """Everything but the packs."""
    links = [LinkRow(*row) for row in await store.rows("SELECT * FROM links")]
    return links, [TicketRow(*row) for row in await store.rows("SELECT * FROM link_tickets")]


async def holds_pages(store: RelayStore, link_id: bytes, pack_id: bytes) -> bool | None:
    """Whether a pack of a link holds nothing but its list; None if it is none of the link's."""
    found = await store.rows(
        "SELECT is_pages FROM link_packs WHERE link_id = ? AND pack_id = ?", link_id, pack_id
    )
    return bool(found[0][0]) if found else None


async def write_link(db: aiosqlite.Connection, row: LinkRow) -> None:
    """Puts a link's row there, or in place of the one that is there."""
    columns = ", ".join(f"{field.name} = excluded.{field.name}" for field in fields(LinkRow)[1:])
    await db.execute_fetchall(
        f"INSERT INTO links VALUES ({_MARKS}) ON CONFLICT DO UPDATE SET {columns}",  # noqa: S608
        astuple(row),
    )


async def write_packs(
    db: aiosqlite.Connection,
    link_id: bytes,
    packs: Iterable[bytes],
    pages: Collection[bytes] = frozenset(),
) -> None:
    """Says which packs a link has from now on, and which of them hold nothing but its list."""
    await db.execute_fetchall("DELETE FROM link_packs WHERE link_id = ?", (link_id,))
    values = [(link_id, pack_id, pack_id in pages) for pack_id in packs]
    await db.executemany("INSERT INTO link_packs VALUES (?, ?, ?)", values)


async def are_here(db: aiosqlite.Connection, packs: Sequence[bytes]) -> bool:
    """Whether all of these packs are here and not in the trash."""
    for start in range(0, len(packs), AT_ONCE):
        part = packs[start : start + AT_ONCE]
        marks = ", ".join("?" * len(part))
        ((count,),) = await db.execute_fetchall(
            "SELECT count(DISTINCT pack_id) FROM packs"  # noqa: S608
            f" WHERE trashed_s IS NULL AND pack_id IN ({marks})",
            part,
        )
        if count < len(part):
            return False
    return True


async def lease_packs(db: aiosqlite.Connection, now_s: int, until_s: int) -> None:
    """Prolongs the leases of packs that a live link reads from, which end within half that time, or
    have ended while this relay was off.
    """
    await db.execute_fetchall(
        "UPDATE packs SET lease_until_s = ?1 WHERE trashed_s IS NULL"
        " AND lease_until_s <= (?1 + ?2) / 2"
        " AND pack_id IN (SELECT pack_id FROM link_packs)",
        (until_s, now_s),
    )


async def write_tickets(db: aiosqlite.Connection, tickets: Sequence[TicketRow]) -> None:
    """Writes these tickets as they are now."""
    await db.executemany(
        "INSERT INTO link_tickets VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET used_s = excluded.used_s, is_counted = excluded.is_counted",
        [astuple(ticket) for ticket in tickets],
    )


async def delete_tickets(db: aiosqlite.Connection, hashes: Sequence[bytes]) -> None:
    """Forgets these tickets."""
    await db.executemany(
        "DELETE FROM link_tickets WHERE ticket_hash = ?", [(each,) for each in hashes]
    )


async def delete_link(db: aiosqlite.Connection, link_id: bytes) -> None:
    """Forgets a link, with all that belongs to it."""
    await db.execute_fetchall("DELETE FROM links WHERE link_id = ?", (link_id,))
