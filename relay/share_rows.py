"""The rows of namespaces, packs and shares in the relay's database. No rules are here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

import aiosqlite

from crypto.errors import FormError
from crypto.shares import Descriptor, decode_descriptor
from protocol.storage_messages import ShareState
from relay.share_files import ShareName
from relay.store import RelayStore

AT_ONCE: Final = 500
"""Values of one statement."""
LINKS_WAIT_S: Final = 90 * 86_400
"""For share links to prolong what they rest on: until then a node that is off may be back, and one
that serves links no more keeps their packs no longer."""


class NamespaceRow(NamedTuple):
    """A namespace."""

    namespace: bytes
    emergency: bytes
    delegation: bytes
    founder: bytes
    founded_s: int
    last_position: int
    healed: int


class PackRow(NamedTuple):
    """A pack of a namespace, of which shares are here or could come."""

    pack: int
    namespace: bytes
    descriptor_id: bytes
    descriptor: bytes
    lease_until_s: int
    trashed_s: int | None
    stands_by: int


class ShareRow(NamedTuple):
    """A share with what is needed of its pack."""

    pack: int
    namespace: bytes
    descriptor_id: bytes
    descriptor: bytes
    lease_until_s: int
    trashed_s: int | None
    number: int
    position: int
    state: int
    size: int
    hashes: bytes
    damaged: int
    checked_s: int

    @property
    def name(self) -> ShareName:
        """Its file's."""
        return ShareName(self.namespace, self.descriptor_id, self.number)

    @property
    def shown_state(self) -> ShareState:
        """What is said of it: the trash is a pack's, and covers what its shares are."""
        return ShareState.TRASHED if self.trashed_s is not None else ShareState(self.state)


def descriptor_of(row: PackRow | ShareRow) -> Descriptor | None:
    """What a row says that its pack is; None if the disk has changed that: it has not its id."""
    try:
        descriptor = decode_descriptor(row.descriptor)
    except FormError:
        return None
    return descriptor if descriptor.id() == row.descriptor_id else None


_PACK: Final = (
    "SELECT pack, namespace, descriptor_id, descriptor, lease_until_s, trashed_s, stands_by"
    " FROM packs "
)
_SHARE: Final = (
    "SELECT pack, namespace, descriptor_id, descriptor, lease_until_s, trashed_s, number,"
    " position, state, size, hashes, damaged, checked_s FROM shares JOIN packs USING (pack) "
)


async def namespaces(store: RelayStore) -> list[NamespaceRow]:
    """All of them."""
    rows = await store.rows(
        "SELECT namespace, emergency, delegation, founder, founded_s, last_position, healed"
        " FROM namespaces"
    )
    return [NamespaceRow(*row) for row in rows]


async def totals(store: RelayStore) -> list[tuple[bytes, int, int, int, int]]:
    """For each namespace and state: whether in the trash, the state, how many and their bytes."""
    rows = await store.rows(
        "SELECT namespace, trashed_s IS NOT NULL, state, count(*), sum(size)"
        " FROM shares JOIN packs USING (pack) GROUP BY 1, 2, 3"
    )
    return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]


async def put_namespace(db: aiosqlite.Connection, row: NamespaceRow) -> None:
    """Founds it, or changes its delegation."""
    await db.execute_fetchall(
        "INSERT INTO namespaces VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET delegation = excluded.delegation",
        row,
    )


async def next_position(db: aiosqlite.Connection, namespace: bytes) -> int:
    """A position that no share of the namespace ever had."""
    ((position,),) = await db.execute_fetchall(
        "UPDATE namespaces SET last_position = last_position + 1 WHERE namespace = ?"
        " RETURNING last_position",
        (namespace,),
    )
    return int(position)


async def count_healed(db: aiosqlite.Connection, namespace: bytes) -> None:
    """One share more that was rebuilt here."""
    await db.execute_fetchall(
        "UPDATE namespaces SET healed = healed + 1 WHERE namespace = ?", (namespace,)
    )


# ---------------------------------------------------------------- packs


async def pack(store: RelayStore, namespace: bytes, descriptor_id: bytes) -> PackRow | None:
    """The pack of that descriptor in a namespace."""
    rows = await store.rows(
        _PACK + "WHERE namespace = ? AND descriptor_id = ?", namespace, descriptor_id
    )
    return PackRow(*rows[0]) if rows else None


async def packs(
    store: RelayStore, namespace: bytes, descriptor_ids: Sequence[bytes]
) -> dict[bytes, PackRow]:
    """Those of these packs that a namespace has."""
    found: dict[bytes, PackRow] = {}
    for start in range(0, len(descriptor_ids), AT_ONCE):
        part = descriptor_ids[start : start + AT_ONCE]
        marks = ", ".join("?" * len(part))
        where = f"WHERE namespace = ? AND descriptor_id IN ({marks})"
        rows = await store.rows(_PACK + where, namespace, *part)
        found |= {row.descriptor_id: row for row in map(PackRow._make, rows)}
    return found


