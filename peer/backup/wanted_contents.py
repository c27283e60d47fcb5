"""What of a folder's index is to rest at super-nodes: chunks of what is on this disk, what files
were before, and logs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import aiosqlite

from crypto.ids import ChunkId
from peer.core.versions import Version
from peer.history.version_store import VersionStore

FILES_AT_ONCE: Final = 500
CHANGESETS_AT_ONCE: Final = 200


class WantedContents:
    """One folder's, in the order in which files came, so that a file's chunks lie together."""

    def __init__(self, db: aiosqlite.Connection, versions: VersionStore) -> None:
        self._db, self._versions = db, versions

    async def chunks(self) -> AsyncIterator[list[tuple[ChunkId, int]]]:
        """(id, length) of all chunks of the files on this disk, some at a time; one that is in
        several files comes several times.
        """
        after = -1
        whole = (
            "SELECT number, hash, disk_size, EXISTS (SELECT 1 FROM chunk WHERE file = node.hash)"
            " FROM node WHERE number > ? AND kind = 0 AND inode > 0 AND disk_size > 0"
            " AND hash IS NOT NULL ORDER BY number LIMIT ?"
        )
        within = "SELECT id, length FROM chunk WHERE file = ? ORDER BY offset"
        while files := list(await self._db.execute_fetchall(whole, (after, FILES_AT_ONCE))):
            found: list[tuple[ChunkId, int]] = []
            for number, hash_, size, has_chunks in files:
                after = number
                if not has_chunks:
                    found.append((ChunkId(hash_), size))
                    continue
                for id_, length in await self._db.execute_fetchall(within, (hash_,)):
                    found.append((ChunkId(id_), length))
            yield found

    async def versions(self) -> AsyncIterator[list[Version]]:
        """What files were before, as long as the history's policy has it, some at a time."""
        after = 0
        while some := await self._versions.every(after, FILES_AT_ONCE):
            after = some[-1].number
            yield [stored.version for stored in some]

    async def changesets(self) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        """(hash, wire bytes) of all changesets that are stored here, log by log."""
        after = (b"", -1)
        sql = (
            "SELECT log, seq, hash, wire FROM changeset WHERE (log, seq) > (?, ?)"
            " ORDER BY log, seq LIMIT ?"
        )
        while rows := list(await self._db.execute_fetchall(sql, (*after, CHANGESETS_AT_ONCE))):
            after = rows[-1][0], rows[-1][1]
            yield [(row[2], row[3]) for row in rows]
