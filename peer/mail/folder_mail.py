"""What is remembered of one folder's mailboxes over all relays and links."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from typing import Any, Final

from crypto.ids import ChunkId, DeviceId, LogId, NodeId
from crypto.mailbox import Area, MailboxKeys
from peer.core import commands as c
from peer.folders.folder import Folder
from protocol.changesets import FrontierEntry, decode_changeset
from protocol.held_changesets import Position
from protocol.holdings import Holdings
from protocol.logs import LogBook
from protocol.mailbox_items import Heartbeat, positions
from protocol.nodes import Content
from protocol.records import RecordType, chunks_of

LONG_AWAY_S: Final = 30 * 86_400
"""Who was not heard of for so long is no longer waited for; a relay keeps nothing longer either."""
RIDE_SIZE_MAX: Final = 256 << 10
"""Files up to this size ride along: notes, not photographs."""
RIDE_CHANGESETS_MAX: Final = 1_000
"""Of one log, the newest: more is the first sync of a large folder, which nobody does by mail."""
MAPPED_MAX: Final = 20_000
"""Newest changesets of a log that are looked for among what a relay lists: a tenth of a second."""
READ_BYTES: Final = 1 << 20


Said = tuple[tuple[FrontierEntry, ...], tuple[FrontierEntry, ...]]
"""What a heartbeat tells: held, and applied."""


class FolderMail:
    """One folder's."""

    def __init__(self, holdings: Holdings, live_others: Callable[[], Collection[DeviceId]]) -> None:
        self.holdings = holdings
        self.known: dict[bytes, dict[bytes, Position]] = {}
        """By tag: which changesets the groups of items there are."""
        self.read_control: dict[bytes, set[bytes]] = {}
        self.read_heartbeats: dict[bytes, dict[bytes, int]] = {}
        self.beaten: dict[bytes, Said] = {}
        """By tag: what this device's heartbeat says there."""
        self.beaten_s: dict[bytes, int] = {}
        """By tag: when it was put there, by the wall clock."""
        self.newest: dict[DeviceId, Heartbeat] = {}
        """The last heartbeat read of each device."""
        self._live_others = live_others
        self._book: LogBook | None = None
        """Of which index `known` is."""

    def others(self) -> list[DeviceId]:
        """The folder's other devices, without those that were not heard of for a month."""
        now_s = int(time.time())
        live = self._live_others()
        self.holdings.forget_all_but(live)
        for device_id in live:
            self.holdings.note(device_id, now_s)
        return [d for d in live if self.holdings.heard_s(d) > now_s - LONG_AWAY_S]

    def read(self, heartbeat: Heartbeat, now_s: int) -> None:
        """A device said so in a mailbox."""
        held, applied = positions(heartbeat.held), positions(heartbeat.applied)
        self.holdings.read(heartbeat.device_id, held, applied, heartbeat.time_s, now_s)
        newest = self.newest.get(heartbeat.device_id)
        if newest is None or newest.time_s <= heartbeat.time_s:
            self.newest[heartbeat.device_id] = heartbeat

    def places(
        self, keys: MailboxKeys, book: LogBook, groups: Iterable[bytes]
    ) -> dict[bytes, Position]:
        """Which changesets these groups are, as far as they are held here; others are added by who
        takes them.
        """
        if book is not self._book:  # opened anew, it may have lost what it had taken from here
            self._book = book
            self.known.clear()
        known = self.known.setdefault(keys.tag, {})
        if all(group in known for group in groups):
            return known
        for log_id in book.log_ids():
            head = book.seq_of(log_id)
            for seq in range(head, max(0, head - MAPPED_MAX), -1):
                hash_ = book.hash_at(log_id, seq)
                if hash_ is None:
                    break
                known[keys.group(Area.CHANGESETS, hash_)] = Position(log_id, seq)
        return known


async def contents_of(
    folder: Folder, log_id: LogId, after: int, head: int
) -> AsyncIterator[tuple[ChunkId, bytes]]:
    """The chunks of small files that changesets of a log wrote, after one position and up to
    another, the newest first.
    """
    book = folder.engine.book
    first = max(after, head - RIDE_CHANGESETS_MAX)
    nodes: dict[NodeId, None] = {}
    while first < head:
        offer = await folder.changesets(log_id, first, READ_BYTES)
        if offer is None or not offer.wires:
            break
        for wire in offer.wires:
            for record in book.look_into(decode_changeset(wire)) or ():
                if _writes_content(record):
                    nodes.pop(record[1], None)
                    nodes[NodeId(record[1])] = None
        first = offer.first_seq + len(offer.wires) - 1
    ids = list(nodes)[::-1]
    for at in range(0, len(ids), 100):
        rows = await folder.store.perform(c.LoadRows(ids[at : at + 100]))
        for node_id in ids[at : at + 100]:
            for content in rows[node_id].state.contents if node_id in rows else ():
                async for piece in _chunks(folder, content):
                    yield piece


async def _chunks(folder: Folder, content: Content) -> AsyncIterator[tuple[ChunkId, bytes]]:
    if not 0 < content.size <= RIDE_SIZE_MAX:
        return
    chunk_ids = [chunk_id for chunk_id, _ in chunks_of(content)]
    while chunk_ids:
        found = await folder.read_chunks(chunk_ids)
        for chunk_id, data in zip(chunk_ids, found, strict=False):
            if data is not None:
                yield chunk_id, data
        chunk_ids = chunk_ids[len(found) :]


def _writes_content(record: Any) -> bool:
    return record[0] in (RecordType.CONTENT, RecordType.FILE, RecordType.VERBATIM)