async def packs_of_pack_id(store: RelayStore, pack_id: bytes) -> list[PackRow]:
    """All packs of these very bytes."""
    rows = await store.rows(_PACK + "WHERE pack_id = ?", pack_id)
    return [PackRow(*row) for row in rows]


async def packs_of_descriptor(store: RelayStore, descriptor_id: bytes) -> list[PackRow]:
    """The packs of that descriptor, in whichever namespaces."""
    rows = await store.rows(_PACK + "WHERE descriptor_id = ?", descriptor_id)
    return [PackRow(*row) for row in rows]


async def put_pack(
    db: aiosqlite.Connection,
    namespace: bytes,
    descriptor_id: bytes,
    pack_id: bytes,
    descriptor: bytes,
    lease_until_s: int,
    *,
    stands_by: bool,
) -> int:
    """Its number; one that is there gets a later lease, is taken out of the trash, and is described
    as it is now: who puts it has shown that this is the descriptor of that id.
    """
    ((number,),) = await db.execute_fetchall(
        "INSERT INTO packs (namespace, descriptor_id, pack_id, descriptor, lease_until_s,"
        " trashed_s, stands_by) VALUES (?, ?, ?, ?, ?, NULL, ?) ON CONFLICT DO UPDATE"
        " SET lease_until_s = max(lease_until_s, excluded.lease_until_s), trashed_s = NULL,"
        " descriptor = excluded.descriptor, pack_id = excluded.pack_id,"
        " stands_by = max(stands_by, excluded.stands_by) RETURNING pack",
        (namespace, descriptor_id, pack_id, descriptor, lease_until_s, int(stands_by)),
    )
    return int(number)


async def kept_pack(db: aiosqlite.Connection, pack: int) -> int | None:
    """Its number again; None if it is in the trash, or no more."""
    found = await db.execute_fetchall(
        "SELECT pack FROM packs WHERE pack = ? AND trashed_s IS NULL", (pack,)
    )
    return pack if list(found) else None


async def renew(
    db: aiosqlite.Connection, namespace: bytes, descriptor_id: bytes, lease_until_s: int
) -> bool:
    """Prolongs a pack's lease; says whether it is here and not in the trash."""
    rows = await db.execute_fetchall(
        "UPDATE packs SET lease_until_s = max(lease_until_s, ?) WHERE namespace = ?"
        " AND descriptor_id = ? AND trashed_s IS NULL RETURNING pack",
        (lease_until_s, namespace, descriptor_id),
    )
    return bool(list(rows))


async def trash(
    db: aiosqlite.Connection, namespace: bytes, descriptor_id: bytes, trashed_s: int | None
) -> bool:
    """Puts a pack into the trash since then, or takes it out; says whether it is here."""
    rows = await db.execute_fetchall(
        "UPDATE packs SET trashed_s = CASE WHEN ?1 IS NULL THEN NULL ELSE ifnull(trashed_s, ?1) END"
        " WHERE namespace = ?2 AND descriptor_id = ?3 RETURNING pack",
        (trashed_s, namespace, descriptor_id),
    )
    return bool(list(rows))


async def expire(db: aiosqlite.Connection, now_s: int, limit: int) -> int:
    """Puts packs into the trash whose leases have ended; says how many. Those of live share links
    are prolonged by these, and wait for it after a node was off.
    """
    rows = await db.execute_fetchall(
        "UPDATE packs SET trashed_s = ?1 WHERE pack IN (SELECT pack FROM packs"
        " WHERE lease_until_s < ?1 AND trashed_s IS NULL AND (lease_until_s < ?1 - ?3"
        " OR pack_id NOT IN (SELECT pack_id FROM link_packs)) LIMIT ?2) RETURNING pack",
        (now_s, limit, LINKS_WAIT_S),
    )
    return len(list(rows))


async def remove_trashed(
    db: aiosqlite.Connection, before_s: int, limit: int, spared: Collection[ShareName] = ()
) -> list[ShareName]:
    """Forgets packs that have been in the trash since before then, but for those of which one of
    these shares is; the names of their shares.
    """
    rows = await db.execute_fetchall(
        "SELECT pack, namespace, descriptor_id, ifnull(number, 0) FROM (SELECT * FROM packs"
        " WHERE trashed_s < ? LIMIT ?) LEFT JOIN shares USING (pack)",
        (before_s, limit + len(spared)),
    )
    kept = {name[:2] for name in spared}
    found = [(row[0], ShareName(*row[1:])) for row in rows if (row[1], row[2]) not in kept]
    packs = dict.fromkeys(pack for pack, _ in found)
    await db.executemany("DELETE FROM packs WHERE pack = ?", [(pack,) for pack in packs])
    return [name for _, name in found]


# ---------------------------------------------------------------- shares


async def share(
    store: RelayStore, namespace: bytes, descriptor_id: bytes, number: int
) -> ShareRow | None:
    """One share."""
    rows = await store.rows(
        _SHARE + "WHERE namespace = ? AND descriptor_id = ? AND number = ?",
        namespace, descriptor_id, number,
    )  # fmt: skip
    return ShareRow(*rows[0]) if rows else None


