"""The index's format, and how an index of an older one is brought to it.

Format 1 kept nodes as CBOR in a table ordered by their random ids: each new file dirtied a page of
its own, twice, and cost 19 KB of writing where format 2 needs 6.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

import aiosqlite

from peer.device.transaction import transaction
from peer.errors import PeerError
from peer.folders.node_format import encode_node
from protocol import wire
from protocol.records import decode_writes

FORMAT: Final = 2
COLUMNS: Final = tuple(
    "id kind state base dirty origin parent key item name flags hash size executable mtime_ns inode"
    " disk_size disk_mtime_ns disk_ctime_ns".split()
)
"""Of a node's row, but for its number, which SQLite gives."""


async def prepare(db: aiosqlite.Connection, path: Path) -> None:
    """Makes the tables, or brings those of format 1 to this one, whole or not at all; PeerError for
    a newer format, which is left alone.
    """
    version = next(iter(await db.execute_fetchall("PRAGMA user_version")))[0]
    if version not in (0, 1, FORMAT):
        raise PeerError(
            f"{path} has format {version}; this Holdfast knows {FORMAT}. Use a newer Holdfast."
        )
    schema = files("peer.folders").joinpath("index.sql").read_text()
    if version != 1:
        await db.executescript(schema)
        await db.execute_fetchall(f"PRAGMA user_version = {FORMAT}")
        return
    await db.create_function("in_this_format", 1, _in_this_format, deterministic=True)
    async with transaction(db):
        await db.execute("ALTER TABLE node RENAME TO node_before")
        for name in ("slot", "inode", "hash", "dirty", "origin"):
            await db.execute(f"DROP INDEX IF EXISTS node_{name}")
        for statement in _statements(schema):
            await db.execute(statement)
        columns = ", ".join(COLUMNS)
        converted = columns.replace("state, base", "in_this_format(state), in_this_format(base)")
        await db.execute(
            f"INSERT INTO node ({columns}) SELECT {converted} FROM node_before"  # noqa: S608
        )
        await db.execute("DROP TABLE node_before")
        await db.execute(f"PRAGMA user_version = {FORMAT}")


def _statements(schema: str) -> list[str]:
    """The script's statements one by one: a script would end the transaction it runs in."""
    bare = "\n".join(line.partition("--")[0] for line in schema.splitlines())
    return [statement for statement in bare.split(";") if statement.strip()]


def _in_this_format(data: bytes | None) -> bytes | None:
    """A node of format 1, which was what a verbatim record holds, as it is written now."""
    return encode_node(decode_writes(wire.decode_own(data))) if data else data
