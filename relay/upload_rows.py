"""The rows of upload links in the relay's database. No rules are here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from enum import IntEnum

import aiosqlite

from crypto.uploads import segment_count
from relay.store import RelayStore


class UploadState(IntEnum):
    """How far an upload is."""

    UNDER_WAY = 0
    """Its place is taken; it counts as soon as it is whole, or is given back."""
    WHOLE = 1
    TAKEN = 2
    """Its maker has it; only that it was is kept."""


@dataclass(slots=True)
class UploadRules:
    """What an upload link takes, its columns in order."""

    link_id: bytes
    files_max: int
    file_bytes_max: int
    bytes_max: int


@dataclass(slots=True)
class UploadRow:
    """One file that is put in, its columns in order."""

    link_id: bytes
    upload_id: bytes
    state: int
    size: int
    """Of the file before it was sealed, as its sender says."""
    head: bytes
    segments: int
    """How many are durable."""
    used_s: int
    """When it was begun, went on, or became whole."""

    @property
    def segments_max(self) -> int:
        """How many it has when it is whole."""
        return segment_count(self.size)


async def load(store: RelayStore) -> tuple[list[UploadRules], list[UploadRow]]:
    """All of them."""
    rules = [UploadRules(*row) for row in await store.rows("SELECT * FROM upload_links")]
    found = await store.rows("SELECT * FROM uploads ORDER BY used_s, upload_id")
    return rules, [UploadRow(*row) for row in found]


async def write_rules(db: aiosqlite.Connection, rules: UploadRules) -> None:
    """Says what a link takes from now on."""
    await db.execute_fetchall(
        "INSERT INTO upload_links VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " files_max = excluded.files_max, file_bytes_max = excluded.file_bytes_max,"
        " bytes_max = excluded.bytes_max",
        astuple(rules),
    )


async def write_upload(db: aiosqlite.Connection, row: UploadRow) -> None:
    """Writes an upload as it is now."""
    await db.execute_fetchall(
        "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " state = excluded.state, segments = excluded.segments, used_s = excluded.used_s,"
        " head = excluded.head",
        astuple(row),
    )


async def delete_uploads(db: aiosqlite.Connection, rows: Iterable[UploadRow]) -> None:
    """Forgets uploads that did not become whole."""
    await db.executemany(
        "DELETE FROM uploads WHERE link_id = ? AND upload_id = ?",
        [(row.link_id, row.upload_id) for row in rows],
    )
