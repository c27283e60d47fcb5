"""What this device knows of the upload links it has made, in `uploads.db` of its home.

What opens what is put in rests sealed under the home's database key. How far each file is that has
come is written down before the next step is done, so that none is lost or put there twice.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace
from enum import IntEnum
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

import aiosqlite

from crypto.ids import FolderId
from crypto.primitives import open_sealed, seal
from peer.device.database import open_private_database
from peer.errors import HomeDamaged
from protocol.link_records import NAME_LENGTH_MAX, UploadRecord
from protocol.messages import presentable
from protocol.share_url import ShareUrl

FORMAT: Final = 1
_SECRET_SIZE: Final = 32


class UploadSecrets(NamedTuple):
    """What the maker of an upload link has of it."""

    secret: bytes
    """Of the URL."""
    key: bytes
    """Which signs the link."""
    upload_secret: bytes
    """Which opens what is put in."""
    gate: bytes
    """Which senders have shown to have, by what they sealed."""


@dataclass(frozen=True, slots=True)
class UploadLink:
    """An upload link of this device."""

    link_id: bytes
    relay: str
    base: str
    secrets: UploadSecrets
    name: str
    folder_id: FolderId
    directory: str
    has_password: bool
    made_s: int
    expires_s: int
    files_max: int
    file_bytes_max: int
    bytes_max: int
    revoked_s: int = 0
    is_over: bool = False

    @property
    def url(self) -> ShareUrl:
        """All of it."""
        return ShareUrl(self.base, self.link_id, self.secrets.secret)

    @property
    def told(self) -> UploadRecord:
        """What the user's other devices are told of it: not by what it opens what is put in."""
        return UploadRecord(
            self.link_id, self.base, self.secrets.secret, self.relay,
            presentable(self.name, NAME_LENGTH_MAX), self.has_password, self.made_s,
            self.expires_s, self.files_max, self.file_bytes_max, self.bytes_max, self.revoked_s,
        )  # fmt: skip


class ArrivalState(IntEnum):
    """How far a file is that has come."""

    HERE = 1
    """Whole, durable and opened, in the folder's own directory; its place is chosen."""
    PLACED = 2
    """It is where it belongs."""
    DONE = 3
    """The relay was told, and keeps it no more."""
    REFUSED = 4
    """It was not what a sender may put in, and nothing of it was kept."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that has come."""

    link_id: bytes
    upload_id: bytes
    state: ArrivalState
    label: str
    path: str
    size: int
    inode: int
    mtime_ns: int
    came_s: int

    def with_state(self, state: ArrivalState) -> Arrival:
        """The same, further on."""
        return replace(self, state=state)


class UploadStore:
    """The open database."""

    def __init__(self, db: aiosqlite.Connection, database_key: bytes) -> None:
        self._db, self._key = db, database_key

    @classmethod
    async def open(cls, path: Path, database_key: bytes) -> UploadStore:
        """Opens it, or makes it; raises HomeDamaged."""
        try:
            schema = files("peer.share_links").joinpath("uploads.sql").read_text()
            db = await open_private_database(path, schema, FORMAT)
        except (sqlite3.Error, OSError) as error:
            raise HomeDamaged(
                f"The list of upload links {path} cannot be used: {error}. Move it away to begin a"
                " new one; what is put in by the links in it can then be opened by nobody."
            ) from error
        return cls(db, database_key)

    async def close(self) -> None:
        """Closes the database."""
        await self._db.close()

    # ------------------------------------------------------------ links

    async def add(self, link: UploadLink, random32: bytes) -> None:
        """Keeps a link."""
        sealed = seal(
            self._key, "upload link", link.link_id, plaintext=b"".join(link.secrets),
            random32=random32,
        )  # fmt: skip
        await self._db.execute_fetchall(
            "INSERT INTO upload_link VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                link.link_id, link.relay, link.base, sealed, link.name, link.folder_id,
                link.directory, link.has_password, link.made_s, link.expires_s, link.files_max,
                link.file_bytes_max, link.bytes_max, link.revoked_s, link.is_over,
            ),
        )  # fmt: skip

    async def links(self) -> list[UploadLink]:
        """All of them, the newest first."""
        rows = await self._db.execute_fetchall("SELECT * FROM upload_link ORDER BY made_s DESC, id")
        return [self._link(tuple(row)) for row in rows]

    async def forget(self, link_id: bytes) -> None:
        """A link that was not made."""
        await self._db.execute_fetchall("DELETE FROM upload_link WHERE id = ?", (link_id,))

    async def revoked(self, link_id: bytes, now_s: int) -> None:
        """A link was ended by its maker."""
        await self._db.execute_fetchall(
            "UPDATE upload_link SET revoked_s = ? WHERE id = ?", (now_s, link_id)
        )

    async def over(self, link_id: bytes) -> None:
        """A link has ended, and nothing is to be fetched any more."""
        await self._db.execute_fetchall(
            "UPDATE upload_link SET is_over = 1 WHERE id = ?", (link_id,)
        )

    # ------------------------------------------------------------ what has come

    async def arrivals(self, link_id: bytes) -> dict[bytes, Arrival]:
        """All that has come by a link, by the uploads' ids."""
        rows = await self._db.execute_fetchall("SELECT * FROM arrival WHERE link = ?", (link_id,))
        found = (Arrival(row[0], row[1], ArrivalState(row[2]), *row[3:]) for row in rows)
        return {each.upload_id: each for each in found}

    async def put(self, arrival: Arrival) -> None:
        """Writes down how far a file is; durable when it returns."""
        await self._db.execute_fetchall(
            "INSERT OR REPLACE INTO arrival VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                arrival.link_id, arrival.upload_id, arrival.state, arrival.label, arrival.path,
                arrival.size, arrival.inode, arrival.mtime_ns, arrival.came_s,
            ),
        )  # fmt: skip

    async def drop(self, arrival: Arrival) -> None:
        """A file that was here is not any more, and is fetched anew."""
        await self._db.execute_fetchall(
            "DELETE FROM arrival WHERE link = ? AND upload = ?",
            (arrival.link_id, arrival.upload_id),
        )

    def _link(self, row: tuple[object, ...]) -> UploadLink:
        link_id, relay, base, sealed, *rest = row
        assert isinstance(link_id, bytes)
        assert isinstance(sealed, bytes)
        plain = open_sealed(self._key, "upload link", link_id, sealed=sealed)
        parts = [plain[at : at + _SECRET_SIZE] for at in range(0, len(plain), _SECRET_SIZE)]
        link = UploadLink(link_id, relay, base, UploadSecrets(*parts), *rest)  # type: ignore[arg-type]
        return replace(link, has_password=bool(link.has_password), is_over=bool(link.is_over))