async def shares_of(store: RelayStore, pack: int) -> list[ShareRow]:
    """All shares of a pack that are here, by number."""
    rows = await store.rows(_SHARE + "WHERE pack = ? ORDER BY number", pack)
    return [ShareRow(*row) for row in rows]


async def listed(store: RelayStore, namespace: bytes, after: int, limit: int) -> list[ShareRow]:
    """Shares of a namespace after a position."""
    rows = await store.rows(
        _SHARE + "WHERE namespace = ? AND position > ? ORDER BY position LIMIT ?",
        namespace, after, limit,
    )  # fmt: skip
    return [ShareRow(*row) for row in rows]


async def all_names(store: RelayStore) -> dict[ShareName, int]:
    """Every share's name with its state."""
    rows = await store.rows(
        "SELECT namespace, descriptor_id, number, state FROM shares JOIN packs USING (pack)"
    )
    return {ShareName(*row[:3]): int(row[3]) for row in rows}


async def put_share(
    db: aiosqlite.Connection, pack: int, number: int, position: int, size: int, hashes: bytes,
    now_s: int,
) -> None:  # fmt: skip
    """A share whose leaves are still to come."""
    await db.execute_fetchall(
        "INSERT INTO shares VALUES (?, ?, ?, ?, ?, ?, 0, ?, 0)",
        (pack, number, position, int(ShareState.INCOMING), size, hashes, now_s),
    )


async def set_whole(db: aiosqlite.Connection, pack: int, number: int, now_s: int) -> bool:
    """All leaves of the share are here, and were right just now; says whether it has a row."""
    rows = await db.execute_fetchall(
        "UPDATE shares SET state = ?, damaged = 0, checked_s = ? WHERE pack = ? AND number = ?"
        " RETURNING pack",
        (int(ShareState.WHOLE), now_s, pack, number),
    )
    return bool(list(rows))


async def set_damaged(db: aiosqlite.Connection, pack: int, number: int, damaged: int) -> None:
    """So many leaves of the share are wrong or cannot be read."""
    await db.execute_fetchall(
        "UPDATE shares SET state = ?, damaged = ? WHERE pack = ? AND number = ?",
        (int(ShareState.DAMAGED), damaged, pack, number),
    )


async def set_hashes(db: aiosqlite.Connection, pack: int, number: int, hashes: bytes) -> None:
    """What the leaves of a share have to be, in place of what the disk made of it."""
    await db.execute_fetchall(
        "UPDATE shares SET hashes = ? WHERE pack = ? AND number = ?", (hashes, pack, number)
    )


async def set_descriptor(db: aiosqlite.Connection, pack: int, descriptor: Descriptor) -> None:
    """The same of what a pack is."""
    await db.execute_fetchall(
        "UPDATE packs SET descriptor = ?, pack_id = ? WHERE pack = ?",
        (descriptor.encode(), descriptor.pack_id, pack),
    )


async def remove_stale(
    db: aiosqlite.Connection, before_s: int, limit: int, spared: Collection[ShareName] = ()
) -> list[ShareName]:
    """Forgets shares that were begun before then and never became whole, but for these; the names
    of those that it has forgotten.
    """
    rows = await db.execute_fetchall(
        "SELECT namespace, descriptor_id, number, pack FROM shares JOIN packs USING (pack)"
        " WHERE state = ? AND began_s < ? LIMIT ?",
        (int(ShareState.INCOMING), before_s, limit + len(spared)),
    )
    every = [(ShareName(*row[:3]), row[3]) for row in rows]
    found = [(name, pack) for name, pack in every if name not in spared]
    await db.executemany(
        "DELETE FROM shares WHERE pack = ? AND number = ?",
        [(pack, name.number) for name, pack in found],
    )
    return [name for name, _ in found]


async def least_checked(store: RelayStore) -> ShareRow | None:
    """The whole share that was looked at least recently."""
    rows = await store.rows(
        _SHARE + "WHERE state = ? ORDER BY checked_s LIMIT 1", int(ShareState.WHOLE)
    )
    return ShareRow(*rows[0]) if rows else None


async def unchecked_s(store: RelayStore, namespace: bytes | None = None) -> int | None:
    """When the share was found right that was looked at least recently, of one namespace or of all;
    None if there is none.
    """
    ((found,),) = await store.rows(
        "SELECT min(checked_s) FROM shares JOIN packs USING (pack) WHERE state IN (2, 3)"
        " AND (?1 IS NULL OR namespace = ?1)",
        namespace,
    )
    return None if found is None else int(found)


async def damaged_shares(store: RelayStore, limit: int) -> list[ShareRow]:
    """Shares with a damaged leaf, of packs that are not in the trash."""
    rows = await store.rows(
        _SHARE + "WHERE state = ? AND trashed_s IS NULL LIMIT ?", int(ShareState.DAMAGED), limit
    )
    return [ShareRow(*row) for row in rows]


def joined(hashes: Iterable[bytes]) -> bytes:
    """Hashes of leaves as a row has them."""
    return b"".join(hashes)
