"""The rows of other nodes, and of who of them holds a share of which pack. No rules are here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import aiosqlite

from protocol.relay_address import RelayAddress
from protocol.storage_messages import Holder, ShareState
from relay.share_rows import PackRow
from relay.store import RelayStore

ASKED_FOR: Final = 4
"""Packs by which others are asked of a node whose row is damaged."""


class NodeRow(NamedTuple):
    """Another node, under one of the addresses that were named for it."""

    node: int
    node_id: bytes
    address: str
    met_s: int
    first_missed_s: int | None
    """Since when it is not met; None if it was the last time."""


class Holding(NamedTuple):
    """A node's part in a pack."""

    node: int
    node_id: bytes
    address: str
    number: int
    """Of its share, or STANDBY."""
    first_missed_s: int | None
    failing_since_s: int | None
    """Since when it does not show the share, though it is met."""


async def set_holders(
    db: aiosqlite.Connection, pack: int, holders: Sequence[Holder], now_s: int
) -> None:
    """Who holds shares of a pack, in place of who was said to before. What a node does not show it
    has not found because somebody named it once more.
    """
    failing = list(
        await db.execute_fetchall(
            "SELECT failing_since_s, pack, node, number FROM holders WHERE pack = ?"
            " AND failing_since_s IS NOT NULL",
            (pack,),
        )
    )
    await db.execute_fetchall("DELETE FROM holders WHERE pack = ?", (pack,))
    # Many values by one statement: each is a visit to SQLite's thread, which costs more than it.
    named = [(RelayAddress.parse(h.address).relay_id, h.address, h.number) for h in holders]
    await db.executemany(
        "INSERT INTO nodes (node_id, address, met_s, first_missed_s) VALUES (?, ?, ?, NULL)"
        " ON CONFLICT DO UPDATE SET address = excluded.address",
        [(node_id, address, now_s) for node_id, address, _ in named],
    )
    await db.executemany(
        "INSERT INTO holders SELECT ?, node, ?, NULL FROM nodes WHERE node_id = ?"
        " ON CONFLICT DO NOTHING",
        [(pack, number, node_id) for node_id, _, number in named],
    )
    if failing:
        await db.executemany(
            "UPDATE holders SET failing_since_s = ? WHERE pack = ? AND node = ? AND number = ?",
            [tuple(row) for row in failing],
        )


async def add_holder(db: aiosqlite.Connection, pack: int, node: int, number: int) -> None:
    """That node holds that share too."""
    await db.execute_fetchall(
        "INSERT INTO holders VALUES (?, ?, ?, NULL) ON CONFLICT DO NOTHING", (pack, node, number)
    )


async def add_own(db: aiosqlite.Connection, pack: int, own_id: bytes) -> None:
    """This node, if it has a part in the pack, holds all shares of it that are whole here."""
    await db.execute_fetchall(
        "INSERT INTO holders SELECT pack, node, number, NULL FROM shares JOIN nodes"
        " WHERE pack = ? AND state = ? AND node_id = ?"
        " AND EXISTS (SELECT 1 FROM holders AS own WHERE own.pack = shares.pack"
        " AND own.node = nodes.node) ON CONFLICT DO NOTHING",
        (pack, int(ShareState.WHOLE), own_id),
    )


async def holders(store: RelayStore, pack: int) -> list[Holder]:
    """Who holds shares of a pack, by number."""
    rows = await store.rows(
        "SELECT number, address FROM holders JOIN nodes USING (node) WHERE pack = ?"
        " ORDER BY number, node",
        pack,
    )
    return [Holder(*row) for row in rows]


async def held_numbers(store: RelayStore, pack: int, node_id: bytes) -> list[tuple[int, int]]:
    """The rows of a node that is a holder of a pack, each with the number of its share."""
    rows = await store.rows(
        "SELECT node, number FROM holders JOIN nodes USING (node) WHERE pack = ? AND node_id = ?",
        pack, node_id,
    )  # fmt: skip
    return [(row[0], row[1]) for row in rows]


async def holdings(store: RelayStore, pack: int) -> list[Holding]:
    """Everybody's part in a pack."""
    rows = await store.rows(
        "SELECT node, node_id, address, number, first_missed_s, failing_since_s"
        " FROM holders JOIN nodes USING (node) WHERE pack = ? ORDER BY number, node",
        pack,
    )
    return [Holding(*row) for row in rows]


async def nodes(store: RelayStore) -> list[NodeRow]:
    """All nodes that hold shares of packs of which one is here."""
    rows = await store.rows(
        "SELECT node, node_id, address, met_s, first_missed_s FROM nodes"
        " WHERE node IN (SELECT node FROM holders) ORDER BY node"
    )
    return [NodeRow(*row) for row in rows]


async def some_packs(store: RelayStore, node: int) -> list[PackRow]:
    """A few packs in which a node has a part."""
    rows = await store.rows(
        "SELECT packs.pack, namespace, descriptor_id, descriptor, lease_until_s, trashed_s,"
        " stands_by FROM packs JOIN holders USING (pack) WHERE node = ? AND trashed_s IS NULL"
        " LIMIT ?",
        node, ASKED_FOR,
    )  # fmt: skip
    return [PackRow(*row) for row in rows]


