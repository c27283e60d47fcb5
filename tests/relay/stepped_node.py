"""A super-node of which every read of rows, every commit and every act on files is a step: its real
shares, on a real SQLite in memory and real files, for `tests.interleaving`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import aiosqlite

from crypto.ids import RelayId
from protocol.storage_messages import ShareState
from relay.share_files import ShareFiles, ShareName
from relay.shares import DAY_S, Shares
from relay.store import RelayStore, schemas
from tests.interleaving import acting, step
from tests.relay.storage_stage import ROOMY
from tests.sim.database import Database

START_S = 1_800_000_000
_ROWS = (
    "SELECT namespace, descriptor_id, number, state, trashed_s FROM shares JOIN packs USING (pack)"
)


class Clock:
    """That of all machines."""

    def __init__(self) -> None:
        self.now_s = START_S

    def __call__(self) -> float:
        return float(self.now_s)


class Kept(NamedTuple):
    """A share that this node has said it keeps."""

    data: bytes
    until_s: int


class SteppedStore(RelayStore):
    """Its database, where others may go first before each read and each transaction."""

    async def rows(self, sql: str, *values: Any) -> list[Any]:
        await step()
        return await super().rows(sql, *values)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[aiosqlite.Connection]:
        await step()
        async with super().transaction() as db:
            yield db


def empty_database() -> sqlite3.Connection:
    """As a relay makes it."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    for script in schemas():
        db.executescript(script)
    return db


class SteppedNode:
    """One node, and what it has promised."""

    def __init__(
        self, path: Path, id_: RelayId, clock: Clock, empty: sqlite3.Connection, *, is_fine: bool
    ) -> None:
        """`is_fine`: its steps are single reads and commits; else whole requests alone."""
        self.id, self.clock = id_, clock
        self._db = sqlite3.connect(":memory:", isolation_level=None, cached_statements=500)
        empty.backup(self._db)
        self._db.execute("PRAGMA foreign_keys = ON")
        kind = SteppedStore if is_fine else RelayStore
        self.store = kind(cast(aiosqlite.Connection, Database(self._db)), path)
        self._is_fine = is_fine
        self.root = path
        self.files = ShareFiles.open(path, id_, is_new=True)
        self.shares = Shares(self.store, self.files, id_, ROOMY, clock)
        self.kept: dict[ShareName, Kept] = {}
        """What it has said it keeps, until when."""
        self._there: dict[ShareName, int | None] = {}
        """The files of whole shares at the last look, and since when each is in the trash."""

    async def start(self) -> None:
        """Its disk is an actor of its own: commits of several requests are one where they meet."""
        acting(f"disk {self.id[:1].hex()}" if self._is_fine else "", self.shares.run())
        await self.shares.start()

    def close(self) -> None:
        """It is no more, nor are its files."""
        self.files.close()
        self._db.close()
        for directory, _, names in os.walk(self.root):
            for name in names:
                if name != "node":
                    os.unlink(os.path.join(directory, name))

    # ------------------------------------------------------------ what has to be true

    def look(self) -> None:
        """What it has promised is there; what has gone was in the trash for a day."""
        now_s = self.clock.now_s
        rows = {ShareName(*row[:3]): row[3:] for row in self._db.execute(_ROWS)}
        there = self._files_there()
        for name, trashed_s in self._there.items():
            if name not in there:
                assert trashed_s is not None, "a share that was not in the trash has gone"
                assert trashed_s <= now_s - DAY_S, "a share was not in the trash for a day"
        for name, kept in self.kept.items():
            if now_s > kept.until_s:
                continue
            state, trashed_s = rows.get(name, (ShareState.UNKNOWN, None))
            assert state == ShareState.WHOLE, "a share that is kept has no row that says so"
            assert trashed_s is None, "a share whose lease lasts is in the trash"
            assert self._read(name) == kept.data, "a share that is kept is not there as it was"
        for name, (state, _) in rows.items():
            assert state != ShareState.WHOLE or name in there, "a row says of a share that it is"
        # Rows go before files: of those without one it counts what their last row said.
        self._there = {
            name: rows[name][1] if name in rows else self._there.get(name, 0) for name in there
        }

    def has_whole(self, name: ShareName) -> bool:
        """Whether a share counts, by its row."""
        return (*name, ShareState.WHOLE) in {row[:4] for row in self._db.execute(_ROWS)}

    def _files_there(self) -> set[ShareName]:
        found: set[ShareName] = set()
        for folder in os.scandir(self.root / "shares"):
            for entry in os.scandir(folder.path):
                id_, _, number = entry.name.partition("-")
                found.add(ShareName(bytes.fromhex(folder.name), bytes.fromhex(id_), int(number)))
        return found

    def _read(self, name: ShareName) -> bytes:
        path = self.root / "shares" / name.folder / name.file
        return path.read_bytes() if path.exists() else b""

    async def is_emptied(self, passing: Callable[[int], None]) -> bool:
        """Whether nothing is left of what nobody asks for, once leases and trash are over."""
        for _ in range(3):
            passing(91 * DAY_S)
            while await self.shares.sweep():
                self.look()
        left = self._db.execute(
            "SELECT (SELECT count(*) FROM packs), (SELECT count(*) FROM shares)"
        )
        names = [
            name for folder in ("incoming", "aside") for name in os.listdir(self.root / folder)
        ]
        return list(left) == [(0, 0)] and not names and not self._files_there()
