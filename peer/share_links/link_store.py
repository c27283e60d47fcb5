"""What this device knows of the share links it has made, in `links.db` of its home.

What opens a link rests sealed under the home's database key. The chunks are those that lie sealed
at relays already: another link of the same bytes uploads none of them again.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

import aiosqlite

from crypto.ids import ChunkId, DeviceId, EntryId, FolderId, RelayId
from crypto.primitives import HASH_SIZE, SEAL_RANDOM_SIZE, open_sealed, seal
from peer.device.database import open_private_database
from peer.device.transaction import transaction
from peer.errors import HomeDamaged
from protocol.link_records import (
    NAME_LENGTH_MAX,
    AnyRecord,
    EndKey,
    LinkRecord,
    UploadRecord,
    read_end_keys,
    read_records,
    read_uploads,
    write_end_keys,
    write_records,
)
from protocol.messages import presentable
from protocol.share_url import ShareUrl

FORMAT: Final = 1
AT_ONCE: Final = 500
_SECRET_SIZE: Final = 32
_YOUNGER: Final = """
CREATE TABLE IF NOT EXISTS named (
    link BLOB NOT NULL REFERENCES link (id) ON DELETE CASCADE,
    folder BLOB NOT NULL,
    descriptor_id BLOB NOT NULL,
    PRIMARY KEY (link, descriptor_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS page (
    folder BLOB NOT NULL,
    list BLOB NOT NULL,
    pack INTEGER NOT NULL REFERENCES pack ON DELETE CASCADE,
    id BLOB NOT NULL,
    needs BLOB NOT NULL,
    PRIMARY KEY (folder, list, pack)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS page_by_pack ON page (pack);
CREATE TABLE IF NOT EXISTS told (
    device BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS wish (link BLOB PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS end_key (
    link BLOB PRIMARY KEY,
    sealed BLOB NOT NULL,
    made_of BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS told_keys (device BLOB PRIMARY KEY, sealed BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS told_uploads (
    device BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS ended_there (link BLOB PRIMARY KEY, at_s INTEGER NOT NULL) STRICT;
"""
"""The packs of folders at super-nodes that links name; of pages, by a hash of what they list, the
packs in which that lies; what other devices of the user have told of their links of either kind,
and which of these are to be ended; of each own link the key by which these may end it, and of what
membership of the user it was made; the keys that they have told, and which links have ended at
their relays by one. Lists of links are older than these.
"""


_CHUNKS: Final = """
SELECT id, pack_id, descriptor_id, offset, length, codec, plain_len, epoch, sealed_hash
FROM chunk JOIN pack ON pack.number = chunk.pack
WHERE folder = ? AND relay = ? AND lease_s >= ? AND id IN (%s)
"""
_TOLD: Final = """
SELECT device, name, told.sealed, told_keys.sealed FROM told LEFT JOIN told_keys USING (device)
"""
_TOLD_UPLOADS: Final = """
SELECT device, name, told_uploads.sealed, told_keys.sealed
FROM told_uploads LEFT JOIN told_keys USING (device)
"""
_PAGES: Final = """
SELECT list, needs, chunk.id, pack_id, descriptor_id, offset, length, codec, plain_len, epoch,
    sealed_hash
FROM page JOIN chunk USING (folder, id, pack) JOIN pack ON pack.number = page.pack
WHERE folder = ? AND relay = ? AND lease_s >= ? AND list IN (%s) ORDER BY pack.number
"""


class MadeLink(NamedTuple):
    """A link of this device."""

    link_id: bytes
    relay: str
    base: str
    secret: bytes
    key: bytes
    name: str
    has_password: bool
    files: int
    size: int
    made_s: int
    expires_s: int
    downloads_max: int
    revoked_s: int

    @property
    def url(self) -> ShareUrl:
        """All of it."""
        return ShareUrl(self.base, self.link_id, self.secret)

    @property
    def told(self) -> LinkRecord:
        """What the user's other devices are told of it: not the link's own key."""
        return LinkRecord(
            self.link_id, self.base, self.secret, self.relay,
            presentable(self.name, NAME_LENGTH_MAX), self.has_password, self.files, self.size,
            self.made_s, self.expires_s, self.downloads_max, self.revoked_s,
        )  # fmt: skip


class NamedPack(NamedTuple):
    """A pack of a folder's copies that a link rests on."""

    link_id: bytes
    relay: str
    """The link's, which alone knows whether the link has ended."""
    folder_id: FolderId
    descriptor_id: bytes


class StoredChunk(NamedTuple):
    """A sealed chunk at a relay."""

    id: ChunkId
    pack_id: bytes
    descriptor_id: bytes
    offset: int
    length: int
    codec: int
    plain_len: int
    epoch_id: EntryId
    sealed_hash: bytes


class OwnEndKey(NamedTuple):
    """By what the user's other devices may end a link of this one."""

    told: EndKey
    made_of: bytes
    """What says of the user's devices whether one was removed since."""


class Told(NamedTuple):
    """What another device of the user has told."""

    device: str
    """What it is called."""
    records: tuple[AnyRecord, ...]
    """Of one kind."""
    end_keys: Mapping[bytes, bytes]
    """Of its links."""


class KnownPage(NamedTuple):
    """A page that lies at a relay."""

    page: StoredChunk
    needs: frozenset[bytes]
    """Descriptors of the packs in which that lies which it lists."""


class LinkStore:
    """The open database."""

    def __init__(self, db: aiosqlite.Connection, database_key: bytes) -> None:
        self._db, self._key = db, database_key
        self._writing = asyncio.Lock()
        """Links are made and prepared at once, and a transaction is one's own."""

    @classmethod
    async def open(cls, path: Path, database_key: bytes) -> LinkStore:
        """Opens it, or makes it; raises HomeDamaged."""
        try:
            schema = files("peer.share_links").joinpath("links.sql").read_text()
            db = await open_private_database(path, schema, FORMAT, _YOUNGER)
        except (sqlite3.Error, OSError) as error:
            raise HomeDamaged(
                f"The list of share links {path} cannot be used: {error}. Move it away to begin a"
                " new one; links that were made go on, and end when they expire."
            ) from error
        return cls(db, database_key)

    async def close(self) -> None:
        """Closes the database."""
        await self._db.close()

    # ------------------------------------------------------------ links

    async def add(
        self,
        link: MadeLink,
        random32: bytes,
        folder_id: FolderId | None = None,
        named: Iterable[bytes] = (),
    ) -> None:
        """Keeps a link, and which packs of a folder's copies it names, by their descriptors."""
        sealed = seal(
            self._key, "share link", link.link_id, plaintext=link.secret + link.key,
            random32=random32,
        )  # fmt: skip
        values = (link.link_id, link.relay, link.base, sealed, *link[5:])
        sql = "INSERT INTO link VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        async with self._writing, transaction(self._db):
            await self._db.execute(sql, values)
            await self._db.executemany(
                "INSERT INTO named VALUES (?, ?, ?)",
                [(link.link_id, folder_id, each) for each in named],
            )

    async def links(self) -> list[MadeLink]:
        """All of them, the newest first."""
        rows = await self._db.execute_fetchall("SELECT * FROM link ORDER BY made_s DESC, id")
        return [self._link(row) for row in rows]

    async def revoked(self, link_id: bytes, now_s: int) -> None:
        """A link was ended."""
        sql = "UPDATE link SET revoked_s = ? WHERE id = ?"
        async with self._writing:
            await self._db.execute_fetchall(sql, (now_s, link_id))
        await self.unname([link_id])
        await self.drop_end_key(link_id)

    async def named(self, now_s: int) -> list[NamedPack]:
        """The packs of copies that links name which live, for all that is known here."""
        rows = await self._db.execute_fetchall(
            "SELECT link, relay, folder, descriptor_id FROM named JOIN link ON link.id = link"
            " WHERE expires_s = 0 OR expires_s > ?",
            (now_s,),
        )
        return [NamedPack(*row) for row in rows]

    async def unname(self, link_ids: Iterable[bytes]) -> None:
        """These links have ended, and name nothing any more."""
        async with self._writing:
            sql = "DELETE FROM named WHERE link = ?"
            await self._db.executemany(sql, [(each,) for each in link_ids])

    async def forget(self, link_id: bytes) -> None:
        """A link that never came to be."""
        async with self._writing:
            await self._db.execute_fetchall("DELETE FROM link WHERE id = ?", (link_id,))

    # ------------------------------------------------------------ links of other devices

    async def tell(self, device_id: DeviceId, name: str, records: Iterable[LinkRecord]) -> None:
        """All that another device of the user has told of its share links."""
        sealed = self._seal_told("told links", device_id, write_records(records))
        async with self._writing:
            sql = "INSERT OR REPLACE INTO told VALUES (?, ?, ?)"
            await self._db.execute_fetchall(sql, (device_id, name, sealed))

    async def tell_uploads(
        self, device_id: DeviceId, name: str, records: Iterable[UploadRecord]
    ) -> None:
        """All that it has told of its upload links."""
        sealed = self._seal_told("told uploads", device_id, write_records(records))
        async with self._writing:
            sql = "INSERT OR REPLACE INTO told_uploads VALUES (?, ?, ?)"
            await self._db.execute_fetchall(sql, (device_id, name, sealed))

    def _seal_told(self, label: str, device_id: bytes, plaintext: bytes) -> bytes:
        random32 = os.urandom(SEAL_RANDOM_SIZE)
        return seal(self._key, label, device_id, plaintext=plaintext, random32=random32)

    async def tell_keys(self, device_id: DeviceId, keys: Iterable[EndKey]) -> None:
        """All keys by which that device lets its links be ended."""
        sealed = self._seal_told("told end keys", device_id, write_end_keys(keys))
        async with self._writing:
            sql = "INSERT OR REPLACE INTO told_keys VALUES (?, ?)"
            await self._db.execute_fetchall(sql, (device_id, sealed))

    async def told(self) -> list[Told]:
        """What each other device has told of its links of each kind."""
        kinds: tuple[tuple[str, str, Callable[[bytes], tuple[AnyRecord, ...]]], ...] = (
            (_TOLD, "told links", read_records),
            (_TOLD_UPLOADS, "told uploads", read_uploads),
        )
        found = []
        for sql, label, read in kinds:
            for device_id, name, sealed, keys in await self._db.execute_fetchall(sql):
                records = read(open_sealed(self._key, label, device_id, sealed=sealed))
                found.append(Told(name, records, self._told_keys(device_id, keys)))
        return found

    def _told_keys(self, device_id: bytes, sealed: bytes | None) -> dict[bytes, bytes]:
        if sealed is None:  # the device is older than that
            return {}
        return dict(
            read_end_keys(open_sealed(self._key, "told end keys", device_id, sealed=sealed))
        )

    async def wish(self, link_id: bytes) -> None:
        """A link of another device is to be ended."""
        async with self._writing:
            await self._db.execute_fetchall("INSERT OR IGNORE INTO wish VALUES (?)", (link_id,))

    async def unwish(self, link_ids: Iterable[bytes]) -> None:
        """These have ended, or are no more."""
        values = [(each,) for each in link_ids]
        async with self._writing, transaction(self._db):
            await self._db.executemany("DELETE FROM wish WHERE link = ?", values)
            await self._db.executemany("DELETE FROM ended_there WHERE link = ?", values)

    async def wishes(self) -> list[bytes]:
        """Links of others that are to be ended."""
        rows = await self._db.execute_fetchall("SELECT link FROM wish ORDER BY link")
        return [row[0] for row in rows]

    async def ended_there(self, link_id: bytes, at_s: int) -> None:
        """A link of another device was ended at its relay, which that device does not know yet."""
        sql = "INSERT OR IGNORE INTO ended_there VALUES (?, ?)"
        async with self._writing:
            await self._db.execute_fetchall(sql, (link_id, at_s))

    async def all_ended_there(self) -> set[bytes]:
        """Such links."""
        return {row[0] for row in await self._db.execute_fetchall("SELECT link FROM ended_there")}

    # ------------------------------------------------------------ ends of links of this device

    async def put_end_key(self, key: EndKey, made_of: bytes) -> None:
        """A link's relay knows this key from now on, and no other."""
        sealed = seal(
            self._key, "end key", key.link_id, plaintext=key.key,
            random32=os.urandom(SEAL_RANDOM_SIZE),
        )  # fmt: skip
        async with self._writing:
            sql = "INSERT OR REPLACE INTO end_key VALUES (?, ?, ?)"
            await self._db.execute_fetchall(sql, (key.link_id, sealed, made_of))

    async def end_keys(self) -> dict[bytes, OwnEndKey]:
        """The keys that relays know, by their links."""
        rows = await self._db.execute_fetchall("SELECT link, sealed, made_of FROM end_key")
        return {
            link_id: OwnEndKey(
                EndKey(link_id, open_sealed(self._key, "end key", link_id, sealed=sealed)), made_of
            )
            for link_id, sealed, made_of in rows
        }

    async def has_end_key(self, link_id: bytes, made_of: bytes) -> bool:
        """Whether a link has a key that was made of this membership."""
        sql = "SELECT 1 FROM end_key WHERE link = ? AND made_of = ?"
        return bool(await self._db.execute_fetchall(sql, (link_id, made_of)))

    async def drop_end_keys(self) -> None:
        """Relays may know other keys than these."""
        async with self._writing:
            await self._db.execute_fetchall("DELETE FROM end_key")

    async def drop_end_key(self, link_id: bytes) -> None:
        """A link has ended."""
        async with self._writing:
            await self._db.execute_fetchall("DELETE FROM end_key WHERE link = ?", (link_id,))

    def _link(self, row: sqlite3.Row) -> MadeLink:
        link_id, relay, base, sealed, *rest = row
        both = open_sealed(self._key, "share link", link_id, sealed=sealed)
        rest[1] = bool(rest[1])
        return MadeLink(link_id, relay, base, both[:_SECRET_SIZE], both[_SECRET_SIZE:], *rest)

    # ------------------------------------------------------------ chunks

    async def find(
        self, relay_id: RelayId, folder_id: FolderId, ids: Sequence[ChunkId], until_s: int
    ) -> dict[ChunkId, StoredChunk]:
        """Chunks that lie at a relay, in packs that are leased until then."""
        rows = self._leased(_CHUNKS, relay_id, folder_id, ids, until_s)
        return {row[0]: StoredChunk(*row) async for row in rows}

    async def find_pages(
        self, relay_id: RelayId, folder_id: FolderId, lists: Sequence[bytes], until_s: int
    ) -> dict[bytes, KnownPage]:
        """Pages that lie at a relay, in packs that are leased until then, by what they list; of
        several the one that was put last.
        """
        found: dict[bytes, KnownPage] = {}
        async for row in self._leased(_PAGES, relay_id, folder_id, lists, until_s):
            list_, needs, *chunk = row
            each = (needs[at : at + HASH_SIZE] for at in range(0, len(needs), HASH_SIZE))
            found[list_] = KnownPage(StoredChunk(*chunk), frozenset(each))
        return found

    async def _leased(
        self,
        sql: str,
        relay_id: RelayId,
        folder_id: FolderId,
        keys: Sequence[bytes],
        until_s: int,
    ) -> AsyncIterator[sqlite3.Row]:
        """The rows that a statement on what lies at a relay finds for any of these keys."""
        for start in range(0, len(keys), AT_ONCE):
            part = keys[start : start + AT_ONCE]
            marks = ", ".join("?" * len(part))
            values = (folder_id, relay_id, until_s, *part)
            for row in await self._db.execute_fetchall(sql % marks, values):
                yield row

    async def put_pages(
        self, relay_id: RelayId, folder_id: FolderId, pages: Mapping[bytes, KnownPage]
    ) -> None:
        """Remembers pages that lie at a relay by what they list."""
        sql = (
            "INSERT OR REPLACE INTO page SELECT ?, ?, number, ?, ? FROM pack"
            " WHERE relay = ? AND descriptor_id = ?"
        )
        values = [
            (
                folder_id, list_, known.page.id, b"".join(sorted(known.needs)), relay_id,
                known.page.descriptor_id,
            )
            for list_, known in pages.items()
        ]  # fmt: skip
        async with self._writing, transaction(self._db):
            await self._db.executemany(sql, values)

    async def put_pack(
        self,
        relay_id: RelayId,
        folder_id: FolderId,
        lease_s: int,
        chunks: Iterable[StoredChunk],
    ) -> None:
        """A pack lies at a relay, with these chunks in it."""
        chunks = list(chunks)
        first = chunks[0]
        async with self._writing, transaction(self._db):
            ((number,),) = await self._db.execute_fetchall(
                "INSERT INTO pack (relay, pack_id, descriptor_id, lease_s) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET lease_s = max(lease_s, excluded.lease_s)"
                " RETURNING number",
                (relay_id, first.pack_id, first.descriptor_id, lease_s),
            )
            await self._db.executemany(
                "INSERT OR REPLACE INTO chunk VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        folder_id, c.id, number, c.offset, c.length, c.codec, c.plain_len,
                        c.epoch_id, c.sealed_hash,
                    )
                    for c in chunks
                ],
            )  # fmt: skip

    async def leased(
        self, relay_id: RelayId, descriptor_ids: Iterable[bytes], lease_s: int
    ) -> None:
        """Packs were leased until then."""
        sql = "UPDATE pack SET lease_s = max(lease_s, ?) WHERE relay = ? AND descriptor_id = ?"
        async with self._writing:
            await self._db.executemany(sql, [(lease_s, relay_id, each) for each in descriptor_ids])

    async def forget_packs(self, relay_id: RelayId, descriptor_ids: Iterable[bytes]) -> None:
        """The relay has these packs no more."""
        sql = "DELETE FROM pack WHERE relay = ? AND descriptor_id = ?"
        async with self._writing:
            await self._db.executemany(sql, [(relay_id, each) for each in descriptor_ids])

    async def forget_expired(self, now_s: int) -> None:
        """Packs whose lease ended before then are not counted on: each link asks anew."""
        async with self._writing:
            await self._db.execute_fetchall("DELETE FROM pack WHERE lease_s < ?", (now_s,))