async def set_node(db: aiosqlite.Connection, row: NodeRow) -> None:
    """Whose address it is, in place of what the disk made of it; if there is a right row of it
    already, that has its part in packs.
    """
    found = await db.execute_fetchall(
        "UPDATE OR IGNORE nodes SET node_id = ?, address = ? WHERE node = ? RETURNING node",
        (row.node_id, row.address, row.node),
    )
    if not list(found):
        await db.execute_fetchall("DELETE FROM holders WHERE node = ?", (row.node,))


async def set_met(
    db: aiosqlite.Connection, node: int, met_s: int, first_missed_s: int | None
) -> None:
    """When a node was last met, and since when it is missed."""
    await db.execute_fetchall(
        "UPDATE nodes SET met_s = ?, first_missed_s = ? WHERE node = ?",
        (met_s, first_missed_s, node),
    )


async def forget_missed(db: aiosqlite.Connection) -> None:
    """Whoever was missed is missed from now on: who was switched off has met nobody."""
    await db.execute_fetchall("UPDATE nodes SET first_missed_s = NULL")


async def set_failing(
    db: aiosqlite.Connection, pack: int, node: int, number: int, since_s: int | None
) -> None:
    """A node does not show a share, since then if it was not so already; or does again."""
    await db.execute_fetchall(
        "UPDATE holders SET failing_since_s = CASE WHEN ?1 IS NULL THEN NULL"
        " ELSE ifnull(failing_since_s, ?1) END WHERE pack = ?2 AND node = ?3 AND number = ?4",
        (since_s, pack, node, number),
    )


async def count_packs(store: RelayStore, node: int) -> int:
    """How many shares a node holds, of packs of which this one knows."""
    ((count,),) = await store.rows(
        "SELECT count(*) FROM holders WHERE node = ? AND number < 255", node
    )
    return int(count)


async def packs_of_node(store: RelayStore, node: int, skip: int) -> list[tuple[PackRow, int]]:
    """One of them, with its number; none if it is in the trash."""
    rows = await store.rows(
        "SELECT packs.pack, namespace, descriptor_id, descriptor, lease_until_s, trashed_s,"
        " stands_by, number FROM (SELECT pack, number FROM holders WHERE node = ? AND number < 255"
        " ORDER BY pack LIMIT 1 OFFSET ?) JOIN packs USING (pack) WHERE trashed_s IS NULL",
        node, skip,
    )  # fmt: skip
    return [(PackRow(*row[:7]), int(row[7])) for row in rows]


async def failing_packs(store: RelayStore, node: int, limit: int) -> list[tuple[PackRow, int]]:
    """Those that a node does not show, the latest first, with the numbers of the shares."""
    rows = await store.rows(
        "SELECT packs.pack, namespace, descriptor_id, descriptor, lease_until_s, trashed_s,"
        " stands_by, number FROM packs JOIN holders USING (pack) WHERE node = ?"
        " AND failing_since_s IS NOT NULL AND trashed_s IS NULL"
        " ORDER BY failing_since_s DESC LIMIT ?",
        node, limit,
    )  # fmt: skip
    return [(PackRow(*row[:7]), int(row[7])) for row in rows]


async def rebuilt_packs(
    store: RelayStore, own_id: bytes, node: int, limit: int
) -> list[tuple[bytes, int]]:
    """Descriptors and numbers of shares that this node holds though it stood by, of packs in which
    that node has a part: some at random, for there may be many and most were told.
    """
    rows = await store.rows(
        "SELECT DISTINCT descriptor_id, own.number FROM packs JOIN holders AS own USING (pack)"
        " JOIN nodes ON nodes.node = own.node JOIN holders AS other USING (pack)"
        " WHERE stands_by AND trashed_s IS NULL AND nodes.node_id = ? AND own.number < 255"
        " AND other.node = ? ORDER BY random() LIMIT ?",
        own_id, node, limit,
    )  # fmt: skip
    return [(row[0], int(row[1])) for row in rows]


async def standby_packs(
    store: RelayStore, missed_before_s: int, failing_before_s: int, after: int, limit: int
) -> list[PackRow]:
    """Packs, after one, for which this node stands by and of which it holds nothing, with a holder
    that was missed or failing since before then.
    """
    rows = await store.rows(
        "SELECT pack, namespace, descriptor_id, descriptor, lease_until_s, trashed_s, stands_by"
        " FROM packs WHERE stands_by AND trashed_s IS NULL AND pack > ?3"
        " AND NOT EXISTS (SELECT 1 FROM shares WHERE shares.pack = packs.pack AND state <> 1)"
        " AND EXISTS (SELECT 1 FROM holders JOIN nodes USING (node) WHERE holders.pack = packs.pack"
        " AND number < 255 AND (first_missed_s <= ?1 OR failing_since_s <= ?2))"
        " ORDER BY pack LIMIT ?4",
        missed_before_s, failing_before_s, after, limit,
    )  # fmt: skip
    return [PackRow(*row) for row in rows]
