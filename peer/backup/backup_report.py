"""How the copies of one folder stand, in numbers for `backup status`."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from crypto.ids import RelayId
from peer.backup.copies_outlook import domains, outlook
from peer.backup.folder_backup import FolderBackup
from peer.backup.node_pool import NodePool, node_of
from peer.backup.placement import spread
from peer.backup.share_transfers import NODE_TROUBLE, Opened
from peer.status import BackupEntry, BackupNode
from protocol.backup_records import BackupRecord
from protocol.storage_client import StorageClient
from protocol.storage_messages import StoreUsage, StoreUsed

ANSWER_S = 3.0
"""What a node has to say of itself; who asks for the status does not wait longer."""


def health_of(healthy: int, degraded: int, at_risk: int, lost: int) -> str:
    """One word for all packs: that of the worst."""
    if lost:
        return "lost"
    if at_risk:
        return "at risk"
    if degraded:
        return "degraded"
    return "healthy" if healthy else "empty"


async def report(
    record: BackupRecord,
    name: str,
    backup: FolderBackup | None,
    pool: NodePool,
    clients: Mapping[RelayId, StorageClient],
    warnings: Sequence[str],
) -> BackupEntry:
    """The whole of it. What a node that cannot be reached holds is not counted: it may be gone."""
    counts = Counter[str]()
    pack_bytes = stored_bytes = packs = 0
    shares = Counter[RelayId]()
    if backup is not None:
        held: dict[int, list[tuple[int, RelayId]]] = {}
        for holding in await backup.store.holdings():
            shares[holding.node] += 1
            if holding.node in clients:
                held.setdefault(holding.pack, []).append((holding.share, holding.node))
        for pack in await backup.store.packs():
            packs += 1
            pack_bytes += pack.descriptor.pack_size
            some = held.get(pack.number, [])
            have, apart = len({share for share, _ in some}), len(spread(some))
            stored_bytes += have * pack.descriptor.share_size
            needed, count = pack.descriptor.needed, pack.descriptor.count
            if have < needed:
                counts["lost"] += 1
            elif apart >= count:
                counts["healthy"] += 1
            else:
                counts["at risk" if apart <= needed else "degraded"] += 1
    progress = None if backup is None else backup.progress
    health = health_of(counts["healthy"], counts["degraded"], counts["at risk"], counts["lost"])
    known = [node_of(client) for client in clients.values()]
    notes = None if backup is None else backup.store.notes
    heals = [] if notes is None else await notes.heals(1)
    broken = Counter[RelayId]() if notes is None else await notes.broken_by_node()
    sampled = None if backup is None else await backup.store.samples.totals()
    refused = {} if backup is None else backup.leases.refused
    return {
        "folder": name,
        "id": record.folder_id.hex(),
        "scheme": f"{record.needed}/{record.shares}",
        "state": "waiting" if progress is None else progress.state,
        "problem": "" if progress is None else progress.problem,
        "health": health,
        "packs": packs,
        "pack_bytes": pack_bytes,
        "stored_bytes": stored_bytes,
        "healthy": counts["healthy"],
        "degraded": counts["degraded"],
        "at_risk": counts["at risk"],
        "lost": counts["lost"],
        "stored_until_s": (progress.stored_until_s or None) if progress is not None else None,
        "unverified_s": None if backup is None else await _unverified_s(backup),
        "sampled_leaves": 0 if sampled is None else sampled.fetched,
        "sampled_wrong": 0 if sampled is None else sampled.wrong,
        "sampled_s": None if sampled is None else sampled.time_s,
        "heals": 0 if notes is None else await notes.count_heals(),
        "healed_s": heals[0].time_s if heals else None,
        "domains": domains(
            known, shares, {p.relay_id: f"{p.host}:{p.port}" for p in record.places}
        ),
        "outlook": outlook(known, len(record.nodes), record.needed, record.shares, health),
        "nodes": [
            _node(str(place), place.relay_id, pool, clients, shares, broken, refused)
            for place in record.places
        ],
        "warnings": list(warnings),
    }  # fmt: skip


def _node(
    address: str,
    relay_id: RelayId,
    pool: NodePool,
    clients: Mapping[RelayId, StorageClient],
    shares: Counter[RelayId],
    broken: Counter[RelayId],
    refused: Mapping[RelayId, str],
) -> BackupNode:
    client = clients.get(relay_id)
    return {
        "address": address,
        "connected": client is not None,
        "problem": refused.get(relay_id, "") if client is not None else pool.problem(relay_id),
        "owner": "" if client is None else client.node.owner,
        "region": "" if client is None else client.node.region,
        "shares": shares[relay_id],
        "broken": broken[relay_id],
        "free_bytes": 0 if client is None else client.node.free_bytes,
    }


async def _unverified_s(backup: FolderBackup) -> int | None:
    """What the nodes say of when they last read what is there longest without being read."""

    async def ask(opened: Opened) -> int | None:
        client = opened.client
        try:
            async with asyncio.timeout(ANSWER_S):
                request = StoreUsage(client.number(), opened.namespace)
                used = await client.ask(request, StoreUsed)
        except (*NODE_TROUBLE, TimeoutError):
            return None
        return used.unchecked_s if used.shares else None

    answers = await asyncio.gather(*(ask(node) for node in backup.present().values()))
    times = [answer for answer in answers if answer]
    return max(0, int(time.time()) - min(times)) if times else None
